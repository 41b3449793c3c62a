"""InstantIR in ComfyUI: weights, a MODEL that restores with it, noise levels and sampler."""

from __future__ import annotations

from comfy_api.latest import io


def instantir_nodes() -> list[type[io.ComfyNode]]:
    """All nodes of InstantIR."""
    from .loader import InstantIRModelLoader
    from .node import InstantIRApply
    from .sampling import InstantIRSampler, InstantIRSigmas

    return [InstantIRModelLoader, InstantIRApply, InstantIRSampler, InstantIRSigmas]
