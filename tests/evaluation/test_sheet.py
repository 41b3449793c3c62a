"""The comparison sheet: columns under their names, and the details where pictures differ."""

import pytest
import torch

from supir_core.evaluation.sheet import GAP, draw_sheet, find_details

SIDE = 96


def pair():
    """A picture, and one of twice the size that differs in its lower right corner."""
    first = torch.full((3, SIDE, SIDE), 0.5)
    second = first.repeat_interleave(2, 1).repeat_interleave(2, 2)
    second[:, -48:, -48:] = torch.tensor([1.0, 0.0, 0.0])[:, None, None]
    return first, second


def test_a_detail_is_where_the_pictures_differ():
    first, second = pair()
    pictures = torch.stack([first.repeat_interleave(2, 1).repeat_interleave(2, 2), second])
    (box,) = find_details(pictures, 1, zoom=4.0)
    assert box == (0.75, 0.75, 0.25)


def test_details_do_not_lie_over_each_other():
    boxes = find_details(torch.rand(2, 3, 96, 128), 4, zoom=3.0)
    for number, one in enumerate(boxes):
        assert 0 <= one.left <= 128 / 96 - one.side + 1e-6 and 0 <= one.top <= 1 - one.side + 1e-6
        for other in boxes[number + 1 :]:
            apart = max(abs(one.left - other.left), abs(one.top - other.top))
            assert apart >= one.side - 1e-6


def test_pictures_lie_beside_each_other_with_the_detail_below():
    sheet = draw_sheet(pair(), ["before", "after"], details=1, width=SIDE)
    assert sheet.shape[:2] == (1, 3) and sheet.shape[3] == 2 * (SIDE + GAP) + GAP
    left, right = sheet[0, :, -GAP - SIDE // 2, GAP + SIDE // 2], sheet[0, :, -GAP - SIDE // 2, -GAP - SIDE // 2]
    assert (left - 0.5).abs().max() < 0.01
    assert right.tolist() == [1, 0, 0]


def test_more_pictures_than_columns_go_into_rows():
    one = draw_sheet([torch.rand(3, 40, 60)] * 3, details=0, width=60, columns=4)
    two = draw_sheet([torch.rand(3, 40, 60)] * 3, details=0, width=60, columns=2)
    assert two.shape[2] - GAP == 2 * (one.shape[2] - GAP)
    assert (one.shape[3], two.shape[3]) == (3 * (60 + GAP) + GAP, 2 * (60 + GAP) + GAP)


def test_a_name_is_drawn_above_its_picture():
    plain, named = (draw_sheet([torch.ones(3, 40, 60)], [name], details=0, width=60) for name in (".", "wide letters"))
    assert named.shape == plain.shape
    rows = (named != plain)[0].any(dim=0).any(dim=1).nonzero()
    assert len(rows) and rows.max() < named.shape[2] - GAP - 40


def test_a_given_centre_is_shown_and_stays_within():
    picture = torch.zeros(3, 100, 100)
    picture[:, :20, :20] = 1
    sheet = draw_sheet([picture], details=[(0.0, 0.0)], zoom=5.0, width=100)
    assert sheet[0, :, -GAP - 50, GAP + 50].tolist() == [1, 1, 1]


@pytest.mark.parametrize(
    ("pictures", "more", "message"),
    [
        ([], {}, "at least one picture"),
        ([torch.rand(3, 40, 60)], {"labels": ["a", "b"]}, "got 2 labels for 1 pictures"),
        ([torch.rand(3, 40, 60), torch.rand(3, 40, 40)], {}, "picture 2 has 40x40 pixels, which is another shape"),
        ([torch.rand(3, 40, 60)], {"details": [(0.5, 1.5)]}, "within 0 to 1 across and down, got 0.5 and 1.5"),
        ([torch.rand(3, 40, 60)], {"details": 10, "width": 64}, "10 details do not fit below a picture of 64 pixels"),
    ],
)
def test_what_cannot_be_drawn_is_said(pictures, more, message):
    with pytest.raises(ValueError, match=message):
        draw_sheet(pictures, **more)
