"""The workflows with SUPIR Restore, one node that does everything."""

from __future__ import annotations

from .graph import Graph
from .models import Loaded, save_sheet, show
from .notes import NOTES

DEMO_CAPTION = "A woman in uniform."


def restore(graph: Graph) -> None:
    """The quick start: one node does everything."""
    loaded = Loaded(graph)
    graph.column("Restore", 340)
    restored = loaded.restore(graph, scale=2.0, preset="quality")
    graph.column("Result", 340)
    saved = show(graph, loaded.image, restored["image"], "SUPIR/restored")
    graph.offer({loaded.picture: ["image"], restored: ["caption", "scale", "preset", "seed"]}, saved)


def demo(graph: Graph) -> None:
    """The weights and the photograph that come with the pack."""
    graph.column("Read me", 340)
    graph.note(*NOTES[graph.name])
    graph.column("Demo weights and photograph", 280)
    loaded = graph.add("SupirDemoLoader")
    graph.column("Restore", 340)
    sockets = {name: loaded[name] for name in ("model", "clip", "vae", "supir_model", "image")}
    restored = graph.add("SupirRestore", 440, **sockets, caption=DEMO_CAPTION, scale=4.0, preset="demo")
    graph.column("Result", 340)
    show(graph, loaded["image"], restored["image"], "SUPIR/demo")
    graph.add("PreviewImage", 220, "Stage 1", images=restored["stage1"])


def restore_captioned(graph: Graph) -> None:
    """The quick start, with LLaVA's words on stage 1."""
    loaded = Loaded(graph)
    graph.column("Stage 1, described", 340)
    stage1 = loaded.encode(graph, scale=1.0)
    captioner = loaded.captioner(graph)
    caption = graph.add("SupirCaption", 300, captioner=captioner, image=stage1["stage1"])["caption"]
    graph.beside(290)
    graph.add("PreviewAny", 340, "The caption", source=caption)
    graph.note(*NOTES["caption"])
    graph.column("Restore", 340)
    restored = loaded.restore(graph, caption=caption, scale=2.0, preset="quality")
    graph.column("Result", 340)
    show(graph, loaded.image, restored["image"], "SUPIR/restored_captioned", height=240)


def restore_4k_tiles(graph: Graph) -> None:
    """Four times as large, in tiles."""
    loaded = Loaded(graph)
    graph.column("Restore in tiles", 340)
    restored = loaded.restore(graph, scale=4.0, preset="quality")
    graph.column("Result", 340)
    saved = show(graph, loaded.image, restored["image"], "SUPIR/restored_4k")
    graph.offer({loaded.picture: ["image"], restored: ["caption", "preset", "seed"]}, saved)
    graph.add("PreviewImage", 220, "Stage 1", images=restored["stage1"])


def large_scan(graph: Graph) -> None:
    """A large blurred scan, shrunk to the detail that it holds, and enlarged from there."""
    loaded = Loaded(graph)
    graph.column("Restore", 340)
    size = graph.add("SupirSize", **{"by": "scale", "by.scale": 2.0, "shrink_first": "auto"})
    restored = loaded.restore(graph, size=size["size"], preset="quality")
    graph.column("Result", 340)
    saved = show(graph, loaded.image, restored["image"], "SUPIR/large_scan")
    graph.offer({loaded.picture: ["image"], restored: ["caption", "preset", "seed"]}, saved)


def contact_sheet(graph: Graph) -> None:
    """Four seeds of one picture, on one sheet."""
    loaded = Loaded(graph)
    graph.column("Four seeds", 290)
    seeds = range(4)
    numbers = [graph.add("PrimitiveInt", title=f"Seed {seed}", value=seed)["INT"] for seed in seeds]
    inputs = {f"inputs.input{place}": number for place, number in enumerate(numbers)}
    listed = graph.add("CreateList", 130, **inputs)["list"]  # it has one more, for the next
    graph.beside(340)
    restored = loaded.restore(graph, scale=2.0, preset="quality", seed=listed)
    graph.column("Result", 340)
    save_sheet(graph, {"\n".join(f"seed {seed}" for seed in seeds): restored["image"]}, "SUPIR/contact_sheet")
    graph.add("ImageCompare", 190, "Before and after", image_a=loaded.image, image_b=restored["image"])
