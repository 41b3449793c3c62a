"""Tiles for any sampler: the network sees one tile at a time, everything else the whole latent."""

from __future__ import annotations

import copy
import logging
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import comfy.model_management
import comfy.utils
import torch
from comfy.conds import CONDNoiseShape
from comfy.model_patcher import ModelPatcher
from comfy.patcher_extension import WrappersMP
from comfy_api.latest import io
from torch import Tensor

from ..supir_core.restoration.retry import fitting_tiles
from ..supir_core.restoration.tiling import Tile, TilePlan, crop_tiles, tile_denoiser
from ..supir_core.sdxl.model import WORK_NUMBERS
from ..supir_core.supir.settings import Settings
from .host import CATEGORY
from .inputs import setting_input, tile_inputs
from .notices import show, warn
from .options import TILE, TILE_KEY, TILES, schedule_sigma
from .wrappers import innermost, replace_wrappers

log = logging.getLogger(__name__)

Entry = dict[str, Any]

EASY_CACHE = "easycache"
"""Under which EasyCache's wrappers stand."""

TILE_BYTES = 2 * 4 * WORK_NUMBERS
"""Memory for each pixel of a tile: a guided call has two rows, of float32 at most."""


@dataclass(frozen=True)
class TileWrappers:
    """Denoise in tiles.

    Attributes:
        settings: how; those of the tiles count.
        node: id of the node that shows the plan.
    """

    settings: Settings
    node: str | None

    def register(self, model: ModelPatcher) -> None:
        """Add the wrappers to a model, in place of earlier tiles."""
        wrappers = {
            WrappersMP.PREPARE_SAMPLING: self.reserve_memory,
            WrappersMP.CALC_COND_BATCH: innermost(self.denoise),
        }
        replace_wrappers(model, TILE_KEY, wrappers)

    def reserve_memory(self, executor: Any, model: ModelPatcher, noise_shape: Any, *rest: Any, **more: Any) -> Any:
        """Tell ComfyUI that the network sees tiles only, and the user how many and which."""
        batch, channels, *size = noise_shape
        plan = self.plan(*size)
        described = plan.describe(*size)
        log.info("sampling in %s", described)
        if self.node:
            show(described, self.node)
        tiles = min(self.settings.tiles_per_call, prod(plan.counts(*size)))
        if self.shifts(plan, *size) and model.get_wrappers(WrappersMP.DIFFUSION_MODEL, EASY_CACHE):
            warn(
                "EasyCache leaves out nothing while SUPIR Tiles moves its grid from step to step: switch `shifting` off there, "
                "or take LazyCache in place of EasyCache"
            )
        return executor(model, [batch * tiles, channels, *plan.window], *rest, **more)

    def plan(self, height: int, width: int) -> TilePlan:
        """The tiles of a latent."""
        return fit_device(self.settings, (height, width)).plan(height, width)

    def shifts(self, plan: TilePlan, height: int, width: int) -> bool:
        """Whether tiles lie elsewhere at each noise level."""
        return self.settings.shifting and prod(plan.counts(height, width)) > 1

    def denoise(
        self,
        executor: Any,
        model: Any,
        conds: list[list[Entry] | None],
        x: Tensor,
        timestep: Tensor,
        model_options: dict[str, Any],
    ) -> list[Tensor]:
        """Predictions for each of the prompts, blended over the tiles."""
        options = model_options.get("transformer_options", {})
        plan, sigma = self.plan(*x.shape[2:]), schedule_sigma(options, timestep)
        _check_captions(conds, prod(plan.counts(*x.shape[2:])))
        grid = str(sigma) if self.shifts(plan, *x.shape[2:]) else ""
        tiled = tile_denoiser(
            _Conds(executor, model, conds, x.shape, model_options, grid),
            plan,
            blend=self.settings.blend,
            shifting=self.settings.shifting,
            tiles_per_call=1 if _differ(conds) else self.settings.tiles_per_call,
            on_tile=comfy.model_management.throw_exception_if_processing_interrupted,
        )
        joined = tiled(x, timestep, sigma)
        return list(joined.chunk(len(conds), dim=1))


@dataclass(frozen=True)
class _Conds:
    """ComfyUI's prediction for all prompts, as a denoiser of tiles: the prompts' predictions along the channels.

    ``grid`` is of the caches that tell tiles apart: what is kept of one grid is of no use in another.
    """

    executor: Any
    model: Any
    conds: list[list[Entry] | None]
    shape: torch.Size
    model_options: dict[str, Any]
    grid: str

    def crop(self, tiles: Sequence[Tile]) -> Callable[[Tensor, Tensor, float], Tensor]:
        """See ``TileableDenoiser``."""
        conds = [crop_entries(entries, tiles, self.shape, self.grid) if entries else entries for entries in self.conds]
        options = {**self.model_options.get("transformer_options", {}), TILES: tuple(tiles)}
        model_options = {**self.model_options, "transformer_options": options}

        def denoise(x: Tensor, timestep: Tensor, schedule_sigma: float) -> Tensor:
            return torch.cat(self.executor(self.model, conds, x, timestep, model_options), dim=1)

        return denoise


