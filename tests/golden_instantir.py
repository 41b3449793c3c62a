"""A folder of InstantIR's golden numbers, and our networks with its weights."""

from dataclasses import replace
from functools import cached_property

from supir_core.files.kinds import PREVIEWER, canonical_key
from supir_core.instantir.aggregator import Aggregator
from supir_core.instantir.denoiser import Networks, build_denoiser
from supir_core.instantir.image_attention import ImageAdapter
from supir_core.instantir.keys import diffusers_path, lora_name
from supir_core.instantir.previewer import PreviewerLora
from supir_core.instantir.resampler import ResamplerConfig
from supir_core.instantir.sampling import Control
from supir_core.sdxl.conditioning import Conditioning
from supir_core.sdxl.config import UNetConfig, without_prefix

from .golden import UNET, Golden


class InstantGolden(Golden):
    @cached_property
    def resampler(self):
        sizes = ResamplerConfig.from_shapes(without_prefix(self.keys, "image_proj."))
        return replace(sizes, head_width=self.manifest["resampler"]["dim_head"])

    @cached_property
    def networks(self):
        config = UNetConfig.from_shapes(without_prefix(self.keys, UNET))
        lora = PreviewerLora(config, self.resampler, self.manifest["lora_rank"])
        in_file = {canonical_key(key, PREVIEWER): key for key in self.keys}
        return Networks(
            unet=self.unet,
            adapter=self.fill(ImageAdapter(config, self.resampler), ""),
            previewer=self.fill(lora, "", lambda key: in_file[lora_name(key, config)]),
            aggregator=self.fill(Aggregator(config), "aggregator.", diffusers_path),
        )

    def inputs(self, g):
        """Negative and positive: features and conditions."""
        sizes = g["size_ids"].expand(2, -1).tolist()
        conditions = [Conditioning.from_text(g["context"][[i]], g["pooled"][[i]], tuple(sizes[i])) for i in (0, 1)]
        return tuple(g["dino"].split(1)), tuple(conditions)

    def denoiser(self, g, sigmas, run):
        features, prompts = self.inputs(g)
        control = Control(
            strength=run.get("controlnet_conditioning_scale", 1.0),
            end=run.get("control_guidance_end", 1.0),
            preview_start=run.get("preview_start", 0.0),
        )
        return build_denoiser(
            self.networks, g["z_lq"], features, prompts, sigmas, cfg=run["guidance_scale"], control=control
        )
