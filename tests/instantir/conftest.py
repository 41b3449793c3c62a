"""InstantIR's networks, small, and their files."""

import pytest

from supir_core.command.demo import SDXL_FILE, TOKENIZER_FOLDER, WEIGHTS
from supir_core.instantir.model import load_instantir

from ..small_instantir import small_networks, write_files


@pytest.fixture(scope="module")
def networks():
    return small_networks()


@pytest.fixture(scope="module")
def files(networks, tmp_path_factory):
    return write_files(tmp_path_factory.mktemp("instantir"), networks)


@pytest.fixture(scope="module")
def model(files):
    return load_instantir(WEIGHTS / SDXL_FILE, *files, tokenizer=WEIGHTS / TOKENIZER_FOLDER, device="cpu")
