"""The pack in ComfyUI: loads without a word, and its schemas are whole."""

import asyncio
import inspect
import logging

import pytest

from .server import ROOT
from .small import module


def test_every_node_registers(pack):
    assert len(pack) == 24


def test_schema_ids_are_the_parameters_of_execute(pack):
    for name, node in pack.items():
        inputs = {given.id for given in node.GET_SCHEMA().inputs}
        parameters = inspect.signature(node.execute).parameters
        rest = {key for key, p in parameters.items() if p.kind is p.VAR_KEYWORD}
        if rest:
            assert set(parameters) - rest <= inputs, name
        else:
            assert set(parameters) == inputs, name


def test_everything_has_a_tooltip(pack):
    for name, node in pack.items():
        schema = node.GET_SCHEMA()
        for part in [*schema.inputs, *schema.outputs]:
            assert part.tooltip, (name, part.id)
        assert schema.description and schema.search_aliases, name


@pytest.mark.parametrize("name", ["SUPIR v1.2 (copy)", "supir.restoration", "ComfyUI-SUPIR", "nodes"])
def test_the_pack_loads_from_any_folder_without_a_warning(host, tmp_path, caplog, name):
    import nodes

    folder = tmp_path / "with a space.and dots" / name
    folder.parent.mkdir()
    folder.symlink_to(ROOT)
    registered = {
        key: node for key, node in nodes.NODE_CLASS_MAPPINGS.items() if key.startswith(("Supir", "InstantIR"))
    }
    try:
        with caplog.at_level(logging.WARNING):
            assert asyncio.run(nodes.load_custom_node(str(folder), module_parent="custom_nodes"))
        assert not caplog.records
        scheduler = nodes.NODE_CLASS_MAPPINGS["SupirScheduler"]
        assert len(scheduler.execute(steps=10, sampler="edm").result[0]) == 11
    finally:
        nodes.NODE_CLASS_MAPPINGS.update(registered)


def test_weights_are_found_under_the_ending_that_a_browser_gave_them(host, pack):
    folder = host / "models" / "model_patches"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "previewer_lora_weights.bin").touch()
    try:
        found = module(pack, "nodes.host").find_weights("previewer_lora_weights.pt", "the previewer")
    finally:
        (folder / "previewer_lora_weights.bin").unlink()
    assert found.name == "previewer_lora_weights.bin"


def test_an_old_comfyui_is_told_so(pack, monkeypatch):
    import comfy.model_patcher

    monkeypatch.delattr(comfy.model_patcher.ModelPatcher, "set_model_middle_block_after_patch")
    with pytest.raises(RuntimeError, match=r"need ComfyUI 0\.20\.0 or newer"):
        module(pack, "nodes.host").require_comfyui()


def test_no_node_takes_the_name_of_a_rivals(pack):
    assert not [name for name in pack if "_" in name or name == "SUPIRApply"]
