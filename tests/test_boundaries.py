"""What may import what, read from the source."""

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
HOST = {"comfy", "comfy_api", "comfy_extras", "folder_paths", "nodes", "server", "execution"}
SOURCES = sorted(ROOT.glob("supir_core/**/*.py"))
NODES = sorted(ROOT.glob("nodes/**/*.py"))


def imports(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield node.module


def module_level_imports(path):
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield node.module


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_the_library_knows_no_host_and_imports_itself_relatively(path):
    roots = {name.partition(".")[0] for name in imports(path)}
    assert not roots & (HOST | {"supir_core"})


@pytest.mark.parametrize("path", NODES, ids=lambda path: path.name)
def test_nodes_import_the_library_relatively(path):
    """ComfyUI never puts this folder on the path."""
    assert "supir_core" not in {name.partition(".")[0] for name in imports(path)}


@pytest.mark.parametrize("path", SOURCES + NODES, ids=lambda path: path.name)
def test_heavy_packages_are_imported_where_they_are_used(path):
    roots = {name.partition(".")[0] for name in module_level_imports(path)}
    assert not roots & {"transformers", "accelerate", "bitsandbytes", "skimage", "ray", "fsspec", "yaml"}


@pytest.mark.parametrize("path", SOURCES + NODES, ids=lambda path: path.name)
def test_no_file_outgrows_a_reader(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 300


def test_the_librarys_files_are_in_rooms():
    files = {path.name for path in (ROOT / "supir_core").iterdir() if path.is_file()}
    assert files == {"__init__.py", "__main__.py", "py.typed"}


def name_of(path):
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def imported(path):
    """The project's own modules that a file imports, also inside of functions."""
    known = {name_of(other) for other in SOURCES + NODES}
    name = name_of(path)
    package = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = [*package[: len(package) - node.level + 1], *(node.module or "").split(".")]
            stem = ".".join(part for part in base if part)
            for alias in node.names:
                yield f"{stem}.{alias.name}" if f"{stem}.{alias.name}" in known else stem


def test_training_is_the_commands_alone():
    importers = {
        path.relative_to(ROOT).as_posix()
        for path in SOURCES + NODES
        if path.parent.name != "training" and any("supir_core.training" in name for name in imported(path))
    }
    assert importers == {"supir_core/command/training.py"}


def test_no_file_imports_itself_through_others():
    graph = {name_of(path): set(imported(path)) for path in SOURCES + NODES}
    TopologicalSorter(graph).prepare()  # raises CycleError
