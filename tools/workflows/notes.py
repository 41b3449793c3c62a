"""The notes in the workflows: markdown, and the height it needs in the canvas."""

from __future__ import annotations

from .downloads import CAPTIONER, FACES_PAGE, FILES, FILES_LIGHTNING
from .instantir_notes import INSTANTIR_NOTES

RESTORE = f"""# Restore a photograph

1. Choose the photograph in **Load Image**.
2. Write what it shows into **caption**, in a sentence. It may stay empty.
3. Run. The result has twice the size, and is in **output/SUPIR**.

{FILES}

## What to turn first

- **scale**: size of the result.
- **preset**: **quality** invents more detail, for heavy damage. **fidelity** stays closer to the picture: \
take it, and SUPIR-v0F, where a face is no longer the same face.
- **seed**: another one is another try.
- Out of memory: a **tile** of 768."""

FACES = f"""# Restore faces

Small faces come out best when each is cut out, restored at full size and put back. Here that follows on the \
whole picture.

1. Choose the photograph in **Load Image**.
2. Write what it shows into **caption** of **SUPIR Restore**.
3. Run. The faces are found by ComfyUI (0.23 or newer) itself; where there is none, the picture stays as the \
first step made it.

{FILES}
- **Face detector** into **models/detection**: **mediapipe_face_fp32.safetensors**, from \
[Comfy-Org]({FACES_PAGE}).

## What to turn first

- **caption** of **SUPIR Restore Region**: one line for all faces, or one for each, from the top down.
- **strength** of it: 0.5 where a face is no longer the same face.
- A face is missed: lower **min_confidence**; or paint it: the workflow **Restore a painted region**."""

PAINTED = f"""# Restore a painted region

Only what you paint over changes, and nothing else by one bit.

1. Choose the photograph in **Load Image**, right-click it and choose **Open in MaskEditor**.
2. Paint over what is to be restored: a face, a scratch, a sign. Places that do not touch are restored one by one. Save.
3. Run. The result has the picture's size; enlarge a small one first, such as with the workflow **Restore**.

{FILES}

## What to turn first

- **caption**: what the place shows. One line for all places, or one for each, from the top down.
- **context**: more lets the model see more around it, and leaves it less detail.
- **feather**: over how many pixels the place fades in.
- **seed**: another one is another try."""

TILES = f"""# Four times as large, in tiles

The example of 768 pixels becomes 3072; a picture of 1024 becomes 4096.

1. Choose the picture in **Load Image**.
2. Write what it shows into **caption**.
3. Run. Time grows with the number of tiles, memory hardly.

{FILES}

## What to turn first

- **tile**: 0 is automatic: tiles of about a megapixel, planned to fit the picture in the least time. The node \
shows them when it runs. Less memory: 768.
- **overlap**: what neighbours share at least. Seams or doubled objects: 256 or 512, which takes longer.
- **Stage 1** shows what the VAE alone makes of the picture, at the final size: if it lost something, the \
result will not have it either."""

SCAN = f"""# A large blurred scan

A scan of 4000 pixels often holds no more detail than 1000 pixels would. The model restores those 1000 better, and in \
less time.

1. Choose the scan in **Load Image**, and write what it shows into **caption**.
2. Run. **SUPIR Size** measures how much detail there is, and the picture is shrunk to it first. The result has twice \
that size.

{FILES}

## What to turn first

- **by**: **scale** counts from the shrunk picture. **longest side** or **megapixels** for screens, **exact** for prints: \
the help of SUPIR Size has a table of centimetres.
- **shrink first**: **factor** for a scan that **auto** does not see through, such as one with grain under JPEG; \
**off** for sharp pictures.
- **fit**, with **exact**: **crop** cuts to the paper's shape, **pad** leaves white beside."""

SHEET = f"""# Four seeds on one sheet

One picture restored with four seeds, one after the other. The sheet in **output/SUPIR** has a column for each, and \
below it the details in which they differ most.

1. Choose the photograph in **Load Image**, and write what it shows into **caption**.
2. Run. It takes four times as long as one.

{FILES}

## What to turn first

- Other seeds: change the four numbers. More of them: connect more to **Create List**.
- **Four CFG values** instead: four **Float** nodes, and SUPIR Sampler with the preset **custom** \
(workflow *Lightning* has it): connect the list to **cfg_start** and **cfg_end**.
- **labels**, a line for each column."""


RESTORE_CAPTIONED = f"""# Restore a photograph, described by LLaVA

1. Choose the photograph in **Load Image**.
2. Run. LLaVA describes stage 1, the picture that the VAE alone makes of the damage; the caption is shown, and the \
restoration follows it.

To change the caption *before* the sampling: select **The caption** and press the **▷** above it, which runs only that far; copy the \
caption into **edited** of **SUPIR Caption**, change it, and run.

{FILES}
{CAPTIONER}

## What to turn first

- **edited**: trust LLaVA for scenery. For portraits, and anything with text or logos, write a short noun phrase \
yourself. Where there are words, LLaVA is not even loaded.
- Any node that gives a text may take SUPIR Caption's place: ComfyUI's **Generate Text**, Florence-2."""

TILES_CAPTIONED = f"""# Four times as large, every tile described

LLaVA describes each tile of stage 1, so that no tile grows what is in another.

1. Choose the picture in **Load Image**.
2. Select **The captions** and press the **▷** above it. Where a line is wrong, copy all into **edited** of \
**SUPIR Caption Tiles** and change it: a line for each tile.
3. Run. Other **Tile** or **Overlap**: empty **edited** first.

{FILES}
- **LLaVA** comes by itself when it is first asked, 27 GB; **4bit** needs **pip install accelerate bitsandbytes**."""

