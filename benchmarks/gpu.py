"""What a GPU makes of all this, in one call of less than nine minutes; without a GPU, what a simulated one counts.

On a GPU, with random weights of full size where nothing else is said:

- ``correctness``: the self-check of ``supir doctor`` in float16 and bfloat16, and the tests of the marker ``gpu``;
- ``guided call`` at 1024 pixels: time against the fastest matrix product of this run; as it is, channels last, compiled;
- ``enlargement``: the convolution after an Upsample as we do it, against enlarging first;
- ``attention``: the VAE's one head of 512 by each of PyTorch's kernels;
- ``vae``: time and peak memory of encoding and decoding;
- ``pictures``: two pictures in a row, with the bytes that each moved;
- ``native``: ``vs_native.py``, where ComfyUI is found.

Without one: cards of several sizes (``--cards``) restore pictures of several sizes (``--pixels``) in one step, on networks
without weights.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from statistics import median

import guided_call
import measure
import networks
import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.profiler import ProfilerActivity, profile

from supir_core import preset, restore
from supir_core.command import doctor
from supir_core.command.demo import load_demo_model
from supir_core.sdxl.blocks import doubled_conv
from supir_core.sdxl.vae import VAE
from tests.full_size import VAE_CONFIG, Card, full_model, one_step

BUDGET = 500
"""Seconds in which no new part begins; each part gets what is left."""


def correctness(device: torch.device, quick: bool, left: float) -> measure.Rows:
    """The self-check in both half precisions, then the tests that need a GPU."""
    rows: measure.Rows = []
    numbers = doctor.load_file(doctor.CHECK_FILE)
    for dtype in (torch.float16, torch.bfloat16):
        for name, value in doctor.computed(load_demo_model(device, dtype), numbers):
            error = ((value.float().cpu() - numbers[name]).norm() / numbers[name].norm()).item()
            rows.append({"what": f"{name}, {dtype}", "relative error or outcome": error})
    if not quick:
        command = [sys.executable, "-m", "pytest", "-q", "-m", "gpu", "-p", "no:cacheprovider", "tests"]
        rows.append({"what": "pytest -m gpu", "relative error or outcome": last_line(command, min(left, 200))})
    return rows


def guided(device: torch.device, quick: bool, left: float) -> measure.Rows:
    """One guided call in several forms, and how much of the GPU it uses."""
    side, dtype = (16, torch.float32) if quick else (128, torch.float16)
    parts = guided_call.build_networks(quick, dtype, device)
    bench = guided_call.prepare(parts, side)
    tflop = guided_call.count_operations(quick, side)["guided call"]
    ceiling = matmul_ceiling(dtype, device, 512 if quick else 8192)
    rows: measure.Rows = []

    def add(name: str) -> None:
        seconds = median(measure.interleave({name: bench.guided}, 3 if quick else 10, device)[name])
        speed = tflop / seconds
        rows.append({"what": name, "s": seconds, "TFLOP/s": speed, "of a matmul's": speed / ceiling})

    with torch.no_grad():
        add("guided call")
        for network in parts:
            network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        add("channels last")
        for network in parts:
            network.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
        if device.type == "cuda" and left > 200:
            for network in parts:
                network.compile(fullgraph=True)
            seconds = measure.timed(bench.guided, device)[1]
            rows.append({"what": "first compiled call", "s": seconds, "TFLOP/s": 0.0, "of a matmul's": 0.0})
            add("compiled")
    return rows


def matmul_ceiling(dtype: torch.dtype, device: torch.device, side: int) -> float:
    """TFLOP/s of a square matrix product."""
    a, b = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    return 2 * side**3 / 1e12 / min(measure.interleave({"": lambda: a @ b}, 10, device)[""])


def enlargement(device: torch.device, quick: bool, _: float) -> measure.Rows:
    """The convolution over doubled pixels, both ways, as the UNet's last Upsample has it."""
    dtype = torch.float32 if device.type == "cpu" else torch.float16
    width, side = (32, 8) if quick else (640, 64)
    x = torch.randn(2, width, side, side, device=device, dtype=dtype)
    weight = torch.randn(width, width, 3, 3, device=device, dtype=dtype)
    bias = torch.zeros(width, device=device, dtype=dtype)
    forms = {
        "doubled_conv": lambda: doubled_conv(x, weight, bias),
        "enlarge, then convolve": lambda: F.conv2d(
            F.interpolate(x, scale_factor=2.0, mode="nearest"), weight, bias, padding=1
        ),
    }
    seconds = measure.interleave(forms, 20, device)
    return [{"what": name, "ms": median(each) * 1e3} for name, each in seconds.items()]


