"""Time and peak memory of loading the full-size model from single files, against the size of the weights kept.

Random float16 files of the published sizes are written to a temporary folder (about 12 GB of disk, deleted
afterwards): an SDXL checkpoint, and SUPIR both as .safetensors and as .ckpt with the published prefixes. Then
``load_model``, and on their own its two large parts, run in fresh processes: ``cold`` with the files
out of the page cache, ``warm`` with them in it.

- ``load s`` is the time until the weights are there; they may still be memory-mapped, so ``touch s`` is the time of
  one read of every page after that, from disk where they are mapped.
- ``peak`` is the highest resident memory up to the end of that read, less what the imports took. Pages of mapped
  files count in it, although the system can take them back at any time; ``mapped`` is how much of the memory at the
  end is such pages.
- ``ratio`` is peak / bytes of the weights kept. The target is at most 1.15.
- ``checks`` is the time that the look at the weights took (``files.soundness``), as a share of ``load s`` and ``touch s``.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import measure
import torch
import transformers
from torch import nn

from supir_core.command import demo
from supir_core.files.checkpoint import open_checkpoint
from supir_core.files.soundness import Soundness
from supir_core.sdxl.text import CLIP_G, CLIP_L
from supir_core.supir import model

TARGET = 1.15
PAGE = 1024
"""Read one number of these many: in float16 that is two reads a page of 4096 bytes."""

NAMES = {"sdxl": "sdxl.safetensors", "supir": "supir.safetensors", "supir ckpt": "supir.ckpt"}
PARTS = ("unet", "vae", "text", "adaptor", "dr_encoder")

Shapes = Mapping[str, tuple[int, ...]]


def supir_shapes() -> Shapes:
    """SUPIR's own tensors, with the published prefixes."""
    marks = (
        "model.control_model.",
        "model.diffusion_model.project_modules.",
        "first_stage_model.denoise_encoder.",
    )
    return {key: shape for key, shape in measure.full_shapes().items() if key.startswith(marks)}


def sdxl_shapes() -> Shapes:
    """An SDXL checkpoint: all that is not SUPIR's, and the text encoders."""
    ours = supir_shapes()
    base = {key: shape for key, shape in measure.full_shapes().items() if key not in ours}
    return {**base, **_clip_l(width=768, layers=12), **_clip_g(width=1280, layers=32)}


def _clip_l(width: int, layers: int) -> Shapes:
    shapes = {
        "embeddings.token_embedding.weight": (49408, width),
        "embeddings.position_embedding.weight": (77, width),
        **_affine("final_layer_norm", width),
    }
    for i in range(layers):
        layer = f"encoder.layers.{i}."
        for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
            shapes |= _affine(f"{layer}self_attn.{name}", width, width)
        shapes |= _affine(layer + "layer_norm1", width) | _affine(layer + "layer_norm2", width)
        shapes |= _affine(layer + "mlp.fc1", 4 * width, width) | _affine(layer + "mlp.fc2", width, 4 * width)
    return {CLIP_L + key: shape for key, shape in shapes.items()}


def _clip_g(width: int, layers: int) -> Shapes:
    shapes = {
        "token_embedding.weight": (49408, width),
        "positional_embedding": (77, width),
        "text_projection": (width, width),
        "logit_scale": (),
        **_affine("ln_final", width),
    }
    for i in range(layers):
        layer = f"transformer.resblocks.{i}."
        shapes |= {
            layer + "attn.in_proj_weight": (3 * width, width),
            layer + "attn.in_proj_bias": (3 * width,),
        }
        shapes |= _affine(layer + "attn.out_proj", width, width)
        shapes |= _affine(layer + "ln_1", width) | _affine(layer + "ln_2", width)
        shapes |= _affine(layer + "mlp.c_fc", 4 * width, width) | _affine(layer + "mlp.c_proj", width, 4 * width)
    return {CLIP_G + key: shape for key, shape in shapes.items()}


def _affine(name: str, *shape: int) -> Shapes:
    return {name + ".weight": shape, name + ".bias": shape[:1]}


