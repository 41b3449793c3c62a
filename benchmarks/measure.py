"""What the benchmarks share: fair timing, peak memory, full-size random weights, tables and result files."""

from __future__ import annotations

import argparse
import gc
import json
import math
import os
import platform
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
FULL_KEYS = ROOT / "tests" / "data" / "full_keys.json"
MIB = 2**20
GIB = 2**30

LEAN_MALLOC = {
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_THRESHOLD_": "1048576",
    "MALLOC_TRIM_THRESHOLD_": "1048576",
}
"""Environment in which glibc gives freed memory back at once, so that a peak is of what was in use."""

sys.path.insert(0, str(ROOT))  # so that supir_core is found without being installed


class Memory(NamedTuple):
    """Resident memory of this process in bytes: now, its peak, and how much of now is mapped files."""

    now: int
    peak: int
    files: int


class Repeats(NamedTuple):
    """Seconds of each repeat, by the name of what was timed; repeat i of all names ran side by side."""

    seconds: dict[str, list[float]]

    def median(self, name: str) -> float:
        """Median of the seconds of ``name``."""
        return statistics.median(self.seconds[name])

    def ratios(self, name: str, to: str) -> list[float]:
        """How many times as long ``name`` took as ``to``, repeat by repeat."""
        return [a / b for a, b in zip(self.seconds[name], self.seconds[to], strict=True)]


def arguments(description: str) -> argparse.ArgumentParser:
    """A parser with the options that all the benchmarks have."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--quick", action="store_true", help="a tiny run, to see that everything works")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--worker", type=json.loads, help=argparse.SUPPRESS)
    return parser


def interleave(
    functions: Mapping[str, Callable[[], object]], repeats: int, device: torch.device, *, warm_up: bool = True
) -> Repeats:
    """Time functions in turn, over and over, after a round that does not count unless ``warm_up`` is off.

    What else the machine does then falls on all of them alike, so their ratios mean something where it is noisy.
    """
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    for round_ in range(-int(warm_up), repeats):
        for name, function in functions.items():
            elapsed = timed(function, device)[1]
            if round_ >= 0:
                seconds[name].append(elapsed)
    return Repeats(seconds)


def timed(function: Callable[[], Any], device: torch.device) -> tuple[Any, float]:
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


def memory() -> Memory:
    """Resident memory of this process, as Linux counts it: pages of mapped files that were touched included."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    fields = {line.split(":")[0]: line.split() for line in lines}
    return Memory(*(int(fields[name][1]) * 1024 for name in ("VmRSS", "VmHWM", "RssFile")))


class PeakMemory:
    """Bytes that the body of a ``with`` took at its worst, above what was there: ``taken`` once it is over.

    On a GPU, of the GPU's memory; else of this process's resident memory, whose peak is reset on entry. The space of
    deleted temporary files is watched too, as ``temporary``, since banded passes keep their feature maps there.
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
        else:
            Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # peak := now
            self._before = memory().now
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


def fresh(script: str, job: Mapping[str, Any], environment: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Run ``job`` in a process of its own, which is ``script --worker JOB``; its last line of output is the result.

    Raises:
        RuntimeError: the process failed.
    """
    command = [sys.executable, script, "--worker", json.dumps(job)]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **(environment or {})})
    if done.returncode:
        raise RuntimeError(f"{job} ended with status {done.returncode}:\n{done.stderr[-4000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def full_shapes(prefix: str = "") -> dict[str, tuple[int, ...]]:
    """Shapes of the published full-size tensors under a prefix, by their key without it."""
    shapes = json.loads(FULL_KEYS.read_text(encoding="utf-8"))
    return {key[len(prefix) :]: tuple(shape) for key, shape in shapes.items() if key.startswith(prefix)}


def random_tensor(shape: Sequence[int], dtype: torch.dtype, device: torch.device | str = "cpu") -> Tensor:
    """A weight of such a size that features neither grow nor vanish, made in the dtype it is to have."""
    tensor = torch.empty(tuple(shape), dtype=dtype, device=device)
    if len(shape) < 2:
        return tensor.fill_(0.5)
    return tensor.normal_(std=0.5 * math.prod(shape[1:]) ** -0.5)


def random_state_dict(
    shapes: Mapping[str, Sequence[int]], dtype: torch.dtype, device: torch.device | str = "cpu"
) -> dict[str, Tensor]:
    """Random weights of these shapes."""
    return {key: random_tensor(shape, dtype, device) for key, shape in shapes.items()}


def fill(module: nn.Module, dtype: torch.dtype, device: torch.device | str = "cpu") -> None:
    """Give a module that was built on ``meta`` random weights, tensor by tensor."""
    shapes = {key: tuple(tensor.shape) for key, tensor in module.state_dict().items()}
    module.load_state_dict(random_state_dict(shapes, dtype, device), assign=True)
    module.eval().requires_grad_(False)


def print_table(title: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Print rows of the same keys as a Markdown table."""
    if not rows:
        return
    table = [[str(key) for key in rows[0]], *([_cell(value) for value in row.values()] for row in rows)]
    widths = [max(len(line[i]) for line in table) for i in range(len(table[0]))]
    lines = ["| " + " | ".join(c.rjust(w) for c, w in zip(line, widths, strict=True)) + " |" for line in table]
    lines.insert(1, "|" + "|".join("-" * (width + 1) + ":" for width in widths) + "|")
    print(f"\n{title}\n" + "\n".join(lines), flush=True)


def write_results(name: str, results: Mapping[str, Any], device: torch.device) -> None:
    """Write ``results/NAME.json`` with a note of where it was measured; whole or not at all."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    path, part = RESULTS / f"{name}.json", RESULTS / f"{name}.json.part"
    part.write_text(json.dumps({"where": where(device), **results}, indent=2) + "\n", encoding="utf-8")
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


def available_memory() -> int:
    """Bytes that the system could still give to a process."""
    lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))


def _processor() -> str:
    """Model and instruction sets that matter here, of a Linux machine."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    fields = {line.split(":")[0].strip(): line.split(":", 1)[1].strip() for line in lines if ":" in line}
    sets = [name for name in ("avx2", "avx512f", "amx_bf16") if name in fields.get("flags", "").split()]
    return f"{fields.get('model name', platform.machine())}, {os.cpu_count()} cores, {' '.join(sets)}"


def _deleted_files() -> int:
    """Bytes of the files without a name that this process holds open."""
    total = 0
    for entry in Path("/proc/self/fd").iterdir():
        try:
            if os.readlink(entry).endswith(" (deleted)"):
                total += entry.stat().st_blocks * 512
        except OSError:  # closed in the meantime
            continue
    return total


def _cell(value: object) -> str:
    if not isinstance(value, float):
        return str(value)
    return f"{value:.3f}" if abs(value) < 10 else f"{value:,.0f}"