def fit_device(settings: Settings, latent: tuple[int, int]) -> Settings:
    """Settings whose planned tiles fit the device, the same for captions and sampling of a picture."""
    management = comfy.model_management
    room = management.get_total_memory() - management.extra_reserved_memory()
    return fitting_tiles(settings, latent, int(room // TILE_BYTES))


def crop_entries(entries: list[Entry], tiles: Sequence[Tile], shape: torch.Size, grid: str = "") -> list[Entry]:
    """The entries of a prompt that concern the tiles, with all that is bound to places cut to them."""
    cropped = (crop_entry(entry, tiles, shape, grid) for entry in entries)
    return [entry for entry in cropped if entry is not None]


def crop_entry(entry: Entry, tiles: Sequence[Tile], shape: torch.Size, grid: str = "") -> Entry | None:
    """One entry for a latent of ``shape``; none where it does not concern the tile."""
    first = tiles[0]
    if entry.get(TILE, first.number) != first.number:
        return None
    entry = entry.copy()
    batch = shape[0]
    if "area" in entry:
        area = crop_area(entry["area"], first)
        if area is None:
            return None
        entry["area"] = area
    if "mask" in entry:
        mask = comfy.utils.repeat_to_batch_size(entry["mask"], batch)
        entry["mask"] = crop_tiles(mask, tiles)
    entry["model_conds"] = {
        name: crop_condition(condition, tiles, batch) for name, condition in entry.get("model_conds", {}).items()
    }
    if entry.get("control") is not None:
        entry["control"] = crop_control(entry["control"], first, shape)
    if "uuid" in entry:  # caches such as EasyCache tell prompts apart by it
        entry["uuid"] = uuid.uuid5(entry["uuid"], f"{grid},{first.top},{first.left}")
    return entry


def crop_condition(condition: Any, tiles: Sequence[Tile], batch: int) -> Any:
    """A condition; those shaped as the latent are cut."""
    if not isinstance(condition, CONDNoiseShape):
        return condition
    return condition._copy_with(crop_tiles(comfy.utils.repeat_to_batch_size(condition.cond, batch), tiles))


def crop_area(area: tuple[int, ...], tile: Tile) -> tuple[int, ...] | None:
    """(height, width, top, left) within the tile; none where they do not meet."""
    height, width, top, left = area
    above, before = max(top, tile.top), max(left, tile.left)
    below = min(top + height, tile.top + tile.height)
    after = min(left + width, tile.left + tile.width)
    if below <= above or after <= before:
        return None
    return below - above, after - before, above - tile.top, before - tile.left


def crop_control(control: Any, tile: Tile, shape: torch.Size) -> Any:
    """A ControlNet, and those before it, with the tile's part of the hint; weights are shared."""
    cropped = copy.copy(control)
    if cropped.cond_hint_original is not None:
        cropped.cond_hint_original = crop_hint(cropped.cond_hint_original, tile, shape)
    cropped.cond_hint = None
    if hasattr(cropped, "control_input"):
        cropped.control_input = None
    if cropped.previous_controlnet is not None:
        cropped.previous_controlnet = crop_control(cropped.previous_controlnet, tile, shape)
    return cropped


def crop_hint(hint: Tensor, tile: Tile, shape: torch.Size) -> Tensor:
    """The tile's part of a hint of any size, which ComfyUI would cut to the latent's aspect about its centre."""
    height, width = shape[2:]
    scale = min(hint.shape[2] / height, hint.shape[3] / width)
    above, before = (hint.shape[2] - scale * height) / 2, (hint.shape[3] - scale * width) / 2
    top, bottom = round(above + tile.top * scale), round(above + (tile.top + tile.height) * scale)
    left, right = round(before + tile.left * scale), round(before + (tile.left + tile.width) * scale)
    return hint[:, :, top:bottom, left:right]


def _differ(conds: Sequence[list[Entry] | None]) -> bool:
    """Whether something is bound to places in a way that keeps tiles from going together."""
    entries = [entry for some in conds for entry in some or []]
    return any(TILE in entry or "area" in entry or entry.get("control") is not None for entry in entries)


def _check_captions(conds: Sequence[list[Entry] | None], tiles: int) -> None:
    numbers = {entry[TILE] for some in conds for entry in some or [] if TILE in entry}
    if numbers and len(numbers) != tiles:
        raise ValueError(
            f"got captions for {len(numbers)} tiles, but the picture has {tiles}; give one caption for each tile, "
            "row by row from the top left, or one for all"
        )


class SupirTiles(io.ComfyNode):
    """Denoise in tiles."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SupirTiles",
            display_name="SUPIR Tiles",
            category=CATEGORY,
            description="Lets the model see a large picture in tiles, so that memory does not grow with it. Works with any "
            "sampler; ControlNet and masks are cut to each tile.",
            search_aliases=["tiled diffusion", "supir tiles", "SUPIR_tiles", "large pictures", "4k"],
            inputs=[
                io.Model.Input("model", tooltip="From SUPIR Denoiser; the order of the two does not matter."),
                *tile_inputs(),
                setting_input("blend", advanced=True),
                setting_input("shifting", advanced=True),
                setting_input("tiles_per_call", advanced=True),
            ],
            outputs=[io.Model.Output(display_name="model", tooltip="The model, seeing tiles.")],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(cls, model: ModelPatcher, **tiles: Any) -> io.NodeOutput:
        return io.NodeOutput(apply_tiles(model, Settings(**tiles), cls.hidden.unique_id))


def apply_tiles(model: ModelPatcher, settings: Settings, node: str | None) -> ModelPatcher:
    """A MODEL that sees tiles; their plan is shown on a node."""
    changed = model.clone()
    TileWrappers(settings, node).register(changed)
    return changed
