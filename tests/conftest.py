from contextlib import nullcontext
from functools import partial
from pathlib import Path

import pytest
import torch

from supir_core.command import cli
from supir_core.command.demo import load_demo_model

GOLDEN = Path(__file__).parent / "data" / "golden"
torch.set_num_threads(1)  # the networks here are tiny: threads cost more than they give

ERRORS = pytest.StashKey[list]()


def pytest_addoption(parser):
    parser.addoption("--golden-dir", type=Path, default=GOLDEN, help="folder with a manifest.json, or of such folders")


def pytest_configure(config):
    config.stash[ERRORS] = []


def pytest_collection_modifyitems(items):
    """One process runs the tests of a file, which share servers, and all of the cluster: two of them starve each other."""
    for item in items:
        group = item.path.parent if item.path.parent.name == "cluster" else item.path
        item.add_marker(pytest.mark.xdist_group(str(group)))


def pytest_terminal_summary(terminalreporter, config):
    if config.stash[ERRORS]:
        terminalreporter.section("relative errors against the golden numbers")
        for line in config.stash[ERRORS]:
            terminalreporter.write_line(line)


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def demo_model():
    return load_demo_model()


@pytest.fixture(params=["simulated", pytest.param("real", marks=pytest.mark.gpu)])
def gpu(request):
    """What to enter for PyTorch to have a GPU: the simulated one; nothing where there is a real one."""
    if request.param == "simulated":
        from .simulated_gpu import simulated_gpu

        return partial(simulated_gpu, bf16=False)  # the VAE is float32 then, as on the CPU
    if not torch.cuda.is_available():
        pytest.skip("no GPU here")
    return nullcontext


@pytest.fixture
def run(demo_model, monkeypatch, capsys):
    """Run the command on the demo model; gives the exit code and what it wrote to stderr."""
    monkeypatch.setattr("supir_core.command.demo.load_demo_model", lambda *_: demo_model)

    def run(*arguments):
        code = cli.main([str(argument) for argument in arguments])
        return code, capsys.readouterr().err

    return run
