"""How far a picture is from another, as numbers in the canvas."""

from __future__ import annotations

import comfy.model_management
from comfy_api.latest import io
from torch import Tensor

from ..supir_core.evaluation.elsewhere import check_shape
from ..supir_core.evaluation.measures import MetricUnavailableError, check_metric, load_metric
from ..supir_core.restoration.canvas import resize
from .host import CATEGORY, to_picture


class SupirMetrics(io.ComfyNode):
    """Compare a picture with a clean one."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SupirMetrics",
            display_name="SUPIR Metrics",
            category=CATEGORY,
            description="Measures how close a picture is to a clean one: PSNR, SSIM, GMSD, LPIPS and others, by name. Needs the "
            "package piq (pip install piq).",
            search_aliases=["psnr", "ssim", "lpips", "image quality", "compare", "evaluate"],
            inputs=[
                io.Image.Input("image", tooltip="The restored picture; it is taken to the size of the reference."),
                io.Image.Input("reference", tooltip="The clean picture; one for all, or one for each."),
                io.String.Input(
                    "metrics",
                    default="psnr ssim gmsd",
                    tooltip="Names: psnr, ssim, gmsd, lpips, dists, clipiqa (piq); maniqa, musiq, niqe, or pyiqa:NAME (pyiqa).",
                ),
            ],
            outputs=[
                io.String.Output(display_name="numbers", tooltip="A line for each metric: its name and its mean."),
                io.Float.Output(display_name="first", tooltip="The number of the metric that is named first."),
            ],
        )

    @classmethod
    def execute(cls, image: Tensor, reference: Tensor, metrics: str) -> io.NodeOutput:
        names = [check_metric(name) for name in metrics.replace(",", " ").split()]
        if not names:
            raise ValueError("metrics is empty; name some, such as psnr ssim")
        pictures, clean = to_picture(image)[:, :3], to_picture(reference)[:, :3]
        if len(clean) not in (1, len(pictures)):
            raise ValueError(
                f"got {len(clean)} references for {len(pictures)} pictures; give one for all or one for each"
            )
        check_shape(pictures.shape[2:], clean.shape[2:])
        pictures = resize(pictures, clean.shape[2:]).clamp(0, 1)
        pairs = list(zip(pictures.split(1), clean.clamp(0, 1).expand(len(pictures), -1, -1, -1).split(1), strict=True))
        means = {name: _mean(name, pairs) for name in names}
        return io.NodeOutput("\n".join(f"{name}: {value:.4f}" for name, value in means.items()), means[names[0]])


def _mean(name: str, pairs: list[tuple[Tensor, Tensor]]) -> float:
    try:
        metric = load_metric(name, comfy.model_management.get_torch_device())
    except MetricUnavailableError as error:
        raise MetricUnavailableError(f"{name}: {error}") from error
    return sum(metric(*pair) for pair in pairs) / len(pairs)
