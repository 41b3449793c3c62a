"""What ComfyUI's registry asks for: all of it is in pyproject.toml, or written there by the job that publishes."""

import pytest

from tools.registry.name_owner import BANNER, ICON, PYPROJECT, with_owner

REPOSITORY = "https://github.com/someone/supir"
ACCELERATORS = {"Environment :: GPU :: NVIDIA CUDA"}
TEXT = PYPROJECT.read_text(encoding="utf-8")


def test_the_owner_is_written_and_the_rest_stays():
    tomllib = pytest.importorskip("tomllib")
    before, after = tomllib.loads(TEXT), tomllib.loads(with_owner(TEXT, "someone", REPOSITORY))
    assert after["tool"]["comfy"]["PublisherId"] == "someone"
    assert after["project"].pop("urls")["Repository"] == REPOSITORY
    assert after["project"] == before["project"]
    assert {**after["tool"]["comfy"], "PublisherId": ""}.items() >= before["tool"]["comfy"].items()


def test_icon_and_banner_are_files_of_the_repository():
    for picture in (ICON, BANNER):
        assert (PYPROJECT.parent / picture.replace("%20", " ")).is_file()


def test_a_second_owner_is_refused():
    with pytest.raises(ValueError, match="expected one line PublisherId"):
        with_owner(with_owner(TEXT, "someone", REPOSITORY), "another", REPOSITORY)


def test_the_classifiers_are_of_those_that_comfyui_reads():
    classifiers = pytest.importorskip("tomllib").loads(TEXT)["project"]["classifiers"]
    assert {name for name in classifiers if name.startswith("Environment")} == ACCELERATORS
    assert "Operating System :: OS Independent" in classifiers
