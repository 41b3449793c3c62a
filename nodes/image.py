"""Pictures after the restoration: colour, and files that say what they are."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import folder_paths
from comfy.cli_args import args
from comfy_api.latest import io, ui
from torch import Tensor

from ..supir_core.files.metadata import provenance
from ..supir_core.files.pictures import write_picture
from ..supir_core.restoration.colorfix import fix_color
from .host import CATEGORY, to_image, to_picture
from .inputs import check_setting, setting_input

METHODS = {
    "SupirEncode": "SUPIR",
    "SupirDenoiser": "SUPIR",
    "SupirRestore": "SUPIR",
    "SupirModelLoader": "SUPIR",
    "InstantIRApply": "InstantIR",
    "InstantIRModelLoader": "InstantIR",
}
"""Nodes by which a picture is known to be restored, and the method; SUPIR Restore Region does it by what is loaded."""


PREFIX = "SUPIR"
"""Name of the files where none is given."""


class SupirColorFix(io.ComfyNode):
    """Colours of the reference, detail of the result."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SupirColorFix",
            display_name="SUPIR Color Fix",
            category=CATEGORY,
            description="Gives a picture the colours of a reference, usually stage 1, and cuts it to the reference's size, "
            "which removes the padding that SUPIR Encode added.",
            search_aliases=["wavelet color fix", "adain", "color match", "supir color"],
            inputs=[
                io.Image.Input("image", tooltip="The restored picture; transparency is kept."),
                io.Image.Input("reference", tooltip="Whose colours to take: stage 1 of SUPIR Encode."),
                setting_input(
                    "color_fix",
                    id="mode",
                    tooltip="wavelet: the reference's low frequencies. adain: its mean and contrast. none: only the cut.",
                ),
                setting_input("color_strength", id="strength"),
            ],
            outputs=[io.Image.Output(display_name="image", tooltip="The corrected picture.")],
        )

    @classmethod
    def execute(cls, image: Tensor, reference: Tensor, mode: str, strength: float) -> io.NodeOutput:
        check_setting("strength", strength, "color_strength")
        picture, colors = to_picture(image), to_picture(reference)
        height, width = colors.shape[2:]
        cut = picture[:, :, :height, :width]
        if cut.shape[2:] != colors.shape[2:]:
            raise ValueError(
                f"the picture is {picture.shape[3]}x{picture.shape[2]}, smaller than the reference of {width}x{height}; "
                "connect the stage 1 that belongs to it, or resize the reference"
            )
        if len(colors) not in (1, len(cut)):
            raise ValueError(f"got {len(colors)} references for {len(cut)} pictures; give one for all or one for each")
        fixed = fix_color(cut, colors.expand(len(cut), -1, -1, -1), mode, strength)
        return io.NodeOutput(to_image(fixed.clamp(0, 1)))


class SupirSaveImage(io.ComfyNode):
    """Save with the label of a generative restoration."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SupirSaveImage",
            display_name="SUPIR Save Image",
            category=CATEGORY,
            description="Saves PNGs with the workflow and with a label that says that detail was reconstructed by a trained "
            "model (text, and the IPTC digital source type in XMP).",
            search_aliases=["save image", "provenance", "iptc", "xmp"],
            is_output_node=True,
            inputs=[
                io.Image.Input("images", tooltip="The pictures to save."),
                io.String.Input(
                    "filename_prefix",
                    default=PREFIX,
                    tooltip="Name of the files, with folders and %year%-%month%-%day% as in Save Image.",
                ),
                io.Combo.Input(
                    "bits",
                    options=["8", "16"],
                    default="8",
                    optional=True,
                    advanced=True,
                    tooltip="Bits of each colour. 16 keeps smooth gradients for further editing; files are about three times "
                    "as large.",
                ),
            ],
            outputs=[],
            hidden=[io.Hidden.prompt, io.Hidden.extra_pnginfo, io.Hidden.unique_id],
        )

    @classmethod
    def execute(cls, images: Tensor, filename_prefix: str, bits: str = "8") -> io.NodeOutput:
        pictures = to_picture(images)
        text = {**provenance(method_of(cls.hidden.prompt, cls.hidden.unique_id)), **_workflow(cls.hidden)}
        results = []
        try:
            folder, name, counter, subfolder, _ = folder_paths.get_save_image_path(
                filename_prefix or PREFIX, folder_paths.get_output_directory(), pictures.shape[3], pictures.shape[2]
            )
            for number, picture in enumerate(pictures):
                file = f"{name.replace('%batch_num%', str(number))}_{counter + number:05}_.png"
                write_picture(Path(folder) / file, picture, text, bits=int(bits))
                results.append(ui.SavedResult(file, subfolder, io.FolderType.output))
        except OSError as error:
            raise OSError(
                f"picture {len(results) + 1} of {len(pictures)} could not be saved: {error.strerror or error}. Choose another, or "
                "a shorter, filename_prefix, or make room in ComfyUI's output folder"
            ) from error
        return io.NodeOutput(ui=ui.SavedImages(results))


def method_of(prompt: Mapping[str, Any] | None, node: str | None) -> str:
    """What restored the pictures that come to a node: all methods that lie before it in the workflow, SUPIR if none does."""
    graph, seen, waiting = prompt or {}, set(), [str(node)]
    while waiting:
        name = waiting.pop()
        if name in graph and name not in seen:
            seen.add(name)
            links = (value for value in graph[name].get("inputs", {}).values() if isinstance(value, list) and value)
            waiting += [str(link[0]) for link in links]
    kinds = {graph[name].get("class_type") for name in seen}
    return " and ".join(sorted({method for kind, method in METHODS.items() if kind in kinds}, reverse=True)) or "SUPIR"


def _workflow(hidden: Any) -> dict[str, str]:
    """ComfyUI's own entries, from which it opens the workflow again."""
    if args.disable_metadata:
        return {}
    entries = {"prompt": hidden.prompt, **(hidden.extra_pnginfo or {})}
    return {name: json.dumps(value) for name, value in entries.items() if value is not None}
