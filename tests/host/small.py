"""The golden networks as ComfyUI's MODEL and our SUPIR_MODEL, and sampling with them."""

import importlib

import torch

from supir_core.sdxl.config import UNetConfig, without_prefix

from ..conftest import GOLDEN
from ..golden import UNET, Golden


def module(pack, name):
    """A module of the pack as ComfyUI imported it."""
    root = pack["SupirRestore"].__module__.rpartition(".nodes.")[0]
    return importlib.import_module(f"{root}.{name}")


class Small:
    """The networks of the golden numbers in the host."""

    def __init__(self, pack):

        self.pack = pack
        self.golden = Golden(GOLDEN / "supir")
        config = UNetConfig.from_shapes(without_prefix(self.golden.keys, UNET))
        self.model = module(pack, "nodes.demo").demo_model(self.golden.unet.state_dict(), config)
        self.model.model.encode_adm = lambda **given: given["y"]
        self.weights = self.make_weights(module(pack, "nodes.host"), module(pack, "supir_core.supir.adaptor"))

    def make_weights(self, host, library):
        import comfy.model_patcher

        ours = self.golden.adaptor
        adaptor = library.Adaptor(
            ours.control_model.config, operations=host.Layers(torch.float32), attention=host.attention
        )
        adaptor.load_state_dict(ours.state_dict())
        device = torch.device("cpu")
        patcher = comfy.model_patcher.ModelPatcher(adaptor.eval(), device, device)
        return module(self.pack, "nodes.loader").SupirWeights("golden", patcher, {})

    def conditioning(self, name, **more):
        rows = self.golden.conditioning(name)
        return [[rows.context, {"y": rows.vector, "pooled_output": rows.vector, **more}]]

    def latent(self, z):
        """A scaled latent as ComfyUI has it between nodes."""
        return {"samples": self.model.model.process_latent_out(z)}

    def restored(self, model, steps=3, **more):
        """A short run of SUPIR's sampler on a 16 by 24 latent."""
        sampling = module(self.pack, "nodes.sampling")
        noise = torch.randn(more.pop("batch", 1), 4, 16, 24, generator=torch.Generator().manual_seed(1))
        sampler = sampling.sampler_object("edm", 0.0, 1.0)
        return self.sample(model, sampler, sampling.schedule(steps, "edm"), noise, **more)

    def sample(self, model, sampler, sigmas, noise, *, positive=None, cfg=4.0, seed=0, **more):
        """What SamplerCustomAdvanced does; the result is scaled."""
        import comfy.samplers

        guider = comfy.samplers.CFGGuider(model)
        guider.set_conds(positive or self.conditioning("c0"), self.conditioning("uc"))
        guider.set_cfg(cfg)
        empty = torch.zeros_like(noise)
        with torch.inference_mode():
            out = guider.sample(noise, empty, sampler, sigmas, disable_pbar=True, seed=seed, **more)
        return self.model.model.process_latent_in(out)
