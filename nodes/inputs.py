"""Inputs of the nodes for settings: range, default, choices and text are those of the setting itself."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ..supir_core.restoration.denoiser import LinearSchedule
from ..supir_core.restoration.knobs import Knob, knobs
from ..supir_core.restoration.settings import LEAST_OVERLAP
from ..supir_core.supir.settings import Settings


def setting_input(name: str, settings: type = Settings, **changes: Any) -> io.Input:
    """The input for a setting of a method; ``changes`` replace what the setting says (``id`` its name here)."""
    return knob_input(name, knobs(settings)[name], **changes)


def check_setting(name: str, value: Any, setting: str | None = None) -> None:
    """Refuse a value of the input ``name`` for a setting of SUPIR: ComfyUI lets anything through a link, and NaN as a number.

    Raises:
        ValueError: says what it may be.
    """
    knobs(Settings)[setting or name].check(name, value)


def knob_input(name: str, knob: Knob, **changes: Any) -> io.Input:
    """The input for a knob."""
    given: dict[str, Any] = {"id": name, "default": knob.default, "tooltip": knob.text, **changes}
    if isinstance(knob.default, bool):
        return io.Boolean.Input(**given)
    if knob.choices:
        return io.Combo.Input(options=list(knob.choices), **given)
    if isinstance(knob.default, str):
        return io.String.Input(multiline=True, dynamic_prompts=False, **given)
    given = {"min": knob.least, "max": knob.most, "step": knob.step, **given}
    kind = io.Float if isinstance(given["default"], float) else io.Int
    return kind.Input(**given)


def schedule_inputs(name: str, setting: str | None = None, **changes: Any) -> list[io.Input]:
    """The two ends of a setting that goes linearly with the noise level: ``name_start`` and ``name_end``."""
    knob = knobs(Settings)[setting or name]
    ends: LinearSchedule = knob.default
    texts = {
        "start": (ends.start, f"{knob.text} This is the value at the first noise level."),
        "end": (ends.end, "The same at the last noise level; linear in between."),
    }
    return [
        knob_input(f"{name}_{end}", knob, default=default, tooltip=text, **changes)
        for end, (default, text) in texts.items()
    ]


def sdxl_inputs() -> list[io.Input]:
    """The three parts of an SDXL checkpoint."""
    return [
        io.Model.Input("model", tooltip="An SDXL model, with or without LoRA and other patches."),
        io.Clip.Input("clip", tooltip="SDXL's text encoders."),
        io.Vae.Input("vae", tooltip="SDXL's VAE."),
    ]


def text_input(name: str, text: str, default: str = "", **changes: Any) -> io.String.Input:
    """Lines of text, taken as they are written."""
    return io.String.Input(name, multiline=True, default=default, dynamic_prompts=False, tooltip=text, **changes)


def seed_input(**changes: Any) -> io.Input:
    """The seed, which the canvas may change after each run."""
    return setting_input("seed", control_after_generate=True, **changes)


def same_noise_input(more: str = "") -> io.Input:
    """Whether all pictures of a batch get one noise; ``more`` says what else it does."""
    text = knobs(Settings)["same_noise"].text + more
    return setting_input("same_noise", optional=True, tooltip=text)  # workflows in API form from before it have none


def prompt_weights_input() -> io.Boolean.Input:
    """How prompts are read."""
    return io.Boolean.Input(
        "prompt_weights",
        default=False,
        optional=True,  # workflows in API form from before it have none
        advanced=True,
        tooltip="Read prompts in ComfyUI's syntax: (word:1.2) weighs a word, embedding:name takes an embedding. Off: they are "
        "taken as written, brackets and all, as SUPIR was published.",
    )


def tile_inputs() -> list[io.Input]:
    """The numbers of a tile grid."""
    return [setting_input("tile"), setting_input("overlap", default=LEAST_OVERLAP)]


def work_inputs() -> list[io.Input]:
    """At which size the picture is worked on, and the VAE's memory for that."""
    return [
        setting_input("min_side", default=1024, step=64, advanced=True),
        setting_input(
            "vae_memory",
            id="vae_tile",
            default=0,
            min=0,
            step=64,
            advanced=True,
            tooltip=f"{knobs(Settings)['vae_memory'].text} 0: what is free.",
        ),
    ]
