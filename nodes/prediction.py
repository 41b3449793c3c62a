"""Which MODELs sample as SUPIR and InstantIR were trained to: SDXL that predicts noise, at SDXL's own noise levels."""

from __future__ import annotations

from typing import Any

from comfy.model_patcher import ModelPatcher
from comfy.model_sampling import EDM, EPS, V_PREDICTION, X0, ModelSamplingDiscrete, ModelSamplingDiscreteEDM
from comfy.patcher_extension import WrappersMP

from ..supir_core.sdxl.config import SIGMA_MAX
from .wrappers import replace_wrappers

OTHERS = {EDM: "EDM", V_PREDICTION: "v-prediction", X0: "a prediction of the picture itself"}
"""What is not noise though ComfyUI derives it from that, the more special first."""


def require_noise_prediction(model: ModelPatcher, method: str) -> None:
    """Refuse a MODEL that predicts something else, or at other noise levels; LCM predicts noise, too.

    Raises:
        ValueError: says what it is.
    """
    what = foreign_sampling(model.get_model_object("model_sampling"))
    if what:
        raise ValueError(
            f"{method} works with SDXL models that predict noise, at noise levels up to {SIGMA_MAX:.1f}; this one has "
            f"{what}. Load a checkpoint such as SDXL 1.0, or remove the node that changes how the model is sampled "
            "(ModelSamplingDiscrete and the like)"
        )


def foreign_sampling(sampling: Any) -> str:
    """What a model's sampling has in place of noise and SDXL's levels; nothing where it has these."""
    name = next((name for kind, name in OTHERS.items() if isinstance(sampling, kind)), "")
    if not name and not isinstance(sampling, EPS):
        return f"another kind of prediction ({', '.join(kind.__name__ for kind in type(sampling).__bases__)})"
    largest = float(sampling.sigma_max)
    if largest > 1.01 * SIGMA_MAX:
        return f"{name or 'noise'} at noise levels up to {largest:.0f}{_zero_snr(sampling)}"
    if isinstance(sampling, ModelSamplingDiscreteEDM) or not isinstance(sampling, ModelSamplingDiscrete):
        return f"{name or 'noise'} at EDM's timesteps"
    return name


def _zero_snr(sampling: Any) -> str:
    return " (zero terminal SNR)" if getattr(sampling, "zsnr", False) else ""


def watch_prediction(model: ModelPatcher, key: str, method: str) -> None:
    """Refuse now, and at each sampling, as other nodes may change the MODEL's sampling afterwards."""

    def wrapper(executor: Any, sampled: ModelPatcher, *rest: Any, **more: Any) -> Any:
        require_noise_prediction(sampled, method)
        return executor(sampled, *rest, **more)

    require_noise_prediction(model, method)
    replace_wrappers(model, f"{key}_prediction", {WrappersMP.PREPARE_SAMPLING: wrapper})
