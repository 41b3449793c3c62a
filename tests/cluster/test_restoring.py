"""supir restore --ray: the same files as one process makes, and what is said of them."""

import json
import subprocess
import sys

import pytest

from supir_core.cluster.connection import Share, share_of
from supir_core.command import cli
from supir_core.files.metadata import read_label

from ..command.test_cli import FAST, make_picture
from ..tiny_captioners import make_llava


@pytest.fixture
def say(cluster, capsys):
    """Run the command on the cluster in this process; its code, JSON lines and what it wrote for people."""

    def say(*arguments):
        command = ["restore", *arguments, "--json", "--ray", cluster.address, "--workers", "2"]
        code = cli.main([str(part) for part in command])
        shown = capsys.readouterr()
        return code, [json.loads(line) for line in shown.out.splitlines() if line.startswith("{")], shown.err

    return say


def test_two_workers_make_the_files_of_one_process_bit_for_bit(run, say, tmp_path):
    (tmp_path / "photos").mkdir()
    for number in range(4):
        make_picture(tmp_path / "photos" / f"{number}.png", (24 + 8 * number, 16))
    (tmp_path / "photos" / "bad.png").write_text("no picture", encoding="utf-8")
    captioner = make_llava(tmp_path / "llava")
    how = ("--demo", *FAST, "--stage1", "--captioner", captioner)
    assert run("restore", tmp_path / "photos", "-o", tmp_path / "one", *how)[0] == 1
    code, lines, said = say(tmp_path / "photos", "-o", tmp_path / "two", *how)
    assert code == 1
    names = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert len(names) == 8
    assert sorted(path.name for path in (tmp_path / "two").iterdir()) == names
    for name in names:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    assert read_label(tmp_path / "two" / "0.png")["supir.caption"]
    assert {line["file"].rpartition("/")[2]: line["state"] for line in lines} == {
        **{f"{number}.png": "restored" for number in range(4)},
        "bad.png": "failed",
    }
    assert f"failed: {tmp_path / 'photos' / 'bad.png'}: not a picture" in said
    done = [line for line in said.splitlines() if line.startswith("restore-")]
    assert sum(int(line.split()[1]) for line in done) == 4
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "two").iterdir()}
    code, lines, said = say(tmp_path / "photos", "-o", tmp_path / "two", *how)
    assert (code, "4 of 5 done already" in said) == (1, True)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "two").iterdir()} == before


def test_weights_that_cannot_be_loaded_end_the_run_in_a_line(say, tmp_path):
    (tmp_path / "notes.safetensors").write_text("no weights", encoding="utf-8")
    weights = [part for name in ("--sdxl", "--supir") for part in (name, tmp_path / "notes.safetensors")]
    code, _, said = say(make_picture(tmp_path / "a.png"), "-o", tmp_path / "out", *weights)
    assert code == 1
    assert [line.partition(": ")[0] for line in said.splitlines() if "notes.safetensors" in line] == ["error"]


def test_of_thousands_of_pictures_none_is_lost_and_the_command_does_not_grow(start, tmp_path):
    (tmp_path / "photos").mkdir()
    for number in range(6000):
        (tmp_path / "photos" / f"{number:04}.png").touch()
    process = start("restore", tmp_path / "photos", "-o", tmp_path / "out", worker="Writer", memory=tmp_path / "memory")
    said = process.communicate(timeout=300)[1]
    assert process.returncode == 0, said
    assert len(list((tmp_path / "out").iterdir())) == 6000
    sizes = [int(line) for line in (tmp_path / "memory").read_text().splitlines()]
    assert len(sizes) == 60
    assert sizes[-1] - sizes[20] < 2**21  # over four thousand pictures, 0.4 MB here


@pytest.mark.parametrize(
    ("nodes", "workers", "gpus", "expected"),
    [
        ([(8, 0)], None, None, Share(1, 8, 0)),
        ([(8, 0)], 2, None, Share(2, 4, 0)),
        ([(2, 0)], 4, None, Share(4, 1, 0)),
        ([(8, 0), (4, 0)], None, None, Share(2, 4, 0)),
        ([(8, 0), (4, 0)], 4, None, Share(4, 2, 0)),
        ([(64, 8), (64, 4), (16, 0)], None, None, Share(12, 1, 1)),
        ([(64, 8)], None, 0.5, Share(16, 1, 0.5)),
        ([(64, 8)], None, 3, Share(2, 1, 3)),
        ([(64, 8)], 2, 0, Share(2, 32, 0)),
    ],
)
def test_workers_share_what_the_nodes_have(nodes, workers, gpus, expected):
    assert share_of(nodes, workers, gpus) == expected


def test_more_gpus_than_a_node_has_are_refused():
    with pytest.raises(ValueError, match="no node of the cluster has 2 GPUs"):
        share_of([(8, 1), (8, 0)], None, 2)


@pytest.mark.parametrize("gpus", [-1, float("nan"), float("inf")])
def test_a_number_of_gpus_that_is_none_is_refused(gpus):
    with pytest.raises(ValueError, match="expected a number from 0"):
        share_of([(8, 1)], None, gpus)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--workers", "2"), "--workers goes with --ray"),
        (("--gpus-per-worker", "1"), "--gpus-per-worker goes with --ray"),
        (("--ray", "{}"), "name the pictures first, or write --ray=local"),
    ],
)
def test_options_that_do_not_go_together_are_one_clear_line(run, tmp_path, more, said):
    pytest.importorskip("ray")
    source = make_picture(tmp_path / "a.png")
    more = [part.format(source) for part in more]
    code, told = run("restore", source, "-o", tmp_path / "out", "--demo", *more)
    assert (code, told.count("\n")) == (1, 1)
    assert said in told


def test_without_ray_the_option_says_which_package(run, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    code, said = run("restore", make_picture(tmp_path / "a.png"), "-o", tmp_path / "out", "--demo", "--ray")
    assert (code, said) == (1, 'error: --ray needs the package ray, which is not installed: pip install -e ".[ray]"\n')


def test_nothing_of_ray_or_of_stores_is_imported_before_it_is_asked_for():
    program = "import sys, supir_core.command.commands as c; sys.exit(bool({'ray', 's3fs', 'moto'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
