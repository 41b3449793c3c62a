"""Our SUPIR Denoiser against ComfyUI's own SUPIRApply: the same random full-size weights, in one process.

One guided call (two rows, cond and uncond) as ComfyUI's samplers make it. Measured: seconds, in turn; peak memory; bytes of
SUPIR's weights that lie on another device when the call begins, which a step has to move; the largest difference of
the predictions. ComfyUI is found through COMFYUI_PATH, else in ~/ComfyUI.

    python benchmarks/vs_native.py --side 64 128
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import measure
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from supir_core.sdxl.config import UNetConfig

SIGMA, CFG = 3.0, 4.0
FILE = "random_supir.safetensors"
UNET = "model.diffusion_model."


class Call(NamedTuple):
    """One guided call: what it gave, how long it took, what it needed."""

    out: Tensor
    seconds: float
    peak: int
    moved: int


def start_comfyui(device: torch.device) -> Any:
    """Import ComfyUI and load the pack as it does; gives a function that imports modules of the pack."""
    folder = Path(os.environ.get("COMFYUI_PATH") or "~/ComfyUI").expanduser()
    sys.argv = ["main.py", *(["--cpu"] if device.type == "cpu" else [])]
    root = measure.ROOT
    sys.path[:] = [str(folder), *(entry for entry in sys.path if Path(entry or ".").resolve() != root)]
    import comfy.options

    comfy.options.enable_args_parsing()
    import nodes

    assert asyncio.run(nodes.load_custom_node(str(root)))
    package = nodes.NODE_CLASS_MAPPINGS["SupirRestore"].__module__.rpartition(".nodes.")[0]
    return lambda name: sys.modules[f"{package}.nodes.{name}"]


@contextmanager
def written_weights(dtype: torch.dtype) -> Iterator[Path]:
    """A SUPIR file of random weights, where ComfyUI finds it."""
    import folder_paths

    shapes = {
        key: shape
        for key, shape in measure.full_shapes().items()
        if key.startswith(("model.control_model.", UNET + "project_modules."))
    }
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / FILE
        save_file(measure.random_state_dict(shapes, dtype), path)
        folder_paths.add_model_folder_path("model_patches", folder)
        yield path


def base_model(demo: Any, dtype: torch.dtype) -> Any:
    """SDXL with random weights as MODEL."""
    shapes = measure.full_shapes(UNET)
    shapes = {key: shape for key, shape in shapes.items() if not key.startswith("project_modules.")}
    return demo.demo_model(measure.random_state_dict(shapes, dtype), UNetConfig.from_shapes(shapes), dtype)


def native(model: Any, z_lq: Tensor) -> tuple[Any, nn.Module]:
    """ComfyUI's SUPIR on the model, and its network."""
    from comfy.ldm.supir.supir_patch import SUPIRPatch
    from comfy_extras.nodes_model_patch import ModelPatchLoader

    (patcher,) = ModelPatchLoader().load_model_patch(FILE)
    changed = model.clone()
    SUPIRPatch(patcher, patcher.model.project_modules, z_lq, 1.0, 1.0).register(changed)
    return changed, patcher.model


def guided_call(model: Any, network: nn.Module, x: Tensor, conds: list[Any]) -> Call:
    """Make one call within a run of ComfyUI's sampling, which loads the models first."""
    import comfy.samplers

    result: list[Call] = []

    def once(model: Any, x: Tensor, sigmas: Tensor, extra_args: Any = None, **_: Any) -> Tensor:
        away = (weight for weight in network.parameters() if weight.device != x.device)
        moved = sum(weight.nbytes for weight in away)
        with measure.PeakMemory(x.device) as memory:
            out, seconds = measure.timed(lambda: model(x, x.new_tensor([SIGMA]), **extra_args), x.device)
        result.append(Call(out, seconds, memory.taken, moved))
        return x

    guider = comfy.samplers.CFGGuider(model)
    guider.set_conds(*conds)
    guider.set_cfg(CFG)
    sigmas = torch.tensor([SIGMA, 0.0])
    with torch.inference_mode():
        guider.sample(x, torch.zeros_like(x), comfy.samplers.KSAMPLER(once), sigmas, disable_pbar=True, seed=0)
    return result[0]


def compare(pack: Any, model: Any, weights: Any, side: int, repeats: int) -> dict[str, Any]:
    """Both on a square latent of ``side``: a row of the table."""
    from supir_core.restoration.denoiser import LinearSchedule

    z_lq, x = torch.randn(1, 4, side, side), torch.randn(1, 4, side, side)
    conds = [[[torch.randn(1, 77, 2048), {"pooled_output": torch.randn(1, 1280)}]] for _ in range(2)]
    applied = {
        "ours": (
            pack("denoiser").apply_supir(
                model, weights, model.model.process_latent_out(z_lq), LinearSchedule(1.0, 1.0)
            ),
            weights.adaptor.model,
        ),
        "native": native(model, z_lq),
    }
    calls: dict[str, list[Call]] = {name: [] for name in applied}
    for _ in range(repeats):
        for name, (changed, network) in applied.items():
            calls[name].append(guided_call(changed, network, x, conds))
    ours, theirs = calls["ours"], calls["native"]
    ratios = sorted(a.seconds / b.seconds for a, b in zip(ours, theirs, strict=True))
    scale = theirs[0].out.abs().max()
    return {
        "latent": f"{side}x{side}",
        "ours, s": min(call.seconds for call in ours),
        "native, s": min(call.seconds for call in theirs),
        "time ratio": ratios[len(ratios) // 2],
        "ours, peak MiB": ours[-1].peak // measure.MIB,
        "native, peak MiB": theirs[-1].peak // measure.MIB,
        "ours, MiB moved a step": ours[-1].moved // measure.MIB,
        "native, MiB moved a step": theirs[-1].moved // measure.MIB,
        "difference / largest": ((ours[0].out - theirs[0].out).abs().max() / scale).item(),
    }


def main() -> None:
    """Print the table."""
    parser = measure.arguments(__doc__ or "")
    parser.add_argument("--side", type=int, nargs="+", default=[64, 128], help="of the latents (%(default)s)")
    parser.add_argument("--repeats", type=int, default=3, help="calls of each (%(default)s)")
    parser.add_argument("--dtype", default="bfloat16", help="of the weights (%(default)s)")
    options = parser.parse_args()
    device, dtype = torch.device(options.device), getattr(torch, options.dtype)
    pack = start_comfyui(device)
    with written_weights(dtype) as path:
        model, weights = base_model(pack("demo"), dtype), pack("loader").load_weights(path)
        sides = [8] if options.quick else options.side
        rows = [compare(pack, model, weights, side, options.repeats) for side in sides]
    measure.print_table("One guided call of SDXL with SUPIR", rows)
    measure.write_results("vs_native", {"rows": rows}, device)


if __name__ == "__main__":
    main()
