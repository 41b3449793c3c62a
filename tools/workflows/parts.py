"""The workflows with every part of SUPIR as a node of its own."""

from __future__ import annotations

from .graph import Graph, Node, Output
from .models import LIGHTNING, SUPIR_F, Loaded, show
from .notes import NOTES

LOW = 220
"""Height of a picture's node where there are many others."""

TILE_CAPTIONS = """A blue sky with white clouds, a girl with long yellow hair.
A girl with long yellow hair before a blue sky, a cloud.
Green grass, a pink dress, an outstretched arm.
Green hills, a pink dress, an outstretched arm."""


def restore_4k_captioned(graph: Graph) -> None:
    """Four times as large; LLaVA describes each tile of stage 1."""
    loaded = Loaded(graph, picture=LOW, note=370)
    graph.column("Stage 1", 310)
    stage1 = loaded.encode(graph, scale=4.0)
    captioner = loaded.captioner(graph)
    geometry = {
        "tile": graph.add("PrimitiveInt", title="Tile", value=0)["INT"],
        "overlap": graph.add("PrimitiveInt", title="Overlap", value=128)["INT"],
    }
    graph.column("Every tile described", 310)
    shared = {"captioner": captioner, "image": stage1["stage1"], **geometry}
    described = graph.add("SupirCaptionTiles", 200, max_tokens=100, **shared)
    graph.add("PreviewAny", 180, "The captions, a line for each tile", source=described["lines"])
    graph.note(*NOTES["captions"])
    graph.column("Prompts", 310)
    prompts = graph.add("SupirConditioning", 300, clip=loaded.base["CLIP"], tile_captions=described["captions"])
    sample_prompted(graph, loaded, stage1, prompts, preset="quality", **geometry)


def step_by_step(graph: Graph) -> None:
    """Every node on its own."""
    loaded = Loaded(graph, picture=LOW, note=400)
    graph.column("1. Stage 1: the VAE alone", 290)
    stage1 = loaded.encode(graph, scale=2.0)
    graph.add("PreviewImage", LOW, "Stage 1", images=stage1["stage1"])
    graph.note(*NOTES["stage 1"])
    graph.column("2. Prompts", 310)
    prompts = graph.add("SupirConditioning", 300, clip=loaded.base["CLIP"])
    graph.column("3. A model that follows the picture", 310)
    model = graph.add("SupirDenoiser", model=loaded.base["MODEL"], supir_model=loaded.supir, z_lq=stage1["z_lq"])
    model = graph.add("SupirGuidance", model=model["model"], z_center=stage1["z_center"])
    model = graph.add("SupirTiles", model=model["model"])
    graph.note(*NOTES["model"])
    graph.column("4. Sampling", 290)
    shared = noise_and_guider(graph, model, prompts, stage1)
    ours = {"sampler": graph.add("SupirSamplerSelect")["sampler"]}
    ours["sigmas"] = graph.add("SupirScheduler")["sigmas"]
    graph.note(*NOTES["sampling"])
    graph.column("5. Result", 310)
    sampled = graph.add("SamplerCustomAdvanced", **shared, **ours)
    image = loaded.decode(graph, sampled["output"], stage1)
    show(graph, loaded.image, image, "SUPIR/step_by_step")


def noise_and_guider(graph: Graph, model: Node, prompts: Node, stage1: Node) -> dict[str, Output]:
    """What SamplerCustomAdvanced needs besides sampler and noise levels."""
    noise = graph.add("RandomNoise")
    guider = graph.add(
        "CFGGuider", model=model["model"], positive=prompts["positive"], negative=prompts["negative"], cfg=3.0
    )
    return {"noise": noise["NOISE"], "guider": guider["GUIDER"], "latent_image": stage1["empty"]}


def sample_in_one(graph: Graph, loaded: Loaded, caption: dict[str, object], **given: object) -> None:
    """Stage 1, prompts and our sampler in one node; latent to file."""
    graph.column("Stage 1 and prompts", 310)
    stage1 = loaded.encode(graph, scale=2.0)
    prompts = graph.add("SupirConditioning", 300, clip=loaded.base["CLIP"], **caption)
    sample_prompted(graph, loaded, stage1, prompts, **given)


