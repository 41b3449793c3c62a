"""The models that the workflows use: where they are fetched and kept, and the nodes that load them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from .graph import Graph, Node, Output
from .notes import NOTES

HUB = "https://huggingface.co"

SDXL = "sd_xl_base_1.0_0.9vae.safetensors"
LIGHTNING = "juggernautXL_v9Rdphoto2Lightning.safetensors"
SUPIR_Q, SUPIR_F = "SUPIR-v0Q_fp16.safetensors", "SUPIR-v0F_fp16.safetensors"
ADAPTER, AGGREGATOR, PREVIEWER = "adapter.pt", "aggregator.pt", "previewer_lora_weights.pt"
"""The frontend offers no .bin to download; the loader finds the file under both endings."""

UPSCALER = "RealESRGAN_x4plus.safetensors"
FACES = "mediapipe_face_fp32.safetensors"
DINO = "model.safetensors"
"""As browsers save it."""


class Source(NamedTuple):
    """Where a file goes, and where it is on the hub."""

    folder: str
    repository: str
    path: str


SOURCES = {
    SDXL: Source("checkpoints", "stabilityai/stable-diffusion-xl-base-1.0", SDXL),
    LIGHTNING: Source("checkpoints", "AiWise/Juggernaut-XL-V9-GE-RDPhoto2-Lightning_4S", LIGHTNING),
    SUPIR_Q: Source("model_patches", "Kijai/SUPIR_pruned", SUPIR_Q),
    SUPIR_F: Source("model_patches", "Kijai/SUPIR_pruned", SUPIR_F),
    **{
        name: Source("model_patches", "InstantX/InstantIR", f"models/{path}")
        for name, path in {
            ADAPTER: ADAPTER,
            AGGREGATOR: AGGREGATOR,
            PREVIEWER: "previewer_lora_weights.bin",
        }.items()
    },
    UPSCALER: Source("upscale_models", "Comfy-Org/Real-ESRGAN_repackaged", UPSCALER),
    FACES: Source("detection", "Comfy-Org/mediapipe", f"detection/{FACES}"),
    DINO: Source("clip_vision", "facebook/dinov2-large", DINO),
}


HASHES = {
    SDXL: "e6bb9ea85bbf7bf6478a7c6d18b71246f22e95d41bcdd80ed40aa212c33cfeff",
    SUPIR_Q: "3eef33ec7633122ca23b1e5ef167faa048b5a0845768694d5e8070138ac013ce",
    SUPIR_F: "a8f1846de1985cf0473fac6d8c0ef17c9498a90d1c19906e944134c5572275d0",
    ADAPTER: "db88531801d0f2da8d0b26ceb7a45417b6accc1b486aa240e4b94e519c32a488",
    AGGREGATOR: "a6620aba5fbb9c19f4e251492cfffb85ffe05acf3b5bf4422b71ac4734c36897",
    PREVIEWER: "a5d73819966571b83fdfa976244d30cce506a3433e49a08522ea7afc2349274c",
    DINO: "399fba97a95f22c36834418bc69373364a99af3a1153da1c0fb31db567c92e23",
}
"""SHA-256 of the files, as the hub's pages of these repositories state it; of the others it is not known."""


def download(name: str) -> dict[str, str]:
    """Where ComfyUI may fetch a file that is missing, and what it has to be."""
    source = SOURCES[name]
    url = f"{HUB}/{source.repository}/resolve/main/{source.path}"
    known = {"hash": HASHES[name], "hash_type": "SHA256"} if name in HASHES else {}
    return {"name": name, "url": url, "directory": source.folder, **known}


def networks(base: Node, supir: Output) -> dict[str, Output]:
    """SDXL and SUPIR, as the nodes that restore take them."""
    return {name.lower(): base[name] for name in ("MODEL", "CLIP", "VAE")} | {"supir_model": supir}


class Loaded:
    """The first two columns: what to know, and models with a picture."""

    def __init__(self, graph: Graph, checkpoint: str = SDXL, supir: str = SUPIR_Q, picture: int = 300, note: int = 340):
        graph.column("Read me", note)
        graph.note(*NOTES[graph.name])
        graph.column("Models and picture", 310)
        self.base = graph.add("CheckpointLoaderSimple", models=[download(checkpoint)], ckpt_name=checkpoint)
        self.supir = graph.add("SupirModelLoader", models=[download(supir)], file=supir)["supir_model"]
        self.picture = graph.add("LoadImage", height=picture, image="example.png")
        self.image = self.picture["IMAGE"]

    @property
    def networks(self) -> dict[str, Output]:
        """What the nodes that restore take."""
        return networks(self.base, self.supir)

    def encode(self, graph: Graph, scale: float) -> Node:
        """Stage 1 of the picture."""
        return graph.add("SupirEncode", supir_model=self.supir, vae=self.base["VAE"], image=self.image, scale=scale)

    def captioner(self, graph: Graph) -> Output:
        """LLaVA."""
        return graph.add("SupirCaptioner", precision="4bit")["captioner"]

    def restore(self, graph: Graph, **given: object) -> Node:
        """The whole restoration."""
        return graph.add("SupirRestore", height=400, **self.networks, image=self.image, **given)

    def restore_region(self, graph: Graph, image: Output, **given: object) -> Node:
        """Only parts of a picture."""
        return graph.add("SupirRestoreRegion", height=440, **self.networks, image=image, **given)

    def decode(self, graph: Graph, latent: Output, stage1: Node) -> Output:
        """Latent to picture."""
        decoded = graph.add("VAEDecode", samples=latent, vae=self.base["VAE"])
        return graph.add("SupirColorFix", image=decoded["IMAGE"], reference=stage1["stage1"])["image"]


def save_sheet(graph: Graph, shown: Mapping[str, Output], prefix: str) -> Node:
    """Draw pictures beside each other under their names, and save that."""
    places = ("image", "image_2", "image_3", "image_4")
    pictures = dict(zip(places, shown.values(), strict=False))
    sheet = graph.add("SupirComparisonSheet", 300, **pictures, labels="\n".join(shown))["sheet"]
    return graph.add("SupirSaveImage", 190, images=sheet, filename_prefix=prefix)


def find_faces(graph: Graph, image: Output | None = None) -> tuple[Node, Node]:
    """The detector's loader, and the detector, for any number of near and far faces."""
    model = graph.add("LoadMediaPipeFaceLandmarker", models=[download(FACES)], model_name=FACES)
    found = graph.add(
        "MediaPipeFaceLandmarker",
        face_detection_model=model["FACE_DETECTION_MODEL"],
        image=image,
        detector_variant="both",
        num_faces=0,
    )
    return model, found


def show(graph: Graph, before: Output, after: Output, prefix: str, title: str = "", height: int = 260) -> Node:
    """Save the result, and compare it with the picture that came in, which the frontend enlarges."""
    saved = graph.add("SupirSaveImage", height, title, images=after, filename_prefix=prefix)
    compared = f"{title}, before and after" if title else "Before and after"
    graph.add("ImageCompare", height, compared, image_a=before, image_b=after)
    return saved
