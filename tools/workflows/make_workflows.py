"""Writes the workflows that come with the pack, for the canvas, for the API and as pictures, and the texts of nodes.

python -m tools.workflows.make_workflows

Needs ComfyUI (COMFYUI_PATH) with its requirements, Playwright and Chromium: the API form is what ComfyUI's
own frontend makes of the canvas.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from tests.host.server import PACK, ROOT, ComfyServer, add_placeholders, find_comfyui, make_base

from .blueprints import blueprints
from .graph import Graph, Node, ObjectInfo, Output
from .instantir import INSTANTIR_DESCRIPTIONS
from .models import LIGHTNING, SUPIR_F, Loaded, save_sheet, show
from .notes import NOTES
from .regions import REGION_DESCRIPTIONS
from .texts import to_text, write_texts
from .thumbnails import QUALITY, before_after
from .video import restore_video

if TYPE_CHECKING:
    from tests.host.browser import Browser

WORKFLOWS = ROOT / "workflows"
API = WORKFLOWS / "api"
SUBGRAPHS = ROOT / "subgraphs"
QUICK_START = ROOT / "docs" / "quick_start.png"
THUMBNAIL_WIDTH, QUICK_START_WIDTH = 400, 1200

LOW = 220
"""Height of a picture's node where there are many others."""

DEMO_CAPTION = "A woman in uniform."
TILE_CAPTIONS = """A blue sky with white clouds, a girl with long yellow hair.
A girl with long yellow hair before a blue sky, a cloud.
Green grass, a pink dress, an outstretched arm.
Green hills, a pink dress, an outstretched arm."""


def restore(graph: Graph) -> None:
    """The quick start: one node does everything."""
    loaded = Loaded(graph)
    graph.column("Restore", 340)
    restored = loaded.restore(graph, scale=2.0, preset="quality")
    graph.column("Result", 340)
    saved = show(graph, loaded.image, restored["image"], "SUPIR/restored")
    graph.offer({loaded.picture: ["image"], restored: ["caption", "scale", "preset", "seed"]}, saved)


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
    show(graph, loaded.image, restored["image"], "SUPIR/restored_captioned")


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


DESCRIPTIONS: tuple[Callable[[Graph], None], ...] = (
    restore,
    demo,
    restore_captioned,
    *REGION_DESCRIPTIONS,
    restore_4k_tiles,
    large_scan,
    contact_sheet,
    restore_4k_captioned,
    restore_video,
    step_by_step,
    lightning,
    per_tile_prompts,
    custom_sampling,
    *INSTANTIR_DESCRIPTIONS,
)
"""By importance."""


def describe(info: ObjectInfo) -> list[Graph]:
    """All workflows."""
    graphs = [Graph(given.__name__, info, PACK, number) for number, given in enumerate(DESCRIPTIONS, 1)]
    for graph, description in zip(graphs, DESCRIPTIONS, strict=True):
        description(graph)
    return graphs


def clear() -> None:
    """Remove what an earlier run wrote: names and numbers may be others now."""
    for path in [*WORKFLOWS.glob("*.json"), *WORKFLOWS.glob("*.jpg"), *API.glob("*.json"), *SUBGRAPHS.glob("*.json")]:
        path.unlink()


def write(graph: Graph, browser: Browser) -> None:
    """Write a workflow for the canvas, for the API, and its thumbnail."""
    workflow, path = graph.to_json(), WORKFLOWS / graph.file
    path.write_text(to_text(workflow), encoding="utf-8")
    browser.load(workflow)
    (API / f"{graph.name}.json").write_text(to_text(browser.to_prompt()), encoding="utf-8")
    if graph.uses("SupirModelLoader") or graph.uses("SupirDemoLoader"):
        before_after(graph.number - 1, graph.title).save(path.with_suffix(".jpg"), quality=QUALITY)
    else:  # no demo weights of InstantIR show what it does
        browser.draw(path.with_suffix(".jpg"), THUMBNAIL_WIDTH)
    if graph.name == restore.__name__:
        browser.draw(QUICK_START, QUICK_START_WIDTH)


def enlarge(source: Path, target: Path) -> None:
    """The demo's photograph, for the drawings: it fills its node so."""
    with Image.open(source) as picture:
        picture.resize((512, 512), Image.Resampling.BICUBIC).save(target)


def main() -> None:
    """Write all files."""
    from tests.host.browser import Browser  # Playwright, which the descriptions do without

    comfyui = find_comfyui()
    if comfyui is None:
        raise SystemExit("no ComfyUI: set COMFYUI_PATH to its folder")
    API.mkdir(parents=True, exist_ok=True)
    SUBGRAPHS.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder) / "base"
        make_base(base, comfyui)
        add_placeholders(base)
        enlarge(ROOT / "demo" / "damaged.png", base / "input" / "example.png")
        with ComfyServer(comfyui, base) as server, Browser(server.url) as browser:
            info = server.get("/object_info")
            write_texts(info)
            clear()
            for name, blueprint in blueprints(info, PACK).items():
                (SUBGRAPHS / f"{name}.json").write_text(to_text(blueprint), encoding="utf-8")
            for graph in describe(info):
                write(graph, browser)
                print(graph.file)


if __name__ == "__main__":
    main()