def sample_prompted(graph: Graph, loaded: Loaded, stage1: Node, prompts: Node, **given: object) -> None:
    """Our sampler in one node; latent to file."""
    graph.column("Sampling", 310)
    sampled = graph.add(
        "SupirSampler",
        model=loaded.base["MODEL"],
        supir_model=loaded.supir,
        positive=prompts["positive"],
        negative=prompts["negative"],
        z_lq=stage1["z_lq"],
        z_center=stage1["z_center"],
        **given,
    )
    graph.column("Result", 340)
    image = loaded.decode(graph, sampled["latent"], stage1)
    show(graph, loaded.image, image, f"SUPIR/{graph.name}")


def lightning(graph: Graph) -> None:
    """Eight steps with a distilled checkpoint."""
    sample_in_one(graph, Loaded(graph, checkpoint=LIGHTNING), {}, preset="lightning")


def per_tile_prompts(graph: Graph) -> None:
    """A caption for each tile."""
    caption = {"caption": TILE_CAPTIONS, "line_per_tile": True}
    sample_in_one(graph, Loaded(graph), caption, preset="quality")


def custom_sampling(graph: Graph) -> None:
    """The published sampler, and one of ComfyUI's, on the same model."""
    loaded = Loaded(graph, supir=SUPIR_F, picture=LOW, note=460)
    graph.column("Stage 1 and prompts", 310)
    stage1 = loaded.encode(graph, scale=2.0)
    prompts = graph.add("SupirConditioning", 300, clip=loaded.base["CLIP"])
    graph.column("A model that follows the picture", 310)
    model = graph.add(
        "SupirDenoiser",
        model=loaded.base["MODEL"],
        supir_model=loaded.supir,
        z_lq=stage1["z_lq"],
        strength_end=0.9,
    )
    model = graph.add(
        "SupirGuidance",
        model=model["model"],
        z_center=stage1["z_center"],
        cfg_start=1.0,
        cfg_end=4.0,
        restoration_scale=4.0,
    )
    graph.column("Noise and guider", 290)
    shared = noise_and_guider(graph, model, prompts, stage1)

    def branch(sampler: Output, sigmas: Output, prefix: str, title: str) -> None:
        sampled = graph.add("SamplerCustomAdvanced", **shared, sampler=sampler, sigmas=sigmas)
        image = loaded.decode(graph, sampled["output"], stage1)
        graph.add("SupirSaveImage", images=image, filename_prefix=prefix)
        graph.add("ImageCompare", 145, f"{title}, before and after", image_a=loaded.image, image_b=image)

    graph.column("The paper's sampler", 290)
    sampler, sigmas = graph.add("SupirSamplerSelect", s_noise=1.01), graph.add("SupirScheduler")
    branch(sampler["sampler"], sigmas["sigmas"], "SUPIR/papers_sampler", "The paper's")
    graph.column("Any sampler of ComfyUI", 290)
    sampler = graph.add("KSamplerSelect", sampler_name="dpmpp_2m")
    sigmas = graph.add("BasicScheduler", model=model["model"], scheduler="karras", steps=20)
    branch(sampler["SAMPLER"], sigmas["SIGMAS"], "SUPIR/any_sampler", "Any sampler")


def easycache(graph: Graph) -> None:
    """Steps that change little are left out."""
    loaded = Loaded(graph, picture=LOW, note=400)
    graph.column("Stage 1 and prompts", 310)
    stage1 = loaded.encode(graph, scale=2.0)
    prompts = graph.add("SupirConditioning", 300, clip=loaded.base["CLIP"])
    graph.column("A model that leaves out steps", 310)
    model = graph.add("EasyCache", model=loaded.base["MODEL"], reuse_threshold=0.05)
    model = graph.add("SupirDenoiser", model=model["MODEL"], supir_model=loaded.supir, z_lq=stage1["z_lq"])
    model = graph.add("SupirGuidance", model=model["model"], z_center=stage1["z_center"])
    model = graph.add("SupirTiles", model=model["model"])
    graph.column("Sampling", 290)
    shared = noise_and_guider(graph, model, prompts, stage1)
    sampler, sigmas = graph.add("SupirSamplerSelect")["sampler"], graph.add("SupirScheduler")["sigmas"]
    graph.column("Result", 310)
    sampled = graph.add("SamplerCustomAdvanced", **shared, sampler=sampler, sigmas=sigmas)
    image = loaded.decode(graph, sampled["output"], stage1)
    show(graph, loaded.image, image, "SUPIR/easycache")
