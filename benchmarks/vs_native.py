"""Our SUPIR Denoiser against ComfyUI's own SUPIRApply: the same random full-size weights, in one process.

One guided call (two rows, cond and uncond) as ComfyUI's samplers make it. Measured: seconds, in turn; peak memory; bytes of
SUPIR's weights that lie on another device when the call begins, which a step has to move; the largest difference of
the predictions. ComfyUI is found through COMFYUI_PATH, else in ~/ComfyUI. ``--quick`` makes the latent small; the networks
stay of full size, as ComfyUI knows SUPIR in no other, and take 12 GB.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import measure
import torch
from networks import CONNECTOR_KEYS, CONTROL_KEYS, TOKENS, UNET_KEYS, full_shapes, random_state_dict
from safetensors.torch import save_file
from torch import Tensor, nn

from supir_core.restoration.denoiser import LinearSchedule
from supir_core.sdxl.config import UNetConfig

SIGMA, CFG = 3.0, 4.0
FILE = "random_supir.safetensors"


class Call(NamedTuple):
    """One guided call: what it gave, how long it took, what it needed."""

    out: Tensor
    seconds: float
    peak: int
    moved: int


def start_comfyui(device: torch.device) -> Any:
    """Import ComfyUI and load the pack as it does; gives a function that imports modules of the pack."""
    folder, root = measure.comfyui(), measure.ROOT
    sys.argv = ["main.py", *(["--cpu"] if device.type == "cpu" else [])]
    sys.path[:] = [str(folder), *(entry for entry in sys.path if Path(entry or ".").resolve() != root)]
    import comfy.options

    comfy.options.enable_args_parsing()
    import nodes

    if not asyncio.run(nodes.load_custom_node(str(root))):
        raise SystemExit("ComfyUI did not load the pack; what it printed above says why")
    package = nodes.NODE_CLASS_MAPPINGS["SupirRestore"].__module__.rpartition(".nodes.")[0]
    return lambda name: sys.modules[f"{package}.nodes.{name}"]


@contextmanager
def written_weights(dtype: torch.dtype) -> Iterator[Path]:
    """A SUPIR file of random weights, where ComfyUI finds it."""
    import folder_paths

    shapes = {key: some for key, some in full_shapes().items() if key.startswith((CONTROL_KEYS, CONNECTOR_KEYS))}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / FILE
        save_file(random_state_dict(shapes, dtype), path)
        folder_paths.add_model_folder_path("model_patches", folder)
        yield path


def base_model(demo: Any, dtype: torch.dtype) -> Any:
    """SDXL with random weights as MODEL."""
    connectors = CONNECTOR_KEYS.removeprefix(UNET_KEYS)
    shapes = {key: shape for key, shape in full_shapes(UNET_KEYS).items() if not key.startswith(connectors)}
    return demo.demo_model(random_state_dict(shapes, dtype), UNetConfig.from_shapes(shapes), dtype)


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
    z_lq, x = torch.randn(1, 4, side, side), torch.randn(1, 4, side, side)
    conds = [[[torch.randn(1, TOKENS, 2048), {"pooled_output": torch.randn(1, 1280)}]] for _ in range(2)]
    changed = pack("denoiser").apply_supir(
        model, weights, model.model.process_latent_out(z_lq), LinearSchedule(1.0, 1.0)
    )
    applied = {"ours": (changed, weights.adaptor.model), "native": native(model, z_lq)}
    calls: dict[str, list[Call]] = {name: [] for name in applied}
    for _ in range(repeats):
        for name, (changed, network) in applied.items():
            calls[name].append(guided_call(changed, network, x, conds))
    ours, theirs = calls["ours"], calls["native"]
    scale = theirs[0].out.abs().max()
    return {
        "latent": f"{side}x{side}",
        "ours, s": min(call.seconds for call in ours),
        "native, s": min(call.seconds for call in theirs),
        "time ratio": median(a.seconds / b.seconds for a, b in zip(ours, theirs, strict=True)),
        "ours, peak MiB": ours[-1].peak // measure.MIB,
        "native, peak MiB": theirs[-1].peak // measure.MIB,
        "ours, MiB moved a step": ours[-1].moved // measure.MIB,
        "native, MiB moved a step": theirs[-1].moved // measure.MIB,
        "difference / largest": ((ours[0].out - theirs[0].out).abs().max() / scale).item(),
    }


def main() -> None:
    """Print the table."""
    parser = measure.arguments(__doc__)
    parser.add_argument("--side", type=measure.count, nargs="+", default=[64, 128], help="of the latents (%(default)s)")
    parser.add_argument("--repeats", type=measure.count, default=3, help="calls of each (%(default)s)")
    dtypes = ("bfloat16", "float16", "float32")
    parser.add_argument("--dtype", choices=dtypes, default=dtypes[0], help="of the weights (%(default)s)")
    options = parser.parse_args()
    dtype = getattr(torch, options.dtype)
    pack = start_comfyui(options.device)
    with written_weights(dtype) as path:
        model, weights = base_model(pack("demo"), dtype), pack("loader").load_weights(path)
        sides = [8] if options.quick else options.side
        rows = [compare(pack, model, weights, side, options.repeats) for side in sides]
    measure.print_table("One guided call of SDXL with SUPIR", rows)
    measure.write_results("vs_native", {"rows": rows}, options)


if __name__ == "__main__":
    main()
