"""The pack in ComfyUI: loads without a word, and its schemas are whole."""

import inspect


def test_every_node_registers(pack):
    assert len(pack) == 13


def test_schema_ids_are_the_parameters_of_execute(pack):
    for name, node in pack.items():
        inputs = {given.id for given in node.GET_SCHEMA().inputs}
        parameters = inspect.signature(node.execute).parameters
        if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
            assert set(parameters) - {"custom"} <= inputs, name
        else:
            assert set(parameters) == inputs, name


def test_everything_has_a_tooltip(pack):
    for name, node in pack.items():
        schema = node.GET_SCHEMA()
        for part in [*schema.inputs, *schema.outputs]:
            assert part.tooltip, (name, part.id)
        assert schema.description and schema.search_aliases, name
