"""The workflows that restore parts of a picture, in a running ComfyUI with the demo's weights."""

import numpy as np
import pytest
from PIL import Image

from supir_core.command.demo import DAMAGED_FILE, WEIGHTS

from .demo_prompt import with_demo_weights
from .workflows import API, read

LEFT, TOP, RIGHT, BOTTOM = 30, 10, 78, 58
"""The face in the demo's photograph of 128 pixels."""


def pixels(path):
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def changed(before, after):
    """Rows and columns from the first to the last pixel that differs: left, top, right, bottom."""
    columns, rows = ((before != after).any(axis=2).any(axis=axis).nonzero()[0] for axis in (0, 1))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def run(server, prompt):
    run = server.run(prompt)
    assert run.end == "execution_success", run.messages[-1]
    return [pixels(path) for path in sorted(run.pictures)]


def test_faces_are_restored_in_the_restored_picture_and_nothing_else(server):
    """The face is given as the detector gives it: its model is not here."""
    prompt = with_demo_weights(read(API / "restore_faces.json"), {"SupirRestore": {"preset": "demo", "scale": 1.0}})
    kinds = {node["class_type"]: number for number, node in prompt.items()}
    detector, region, whole = (
        kinds[kind] for kind in ("MediaPipeFaceLandmarker", "SupirRestoreRegion", "SupirRestore")
    )
    box = {"x": LEFT, "y": TOP, "width": RIGHT - LEFT, "height": BOTTOM - TOP}
    prompt[detector] = {"class_type": "PrimitiveBoundingBox", "inputs": box}
    del prompt[kinds["LoadMediaPipeFaceLandmarker"]]
    assert prompt[region]["inputs"]["boxes"] == [detector, 1]
    prompt[region]["inputs"]["boxes"] = [detector, 0]
    save = {"images": [whole, 0], "filename_prefix": "SUPIR/a_whole", "bits": "8"}
    before, after = run(server, prompt | {"whole": {"class_type": "SupirSaveImage", "inputs": save}})
    assert changed(before, after) == pytest.approx((LEFT, TOP, RIGHT, BOTTOM), abs=1)


def test_only_what_is_painted_over_in_load_image_is_restored(server):
    """The mask editor saves what is painted as transparency."""
    with Image.open(WEIGHTS / DAMAGED_FILE) as photograph:
        photograph = photograph.convert("RGB")
    alpha = Image.new("L", photograph.size, 255)
    alpha.paste(0, (LEFT, TOP, RIGHT, BOTTOM))
    photograph.putalpha(alpha)
    photograph.save(server.base / "input" / "painted.png")
    changes = {"LoadImage": {"image": "painted.png"}}
    prompt = with_demo_weights(read(API / "restore_a_painted_region.json"), changes, keep=["LoadImage"])
    (after,) = run(server, prompt)
    assert changed(pixels(WEIGHTS / DAMAGED_FILE), after) == pytest.approx((LEFT, TOP, RIGHT, BOTTOM), abs=1)
