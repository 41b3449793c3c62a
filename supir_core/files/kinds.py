"""What checkpoint files are, told by their keys."""

from __future__ import annotations

import re
from collections.abc import Iterable

from .diffusers import vae_name

EXPECTED = "a single-file SDXL checkpoint, SUPIR weights (SUPIR-v0Q or SUPIR-v0F) or one of InstantIR's three files"

SUPIR, SDXL = "SUPIR weights", "an SDXL checkpoint"
ADAPTER, AGGREGATOR = "an InstantIR adapter", "an InstantIR aggregator"
PREVIEWER = "an InstantIR previewer LoRA"
DR_ENCODER = "a degradation-robust encoder"
VAE = "a VAE"
DIFFUSERS_UNET = "a UNet in diffusers' layout, not a single-file checkpoint"
WHOLE = "Take the whole checkpoint, or the folder in diffusers' layout with unet, vae, text_encoder and text_encoder_2 in it"
KNOWN_KINDS = (SUPIR, SDXL, VAE, ADAPTER, AGGREGATOR, PREVIEWER, DR_ENCODER)

WRAPPERS = re.compile(r"^((module|model|_orig_mod|state_dict)\.)+")
"""Prefixes that training and compiling wrap around every name, and that mean nothing."""

PUBLISHED_NAMES: dict[str, tuple[tuple[str, str], ...]] = {
    SUPIR: (
        (r"^(diffusion_model\.)?project_modules\.", "project_modules."),
        (r"^(first_stage_model\.)?denoise_encoder\.", "denoise_encoder."),
    ),
    SDXL: (
        (r"^diffusion_model\.", "model.diffusion_model."),
        (r"^(?=(input_blocks|middle_block|output_blocks|time_embed|label_emb|out)\.)", "model.diffusion_model."),
    ),
    DR_ENCODER: ((r"^(first_stage_model\.)?denoise_encoder\.", "denoise_encoder."),),
    VAE: ((r"^(first_stage_model\.)?", "first_stage_model."),),
    ADAPTER: ((r"^image_proj_model\.", "image_proj."), (r"^adapter_modules\.", "ip_adapter.")),
    PREVIEWER: (
        (r"\.processor\.", "."),
        (r"(\.lora\.down|_lora\.down|\.lora_down|\.lora_A)\.weight$", ".down.weight"),
        (r"(\.lora\.up|_lora\.up|\.lora_up|\.lora_B)\.weight$", ".up.weight"),
    ),
}
"""What each kind's parts are called in files, without the wrappers, as patterns; and the one name that they have here."""

_AUTOENCODER = r"first_stage_model\.(encoder|decoder|quant_conv|post_quant_conv)\."
USED: dict[str, tuple[str, ...]] = {
    SUPIR: (r"control_model\.", r"project_modules\.", r"denoise_encoder\."),
    SDXL: (
        r"model\.diffusion_model\.(?!project_modules\.)",
        _AUTOENCODER,
        r"conditioner\.embedders\.0\.transformer\.text_model\.",
        r"conditioner\.embedders\.1\.model\.(transformer|token_embedding|positional_embedding|text_projection|ln_final)\b",
    ),
    VAE: (_AUTOENCODER,),
}
"""How the names begin that belong to what we build of a kind; where it is not listed, of all that is in the file."""

MARKS = re.compile(r"v_pred|ztsnr|edm_.*")
"""Entries that hold no weights, but tell how an SDXL model predicts."""

SILENT = re.compile(
    r"control_model\.mask_LQ|denoiser\.sigmas|model_ema\.(decay|num_updates)|.*\.(position_ids|logit_scale)"
)
"""Entries that published files have and nothing is built of: not worth a word."""


def recognise(keys: Iterable[str], *wanted: str) -> str:
    """Say what a state dict with these keys is: one of the kinds ``wanted``, if it holds that, or what it is first of all."""
    joined = "\n" + "\n".join(map(unwrapped, keys)) + "\n"
    for kind, patterns in sorted(KINDS, key=lambda kind: kind[0] not in wanted):
        if all(re.search(pattern, joined) for pattern in patterns):
            return kind
    return "a file of unknown content"


def unwrapped(key: str) -> str:
    """A name without what was wrapped around it."""
    return WRAPPERS.sub("", key)


def canonical_key(key: str, kind: str) -> str:
    """The name here of a key of a file of this kind."""
    key = unwrapped(key)
    for pattern, name in PUBLISHED_NAMES.get(kind, ()):
        key = re.sub(pattern, name, key)
    return vae_name(key) if kind == VAE else key


