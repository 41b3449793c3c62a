"""What it brings to shrink a large blurred scan first: distances to the original, with the demo weights.

A scan of 512 pixels holds 64 pixels of detail: the original of 256 is damaged, enlarged, and gets grain. Results are
resized to the original and compared with it: ``PSNR`` in dB, and ``GMSD``, where less is closer.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import measure
import torch
from networks import PHOTOGRAPHS, photograph

from supir_core import SupirModel, restore
from supir_core.command.demo import DAMAGE, DEMO_SETTINGS, load_demo_model
from supir_core.evaluation.degradation import SETTINGS, degrade
from supir_core.evaluation.metrics import gmsd, psnr
from supir_core.restoration.canvas import resize
from supir_core.restoration.sizes import TargetSize, restore_sized

CORNERS = {"astronaut": (0, 96), "chelsea": (16, 96)}
ORIGINAL, SCAN, GRAIN = 256, 512, 4 / 255
TARGETS = {
    "plain": TargetSize(1.0),
    "--shrink-first 8 --scale 4": TargetSize(4.0, shrink_first=8.0),
    "--shrink-first auto --scale 4": TargetSize(4.0, shrink_first="auto"),
    "--shrink-first auto --longest-side 512": TargetSize(longest_side=SCAN, shrink_first="auto"),
}


def row(model: SupirModel, name: str, way: str) -> dict[str, Any]:
    """A line of the table."""
    top, left = CORNERS[name]
    original = photograph(name)[..., top : top + ORIGINAL, left : left + ORIGINAL]
    scan = resize(degrade(original, SETTINGS[DAMAGE]), (SCAN, SCAN))
    torch.manual_seed(0)
    scan = (scan + GRAIN * torch.randn(scan.shape)).clamp(0, 1)
    target = TARGETS[way]
    restored, seconds = measure.timed(
        lambda: restore_sized(partial(restore, model), scan, DEMO_SETTINGS, target).image, model.device
    )
    layout, compared = target.layout(scan), resize(restored, (ORIGINAL, ORIGINAL))
    distances = {"PSNR": f"{psnr(compared, original):.2f}", "GMSD": f"{gmsd(compared, original):.4f}", "s": seconds}
    return {"photograph": name, "way": way, "shrunk to": layout.shrunk[1], "result": layout.outer[1]} | distances


def main() -> None:
    """Measure."""
    options = measure.arguments(__doc__).parse_args()
    model = load_demo_model(options.device)
    names, ways = (list(some)[: 1 if options.quick else None] for some in (PHOTOGRAPHS, TARGETS))
    rows = [row(model, name, way) for name in names for way in ways]
    measure.print_table(f"Scans of {SCAN}x{SCAN} pixels", rows)
    measure.write_results("shrink_first", {"rows": rows}, options)


if __name__ == "__main__":
    main()
