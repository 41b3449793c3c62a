"""A folder of golden numbers, and our networks with its weights."""

import json
from functools import cached_property
from pathlib import Path

from safetensors.torch import load_file

from supir_core.restoration.denoiser import LinearSchedule
from supir_core.sdxl.conditioning import Conditioning
from supir_core.sdxl.config import UNetConfig, VAEConfig, without_prefix
from supir_core.sdxl.unet import UNet
from supir_core.sdxl.vae import VAE, Encoder
from supir_core.supir.adaptor import Adaptor
from supir_core.supir.denoiser import GuidedDenoiser

from .weights import recipe_input, recipe_tensor

UNET, FIRST_STAGE = "model.diffusion_model.", "first_stage_model."


class Golden:
    def __init__(self, folder: Path):
        self.folder = folder
        self.manifest = json.loads((folder / "manifest.json").read_text())
        self.keys = {k: tuple(v) for k, v in json.loads((folder / "tiny_keys.json").read_text()).items()}

    def load(self, name):
        return load_file(self.folder / f"{name}.safetensors")

    def fill(self, module, prefix, renamed=lambda key: key):
        """Weights by recipe for the keys that the module has, which must be in the list of keys."""
        state = {}
        for key, tensor in module.state_dict().items():
            full = prefix + renamed(key)
            assert self.keys.get(full, tuple(tensor.shape)) == tuple(tensor.shape), full
            state[key] = recipe_tensor(full, tensor.shape, self.manifest["salt"])
        module.load_state_dict(state)
        return module.eval().requires_grad_(False)

    @cached_property
    def unet(self):
        config = UNetConfig.from_shapes(without_prefix(self.keys, UNET))
        return self.fill(UNet(config), UNET)

    @cached_property
    def adaptor(self):
        config = UNetConfig.from_shapes(without_prefix(self.keys, "model.control_model."))

        def full(key):
            return key if key.startswith("control_model.") else f"diffusion_model.{key}"

        return self.fill(Adaptor(config), "model.", full)

    @cached_property
    def vae(self):
        return self.fill(VAE(VAEConfig.from_shapes(without_prefix(self.keys, FIRST_STAGE))), FIRST_STAGE)

    @cached_property
    def dr_encoder(self):
        config = VAEConfig.from_shapes(without_prefix(self.keys, FIRST_STAGE), "denoise_encoder")
        return self.fill(Encoder(config), FIRST_STAGE + "denoise_encoder.")

    def conditioning(self, name):
        def rows(part, *shape):
            return recipe_input(f"input:{name}.{part}", (1, *shape), self.manifest["salt"])

        context = rows("context", 77, self.manifest["context_dim"])
        return Conditioning(context, rows("y", self.manifest["adm_in_channels"]))

    def denoiser(self, z_lq, run, positives=None):
        """The guided denoiser of one of the manifest's sampler runs."""
        start = run["control_start"]
        end = run["control_end"]
        return GuidedDenoiser(
            self.unet,
            self.adaptor,
            z_lq,
            positives or [self.conditioning("c0")],
            self.conditioning("uc"),
            LinearSchedule(run["cfg_start"], run["cfg_end"]),
            LinearSchedule(end if start is None else start, end),
        )


def draws(tensors):
    """A noise source that hands out the recorded draws."""
    recorded = iter([tensors[f"eps.{i}"] for i in range(sum(k.startswith("eps.") for k in tensors))])
    return lambda x: next(recorded)


def relative_error(value, expected):
    difference = value.double() - expected.double()
    return (difference.square().mean().sqrt() / expected.double().square().mean().sqrt()).item()
