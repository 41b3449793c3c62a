"""The nodes: thin, over ``supir_core``; the only place that knows of ComfyUI."""

from __future__ import annotations

from comfy_api.latest import ComfyExtension, io

from .host import require_comfyui


class SupirExtension(ComfyExtension):
    """What ComfyUI loads."""

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        """All nodes of the pack."""
        require_comfyui()
        from .captioner import SupirCaption, SupirCaptioner, SupirCaptionTiles
        from .conditioning import SupirConditioning
        from .demo import SupirDemoLoader
        from .denoiser import SupirDenoiser
        from .encode import SupirEncode
        from .guidance import SupirGuidance
        from .image import SupirColorFix, SupirSaveImage
        from .instantir import instantir_nodes
        from .loader import SupirModelLoader
        from .metrics import SupirMetrics
        from .regions import SupirRestoreRegion
        from .restore import SupirRestore
        from .sampler import SupirSampler
        from .sampling import SupirSamplerSelect, SupirScheduler
        from .sheet import SupirComparisonSheet
        from .sizes import SupirSize
        from .tiles import SupirTiles

        return [
            SupirRestore,
            SupirRestoreRegion,
            SupirModelLoader,
            SupirDemoLoader,
            SupirEncode,
            SupirCaptioner,
            SupirCaption,
            SupirCaptionTiles,
            SupirConditioning,
            SupirSampler,
            SupirDenoiser,
            SupirTiles,
            SupirGuidance,
            SupirSamplerSelect,
            SupirScheduler,
            SupirColorFix,
            SupirSaveImage,
            SupirMetrics,
            SupirSize,
            SupirComparisonSheet,
            *instantir_nodes(),
        ]
