"""The workflows with InstantIR."""

from __future__ import annotations

from collections.abc import Callable

from supir_core.instantir.settings import NEGATIVE_PROMPT, POSITIVE_PROMPT

from .graph import Graph, Node, Output
from .models import ADAPTER, AGGREGATOR, DINO, PREVIEWER, SDXL, UPSCALER, Loaded, download, save_sheet, show
from .notes import NOTES


def load_instantir(graph: Graph) -> dict[str, Output]:
    """InstantIR's files and DINOv2, as InstantIR Apply takes them."""
    files = {"adapter": ADAPTER, "aggregator": AGGREGATOR, "previewer": PREVIEWER}
    models = [download(name) for name in files.values()]
    loaded = graph.add("InstantIRModelLoader", models=models, **files)
    vision = graph.add("CLIPVisionLoader", models=[download(DINO)], clip_name=DINO)
    return {"instantir_model": loaded["instantir_model"], "clip_vision": vision["CLIP_VISION"]}


def begin(graph: Graph) -> tuple[Node, dict[str, Output], Node]:
    """The first two columns: what to know, and models with a picture."""
    graph.column("Read me", 340)
    graph.note(*NOTES[graph.name])
    graph.column("Models and picture", 310)
    base = graph.add("CheckpointLoaderSimple", models=[download(SDXL)], ckpt_name=SDXL)
    instantir = load_instantir(graph)
    return base, instantir, graph.add("LoadImage", height=300, image="example.png")


def apply_and_sample(
    graph: Graph,
    base: Node,
    instantir: dict[str, Output],
    image: Output,
    *,
    caption: str = "",
    cfg: float = 7.0,
    scale: float = 1.0,
    tiles: bool = False,
    **given: object,
) -> tuple[Output, Node]:
    """From the picture to the restored one, and the sampler."""
    graph.column("InstantIR on the model", 310)
    sockets = {"model": base["MODEL"], "vae": base["VAE"], "image": image}
    applied = graph.add("InstantIRApply", **sockets, **instantir, scale=scale, **given)
    model = graph.add("SupirTiles", model=applied["model"])["model"] if tiles else applied["model"]
    words = {"positive_words": POSITIVE_PROMPT, "negative_words": NEGATIVE_PROMPT}
    prompts = graph.add("SupirConditioning", 300, clip=base["CLIP"], caption=caption, **words)
    graph.column("Sampling", 290)
    sampled = graph.add(
        "InstantIRSampler",
        model=model,
        positive=prompts["positive"],
        negative=prompts["negative"],
        z_lq=applied["z_lq"],
        cfg=cfg,
    )
    decoded = graph.add("VAEDecode", samples=sampled["latent"], vae=base["VAE"])
    fixed = graph.add("SupirColorFix", image=decoded["IMAGE"], reference=applied["picture"], mode="none")
    return fixed["image"], sampled


def instantir_restore(graph: Graph) -> None:
    """One picture, and the previews on the way to it."""
    base, instantir, picture = begin(graph)
    restored, sampled = apply_and_sample(graph, base, instantir, picture["IMAGE"])
    graph.column("Result", 340)
    saved = show(graph, picture["IMAGE"], restored, "InstantIR/restored", height=210)
    graph.offer({picture: ["image"], sampled: ["cfg", "seed"]}, saved)
    previews = graph.add("VAEDecode", samples=sampled["previews"], vae=base["VAE"])
    graph.add("PreviewImage", 210, "The previews of all steps", images=previews["IMAGE"])


def instantir_creative(graph: Graph) -> None:
    """The prompt decides the last steps."""
    base, instantir, picture = begin(graph)
    caption = "A girl with long red hair, autumn leaves."
    restored, _ = apply_and_sample(
        graph, base, instantir, picture["IMAGE"], caption=caption, cfg=5.0, creative_start=0.6
    )
    graph.column("Result", 340)
    show(graph, picture["IMAGE"], restored, "InstantIR/creative")


def instantir_4k_tiles(graph: Graph) -> None:
    """Four times as large, in tiles."""
    base, instantir, picture = begin(graph)
    restored, _ = apply_and_sample(graph, base, instantir, picture["IMAGE"], cfg=5.0, tiles=True, scale=4.0)
    graph.column("Result", 340)
    show(graph, picture["IMAGE"], restored, "InstantIR/restored_4k")


def supir_and_instantir(graph: Graph) -> None:
    """Both methods on one picture."""
    loaded = Loaded(graph)
    instantir = load_instantir(graph)
    restored, _ = apply_and_sample(graph, loaded.base, instantir, loaded.image, scale=2.0)
    graph.column("SUPIR", 340)
    supir = loaded.restore(graph, scale=2.0, preset="quality")
    graph.column("Results", 340)
    show(graph, loaded.image, restored, "SUPIR/by_instantir", "InstantIR", 190)
    show(graph, loaded.image, supir["image"], "SUPIR/by_supir", "SUPIR", 190)


def comparison(graph: Graph) -> None:
    """A fast upscaler and both methods, on one sheet."""
    loaded = Loaded(graph)
    instantir = load_instantir(graph)
    restored, _ = apply_and_sample(graph, loaded.base, instantir, loaded.image, scale=2.0)
    graph.column("SUPIR", 340)
    supir = loaded.restore(graph, scale=2.0, preset="quality")
    graph.column("A fast upscaler", 340)
    upscaler = graph.add("UpscaleModelLoader", models=[download(UPSCALER)], model_name=UPSCALER)["UPSCALE_MODEL"]
    upscaled = graph.add("ImageUpscaleWithModel", upscale_model=upscaler, image=loaded.image)["IMAGE"]
    graph.column("Sheet", 340)
    shown = {"Input": loaded.image, "Real-ESRGAN": upscaled, "SUPIR": supir["image"], "InstantIR": restored}
    save_sheet(graph, shown, "SUPIR/comparison")
    graph.add("ImageCompare", 190, "SUPIR, before and after", image_a=loaded.image, image_b=supir["image"])


INSTANTIR_DESCRIPTIONS: tuple[Callable[[Graph], None], ...] = (
    instantir_restore,
    instantir_creative,
    instantir_4k_tiles,
    supir_and_instantir,
    comparison,
)
