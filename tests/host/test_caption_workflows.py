"""The workflows with captions in a running ComfyUI: a small LLaVA, the demo's weights."""

import json

import pytest

from supir_core.captions.protocol import INSTRUCTION

from ..tiny_captioners import make_llava
from .demo_prompt import with_demo_weights
from .server import ROOT

SMALL = {"SupirEncode": {"scale": 1.5, "min_side": 64}, "Tile": {"value": 128}, "Overlap": {"value": 64}}
"""128 pixels become 192, four tiles."""


@pytest.fixture(scope="module")
def folder(server):
    return make_llava(server.base / "models" / "LLM" / "tiny")


@pytest.fixture(scope="module")
def prompt(folder):
    """A workflow for the server, with the least work."""

    def prompt(name, **changes):
        given = {
            **SMALL,
            "SupirCaptioner": {"model": "tiny", "precision": "auto"},
            "SupirCaption": {"max_tokens": 8},
            "SupirCaptionTiles": {"max_tokens": 8},
            "SupirRestore": {"preset": "demo", "scale": 1.0},
            "SupirSampler": {"preset": "custom", "steps": 1},
        }
        workflow = json.loads((ROOT / "workflows" / "api" / f"{name}.json").read_text(encoding="utf-8"))
        return with_demo_weights(workflow, {**given, **changes})

    return prompt


def shown(run):
    """What Preview as Text shows."""
    return [text for data in run.of_type("executed") for text in (data["output"] or {}).get("text", ())]


@pytest.mark.parametrize(("name", "lines"), [("restore_captioned", 1), ("restore_4k_captioned", 4)])
def test_stage_1_is_described_shown_and_restored(server, prompt, name, lines):
    run = server.run(prompt(name))
    assert run.end == "execution_success", run.messages[-1]
    (text,) = shown(run)
    assert len([line for line in text.splitlines() if line]) == lines
    assert len(run.pictures) == 1


def test_edited_words_reach_the_sampler_and_the_captioner_is_left_alone(server, prompt):
    nowhere = {"model": "/nowhere", "precision": "auto"}
    edited = {"edited": "a woman in uniform", "instruction": INSTRUCTION}
    run = server.run(prompt("restore_captioned", SupirCaptioner=nowhere, SupirCaption=edited))
    assert run.end == "execution_success", run.messages[-1]
    assert shown(run) == ["a woman in uniform"]
