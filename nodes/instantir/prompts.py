"""What InstantIR tells the networks of each prompt: its name, which guiders order as they like, and the size condition."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from comfy.model_patcher import ModelPatcher
from comfy.patcher_extension import WrappersMP
from torch import Tensor

from ...supir_core.sdxl.config import LATENT_PIXELS
from ..conditioning import NAMES
from ..options import PROMPT, PROMPTS, TILE_KEY
from ..wrappers import Options


def size_condition(model: ModelPatcher, latent: Tensor) -> dict[str, int]:
    """As published, the size of what the networks see at once in pixels, here that of a tile at most.

    Sizes that came with the prompts, such as those SUPIR was published with, do not count.
    """
    height, width = latent.shape[2:]
    for wrapper in model.get_wrappers(WrappersMP.PREPARE_SAMPLING, TILE_KEY):
        height, width = wrapper.__self__.plan(height, width).window
    height, width = LATENT_PIXELS * height, LATENT_PIXELS * width
    return dict(zip(NAMES, (height, width, 0, 0, height, width), strict=True))


def tell_prompts(executor: Any, model: Any, conds: Sequence[Any], x: Tensor, timestep: Tensor, told: Options) -> Any:
    """A CALC_COND_BATCH wrapper: the names of the prompts, which each guider puts into an order of its own."""
    names = tuple(entries[0].get(PROMPT) if entries else None for entries in conds)
    options = {**told.get("transformer_options", {}), PROMPTS: names}
    return executor(model, conds, x, timestep, {**told, "transformer_options": options})


def prompts_of(options: Mapping[str, Any]) -> list[str | None]:
    """The name of the prompt that each chunk of a call's rows is of."""
    return [options[PROMPTS][number] for number in options["cond_or_uncond"]]


def of_none(name: str | None) -> bool:
    """Whether a prompt is guided away from, or is none of the guider's: it goes with the features of no picture."""
    return name is None or "negative" in name
