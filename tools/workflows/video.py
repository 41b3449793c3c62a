"""The workflow with the frames of a video."""

from __future__ import annotations

from .graph import Graph, Output
from .models import SDXL, SUPIR_F, download
from .notes import FILES

VIDEO = "video.mp4"
"""Stands for the user's own, as ComfyUI brings none."""

NOTE = f"""# Restore a video, frame by frame

1. Choose the video in **Load Video**.
2. **Trim Video** takes a second of it, from **start time**: try that first. **duration** 0 is all of it.
3. Write what it shows into **caption**, and run. The result is in **output/SUPIR**, with its sound.

Each frame takes as long as a photograph. Beside the frames and their results, which ComfyUI holds in main memory, the memory \
is that of one: a frame of 1920x1080 takes 25 MB, and its result 100 MB at **scale** 2. Restore a long video in parts.

{FILES}

## What to turn first

- **same noise** on: what is invented flickers less. Nothing here knows of motion, so some flicker remains; where it \
matters take a model for video, such as SeedVR2.
- **preset** **fidelity** with SUPIR-v0F invents little, which is steadier. A Lightning checkpoint and the preset \
**lightning** take 8 steps instead of 50."""


def restore_video(graph: Graph) -> None:
    """A part of a video, frame by frame under one noise."""
    graph.column("Read me", 340)
    graph.note(NOTE, 620)
    graph.column("Models and video", 310)
    base = graph.add("CheckpointLoaderSimple", models=[download(SDXL)], ckpt_name=SDXL)
    supir = graph.add("SupirModelLoader", models=[download(SUPIR_F)], file=SUPIR_F)["supir_model"]
    video = graph.add("LoadVideo", 280, file=VIDEO)
    part = graph.add("Video Slice", video=video["VIDEO"], duration=1.0)
    frames = graph.add("GetVideoComponents", video=part["VIDEO"])
    graph.column("Restore every frame", 340)
    sockets = {name.lower(): base[name] for name in ("MODEL", "CLIP", "VAE")}
    restored = graph.add(
        "SupirRestore",
        400,
        **sockets,
        supir_model=supir,
        image=frames["images"],
        scale=2.0,
        preset="fidelity",
        same_noise=True,
    )
    graph.column("Result", 340)
    joined = graph.add("CreateVideo", images=restored["image"], audio=frames["audio"], fps=frames["fps"])
    saved = graph.add("SaveVideo", 300, video=joined["VIDEO"], filename_prefix="SUPIR/video")
    shown = {"image_a": first(graph, frames["images"]), "image_b": first(graph, restored["image"])}
    graph.add("ImageCompare", 220, "The first frame, before and after", **shown)
    graph.offer({video: ["file"], part: ["start_time", "duration"], restored: ["caption", "scale", "seed"]}, saved)


def first(graph: Graph, images: Output) -> Output:
    """The first picture of a batch."""
    return graph.add("ImageFromBatch", image=images)["IMAGE"]