def write_safetensors(path: Path, shapes: Shapes) -> None:
    """Write random float16 tensors one after the other, so that memory holds no more than one."""
    header, end = {}, 0
    for key, shape in shapes.items():
        start, end = end, end + 2 * torch.Size(shape).numel()
        header[key] = {"dtype": "F16", "shape": list(shape), "data_offsets": [start, end]}
    encoded = json.dumps(header).encode()
    encoded += b" " * (-len(encoded) % 8)
    with path.open("wb") as file:
        file.write(len(encoded).to_bytes(8, "little") + encoded)
        for shape in shapes.values():
            file.write(measure.random_tensor(shape, torch.float16).numpy().tobytes())
        os.fsync(file.fileno())


def write_files(folder: Path, quick: bool) -> None:
    """Write the three files and the tokenizer; the small demo weights where it is to be quick."""
    if quick:
        shutil.copytree(demo.WEIGHTS, folder, dirs_exist_ok=True)
        (folder / demo.SDXL_FILE).rename(folder / NAMES["sdxl"])
        (folder / demo.SUPIR_FILE).rename(folder / NAMES["supir"])
        supir = open_checkpoint(folder / NAMES["supir"])
        names = {key: source.parts[0][1] for key, source in supir.sources.items()}
        tensors = {names[key]: tensor for key, tensor in supir.tensors(supir.shapes).items()}
    else:
        shutil.copytree(demo.WEIGHTS / demo.TOKENIZER_FOLDER, folder / "tokenizer")
        write_safetensors(folder / NAMES["sdxl"], sdxl_shapes())
        write_safetensors(folder / NAMES["supir"], supir_shapes())
        tensors = measure.random_state_dict(supir_shapes(), torch.float16)
    torch.save({"state_dict": tensors}, folder / NAMES["supir ckpt"])


def work(job: dict[str, Any]) -> dict[str, Any]:
    """What a fresh process does: write the files, or load from them and read every page."""
    folder = Path(job["folder"])
    if job["task"] == "write":
        write_files(folder, job["quick"])
        return {}
    device = torch.device(job["device"])
    dtype = getattr(torch, job["dtype"])
    if not job["warm"]:
        for name in NAMES.values():
            _forget(folder / name)
    libraries = measure.memory().files
    checks = _time_checks()
    with measure.PeakMemory(torch.device("cpu")) as peak:
        start = time.perf_counter()
        modules = _load(job["task"], folder, job["supir"], dtype, device)
        loaded = time.perf_counter()
        for module in modules:
            _touch(module)
        touched = time.perf_counter()
        mapped = measure.memory().files - libraries
    kept = sum(tensor.nbytes for module in modules for tensor in module.state_dict().values())
    return {
        "load": loaded - start,
        "touch": touched - loaded,
        "checks": sum(checks) / (touched - start),
        "peak": peak.taken,
        "mapped": mapped,
        "kept": kept,
        "gpu": _gpu_peak(modules, device),
    }


def _time_checks() -> list[float]:
    """Where the seconds go that each look at a tensor takes from now on."""
    seconds: list[float] = []
    check = Soundness.check

    def timed(*given: Any) -> None:
        start = time.perf_counter()
        check(*given)
        seconds.append(time.perf_counter() - start)

    Soundness.check = timed
    return seconds


def _load(task: str, folder: Path, supir: str, dtype: torch.dtype, device: torch.device) -> list[nn.Module]:
    """The networks of the whole model, or one of them."""
    sdxl, supir_file = folder / NAMES["sdxl"], folder / NAMES[supir]
    if task == "unet":
        return [model.load_unet(open_checkpoint(sdxl), dtype)]
    if task == "adaptor":
        return [model.load_adaptor(open_checkpoint(supir_file), dtype)]
    whole = model.load_model(sdxl, supir_file, folder / "tokenizer", device, dtype)
    return [getattr(whole, part) for part in PARTS]


