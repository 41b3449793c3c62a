"""Adaptive restoration of InstantIR."""

import pytest
import torch

from supir_core.instantir.adaptive import Adaptive, StepPreviews
from supir_core.instantir.correction import Correction
from supir_core.instantir.sampling import Control
from supir_core.restoration.tiling import Tile


def adapted(mode, previews, predictions):
    adaptive = Adaptive(mode)
    correction = Correction(Control(), adaptive, torch.ones(2))
    for preview, prediction in zip(previews, predictions, strict=True):
        if preview is not None:
            correction.previews.note(torch.full((1, 4, 2, 2), preview), [])
        correction.end_step(torch.full((1, 4, 2, 2), prediction))
    return adaptive.delta(torch.zeros(1, 4, 2, 2)).item()


def test_delta_compares_the_prediction_with_how_the_previews_move():
    assert adapted("residual", [2.0], [1.0]) == 0.25  # 1 / 4: before the first preview there is zero
    assert adapted("residual", [2.0, 3.0], [1.0, 2.5]) == 0.25
    assert adapted("residual", [2.0, 3.0], [1.0, 1.0]) == 4.0


def test_a_step_without_a_new_preview_changes_nothing():
    assert adapted("residual", [2.0, None], [1.0, 0.0]) == 0.25
    assert adapted("residual", [2.0, 2.0], [1.0, 0.0]) == 0.25
    assert adapted("residual", [0.0], [1.0]) == 1.0


def test_the_release_scales_the_residuals_and_the_paper_moves_the_reference():
    rows = torch.zeros(1, 4, 2, 2)
    adaptive = {mode: Adaptive(mode) for mode in ("none", "residual", "reference")}
    for each in adaptive.values():
        each.end_step(rows + 2, rows + 1)
    assert {mode: a.strength(0.8, rows).item() for mode, a in adaptive.items()} == pytest.approx(
        {"none": 0.8, "residual": 0.25, "reference": 0.8}
    )
    references = {mode: a.reference(rows + 4, rows)[0, 0, 0, 0].item() for mode, a in adaptive.items()}
    assert references == {"none": 4, "residual": 4, "reference": 3}  # a quarter of the way to the picture


def test_the_papers_first_reference_is_the_damaged_picture():
    preview, z_lq = torch.randn(1, 4, 2, 2), torch.randn(1, 4, 2, 2)
    torch.testing.assert_close(Adaptive("reference").reference(preview, z_lq), z_lq)


def test_previews_of_tiles_are_put_together_once():
    previews, preview = StepPreviews(), torch.randn(1, 4, 4, 6)
    tiles = [Tile(0, 0, 4, 4, 0), Tile(0, 2, 4, 4, 1)]
    previews.note(torch.cat([preview[..., :4], preview[..., 2:]]), tiles)
    torch.testing.assert_close(previews.take(preview), preview)
    assert previews.take(preview) is None


def test_an_unknown_mode_is_refused():
    with pytest.raises(ValueError, match="none, residual, reference"):
        Adaptive("paper")
