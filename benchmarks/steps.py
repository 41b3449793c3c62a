"""What fewer steps cost in fidelity: the demo weights by ``quality`` with its 50 steps of EDM, and by DPM++ 2M SDE with 20 and 30.

The middle of the two photographs that the demo weights never saw is damaged in each of the paper's five ways and restored; all
but sampler and steps is as in the preset. ``PSNR`` (dB, larger is closer) and ``GMSD`` (smaller is closer) are to the clean
picture, by piq as in ``supir evaluate``, and the mean of the photographs; ``s`` is the time of one restoration.

The demo weights are small and blurry: what the table says of samplers is no more than a hint at what published weights do.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence

import measure
import torch
from skimage import data
from torch import Tensor

from supir_core.command.demo import load_demo_model
from supir_core.evaluation.degradation import SETTINGS, clean_part, damage, factor_of
from supir_core.evaluation.measures import Metric, load_metric
from supir_core.files.convert import as_tensor
from supir_core.supir.model import SupirModel
from supir_core.supir.pipeline import restore
from supir_core.supir.settings import Settings, preset

SIDE = 256
PHOTOGRAPHS = {"astronaut": "A woman in uniform.", "chelsea": "A cat."}
SAMPLERS = {
    "edm, 50 steps": preset("quality", min_side=SIDE),
    "dpmpp_2m_sde, 20 steps": preset("quality", min_side=SIDE, sampler="dpmpp_2m_sde", steps=20),
    "dpmpp_2m_sde, 30 steps": preset("quality", min_side=SIDE, sampler="dpmpp_2m_sde", steps=30),
}


def photographs() -> dict[str, Tensor]:
    """The clean pictures by name, ``(1, 3, SIDE, SIDE)`` in [0, 1]."""
    return {name: clean_part(as_tensor(getattr(data, name)())[0], SIDE) for name in PHOTOGRAPHS}


def row(model: SupirModel, name: str, settings: Settings, damages: str, metrics: Sequence[Metric]) -> dict[str, object]:
    """A line of the table."""
    numbers: dict[str, list[float]] = {metric.name.upper(): [] for metric in metrics} | {"s": []}
    for photograph, clean in photographs().items():
        damaged = damage(clean, damages)
        scale, caption = factor_of(damages), PHOTOGRAPHS[photograph]
        restored, seconds = measure.timed(
            lambda given=damaged, scale=scale, caption=caption: restore(
                model, given, settings, scale=scale, caption=caption
            ),
            model.device,
        )
        for metric in metrics:
            numbers[metric.name.upper()].append(metric(restored.image, clean))
        numbers["s"].append(seconds)
    return {"damage": damages, "sampler": name} | {key: f"{statistics.mean(some):.4g}" for key, some in numbers.items()}


def main() -> None:
    """Measure."""
    parser = measure.arguments(__doc__.splitlines()[0])
    parser.add_argument("--setting", nargs="+", choices=SETTINGS, default=list(SETTINGS))
    options = parser.parse_args()
    model, metrics = load_demo_model(options.device), [load_metric(name, "cpu") for name in ("psnr", "gmsd")]
    damages = options.setting[:1] if options.quick else options.setting
    rows = [row(model, *some, damages=name, metrics=metrics) for name in damages for some in SAMPLERS.items()]
    measure.print_table(f"{SIDE}x{SIDE} pixels", rows)
    measure.write_results("steps", {"rows": rows}, torch.device(options.device))


if __name__ == "__main__":
    main()
