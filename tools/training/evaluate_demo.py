"""How good the demo weights are on the two photographs that they never saw: the tables of demo/README.md.

python -m tools.training.evaluate_demo
python -m tools.training.evaluate_demo gain --method Real-ESRGAN=Real-ESRGAN.safetensors    # beside a rival

Everything is measured by ``supir evaluate``; what it makes is kept, and the same command goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from supir_core.command import cli
from supir_core.command.demo import DAMAGE, load_demo_model
from supir_core.command.methods import STAGE1
from supir_core.evaluation.cases import safe
from supir_core.evaluation.degradation import SETTINGS, damage
from supir_core.files.pictures import read_picture, write_picture
from supir_core.restoration.canvas import resize
from supir_core.sdxl.vae import from_unit, to_unit

from .demo_photographs import HELD_OUT

PROMPTS = {"astronaut": "A woman in uniform.", "chelsea": "A cat."}
SEEDS = ("0", "1", "2")
FREE = {"preset": "demo", "steps": 8, "control": [1, 1], "restoration_scale": 0, "color_fix": "none"}
"""Nothing that would hide what a knob or a tile's border does, as a file of settings says it."""

KNOBS: dict[str, dict[str, object]] = {
    "demo's settings": {"preset": "demo"},
    "nothing: control 1, CFG 1, no guidance, no colour fix": FREE,
    **{f"restoration scale {scale:g}": {**FREE, "restoration_scale": scale} for scale in (4.0, 2.0, 1.0, 0.5, 0.25)},
    **{f"control {strength:g}": {**FREE, "control": [strength, strength]} for strength in (0.8, 0.5, 0.0)},
    **{f"CFG {cfg:g}": {**FREE, "cfg": [cfg, cfg]} for cfg in (2.0, 4.0, 7.5)},
    **{f"colour fix {color}": {**FREE, "color_fix": color} for color in ("wavelet", "adain")},
    **{f"steps {steps}": {**FREE, "steps": steps} for steps in (1, 2, 4, 20)},
    "DPM++ 2M SDE, 8 steps": {**FREE, "sampler": "dpmpp_2m_sde"},
}


def photographs(folder: Path) -> Path:
    """The held-out photographs as files, with their captions beside them."""
    from skimage import data

    folder.mkdir(parents=True, exist_ok=True)
    for name in HELD_OUT:
        Image.fromarray(getattr(data, name)()).save(folder / f"{name}.png")
        (folder / f"{name}.txt").write_text(PROMPTS[name], encoding="utf-8")
    return folder


def evaluate(
    clean: Path,
    output: Path,
    methods: Sequence[str],
    metrics: Sequence[str],
    settings: Sequence[str] = (DAMAGE,),
    seeds: Sequence[str] = SEEDS,
    *more: str,
) -> None:
    """Run ``supir evaluate`` with the demo weights, and print its table."""
    lists = {"--method": methods, "--metric": metrics, "--setting": settings, "--seed": seeds}
    words = [word for name, values in lists.items() for value in values for word in (name, value)]
    if cli.main(["evaluate", str(clean), "-o", str(output), "--demo", "--quiet", *words, *more]):
        raise SystemExit(1)
    say((output / "table.md").read_text(encoding="utf-8"))


def gain(folder: Path, clean: Path, rivals: Sequence[str] = ()) -> None:
    """The picture against the damaged one enlarged, and against rivals, for each damage of the paper's Table 1.

    SSIM stands beside, as the weights were trained on the other two.
    """
    methods = ["bicubic", *rivals, "supir"]
    evaluate(clean, folder / "gain", methods, ["psnr", "gmsd", "ssim"], tuple(SETTINGS), SEEDS, "--stage1")


@torch.no_grad()
def encoders(folder: Path, clean: Path) -> None:
    """The decoded picture, read with either encoder."""
    model = load_demo_model()
    readers = {"the plain encoder": None, "the degradation-robust encoder": model.dr_encoder}
    made = folder / "decoded"

    def decoded(picture: Tensor, encoder: torch.nn.Module | None = None) -> Tensor:
        return to_unit(model.vae.decode(model.vae.encode(from_unit(picture), encoder)))

    for file in sorted(clean.glob("*.png")):
        picture = read_picture(file)
        original = picture[..., : picture.shape[2] // 8 * 8, : picture.shape[3] // 8 * 8]
        for seed in SEEDS:
            place = Path(DAMAGE, f"seed{seed}", file.name)
            enlarged = resize(damage(original, DAMAGE, int(seed)), (original.shape[2], original.shape[3]))
            for name, encoder in readers.items():
                write_picture(made / name / place, decoded(enlarged, encoder)[0])
            write_picture(made / "the plain encoder, on the undamaged picture" / place, decoded(original)[0])
    names = [*readers, "the plain encoder, on the undamaged picture"]
    evaluate(clean, folder / "encoders", [f"{name}={made / name}" for name in names], ["psnr", "gmsd"])


def directions(folder: Path, clean: Path) -> None:
    """What each knob does, from eight steps without guidance or colour fix; one seed. Then the distance to stage 1."""
    kept, output = folder / "settings", folder / "directions"
    kept.mkdir(parents=True, exist_ok=True)
    methods = []
    for number, (name, given) in enumerate(KNOBS.items()):
        file = kept / f"{number}.json"
        file.write_text(json.dumps(given), encoding="utf-8")
        methods.append(f"{name}=supir:{file}")
    one = SEEDS[:1]
    evaluate(clean, output, methods[:1], ["psnr", "gmsd"], (DAMAGE,), one, "--stage1")
    evaluate(clean, output, methods, ["psnr", "gmsd"], (DAMAGE,), one)
    restored = output / "restored" / DAMAGE
    (first, *_) = KNOBS
    stage1 = restored / safe(first + STAGE1) / "seed0"
    results = [f"{name}={restored / safe(name) / 'seed0'}" for name in KNOBS]
    damaged = output / "damaged" / DAMAGE / "seed0"
    evaluate(damaged, folder / "to stage 1", results, ["psnr"], (), one, "--reference", str(stage1))


PARTS: dict[str, Callable[[Path, Path], None]] = {
    "gain": gain,
    "encoders": encoders,
    "directions": directions,
}


def say(*lines: str) -> None:
    """Print at once, as some tables take minutes."""
    sys.stdout.write("\n".join(lines) + "\n")
    sys.stdout.flush()


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], help="all by default")
    text = "what to measure beside bicubic and the demo weights in the first table, as of supir evaluate; repeatable"
    parser.add_argument("--method", action="append", default=[], help=text)
    parser.add_argument("--output", type=Path, default=Path("demo_output"), help="folder for everything that is made")
    options = parser.parse_args()
    clean = photographs(options.output / "photographs")
    parts = {**PARTS, "gain": partial(gain, rivals=options.method)}
    for part in options.parts or parts:
        say("", f"{part}:", "")
        parts[part](options.output, clean)


if __name__ == "__main__":
    main()
