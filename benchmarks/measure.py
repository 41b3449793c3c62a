"""What the benchmarks share: their options, fair timing, operations, peak memory, tables and result files."""

from __future__ import annotations

import argparse
import gc
import json
import os
import platform
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from datetime import datetime, timezone
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple, TypeVar

import torch
from torch.utils.flop_counter import FlopCounterMode

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
RESET_PEAK = Path("/proc/self/clear_refs")
MIB = 2**20
GIB = 2**30

LEAN_MALLOC = {
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_THRESHOLD_": "1048576",
    "MALLOC_TRIM_THRESHOLD_": "1048576",
}
"""Environment in which glibc gives freed memory back at once, so that a peak is of what was in use."""

Result = TypeVar("Result")
Rows = list[dict[str, Any]]

sys.path.insert(0, str(ROOT))  # so that supir_core is found without being installed


class Memory(NamedTuple):
    """Resident memory of a process in bytes: now, its peak, and how much of now is mapped files."""

    now: int
    peak: int
    files: int


def arguments(doc: str | None, *, device: bool = True) -> argparse.ArgumentParser:
    """A parser with the options of all the benchmarks, ``--device`` if they choose one, and the first line of their text."""
    parser = argparse.ArgumentParser(description=(doc or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a tiny run, to see that everything works")
    parser.set_defaults(device=torch.device("cpu"))
    if device:
        usual = "cuda" if torch.cuda.is_available() else "cpu"
        parser.add_argument("--device", type=_device, default=usual, help="cpu, cuda, cuda:1 (%(default)s)")
    return parser


def full_size_options(doc: str | None, cpu: int, repeats: int) -> argparse.Namespace:
    """The options of those that run full-size networks: latent sides, repeats, and a precision that suits the device."""
    parser = arguments(doc)
    text = f"latent sides; {cpu}, on a GPU 64 and 128"
    parser.add_argument("--sides", type=count, nargs="+", metavar="N", help=text)
    parser.add_argument("--repeats", type=count, default=repeats, metavar="N", help="of each (%(default)s)")
    options = parser.parse_args()
    on_gpu = options.device.type == "cuda"
    options.dtype = torch.float16 if on_gpu else torch.bfloat16
    options.sides = options.sides or ([16] if options.quick else [64, 128] if on_gpu else [cpu])
    return options


def count(text: str) -> int:
    """A whole number from 1, as an option's value."""
    if not (text.isdecimal() and int(text)):
        raise argparse.ArgumentTypeError(f'expected a whole number from 1, got "{text}"')
    return int(text)


def _device(text: str) -> torch.device:
    gpus = [f"cuda:{number}" for number in range(torch.cuda.device_count())]
    known = ["cpu", *(["cuda"] if gpus else []), *gpus]
    if text not in known:
        raise argparse.ArgumentTypeError(f'expected a device of this machine ({", ".join(known)}), got "{text}"')
    return torch.device(text)


def compare(
    title: str,
    functions: Mapping[str, Callable[[], object]],
    tflop: Mapping[str, float],
    baseline: str,
    repeats: int,
    device: torch.device,
) -> dict[str, Any]:
    """Time functions in turn, and print them beside their operations, both over those of ``baseline`` too."""
    seconds = interleave(functions, repeats, device)
    rows = [
        {
            "what": name,
            "s, median": median(each),
            "s, least": min(each),
            "ratio, median": median(a / b for a, b in zip(each, seconds[baseline], strict=True)),
            "of the least": min(each) / min(seconds[baseline]),
            "TFLOP": tflop[name],
            "ratio of FLOP": tflop[name] / tflop[baseline],
        }
        for name, each in seconds.items()
    ]
    print_table(f"{title}, {repeats} interleaved repeats", rows)
    return {"rows": rows, "seconds": seconds}


def interleave(
    functions: Mapping[str, Callable[[], object]], repeats: int, device: torch.device, *, warm_up: bool = True
) -> dict[str, list[float]]:
    """Seconds of functions that run in turn, over and over, after a round that does not count unless ``warm_up`` is off.

    What else the machine does then falls on all of them alike, so their ratios mean something where it is noisy.
    """
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    for round_ in range(-int(warm_up), repeats):
        for name, function in functions.items():
            elapsed = timed(function, device)[1]
            if round_ >= 0:
                seconds[name].append(elapsed)
    return seconds


def timed(function: Callable[[], Result], device: torch.device) -> tuple[Result, float]:
    """Result and seconds of one call, the device's queue included."""
    synchronise(device)
    start = time.perf_counter()
    result = function()
    synchronise(device)
    return result, time.perf_counter() - start


def synchronise(device: torch.device) -> None:
    """Wait until the device has nothing left to do."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


@torch.no_grad()
def operations(functions: Mapping[str, Callable[[], object]]) -> dict[str, float]:
    """TFLOP of the matrix products, convolutions and attentions of each, in its second call, as the first reads the text.

    They must compute on ``meta``: on a CPU PyTorch counts no attention.
    """
    counts = {}
    for name, function in functions.items():
        function()
        with FlopCounterMode(display=False) as counter:
            function()
        counts[name] = counter.get_total_flops() / 1e12
    return counts


def memory(process: int | str = "self") -> Memory:
    """Resident memory of a process, as Linux counts it: pages of mapped files that were touched included."""
    lines = Path(f"/proc/{process}/status").read_text(encoding="ascii").splitlines()
    fields = {line.split(":")[0]: line.split() for line in lines}
    return Memory(*(int(fields[name][1]) * 1024 for name in ("VmRSS", "VmHWM", "RssFile")))


class PeakMemory:
    """Bytes that the body of a ``with`` took at its worst, above what was there: ``taken`` once it is over.

    On a GPU, of the GPU's memory; else of this process's resident memory, whose peak is reset on entry. The space of
    deleted temporary files is watched too, as ``temporary``, since the VAE's bands may keep their feature maps there.
    """

    def __init__(self, device: torch.device):
        self.device = device
        self.taken = self.temporary = 0
        self._stop = threading.Event()
        self._watcher = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> PeakMemory:
        gc.collect()
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
            self._before = torch.cuda.memory_allocated(self.device)
        elif RESET_PEAK.exists():
            RESET_PEAK.write_text("5", encoding="ascii")
            self._before = memory().now
        else:
            raise SystemExit("peak memory without a GPU is measured on Linux only, which tells it in /proc")
        self._watcher.start()
        return self

    def __exit__(self, *_: object) -> None:
        on_gpu = self.device.type == "cuda"
        peak = torch.cuda.max_memory_allocated(self.device) if on_gpu else memory().peak
        self.taken = peak - self._before
        self._stop.set()
        self._watcher.join()

    def _watch(self) -> None:
        while not self._stop.wait(0.02):
            self.temporary = max(self.temporary, _deleted_files())


def fresh(function: Callable[..., Result], *given: Any) -> Result:
    """What a function gives in a process of its own, which imports its file anew."""
    with ProcessPoolExecutor(1, get_context("spawn")) as process:
        return process.submit(function, *given).result()


def comfyui() -> Path:
    """The folder of ComfyUI."""
    from tests.host.server import find_comfyui

    folder = find_comfyui()
    if folder is None:
        raise SystemExit("expected ComfyUI in ~/ComfyUI or the folder that COMFYUI_PATH names, but there is none")
    return folder


def print_table(title: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Print rows of the same keys as a Markdown table."""
    table = [[str(key) for key in rows[0]], *([_cell(value) for value in row.values()] for row in rows)]
    widths = [max(len(line[i]) for line in table) for i in range(len(table[0]))]
    lines = ["| " + " | ".join(c.rjust(w) for c, w in zip(line, widths, strict=True)) + " |" for line in table]
    lines.insert(1, "|" + "|".join("-" * (width + 1) + ":" for width in widths) + "|")
    print(f"\n{title}\n" + "\n".join(lines), flush=True)


def write_results(name: str, results: Mapping[str, Any], options: argparse.Namespace) -> None:
    """Write ``results/NAME.json``, or ``NAME_quick.json``, with the options and where it was measured; whole or not at all."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    path = RESULTS / f"{name}{'_quick' * options.quick}.json"
    part = path.with_suffix(".part")
    told = {"where": where(options.device), "options": vars(options), **results}
    part.write_text(json.dumps(told, indent=2, default=str) + "\n", encoding="utf-8")
    part.replace(path)
    print(f"\nwritten to {path.relative_to(ROOT)}")


def where(device: torch.device) -> dict[str, Any]:
    """What was measured on, and when."""
    return {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else _processor(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "date": datetime.now(timezone.utc).date().isoformat(),
    }


def _processor() -> str:
    """Model, cores and, of a Linux machine, the instruction sets that matter here."""
    told, file = {}, Path("/proc/cpuinfo")
    if file.exists():
        lines = file.read_text(encoding="utf-8").splitlines()
        told = {line.split(":")[0].strip(): line.split(":", 1)[1].strip() for line in lines if ":" in line}
    sets = [name for name in ("avx2", "avx512f", "amx_bf16") if name in told.get("flags", "").split()]
    return f"{told.get('model name') or platform.machine()}, {os.cpu_count()} cores, {' '.join(sets)}"


def _deleted_files() -> int:
    """Bytes of the files without a name that this process holds open."""
    folder, total = Path("/proc/self/fd"), 0
    for entry in folder.iterdir() if folder.exists() else ():
        try:
            if os.readlink(entry).endswith(" (deleted)"):
                total += entry.stat().st_blocks * 512
        except OSError:  # closed in the meantime
            continue
    return total


def _cell(value: object) -> str:
    if not isinstance(value, float):
        return str(value)
    if abs(value) >= 10:
        return f"{value:,.0f}"
    return f"{value:.3f}" if abs(value) >= 0.01 or not value else f"{value:.4g}"
