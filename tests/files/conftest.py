"""The demo weights as tensors."""

import pytest
from safetensors.torch import load_file

from supir_core.command.demo import WEIGHTS


@pytest.fixture(scope="session")
def sdxl():
    return load_file(WEIGHTS / "demo_sdxl.safetensors")


@pytest.fixture(scope="session")
def supir():
    return load_file(WEIGHTS / "demo_supir.safetensors")