STEPS = f"""# Step by step

All that **SUPIR Restore** does, one node for each step, to look at and to change.

1. **Stage 1**: the VAE reads the damaged picture.
2. **Prompts**: what it shows, and quality words.
3. **Model**: SDXL, held to the picture, guided, in tiles.
4. **Sampling** from noise alone (**empty**).
5. **Result**: decoded, with the colours of stage 1.

Each step may be replaced by a node of yours: another sampler, a LoRA before the denoiser, a captioner for \
the prompt.

{FILES}"""

LIGHTNING = f"""# Eight steps

A Lightning checkpoint needs 8 steps instead of 50.

{FILES_LIGHTNING}

## What to turn first

- **preset** **lightning**: 8 steps of dpmpp_2m_sde, CFG 2.
- For other numbers choose preset **custom** and sampler **dpmpp_2m_sde**: **steps** 8 to 10, **cfg** 1.5 \
to 2 at both ends, **strength_end** 0.9 for livelier detail.
- Too much contrast, or faces too old: less CFG."""

PER_TILE = f"""# A caption for each tile

Each line of **caption** belongs to one tile, row by row from the top left: what is in this part of the \
picture. It keeps a large picture from growing a second face in the sky.

The example has 2 x 2 tiles: 768 pixels become 1536, tiles have 832 and share 128. With another size the \
sampler says how many lines it needs, and shows the tiles when it runs.

{FILES}

## What to turn first

- **caption**: short, only what is to be seen in the tile.
- **line_per_tile** off: one caption for all.
- **tile** and **overlap** of the sampler decide how many tiles there are."""

CUSTOM = f"""# SAMPLER, SIGMAS and GUIDER

**SUPIR Denoiser** gives a plain MODEL, so every sampler works. Here two restore the same picture from the \
same noise:

- **the paper's**: its sampler and noise levels;
- **dpmpp_2m** of ComfyUI, with 20 karras steps.

To save the time of one, mute its Save Image (Ctrl+M).

{FILES}

## What to turn first

- **SUPIR Guidance** sets CFG in place of CFGGuider's number, and pulls towards stage 1: restoration_scale \
1 holds faces and text, 4 is the paper's, 0 is off. A *larger* number pulls *less*."""

EASY_CACHE = f"""# Fewer calls of the networks

**EasyCache** watches how much the picture changes from step to step. Where that is little, it leaves a step out and \
goes on with what it knows. In tiles it leaves the step out in all of them.

{FILES}

## What to turn first

- **reuse_threshold** of EasyCache: larger leaves out more steps and is less true. With 0.05 the demo's small weights left out 5 of 16.
- **shifting** of SUPIR Tiles stays off: tiles that move have nothing to reuse. **LazyCache** in place of EasyCache goes \
with it."""

DEMO = """# Nothing to download

The pack brings small weights and a damaged photograph. This graph restores it on any computer, without a \
GPU, in about a minute.

1. Run.
2. Compare **stage 1** with the result.

The small weights show how the nodes work together. They are far from the quality of the real ones: for \
those open the workflow **restore**.

## What to turn first

- **caption**: what is in the picture.
- **scale**: 4 brings the photograph back to its 512 pixels.
- **tile** 256, **overlap** 64: the same in tiles."""

STAGE_1 = """**Look here first.** Stage 1 is what the encoder made of the damage, and all that the sampler \
will hold on to. What is missing here will be invented."""

CAPTION = """Selected, it has a **▷** that runs only as far as here. To change what it shows, copy it into **edited** of **SUPIR Caption**."""

CAPTIONS = """Selected, it has a **▷** that runs only as far as here. A line for each tile, row by row from the top left. To change them, copy all \
of them into **edited** of **SUPIR Caption Tiles**."""

SAMPLING = """As published: 50 steps with the paper's sampler, from **empty**, at full noise. s_noise 1.01 \
is true to the input, 1.02 gives more texture."""

MODEL = """- **SUPIR Denoiser**: strength below 1 lets the model roam.
- **SUPIR Guidance**: CFG 3 to 6 is **quality**, 1 to 4 **fidelity**; it replaces the number of CFGGuider. \
restoration_scale 1 holds faces and text, 4 is the paper's, 0 is off: *larger* pulls *less*.
- **SUPIR Tiles**: bypass it (Ctrl+B) for small pictures."""

NOTES: dict[str, tuple[str, int]] = {
    "restore": (RESTORE, 570),
    "restore_captioned": (RESTORE_CAPTIONED, 700),
    "restore_faces": (FACES, 740),
    "restore_a_painted_region": (PAINTED, 540),
    "restore_4k_tiles": (TILES, 585),
    "large_scan": (SCAN, 640),
    "contact_sheet": (SHEET, 600),
    "restore_4k_captioned": (TILES_CAPTIONED, 465),
    "step_by_step": (STEPS, 440),
    "lightning": (LIGHTNING, 500),
    "per_tile_prompts": (PER_TILE, 550),
    "custom_sampling": (CUSTOM, 465),
    "easycache": (EASY_CACHE, 440),
    **INSTANTIR_NOTES,
    "demo": (DEMO, 355),
    "stage 1": (STAGE_1, 100),
    "caption": (CAPTION, 110),
    "captions": (CAPTIONS, 120),
    "model": (MODEL, 150),
    "sampling": (SAMPLING, 100),
}
"""By workflow, or by the step that they stand under."""
