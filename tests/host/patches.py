"""What else people put on a MODEL."""

import torch


def free_u(model):
    from comfy_extras.nodes_freelunch import FreeU

    return FreeU.execute(model, 1.3, 1.4, 0.9, 0.2)[0]


def skips(model):
    """As FreeU changes what the decoder joins, for networks of any width."""
    changed = model.clone()
    changed.set_model_output_block_patch(lambda h, skip, options: (h * 1.1, skip * 0.9))
    return changed


def lora(model):
    changed = model.clone()
    key = "diffusion_model.middle_block.1.proj_in.weight"
    weight = model.model.state_dict()[key]
    changed.add_patches({key: (torch.full_like(weight, 0.02),)}, 1.0)
    return changed


def attention_patch(model):
    """As IPAdapter adds its pictures' attention."""
    changed = model.clone()
    changed.set_model_attn2_output_patch(lambda out, extra: out * 1.5)
    return changed


def compiled(model):
    from comfy_api.torch_helpers import set_torch_compile_wrapper

    changed = model.clone(disable_dynamic=True)
    set_torch_compile_wrapper(model=changed, backend="eager")
    return changed


def easy_cache(model):
    from comfy_extras.nodes_easycache import EasyCacheNode

    return EasyCacheNode.execute(model, 0.01, 0.0, 1.0, False)[0]


def place_control(hint):
    """A ControlNet that adds its hint, shrunk to the latent, to every middle block."""
    from comfy.controlnet import ControlBase

    class PlaceControl(ControlBase):
        def get_control(self, x, t, cond, batched, options):
            small = (x.shape[2] // 4, x.shape[3] // 4)
            hint = torch.nn.functional.interpolate(self.cond_hint_original, small)
            seen.append(self.cond_hint_original.shape)
            return {"middle": [hint.mean(1, keepdim=True)], "input": [], "output": []}

    seen = []
    return PlaceControl().set_cond_hint(hint), seen