def is_used(key: str, kind: str) -> bool:
    """Whether something of this kind is built of what has this name here."""
    if kind not in USED:
        return True
    if MARKS.fullmatch(key):
        return True
    return (
        any(re.match(part, key) for part in USED[kind]) and not re.search(r"\blora_", key) and not SILENT.fullmatch(key)
    )


_UNET = r"\n(diffusion_model\.)?input_blocks\."
_VECTOR = r"\n(diffusion_model\.)?label_emb\."
_NOISE = "where SUPIR and InstantIR need one that predicts noise, such as sd_xl_base_1.0"
_PREDICTIONS = {
    "EDM": "edm_mean",
    "v-prediction of EDM": "edm_vpred.sigma_max",
    "v-prediction": "v_pred",
    "zero terminal SNR": "ztsnr",
}
_PREDICTS_NOISE = rf"\A(?!(?s:.*)\n({'|'.join(map(re.escape, _PREDICTIONS.values()))})\n)"

KINDS: tuple[tuple[str, tuple[str, ...]], ...] = (
    (SUPIR, (r"control_model\.input_hint_block\.0\.weight\n", r"project_modules\.\d+\.zero_conv\.weight\n")),
    (PREVIEWER, (r"[._](lora|lora_down|lora_A)\b", r"attn2\.(processor\.)?ln_k_ip\.linear[._]lora")),
    (AGGREGATOR, (r"\nref_conv_in\.weight\n", r"\ncontrolnet_mid_block\.0\.mlp_shared\.0\.weight\n")),
    (
        ADAPTER,
        (r"\nimage_proj(_model)?\.latents\n", r"\n(ip_adapter|adapter_modules)\.1\.to_k_ip\.weight\n"),
    ),
    *(
        (f"an SDXL checkpoint with {name} ({mark}), {_NOISE}", (_UNET, _VECTOR, rf"\n{re.escape(mark)}\n"))
        for name, mark in _PREDICTIONS.items()
    ),
    (
        SDXL,
        (
            _PREDICTS_NOISE,
            _UNET,
            _VECTOR,
            r"\nconditioner\.embedders\.0\.transformer\.",
            r"\nconditioner\.embedders\.1\.model\.",
        ),
    ),
    (
        "a LoRA",
        (
            r"[._](lora_up|lora_down|lora_A|lora_B|lora\.up|lora\.down|dora_scale|hada_w1_a|lokr_w1|oft_diag|oft_blocks)\b",
        ),
    ),
    ("a ControlNet", (r"(zero_convs\.0|controlnet_cond_embedding)\.",)),
    ("SUPIR's adaptor without its connectors (project_modules)", (r"\ncontrol_model\.input_hint_block\.0\.weight\n",)),
    ("an SDXL refiner", (_UNET, _VECTOR, r"\nconditioner\.embedders\.0\.model\.")),
    ("an SDXL UNet without its text encoders", (_UNET, _VECTOR)),
    ("a Stable Diffusion 1 checkpoint", (_UNET, r"\ncond_stage_model\.transformer\.")),
    ("a Stable Diffusion 2 checkpoint", (_UNET, r"\ncond_stage_model\.model\.")),
    ("a Stable Diffusion UNet without its text encoders", (_UNET,)),
    ("a Stable Diffusion 3 model", (r"[.\n]joint_blocks\.\d+\.",)),
    ("a Flux model", (r"[.\n]double_blocks\.\d+\.", r"[.\n]single_blocks\.\d+\.")),
    ("a Flux model in diffusers' layout", (r"[.\n]single_transformer_blocks\.\d+\.",)),
    (DIFFUSERS_UNET, (r"\ndown_blocks\.\d+\.",)),
    (DR_ENCODER, (r"\n(first_stage_model\.)?denoise_encoder\.conv_in\.weight\n",)),
    (VAE, (r"\n(first_stage_model\.)?decoder\.(conv_in|mid|mid_block)\.",)),
    ("a text encoder", (r"text_model\.encoder\.layers\.",)),
)
"""What tells each kind from the others; the first whose patterns all occur counts."""

ADVICE = {
    "an SDXL UNet without its text encoders": WHOLE,
    DIFFUSERS_UNET: WHOLE,
    DR_ENCODER: "Name it as dr_encoder of `supir train adaptor`, whose result is whole SUPIR weights",
    VAE: "Name it with --vae (vae= in Python), beside the checkpoint",
    "a text encoder": WHOLE,
    "an SDXL refiner": "Take the SDXL base checkpoint, or one made from it",
    "a LoRA": "Take the checkpoint that it was made for",
    "SUPIR's adaptor without its connectors (project_modules)": "Take SUPIR-v0Q or SUPIR-v0F as published or pruned",
}
"""What to do with a file of a kind that was not asked for."""