def _forget(path: Path) -> None:
    """Take a file out of the page cache."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _touch(module: nn.Module) -> None:
    """Read a number from every page of every weight."""
    for tensor in module.state_dict().values():
        tensor.reshape(-1)[::PAGE].float().sum().item()


def _gpu_peak(modules: list[nn.Module], device: torch.device) -> int:
    """Bytes of GPU memory while all the networks are there, 0 without a GPU."""
    if device.type != "cuda":
        return 0
    with measure.PeakMemory(device) as peak:
        for module in modules:
            module.to(device)
    return peak.taken


def jobs(options: argparse.Namespace) -> list[dict[str, Any]]:
    """What to load, in which precision, and whether the files are in the page cache already."""
    cases = [
        ("model", "supir", "float16", False),
        ("model", "supir", "float16", True),
        ("model", "supir ckpt", "float16", False),
        ("unet", "supir", "float32", False),
        ("adaptor", "supir", "float32", False),
        ("adaptor", "supir ckpt", "float32", False),
        ("model", "supir", "float32", False),
    ]
    return [
        {"task": task, "supir": supir, "dtype": dtype, "warm": warm, "device": options.device}
        for task, supir, dtype, warm in cases
    ]


def run(job: dict[str, Any], folder: str) -> dict[str, Any] | None:
    """One line of the table, or none where memory does not allow it."""
    need = 0
    if job["task"] == "model" and job["dtype"] == "float32":
        sizes = {path.name: path.stat().st_size for path in Path(folder).iterdir()}
        need = int(1.1 * 2 * (sizes[NAMES["sdxl"]] + sizes[NAMES[job["supir"]]])) + 2 * measure.GIB
    if need > measure.available_memory():
        print(
            f"left out: the whole model in float32, which needs {need / measure.GIB:.1f} GiB "
            f"of {measure.available_memory() / measure.GIB:.1f} GiB available"
        )
        return None
    result = measure.fresh(__file__, {**job, "folder": folder})
    return {
        "what": job["task"],
        "SUPIR file": Path(NAMES[job["supir"]]).suffix,
        "dtype": job["dtype"],
        "cache": "warm" if job["warm"] else "cold",
        "load s": result["load"],
        "touch s": result["touch"],
        "checks": result["checks"],
        "weights GiB": result["kept"] / measure.GIB,
        "peak GiB": result["peak"] / measure.GIB,
        "mapped GiB": result["mapped"] / measure.GIB,
        "ratio": result["peak"] / result["kept"],
        "GPU peak GiB": result["gpu"] / measure.GIB,
    }


def check_disk(folder: str, quick: bool) -> None:
    """Stop with a message where the files would not fit."""
    shapes = [*sdxl_shapes().values(), *2 * list(supir_shapes().values())]
    need = 2 * sum(torch.Size(shape).numel() for shape in shapes) + measure.GIB
    free = shutil.disk_usage(folder).free
    if not quick and free < need:
        raise SystemExit(
            f"the files need {need / measure.GIB:.1f} GiB of disk, {folder} has {free / measure.GIB:.1f} GiB free; "
            "make room, name another folder in TMPDIR, or try --quick"
        )


def main() -> None:
    """Write the files, load them in every way, and delete them."""
    parser = measure.arguments(__doc__.splitlines()[0])
    options = parser.parse_args()
    if options.worker:
        assert transformers.CLIPTextModel  # imported before memory is measured, as a part of the imports
        print(json.dumps(work(options.worker)))
        return
    with tempfile.TemporaryDirectory(prefix="supir_loading_") as folder:
        check_disk(folder, options.quick)
        measure.fresh(__file__, {"task": "write", "folder": folder, "quick": options.quick})
        rows = [row for job in jobs(options) if (row := run(job, folder))]
    measure.print_table("Loading from single files", rows)
    missed = [f"{row['what']} {row['dtype']} {row['ratio']:.3f}" for row in rows if row["ratio"] > TARGET]
    print(f"target {TARGET}: {'missed by ' + ', '.join(missed) if missed else 'met by all'}")
    measure.write_results("loading", {"quick": options.quick, "rows": rows}, torch.device(options.device))


if __name__ == "__main__":
    main()
