"""What fewer steps cost in fidelity: the demo weights by ``quality`` with its 50 steps of EDM, and by DPM++ 2M SDE with 20 and 30.

The middle of the two photographs that the demo weights never saw is damaged in each of the paper's five ways and restored; all
but sampler and steps is as in the preset. ``PSNR`` (dB, larger is closer) and ``GMSD`` (smaller is closer) are to the clean
picture, by piq as in ``supir evaluate``, and the mean of the photographs; ``s`` is the time of one restoration.

The demo weights are small and blurry: what the table says of samplers is no more than a hint at what published weights do.
"""

from __future__ import annotations

from statistics import mean
from typing import Any

import measure
from networks import PHOTOGRAPHS, photograph
from torch import Tensor

from supir_core.command.demo import load_demo_model
from supir_core.evaluation.degradation import SETTINGS, clean_part, damage
from supir_core.evaluation.measures import load_metric
from supir_core.supir.model import SupirModel
from supir_core.supir.pipeline import restore
from supir_core.supir.settings import preset

SIDE = 256
SAMPLERS = {
    "edm, 50 steps": preset("quality", min_side=SIDE),
    "dpmpp_2m_sde, 20 steps": preset("quality", min_side=SIDE, sampler="dpmpp_2m_sde", steps=20),
    "dpmpp_2m_sde, 30 steps": preset("quality", min_side=SIDE, sampler="dpmpp_2m_sde", steps=30),
}


def row(model: SupirModel, sampler: str, setting: str) -> dict[str, Any]:
    """A line of the table: the mean of the photographs."""
    numbers: dict[str, list[float]] = {"PSNR": [], "GMSD": [], "s": []}
    for name, caption in PHOTOGRAPHS.items():
        clean = clean_part(photograph(name), SIDE)
        damaged, scale = damage(clean, setting), SETTINGS[setting].factor

        def restored(damaged: Tensor = damaged, scale: int = scale, caption: str = caption) -> Tensor:
            return restore(model, damaged, SAMPLERS[sampler], scale=scale, caption=caption).image

        picture, seconds = measure.timed(restored, model.device)
        for metric in ("PSNR", "GMSD"):
            numbers[metric].append(load_metric(metric.lower(), "cpu")(picture, clean))
        numbers["s"].append(seconds)
    return {"damage": setting, "sampler": sampler} | {key: f"{mean(some):.4g}" for key, some in numbers.items()}


def main() -> None:
    """Measure."""
    parser = measure.arguments(__doc__)
    parser.add_argument("--setting", nargs="+", choices=SETTINGS, default=list(SETTINGS))
    options = parser.parse_args()
    model = load_demo_model(options.device)
    settings = options.setting[:1] if options.quick else options.setting
    rows = [row(model, sampler, setting) for setting in settings for sampler in SAMPLERS]
    measure.print_table(f"{SIDE}x{SIDE} pixels", rows)
    measure.write_results("steps", {"rows": rows}, options)


if __name__ == "__main__":
    main()
