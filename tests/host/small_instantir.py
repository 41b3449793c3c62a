"""InstantIR's golden networks as ComfyUI's MODEL and our INSTANTIR_MODEL, and sampling with them."""

import torch

from ..conftest import GOLDEN
from ..golden_instantir import InstantGolden
from .small import module


class SmallInstant:
    """The networks of the golden numbers in the host."""

    def __init__(self, pack):
        self.pack = pack
        self.golden = InstantGolden(GOLDEN / "instantir")
        unet = self.golden.networks.unet
        self.model = module(pack, "nodes.demo").demo_model(unet.state_dict(), unet.config)
        self.model.model.encode_adm = lambda **given: given["y"]
        self.weights = self.make_weights()

    def make_weights(self):
        import comfy.model_patcher

        host, loader = module(self.pack, "nodes.host"), module(self.pack, "nodes.instantir.loader")
        ours = self.golden.networks
        config, sizes = ours.unet.config, ours.adapter.image_proj.config
        layers = host.Layers(torch.float32)
        library = {
            name: module(self.pack, f"supir_core.instantir.{name}")
            for name in ("image_attention", "previewer", "aggregator")
        }
        networks = loader.InstantIRNetworks(
            config,
            library["image_attention"].ImageAdapter(config, sizes, layers, host.attention),
            library["previewer"].PreviewerLora(config, sizes, self.golden.manifest["lora_rank"], layers),
            library["aggregator"].Aggregator(config, layers, host.attention),
        ).eval()
        for name in ("adapter", "previewer", "aggregator"):
            getattr(networks, name).load_state_dict(getattr(ours, name).state_dict())
        device = torch.device("cpu")
        return loader.InstantIRWeights("golden", comfy.model_patcher.ModelPatcher(networks, device, device))

    def apply(self, z_lq, features, model=None, adaptive="none", **control):
        """The model with InstantIR on it; ``z_lq`` is scaled, features are of none and of the picture."""
        given = module(self.pack, "supir_core.instantir.sampling").Control(**control)
        apply = module(self.pack, "nodes.instantir.apply").apply_instantir
        z_lq = self.model.model.process_latent_out(z_lq)
        return apply(model or self.model, self.weights, z_lq, features[::-1], given, adaptive)

    def sample(self, model, prompts, noise, latent, *, steps, cfg, draws):
        """What SamplerCustomAdvanced does, with given noise for every step; the result is scaled."""
        import comfy.samplers

        sampling = module(self.pack, "supir_core.instantir.sampling")

        def sampler(model, x, sigmas, extra_args=None, callback=None, disable=None):
            def denoiser(x, sigma, schedule_sigma):
                return model(x, sigma, **extra_args)

            return sampling.sample_ddpm(denoiser, x, sigmas, draws)

        guider = comfy.samplers.CFGGuider(model)
        guider.set_conds(prompts[1], prompts[0])
        guider.set_cfg(cfg)
        latent = self.model.model.process_latent_out(latent)
        sigmas = sampling.instantir_sigmas(steps)
        out = guider.sample(noise, latent, comfy.samplers.KSAMPLER(sampler), sigmas, disable_pbar=True, seed=0)
        return self.model.model.process_latent_in(out)

    def prompts(self, numbers):
        """Negative and positive of a folder's numbers as CONDITIONING."""
        _, rows = self.golden.inputs(numbers)
        return [[[row.context, {"y": row.vector, "pooled_output": row.vector}]] for row in rows]

    def restored(self, model, prompts, latent, *, steps=3, cfg=4.0, seed=0):
        """A short run of InstantIR Sampler from a scaled latent: the result, scaled, and the previews."""
        sample = module(self.pack, "nodes.instantir.sampling").sample
        latent = self.model.model.process_latent_out(latent)
        settings = module(self.pack, "supir_core.instantir.settings").InstantSettings(seed=seed, steps=steps, cfg=cfg)
        out, previews = sample(model, *prompts[::-1], latent, settings)
        return self.model.model.process_latent_in(out), self.model.model.process_latent_in(previews)
