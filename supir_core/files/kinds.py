"""What checkpoint files are, told by their keys."""

from __future__ import annotations

import re
from collections.abc import Iterable

EXPECTED = "a single-file SDXL checkpoint, SUPIR weights (SUPIR-v0Q or SUPIR-v0F) or one of InstantIR's three files"

SUPIR, SDXL = "SUPIR weights", "an SDXL checkpoint"
ADAPTER, AGGREGATOR = "an InstantIR adapter", "an InstantIR aggregator"
PREVIEWER = "an InstantIR previewer LoRA"
KNOWN_KINDS = (SUPIR, SDXL, ADAPTER, AGGREGATOR, PREVIEWER)

PUBLISHED_NAMES: dict[str, tuple[tuple[str, str], ...]] = {
    SUPIR: (
        (r"^(model\.)?control_model\.", "control_model."),
        (r"^(model\.)?(diffusion_model\.)?project_modules\.", "project_modules."),
        (r"^(first_stage_model\.)?denoise_encoder\.", "denoise_encoder."),
    ),
    ADAPTER: ((r"^image_proj_model\.", "image_proj."), (r"^adapter_modules\.", "ip_adapter.")),
    PREVIEWER: (
        (r"\.processor\.", "."),
        (r"(\.lora\.down|_lora\.down|\.lora_down|\.lora_A)\.weight$", ".down.weight"),
        (r"(\.lora\.up|_lora\.up|\.lora_up|\.lora_B)\.weight$", ".up.weight"),
    ),
}
"""What each kind's parts are called in files, as patterns, and the one name that they have here."""

UNUSED_SUPIR_KEYS = ("control_model.mask_LQ",)


def recognise(keys: Iterable[str]) -> str:
    """Say what a state dict with these keys is: ``SUPIR``, ``SDXL``, or another model in words."""
    joined = "\n" + "\n".join(keys) + "\n"
    for kind, patterns in KINDS:
        if all(re.search(pattern, joined) for pattern in patterns):
            return kind
    return "a file of unknown content"


def canonical_key(key: str, kind: str) -> str:
    """The name here of a key of a file of this kind."""
    for pattern, name in PUBLISHED_NAMES.get(kind, ()):
        key = re.sub(pattern, name, key)
    return key


_UNET = r"\nmodel\.diffusion_model\.input_blocks\."
_VECTOR = r"\nmodel\.diffusion_model\.label_emb\."

KINDS: tuple[tuple[str, tuple[str, ...]], ...] = (
    (SUPIR, (r"control_model\.input_hint_block\.0\.weight\n", r"project_modules\.\d+\.zero_conv\.weight\n")),
    (PREVIEWER, (r"[._](lora|lora_down|lora_A)\b", r"attn2\.(processor\.)?ln_k_ip\.linear[._]lora")),
    (AGGREGATOR, (r"\nref_conv_in\.weight\n", r"\ncontrolnet_mid_block\.0\.mlp_shared\.0\.weight\n")),
    (
        ADAPTER,
        (r"\nimage_proj(_model)?\.latents\n", r"\n(ip_adapter|adapter_modules)\.1\.to_k_ip\.weight\n"),
    ),
    ("a LoRA", (r"[._](lora_up|lora_down|lora_A|lora_B|hada_w1_a|lokr_w1)\b",)),
    (
        SDXL,
        (
            _UNET,
            _VECTOR,
            r"\nconditioner\.embedders\.0\.transformer\.",
            r"\nconditioner\.embedders\.1\.model\.",
        ),
    ),
    ("an SDXL refiner", (_UNET, _VECTOR, r"\nconditioner\.embedders\.0\.model\.")),
    ("an SDXL UNet without its text encoders", (_UNET, _VECTOR)),
    ("a Stable Diffusion 1 checkpoint", (_UNET, r"\ncond_stage_model\.transformer\.")),
    ("a Stable Diffusion 2 checkpoint", (_UNET, r"\ncond_stage_model\.model\.")),
    ("a Stable Diffusion UNet without its text encoders", (_UNET,)),
    ("a Stable Diffusion 3 model", (r"[.\n]joint_blocks\.\d+\.",)),
    ("a Flux model", (r"[.\n]double_blocks\.\d+\.", r"[.\n]single_blocks\.\d+\.")),
    ("a Flux model in diffusers' layout", (r"[.\n]single_transformer_blocks\.\d+\.",)),
    ("a ControlNet", (r"(control_model\.zero_convs|controlnet_cond_embedding|input_hint_block)\.",)),
    ("a UNet in diffusers' layout, not a single-file checkpoint", (r"\ndown_blocks\.\d+\.",)),
    ("a VAE", (r"(\n|first_stage_model\.)decoder\.(conv_in|mid)",)),
    ("a text encoder", (r"text_model\.encoder\.layers\.",)),
)
"""What tells each kind from the others; the first whose patterns all occur counts."""
