"""What a training writes is what ComfyUI's own loader of model patches takes."""

import torch

from supir_core.sdxl.unet import UNet
from supir_core.sdxl.vae import VAE, Encoder
from supir_core.supir.adaptor import Adaptor
from supir_core.training.config import TrainingConfig
from supir_core.training.stages import AdaptorStage

from ..full_size import VAE_CONFIG, unet_config


def test_the_adaptors_file_fits_comfyuis_supir_strictly(pack):
    """At full size, by keys and shapes, as ModelPatchLoader renames them."""
    import comfy.ops
    import comfy.utils
    from comfy.ldm.supir.supir_modules import SUPIR

    config = unet_config("model.control_model.")
    with torch.device("meta"):
        theirs = SUPIR(device="meta", dtype=torch.float16, operations=comfy.ops.manual_cast)
        stage = AdaptorStage(
            TrainingConfig(checkpointing=False),
            adaptor=Adaptor(config),
            unet=UNet(unet_config("model.diffusion_model.")),
            vae=VAE(VAE_CONFIG),
            dr_encoder=Encoder(VAE_CONFIG),
            text=None,
        )
    published = stage.published(stage.learns.state_dict())
    encoder = {key for key in published if key.startswith("first_stage_model.denoise_encoder.")}
    prefixes = {"model.control_model.": "control_model.", "model.diffusion_model.project_modules.": "project_modules."}
    renamed = comfy.utils.state_dict_prefix_replace(dict(published), prefixes, filter_keys=True)
    expected = {key: tuple(tensor.shape) for key, tensor in theirs.state_dict().items()}
    assert {key: tuple(tensor.shape) for key, tensor in renamed.items()} == expected
    assert len(encoder) + len(renamed) == len(published)
