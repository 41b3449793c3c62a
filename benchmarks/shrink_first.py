"""What it brings to shrink a large blurred scan first: distances to the original, with the demo weights.

python benchmarks/shrink_first.py

The table is in docs/sizes.md. Needs scikit-image.
"""

from __future__ import annotations

import sys
import time
from functools import partial
from pathlib import Path

import torch
from PIL import Image
from skimage import data

sys.path.insert(0, str(Path(__file__).parents[1]))

from supir_core.command.demo import DAMAGE, DEMO_SETTINGS, load_demo_model
from supir_core.evaluation.degradation import SETTINGS, degrade
from supir_core.evaluation.metrics import gmsd, psnr
from supir_core.files.convert import to_tensor
from supir_core.restoration.canvas import resize
from supir_core.restoration.sizes import TargetSize, restore_sized
from supir_core.supir.pipeline import restore

CROPS = {"astronaut": (0, 96), "chelsea": (16, 96)}
ORIGINAL, SCAN, GRAIN = (256, 256), 512, 4 / 255
TARGETS = {
    "plain": TargetSize(1.0),
    "shrunk by 8": TargetSize(4.0, shrink_first=8.0),
    "shrunk by auto": TargetSize(4.0, shrink_first="auto"),
    "shrunk by auto, result as large": TargetSize(longest_side=SCAN, shrink_first="auto"),
}


def main() -> None:
    """Print a row for each photograph and way."""
    model = load_demo_model()
    for name, (top, left) in CROPS.items():
        whole = to_tensor(Image.fromarray(getattr(data, name)()))
        original = whole[..., top : top + ORIGINAL[0], left : left + ORIGINAL[1]]
        scan = resize(degrade(original, SETTINGS[DAMAGE]), (SCAN, SCAN))
        torch.manual_seed(0)
        scan = (scan + GRAIN * torch.randn(scan.shape)).clamp(0, 1)
        for way, target in TARGETS.items():
            started = time.perf_counter()
            result = restore_sized(partial(restore, model), scan, DEMO_SETTINGS, target).image
            seconds, compared = time.perf_counter() - started, resize(result, ORIGINAL)
            layout = target.layout(scan)
            print(
                f"| {name} | {way} | {layout.shrunk[1]} | {layout.outer[1]} | {psnr(compared, original):.2f} | "
                f"{gmsd(compared, original):.4f} | {seconds:.0f} s |",
                flush=True,
            )


if __name__ == "__main__":
    main()
