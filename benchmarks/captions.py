"""Peak memory of caption and restoration in one graph of ComfyUI, against each alone.

A LLaVA of random weights describes stage 1 of the demo's photograph, which is then restored with the demo's weights; each case in
a server of its own. Its memory is that of the process, since there is no GPU to ask. ComfyUI is found through COMFYUI_PATH, else
in ~/ComfyUI.
"""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any

import measure

from tests.host.demo_prompt import with_demo_weights
from tests.host.server import ComfyServer, make_base
from tests.tiny_captioners import make_llava

LARGE = {"hidden_size": 2048, "intermediate_size": 5632, "num_hidden_layers": 8, "num_attention_heads": 16}
LARGE |= {"num_key_value_heads": 16, "initializer_range": 0.02}
SMALL = {"num_hidden_layers": 1}
WORKFLOW = measure.ROOT / "workflows" / "api" / "restore_4k_captioned.json"
FOLDER = "random"


def prompt(case: str, side: int) -> dict[str, Any]:
    """The workflow with one tile and one step: to the caption, from a caption, or the whole way."""
    words: dict[str, Any] = {"max_tokens": 8, "keep_loaded": case == "both, captioner kept"}
    if case == "restoration alone":
        words["edited"] = "a woman in uniform"
    nodes = with_demo_weights(
        json.loads(WORKFLOW.read_text(encoding="utf-8")),
        {
            "SupirEncode": {"scale": side / 128, "min_side": 64},
            "SupirCaptioner": {"model": FOLDER, "precision": "float32"},
            "SupirCaptionTiles": words,
            "Tile": {"value": side},
            "Overlap": {"value": 0},
            "SupirSampler": {"preset": "custom", "steps": 1},
        },
    )
    if case == "caption alone":
        nodes = {number: node for number, node in nodes.items() if node["class_type"] != "SupirSaveImage"}
    return nodes


def measure_case(case: str, side: int, base: Path, comfyui: Path) -> int:
    """Peak memory of a case over that of the server before it, in bytes."""
    with ComfyServer(comfyui, base) as server:
        before = measure.memory(server.process.pid).peak
        run = server.run(prompt(case, side))
        if run.end != "execution_success":
            raise RuntimeError(f"{case}: {run.messages[-1]}")
        return measure.memory(server.process.pid).peak - before


def main() -> None:
    """Measure all cases."""
    parser = measure.arguments(__doc__, device=False)
    parser.add_argument(
        "--side", type=measure.count, default=1024, help="of the restored picture in pixels (%(default)s)"
    )
    options = parser.parse_args()
    comfyui = measure.comfyui()
    side = 192 if options.quick else options.side
    os.environ.update(measure.LEAN_MALLOC)
    cases = ("caption alone", "restoration alone", "both", "both, captioner kept")
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder) / "base"
        make_base(base, comfyui)
        model = make_llava(base / "models" / "LLM" / FOLDER, **(SMALL if options.quick else LARGE))
        weights = (model / "model.safetensors").stat().st_size
        peaks = {case: measure_case(case, side, base, comfyui) for case in cases}
    larger = max(peaks["caption alone"], peaks["restoration alone"])
    rows = [
        {"case": case, "peak, MiB": round(size / measure.MIB), "of the larger": size / larger}
        for case, size in peaks.items()
    ]
    measure.print_table(f"Captioner of {weights / measure.MIB:.0f} MiB, picture of {side}x{side}", rows)
    measure.write_results("captions", {"weights": weights, "side": side, "peaks": peaks}, options)


if __name__ == "__main__":
    main()
