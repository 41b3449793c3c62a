"""The workflows that restore parts of a picture."""

from __future__ import annotations

from collections.abc import Callable

from .graph import Graph
from .models import Loaded, find_faces, show

LOW = 190
"""Height of a picture's node where there are three below each other."""


def restore_faces(graph: Graph) -> None:
    """The whole picture, then each face of it at full size."""
    loaded = Loaded(graph, note=310)
    graph.column("Restore the whole", 340)
    restored = loaded.restore(graph, scale=2.0, preset="quality")
    graph.column("Restore the faces", 340)
    _, faces = find_faces(graph, image=restored["image"])
    region = loaded.restore_region(graph, restored["image"], boxes=faces["bboxes"], caption="a face")
    graph.column("Result", 320)
    saved = show(graph, loaded.image, region["image"], "SUPIR/restored_faces", height=LOW)
    graph.add("ImageCompare", LOW, "Without and with faces", image_a=restored["image"], image_b=region["image"])
    graph.offer({loaded.picture: ["image"], restored: ["caption", "scale", "seed"], region: ["caption", "seed"]}, saved)


def restore_a_painted_region(graph: Graph) -> None:
    """What is painted over in Load Image, and nothing else."""
    loaded = Loaded(graph)
    graph.column("Restore what is painted over", 340)
    region = loaded.restore_region(graph, loaded.image, mask=loaded.picture["MASK"])
    graph.column("Result", 340)
    saved = show(graph, loaded.image, region["image"], "SUPIR/restored_region")
    graph.offer({loaded.picture: ["image"], region: ["caption", "context", "feather", "seed"]}, saved)


REGION_DESCRIPTIONS: tuple[Callable[[Graph], None], ...] = (restore_faces, restore_a_painted_region)
