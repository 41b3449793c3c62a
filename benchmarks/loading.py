"""Time and peak memory of loading the full-size model from single files, against the size of the weights kept.

Random float16 files of the published sizes are written to a temporary folder (about 13 GB of disk, deleted
afterwards): an SDXL checkpoint, and SUPIR both as .safetensors and as .ckpt with the published prefixes. Then
``load_model``, and on their own its two large parts, run in fresh processes: ``cold`` with the files
out of the page cache, ``warm`` with them in it.

- ``load s`` is the time until the weights are there; they may still be memory-mapped, so ``touch s`` is the time of
  one read of every page after that, from disk where they are mapped.
- ``peak`` is the highest resident memory up to the end of that read, less what the imports took. Pages of mapped
  files count in it, although the system can take them back at any time; ``mapped`` is how much of the memory at the
  end is such pages.
- ``ratio`` is peak / bytes of the weights kept. The target is at most 1.15 at full size.
- ``checks`` is the time that the look at the weights took (``files.soundness``), as a share of ``load s`` and ``touch s``.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import measure
import torch
from measure import GIB
from networks import CONNECTOR_KEYS, CONTROL_KEYS, full_shapes, random_tensor
from safetensors.torch import load_file
from torch import nn
from transformers import CLIPTextModel  # noqa: F401 (so that it is among the imports, before memory is measured)

from supir_core.command import demo
from supir_core.files.checkpoint import open_checkpoint
from supir_core.files.soundness import Soundness
from supir_core.sdxl.config import Shapes
from supir_core.sdxl.memory import free_bytes
from supir_core.sdxl.text import CLIP_G, CLIP_L
from supir_core.supir import model

TARGET = 1.15
PAGE = 1024
"""Read one number of these many: in float16 that is two reads a page of 4096 bytes."""

SDXL, SUPIR, SUPIR_CKPT = "sdxl.safetensors", "supir.safetensors", "supir.ckpt"
PARTS = ("unet", "vae", "text", "adaptor", "dr_encoder")
OURS = (CONTROL_KEYS, CONNECTOR_KEYS, "first_stage_model.denoise_encoder.")

NORM, SQUARE, WIDEN, NARROW = (1,), (1, 1), (4, 1), (1, 4)
"""Shapes of weights in widths of a text encoder; each has a bias, too."""

CLIP_L_LAYER = {f"self_attn.{name}.": SQUARE for name in ("q_proj", "k_proj", "v_proj", "out_proj")}
CLIP_L_LAYER |= {"layer_norm1.": NORM, "layer_norm2.": NORM, "mlp.fc1.": WIDEN, "mlp.fc2.": NARROW}
CLIP_G_LAYER = {"attn.in_proj_": (3, 1), "attn.out_proj.": SQUARE, "ln_1.": NORM, "ln_2.": NORM}
CLIP_G_LAYER |= {"mlp.c_fc.": WIDEN, "mlp.c_proj.": NARROW}


class Job(NamedTuple):
    """What to load, from which file of SUPIR, in which precision, and whether the files are in the page cache already."""

    what: str
    supir: str
    dtype: torch.dtype
    warm: bool = False


JOBS = (
    Job("model", SUPIR, torch.float16),
    Job("model", SUPIR, torch.float16, warm=True),
    Job("model", SUPIR_CKPT, torch.float16),
    Job("unet", SUPIR, torch.float32),
    Job("adaptor", SUPIR, torch.float32),
    Job("adaptor", SUPIR_CKPT, torch.float32),
    Job("model", SUPIR, torch.float32),
)


def supir_shapes() -> Shapes:
    """SUPIR's own tensors, with the published prefixes."""
    return {key: shape for key, shape in full_shapes().items() if key.startswith(OURS)}


def sdxl_shapes() -> Shapes:
    """An SDXL checkpoint: all that is not SUPIR's, and the text encoders."""
    shapes = {key: shape for key, shape in full_shapes().items() if not key.startswith(OURS)}
    shapes |= {
        CLIP_L + "embeddings.token_embedding.weight": (49408, 768),
        CLIP_L + "embeddings.position_embedding.weight": (77, 768),
        CLIP_G + "token_embedding.weight": (49408, 1280),
        CLIP_G + "positional_embedding": (77, 1280),
        CLIP_G + "text_projection": (1280, 1280),
        CLIP_G + "logit_scale": (),
    }
    layers = {CLIP_L + "final_layer_norm.": (768, NORM), CLIP_G + "ln_final.": (1280, NORM)}
    for prefix, count, width, layer in (
        (CLIP_L + "encoder.layers.", 12, 768, CLIP_L_LAYER),
        (CLIP_G + "transformer.resblocks.", 32, 1280, CLIP_G_LAYER),
    ):
        layers |= {f"{prefix}{i}.{name}": (width, widths) for i in range(count) for name, widths in layer.items()}
    for name, (width, widths) in layers.items():
        shape = tuple(number * width for number in widths)
        shapes |= {name + "weight": shape, name + "bias": shape[:1]}
    return shapes


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
            file.write(random_tensor(shape, torch.float16).numpy().tobytes())
        os.fsync(file.fileno())


