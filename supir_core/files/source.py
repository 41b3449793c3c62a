"""Where each tensor of a checkpoint comes from: a tensor of a file, or one made of several."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .errors import UnsupportedCheckpointError
from .stored import Stored

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Source:
    """A tensor that is made when it is asked for.

    Attributes:
        parts: files, and names in them.
        shape: of the tensor.
        make: makes it of the parts.
    """

    parts: tuple[tuple[Stored, str], ...]
    shape: Shape
    make: Callable[..., Tensor] = lambda tensor: tensor


Sources = dict[str, Source]


def sources_of(stored: Stored, names: Mapping[str, str]) -> Sources:
    """Everything in a file by its canonical name, given that of each name in it.

    Raises:
        UnsupportedCheckpointError: two tensors have one name.
    """
    found: Sources = {}
    for key, name in names.items():
        if name in found:
            raise UnsupportedCheckpointError(
                f"{stored.path.name}: {found[name].parts[0][1]} and {key} are one tensor by name, and which of them counts "
                "cannot be told. Take the file as it was published, or save it with one of the two"
            )
        found[name] = Source(((stored, key),), stored.shapes[key])
    return found


def joined(sources: Sequence[Source]) -> Source:
    """Query, key and value one after the other, as one.

    Raises:
        UnsupportedCheckpointError: these are not three tensors of one size.
    """
    parts, shape = tuple(source.parts[0] for source in sources), sources[0].shape
    if len(sources) != 3 or not shape or any(source.shape != shape for source in sources):
        stored, key = parts[0]
        raise UnsupportedCheckpointError(
            f"{stored.path}: expected query, key and value of one size, each once, got {len(parts)} tensors, the first is "
            f"{key}. The file was altered, or saved in part: download it again"
        )
    return Source(parts, (3 * shape[0], *shape[1:]), lambda *tensors: torch.cat(tensors))


def as_built(sources: Sources) -> Sources:
    """The same tensors in the form that we build: not quantised, projections in OpenCLIP's form, attention as convolutions."""
    return _convolutions(_projection(dequantised(sources)))


def _projection(sources: Sources) -> Sources:
    """OpenCLIP's ``text_projection`` is ``(in, out)``; under the name of a layer's weight it is ``(out, in)``, as a layer has it."""
    weight = "conditioner.embedders.1.model.text_projection.weight"
    if weight not in sources:
        return sources
    source, rest = sources[weight], {key: source for key, source in sources.items() if key != weight}
    turned = Source(source.parts, source.shape[::-1], lambda *parts: source.make(*parts).mT)
    return {weight.removesuffix(".weight"): turned, **rest}


_ATTENTION = re.compile(r".*\.mid\.attn_1\.(q|k|v|proj_out)\.weight")


def _convolutions(sources: Sources) -> Sources:
    """The VAE's attention, whose layers are convolutions of one pixel, from layers without pixels too."""

    def unfolded(source: Source) -> Source:
        return Source(source.parts, (*source.shape, 1, 1), lambda *parts: source.make(*parts)[:, :, None, None])

    return {
        key: unfolded(source) if len(source.shape) == 2 and _ATTENTION.fullmatch(key) else source
        for key, source in sources.items()
    }


SCALES = (".scale_weight", ".weight_scale")
QUANTISATION = re.compile(r"(.*\.)?(scaled_fp8|comfy_quant|scale_weight|weight_scale|scale_input|input_scale)")
DEQUANTISABLE = ("float8_e4m3fn", "float8_e5m2")


def dequantised(sources: Sources) -> Sources:
    """Weights in 8-bit floats with a scale, as ComfyUI quantises, in float16.

    Raises:
        UnsupportedCheckpointError: they are quantised in another way.
    """
    marks = {key: source for key, source in sources.items() if QUANTISATION.fullmatch(key)}
    if not marks:
        return sources
    _check_formats(marks)
    result = {key: source for key, source in sources.items() if key not in marks}
    for key, scale in marks.items():
        ending = next((ending for ending in SCALES if key.endswith(ending)), None)
        weight = result.get(f"{key.removesuffix(ending)}.weight") if ending else None
        if ending and weight is None:
            raise UnsupportedCheckpointError(f"{scale.parts[0][0].path.name}: {key} scales a weight that is not there")
        if weight and math.prod(scale.shape) not in (1, *weight.shape[:1]):
            raise UnsupportedCheckpointError(
                f"{scale.parts[0][0].path.name}: {key} is {scale.shape}, expected a number for the whole weight or for each of "
                "its rows: it is quantised in another way. Take the file in float16"
            )
        if weight:
            result[f"{key.removesuffix(ending or '')}.weight"] = Source(
                (*weight.parts, *scale.parts), weight.shape, scaled
            )
    return result


def scaled(weight: Tensor, scale: Tensor) -> Tensor:
    """A quantised weight with its scale, a number or one for each row."""
    rows = scale.float().reshape(-1, *[1] * (weight.ndim - 1))
    return (weight.float() * rows).half()


def _check_formats(marks: Mapping[str, Source]) -> None:
    parts = [source.parts[0] for key, source in marks.items() if key.endswith("comfy_quant")]
    for stored in {stored for stored, _ in parts}:
        for name, tensor in stored.read([name for other, name in parts if other is stored]).items():
            try:
                said = json.loads(bytes(tensor.tolist()))["format"]
            except (ValueError, KeyError, TypeError) as error:
                raise UnsupportedCheckpointError(
                    f"{stored.path.name}: {name} does not say how it is quantised"
                ) from error
            if said not in DEQUANTISABLE:
                raise UnsupportedCheckpointError(
                    f"{stored.path.name}: quantised for ComfyUI as {said}, which only its own loaders read; take the file in "
                    f"float16, or in {' or '.join(DEQUANTISABLE)}"
                )
