"""What the notes in the workflows say about files to download."""

from __future__ import annotations

SUPIR_PAGE = "https://huggingface.co/Kijai/SUPIR_pruned"
SDXL_PAGE = "https://huggingface.co/stabilityai/stable-diffusion-xl-base-1.0"
LLAVA_PAGE = "https://huggingface.co/llava-hf/llava-1.5-13b-hf"
INSTANTIR_PAGE = "https://huggingface.co/InstantX/InstantIR"
DINO_PAGE = "https://huggingface.co/facebook/dinov2-large"
UPSCALER_PAGE = "https://huggingface.co/Comfy-Org/Real-ESRGAN_repackaged"
FACES_PAGE = "https://huggingface.co/Comfy-Org/mediapipe"
LIGHTNING_PAGE = "https://huggingface.co/AiWise/Juggernaut-XL-V9-GE-RDPhoto2-Lightning_4S"

SUPIR_LINES = f"""- **SUPIR** into **models/model_patches**: **SUPIR-v0Q_fp16.safetensors** for heavy \
damage, **SUPIR-v0F_fp16.safetensors** for light damage, 2.7 GB each, from \
[Kijai/SUPIR_pruned]({SUPIR_PAGE}). SUPIR's weights are for **non-commercial** use.

Press **R** when the files are there, and choose them in the loaders."""

FILES = f"""## Files to download

- **SDXL** into **models/checkpoints**: **sd_xl_base_1.0_0.9vae.safetensors**, 6.9 GB, from \
[stabilityai]({SDXL_PAGE}); any other SDXL checkpoint will do.
{SUPIR_LINES}"""

FILES_LIGHTNING = f"""## Files to download

- **SDXL Lightning** into **models/checkpoints**: **juggernautXL_v9Rdphoto2Lightning.safetensors**, 7.1 \
GB, from [AiWise]({LIGHTNING_PAGE}); any other Lightning checkpoint of SDXL will do, a plain one will not.
{SUPIR_LINES}"""

CAPTIONER = f"""- **LLaVA** comes by itself when it is first asked, 27 GB from [llava-hf]({LLAVA_PAGE}); or put that folder \
into **models/LLM** and write its name into **model**. Smaller: **llava-hf/llava-1.5-7b-hf**. 4bit needs two packages: \
**pip install accelerate bitsandbytes**; without them choose **auto**."""

INSTANTIR_LINES = f"""- **InstantIR** into **models/model_patches**: **adapter.pt**, **aggregator.pt** and \
**previewer_lora_weights.bin** from [InstantX/InstantIR]({INSTANTIR_PAGE}).
- **DINOv2-large** into **models/clip_vision**: **model.safetensors** from \
[facebook/dinov2-large]({DINO_PAGE}). Another name will do: choose it in **Load CLIP Vision**."""

INSTANTIR_FILES = f"""## Files to download

- **SDXL** into **models/checkpoints**: **sd_xl_base_1.0_0.9vae.safetensors**, 6.9 GB, from \
[stabilityai]({SDXL_PAGE}); any other SDXL checkpoint will do.
{INSTANTIR_LINES}

Press **R** when the files are there, and choose them in the loaders."""