def write_files(folder: Path, quick: bool) -> None:
    """Write the three files and the tokenizer; the small demo weights where it is to be quick."""
    shutil.copytree(demo.WEIGHTS / demo.TOKENIZER_FOLDER, folder / "tokenizer")
    if quick:
        shutil.copy(demo.WEIGHTS / demo.SDXL_FILE, folder / SDXL)
        shutil.copy(demo.WEIGHTS / demo.SUPIR_FILE, folder / SUPIR)
    else:
        write_safetensors(folder / SDXL, sdxl_shapes())
        write_safetensors(folder / SUPIR, supir_shapes())
    torch.save({"state_dict": load_file(folder / SUPIR)}, folder / SUPIR_CKPT)


def work(job: Job, folder: Path, device: torch.device) -> dict[str, Any]:
    """A line of the table, by what a fresh process does: load from the files, and read every page."""
    if not job.warm:
        for name in (SDXL, SUPIR, SUPIR_CKPT):
            _forget(folder / name)
    libraries, checks, check = measure.memory().files, [], Soundness.check

    def timed_check(*given: Any) -> None:
        checks.append(measure.timed(lambda: check(*given), torch.device("cpu"))[1])

    with mock.patch.object(Soundness, "check", timed_check), measure.PeakMemory(torch.device("cpu")) as peak:
        start = time.perf_counter()
        networks = _load(job, folder, device)
        loaded = time.perf_counter()
        weights = [tensor for network in networks for tensor in network.state_dict().values()]
        for tensor in weights:
            tensor.reshape(-1)[::PAGE].float().sum().item()
        touched = time.perf_counter()
        mapped = measure.memory().files - libraries
    kept = sum(tensor.nbytes for tensor in weights)
    return {
        "what": job.what,
        "SUPIR file": Path(job.supir).suffix,
        "dtype": str(job.dtype).removeprefix("torch."),
        "cache": "warm" if job.warm else "cold",
        "load s": loaded - start,
        "touch s": touched - loaded,
        "checks": sum(checks) / (touched - start),
        "weights GiB": kept / GIB,
        "peak GiB": peak.taken / GIB,
        "mapped GiB": mapped / GIB,
        "ratio": peak.taken / kept,
        "GPU peak GiB": _gpu_peak(networks, device) / GIB,
    }


def _load(job: Job, folder: Path, device: torch.device) -> list[nn.Module]:
    """The networks of the whole model, or one of them."""
    sdxl, supir = folder / SDXL, folder / job.supir
    if job.what == "unet":
        return [model.load_unet(open_checkpoint(sdxl), job.dtype)]
    if job.what == "adaptor":
        return [model.load_adaptor(open_checkpoint(supir), job.dtype)]
    whole = model.load_model(sdxl, supir, folder / "tokenizer", device, job.dtype)
    return [getattr(whole, part) for part in PARTS]


def _forget(path: Path) -> None:
    """Take a file out of the page cache."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _gpu_peak(networks: list[nn.Module], device: torch.device) -> int:
    """Bytes of GPU memory while all the networks are there, 0 without a GPU."""
    if device.type != "cuda":
        return 0
    with measure.PeakMemory(device) as peak:
        for network in networks:
            network.to(device)
    return peak.taken


def fits(job: Job, folder: Path) -> bool:
    """Whether there is memory for the weights in their precision; says so where there is not."""
    if job.what != "model" or job.dtype != torch.float32:
        return True
    need = 2.2 * sum((folder / name).stat().st_size for name in (SDXL, job.supir)) + 2 * GIB
    free = free_bytes(torch.device("cpu"))
    if need > free:
        print(f"left out: the whole model in float32, which needs {need / GIB:.1f} GiB; {free / GIB:.1f} are available")
    return need <= free


def check_disk(folder: Path) -> None:
    """Stop with a message where the files would not fit."""
    shapes = [*sdxl_shapes().values(), *2 * list(supir_shapes().values())]
    need = 2 * sum(torch.Size(shape).numel() for shape in shapes) + GIB
    free = shutil.disk_usage(folder).free
    if free < need:
        raise SystemExit(
            f"the files need {need / GIB:.1f} GiB of disk, {folder} has {free / GIB:.1f} GiB free; "
            "make room, name another folder in TMPDIR, or try --quick"
        )


def main() -> None:
    """Write the files, load them in every way, and delete them."""
    options = measure.arguments(__doc__).parse_args()
    with tempfile.TemporaryDirectory(prefix="supir_loading_") as name:
        folder = Path(name)
        if not options.quick:
            check_disk(folder)
        measure.fresh(write_files, folder, options.quick)
        rows = [measure.fresh(work, job, folder, options.device) for job in JOBS if fits(job, folder)]
    measure.print_table("Loading from single files", rows)
    print(f"target of the ratio at full size {TARGET}: at most {max(row['ratio'] for row in rows):.3f}")
    measure.write_results("loading", {"rows": rows}, options)


if __name__ == "__main__":
    main()
