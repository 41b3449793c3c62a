"""Pictures described in words: LLaVA, as in the paper, or any other image-text-to-text model of transformers.

The paper reads the picture of stage 1, not the damaged one (Yu et al. 2024, section 3.2), and uses the text as prompt.
Trust a caption for scenery; for portraits, and anything with text or logos, write a short noun phrase yourself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..files.convert import to_image
from ..restoration.canvas import Canvas
from ..restoration.knobs import Checked, knob
from ..restoration.noise import SEEDS
from ..restoration.settings import CommonSettings
from ..restoration.tiling import tile_grid
from ..sdxl.config import LATENT_PIXELS
from ..sdxl.memory import memory_for
from .text import clean

INSTRUCTION = "Describe this image and its style in a very detailed manner."
"""What the paper asks LLaVA."""

MAX_SIDE = 1024
"""Longest side in pixels of what a captioner is given; models that see more take long and see nothing else."""


@dataclass(frozen=True)
class Request(Checked):
    """How a picture is described.

    Raises:
        ValueError: a value is out of its range.
    """

    instruction: str = knob(INSTRUCTION, "What the model is asked; the paper's question by default.")
    max_tokens: int = knob(
        256,
        "The longest answer, in tokens; a sentence that it cuts is left out. Long prompts are read in parts of 75 tokens.",
        least=1,
        most=4096,
    )
    temperature: float = knob(
        0.0,
        "0: always the likeliest words, so the same caption each time. More: other words with each seed.",
        least=0.0,
        most=2.0,
        step=0.05,
    )
    seed: int = knob(0, "Of the choice of words, where the temperature is above 0.", least=0, most=SEEDS - 1)


STANDARD = Request()
"""The paper's question, answered the same each time."""


class Captioner(Protocol):
    """Describes pictures."""

    def caption(
        self,
        pictures: Sequence[Tensor],
        request: Request = STANDARD,
        on_token: Callable[[], None] | None = None,
    ) -> list[str]:
        """One text for each picture.

        Args:
            pictures: ``(3, H, W)`` in [0, 1], each of any size; all of them go through the model together.
            request: how to describe them.
            on_token: called for each token; an exception from it stops the work.

        Raises:
            ValueError: a picture has another form, or the model cannot read it with this instruction.
            MemoryFullError: a memory is full.
        """
        ...


@dataclass(frozen=True, eq=False)
class TransformersCaptioner:
    """A model of transformers that answers to a picture and a text, by its own chat template.

    Attributes:
        network: the model, on its device.
        processor: its processor, which pads on the left.
    """

    network: nn.Module
    processor: Any

    @torch.inference_mode()
    @memory_for("pictures are described", "Take 8bit or 4bit weights, a smaller captioner, the CPU")
    def caption(
        self,
        pictures: Sequence[Tensor],
        request: Request = STANDARD,
        on_token: Callable[[], None] | None = None,
    ) -> list[str]:
        """See ``Captioner``; the same request gives the same texts."""
        if len(pictures) == 0:
            return []
        inputs = self._inputs([to_image(_shrunk(picture)) for picture in pictures], request.instruction)
        network: Any = self.network
        devices = [network.device] if network.device.type == "cuda" else []
        with torch.random.fork_rng(devices):
            torch.manual_seed(request.seed)
            tokens = network.generate(
                **inputs,
                **_sampling(request.temperature),
                max_new_tokens=request.max_tokens,
                stopping_criteria=_told(on_token),
            )
        answers = tokens[:, inputs["input_ids"].shape[1] :]
        finished = answers.shape[1] < request.max_tokens
        ends = {*_ends(network), self.processor.tokenizer.pad_token_id}
        texts = self.processor.batch_decode(answers, skip_special_tokens=True)
        return [clean(text, finished or answer[-1].item() in ends) for text, answer in zip(texts, answers, strict=True)]

    def _inputs(self, images: Sequence[Any], instruction: str) -> Any:
        """Tokens and pixels on the model's device, in its type."""
        content = [{"type": "image"}, {"type": "text", "text": instruction}]
        prompt = self.processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
        # before 5 some processors know no lists of lists, since then some know nothing else
        nested = transformers_version() >= (5, 0)
        try:
            batch = self.processor(
                images=[[image] for image in images] if nested else images,
                text=[prompt] * len(images),
                padding=True,
                return_tensors="pt",
            )
        except (ValueError, TypeError) as error:  # each processor checks in its own way
            sizes = ", ".join(f"{image.width}x{image.height}" for image in images)
            raise ValueError(
                "expected an instruction in plain words, without the model's own marks such as <image>, and pictures that are not "
                f'too thin for it, got "{instruction}" and pictures of {sizes} ({error})'
            ) from error
        return batch.to(self.network.device, self.network.dtype)


def tile_pictures(stage1: Tensor, settings: CommonSettings) -> list[Tensor]:
    """What the sampling tiles show, in their order: row by row from the top left.

    Args:
        stage1: the picture without padding, ``(1, 3, H, W)``.
        settings: whose tiles these are.

    Returns:
        ``(3, h, w)`` each; the padding that sampling adds below and on the right is left out.
    """
    size = (stage1.shape[2], stage1.shape[3])
    latent = Canvas.plan(size, min_side=1).latent
    tiles = tile_grid(*latent, settings.plan(*latent))
    return [stage1[0][tile.times(LATENT_PIXELS).window] for tile in tiles]


def transformers_version() -> tuple[int, int]:
    """Major and minor version of transformers."""
    major, minor = version("transformers").split(".")[:2]
    return int(major), int(minor)


def _shrunk(picture: Tensor) -> Tensor:
    known = isinstance(picture, Tensor) and picture.is_floating_point() and picture.numel()
    if not known or picture.ndim != 3 or picture.shape[0] < 3:
        got = f"{tuple(picture.shape)} of {picture.dtype}" if isinstance(picture, Tensor) else type(picture).__name__
        raise ValueError(
            f"expected a list of pictures, each a tensor (3, H, W) of floats in [0, 1], got one that is {got}"
        )
    factor = MAX_SIDE / max(picture.shape[1:])
    if factor >= 1:
        return picture[:3]
    size = [max(1, round(side * factor)) for side in picture.shape[1:]]
    return F.interpolate(picture[None, :3], size=size, mode="bicubic", antialias=True)[0].clamp_(0, 1)


def _sampling(temperature: float) -> dict[str, Any]:
    """Options of generate; a model's own taste in sampling does not count."""
    if temperature > 0:
        return {"do_sample": True, "temperature": temperature, "top_p": 1.0, "top_k": 0, "num_beams": 1}
    return {"do_sample": False, "temperature": None, "top_p": None, "top_k": None, "num_beams": 1}


def _told(on_token: Callable[[], None] | None) -> Any:
    """A stopping criterion that never stops, but tells of each token."""
    from transformers import StoppingCriteriaList

    def criterion(tokens: Tensor, scores: Any, **_: Any) -> Tensor:
        if on_token:
            on_token()
        return torch.zeros(len(tokens), dtype=torch.bool, device=tokens.device)

    return StoppingCriteriaList([criterion])


def _ends(network: Any) -> list[int]:
    """Tokens that end an answer."""
    ends = network.generation_config.eos_token_id
    return ends if isinstance(ends, list) else [ends]
