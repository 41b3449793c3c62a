"""The notes in the workflows with InstantIR; see ``notes``."""

from __future__ import annotations

from .downloads import FILES, INSTANTIR_FILES, INSTANTIR_LINES, UPSCALER_PAGE

INSTANTIR = f"""# Restore with InstantIR

1. Choose the photograph in **Load Image**.
2. Run. The prompts are the published ones, for any picture; what it shows may go into **caption**.

At every step InstantIR looks at a preview of its result and corrects itself by the damaged picture. The \
previews of all steps are shown.

{INSTANTIR_FILES}

## What to turn first

- **cfg**: 7 as published; 3 to 5 where skin and texture look too smooth.
- **preview_start** 0.1 to 0.4: closer to the picture.
- **scale**: size of the result."""

CREATIVE = f"""# Creative restoration

Up to **creative_start** the damaged picture is followed, after it the **caption** decides: here the hair \
turns red.

1. Choose the photograph in **Load Image**.
2. Write into **caption** what the picture should show.
3. Run.

{INSTANTIR_FILES}

## What to turn first

- **creative_start**: less leaves more to the prompt; 0.6 to 0.8 also helps against local distortion.
- **cfg**: more follows the prompt more."""

INSTANTIR_4K = f"""# InstantIR at any size, in tiles

The example of 768 pixels becomes 3072; a picture of 1024 becomes 4096. Each tile has its own preview; what \
DINOv2 perceives is of the whole picture.

1. Choose the picture in **Load Image**.
2. Run. Time grows with the number of tiles, memory hardly.

{INSTANTIR_FILES}

## What to turn first

- **tile** and **overlap** in **SUPIR Tiles**: 0 is automatic, and shown on the node when it runs. Less memory with a \
tile of 768, fewer seams with more overlap."""

BOTH = f"""# SUPIR and InstantIR

Both restore the same picture with the same SDXL model. To save the time of one, mute its Save Image (Ctrl+M).

{FILES}
{INSTANTIR_LINES}"""

COMPARISON = f"""# Which one for this picture?

One sheet, saved in **output/SUPIR**: the picture as it was, Real-ESRGAN, **SUPIR** and **InstantIR**, and below \
them the details in which they differ most.

1. Choose the photograph in **Load Image**, and write what it shows into the two **caption** fields.
2. Run.

Real-ESRGAN takes seconds and invents little; where it is enough, use it.

{FILES}
{INSTANTIR_LINES}
- **Real-ESRGAN** into **models/upscale_models**: **RealESRGAN_x4plus.safetensors** from \
[Comfy-Org]({UPSCALER_PAGE}); any other upscaler will do.

For whole folders, tables and a page to look at: **supir evaluate**."""

INSTANTIR_NOTES = {
    "instantir_restore": (INSTANTIR, 570),
    "instantir_creative": (CREATIVE, 555),
    "instantir_4k_tiles": (INSTANTIR_4K, 520),
    "supir_and_instantir": (BOTH, 445),
    "comparison": (COMPARISON, 585),
}
"""By workflow."""