def attention(device: torch.device, quick: bool, _: float) -> measure.Rows:
    """The VAE's attention at 1024 pixels by each kernel."""
    tokens = 256 if quick else 128 * 128
    q, k, v = (torch.randn(1, 1, tokens, 512, device=device, dtype=torch.bfloat16) for _ in range(3))
    rows: measure.Rows = []
    for kernel in (
        SDPBackend.FLASH_ATTENTION,
        SDPBackend.EFFICIENT_ATTENTION,
        SDPBackend.CUDNN_ATTENTION,
        SDPBackend.MATH,
    ):
        try:
            with sdpa_kernel(kernel):
                each = measure.interleave({"": lambda: F.scaled_dot_product_attention(q, k, v)}, 5, device)[""]
            rows.append({"kernel": kernel.name, "ms": median(each) * 1e3})
        except RuntimeError as error:
            rows.append({"kernel": kernel.name, "ms": str(error).splitlines()[0][:60]})
    return rows


def vae(device: torch.device, quick: bool, _: float) -> measure.Rows:
    """Time and peak memory of the VAE; it decides by itself how."""
    dtype = torch.float32 if device.type == "cpu" else torch.bfloat16
    network = networks.random_network(lambda: VAE(VAE_CONFIG), dtype, device)
    rows: measure.Rows = []
    for side in [64] if quick else [1024, 2048, 4096]:
        picture = torch.zeros(1, 3, side, side, device=device, dtype=dtype)
        latent = torch.zeros(1, 4, side // 8, side // 8, device=device, dtype=dtype)
        for name, run in (("encode", partial(network.encode, picture)), ("decode", partial(network.decode, latent))):
            with torch.no_grad(), measure.PeakMemory(device) as peak:
                seconds = measure.timed(run, device)[1]
            rows.append({"pixels": side, "what": name, "s": seconds, "peak GiB": peak.taken / measure.GIB})
    return rows


def pictures(device: torch.device, quick: bool, _: float) -> measure.Rows:
    """Two pictures one after the other, and what they move."""
    model = load_demo_model(device) if quick else full_model(zeros=torch.zeros)
    settings = preset("demo") if quick else preset("quality", steps=10)
    picture = torch.rand(1, 3, 64, 64) if quick else torch.rand(1, 3, 1024, 1024)
    rows: measure.Rows = []
    for number in (1, 2):
        with measure.PeakMemory(device) as peak, copies(device) as moved:
            seconds = measure.timed(lambda: restore(model, picture, settings, scale=1.0), device)[1]
        rows.append({"picture": number, "s": seconds, "peak GiB": peak.taken / measure.GIB, **moved})
    return rows


@contextmanager
def copies(device: torch.device) -> Iterator[dict[str, float]]:
    """GiB copied to the GPU and back in the body, by the profiler's account."""
    moved = {"GiB up": 0.0, "GiB down": 0.0}
    if device.type != "cuda":
        yield moved
        return
    with profile(activities=[ProfilerActivity.CUDA]) as watched:
        yield moved
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "trace.json"
        watched.export_chrome_trace(str(file))
        for event in json.loads(file.read_text())["traceEvents"]:
            for name, way in (("GiB up", "HtoD"), ("GiB down", "DtoH")):
                if event.get("cat") == "gpu_memcpy" and way in event["name"]:
                    moved[name] += event["args"]["bytes"] / measure.GIB


def native(_: torch.device, quick: bool, left: float) -> measure.Rows:
    """Against ComfyUI's SUPIRApply, by the benchmark of that name."""
    script, results = measure.ROOT / "benchmarks" / "vs_native.py", measure.RESULTS / "vs_native.json"
    command = [sys.executable, str(script), "--side", "128", "--dtype", "float16"]
    said = "left out" if quick else last_line(command, left)
    if said.startswith("written"):
        return json.loads(results.read_text(encoding="utf-8"))["rows"]
    return [{"vs_native.py": said}]


def last_line(command: list[str], seconds: float) -> str:
    """The last line that a command prints, or why it has none."""
    try:
        done = subprocess.run(command, cwd=measure.ROOT, capture_output=True, text=True, timeout=seconds)
    except subprocess.TimeoutExpired:
        return f"not done in {seconds:.0f} s"
    return ([line for line in (done.stdout + done.stderr).splitlines() if line.strip()] or ["nothing"])[-1]


PARTS: dict[str, Callable[[torch.device, bool, float], measure.Rows]] = {
    "correctness": correctness,
    "guided call": guided,
    "enlargement": enlargement,
    "attention": attention,
    "vae": vae,
    "pictures": pictures,
    "native": native,
}


def on_gpu(device: torch.device, quick: bool) -> dict[str, measure.Rows]:
    """All parts; one that fails does not stop the others."""
    end, results = time.monotonic() + BUDGET, {}
    for name, part in PARTS.items():
        left = end - time.monotonic()
        if left < 10:
            print(f"{name}: left out, as the time is over", flush=True)
            continue
        try:
            results[name] = part(device, quick, left)
            measure.print_table(name, results[name])
        except Exception as error:  # noqa: BLE001 (the report says it)
            results[name] = [{"failed": f"{type(error).__name__}: {error}"}]
            print(f"\n{name}: failed, {error}", flush=True)
        if device.type == "cuda":
            torch.cuda.empty_cache()
    return results


def dry_run(cards: list[int], sides: list[int]) -> measure.Rows:
    """What each card would do with two pictures of each size in a row, one step each."""
    rows: measure.Rows = []
    for gib in cards:
        for side in sides:
            with Card(gib) as card:
                plan = doctor.plan(side, card.model.device, card.model.unet.dtype, card.free)
                first, second = (card.watch(one_step(side)) for _ in range(2))
            rows.append(
                {
                    "card, GiB": gib,
                    "pixels": f"{side}x{side}",
                    "peak, GiB": max(first.peak, second.peak),
                    "up and down, GiB": first.up + first.down,
                    "second picture": second.up + second.down,
                    "waits": second.waits,
                    "through files": first.files + second.files,
                    "plan": plan,
                }
            )
            measure.print_table("so far", rows[-1:])
    return rows


def main() -> None:
    """Measure, or count."""
    parser = measure.arguments(__doc__)
    add = partial(parser.add_argument, type=measure.count, nargs="+", metavar="N")
    add("--cards", default=[8, 12, 16, 24], help="of the dry run, GiB (%(default)s)")
    add("--pixels", default=[1024, 2048], help="sides of its pictures (%(default)s)")
    options = parser.parse_args()
    if options.device.type == "cuda" or options.quick:
        measure.write_results("gpu", on_gpu(options.device, options.quick), options)
        return
    print("No GPU here: this is a dry run on a simulated one. It counts bytes and waits, and measures no time.")
    rows = dry_run(options.cards, options.pixels)
    measure.print_table("Dry run, float16, VAE in bfloat16, one step", rows)
    measure.write_results("gpu_dry", {"rows": rows}, options)


if __name__ == "__main__":
    main()
