"""Pictures beside each other under their names, as one picture to share."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

from comfy_api.latest import io
from torch import Tensor

from ..supir_core.evaluation.sheet import draw_sheet
from ..supir_core.restoration.knobs import Knob
from .host import CATEGORY, to_image, to_picture
from .inputs import knob_input, text_input

MORE = ("image_2", "image_3", "image_4")

LAYOUT = {
    "details": Knob("How many details are enlarged below a picture.", 2, least=0, most=4),
    "zoom": Knob("Detail's sides in the picture's short side.", 4.0, least=1.0, most=32.0, step=0.5),
    "width": Knob("Of a column in pixels.", 512, least=64, most=4096),
    "columns": Knob("In a row; more pictures go into more rows.", 4, least=1, most=16),
}


class SupirComparisonSheet(io.ComfyNode):
    """Lay pictures out on a sheet."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        more = "More of them, beside the first: another method, or the picture that came in."
        return io.Schema(
            node_id="SupirComparisonSheet",
            display_name="SUPIR Comparison Sheet",
            category=CATEGORY,
            description="Draws pictures beside each other under their names, and below each the same details enlarged, where "
            "the pictures differ most. Every picture of a batch or a list gets a column: results of several seeds, of several "
            "settings, before and after.",
            search_aliases=["contact sheet", "compare", "comparison", "grid", "side by side", "xy plot", "montage"],
            is_input_list=True,
            inputs=[
                io.Image.Input(
                    "image", tooltip="Pictures of one shape and any size, shown at the size of the largest."
                ),
                *(io.Image.Input(name, optional=True, tooltip=more) for name in MORE),
                text_input(
                    "labels",
                    "Names of the pictures, one a line. Those without get their number.",
                ),
                knob_input("details", LAYOUT["details"]),
                io.String.Input(
                    "centers",
                    default="",
                    advanced=True,
                    tooltip="Where the details are, in percent across and down, such as 50 30, 20 80. Empty: where the "
                    "pictures differ most.",
                ),
                knob_input("zoom", LAYOUT["zoom"]),
                knob_input("width", LAYOUT["width"], step=16),
                knob_input("columns", LAYOUT["columns"]),
            ],
            outputs=[io.Image.Output(display_name="sheet", tooltip="The sheet. Save it with SUPIR Save Image.")],
        )

    @classmethod
    def execute(
        cls,
        image: list[Tensor],
        labels: list[str],
        details: list[int],
        centers: list[str],
        zoom: list[float],
        width: list[int],
        columns: list[int],
        image_2: list[Tensor] | None = None,
        image_3: list[Tensor] | None = None,
        image_4: list[Tensor] | None = None,
    ) -> io.NodeOutput:
        for (name, knob), (value, *_) in zip(LAYOUT.items(), (details, zoom, width, columns), strict=True):
            knob.check(name, value)
        given = chain(image, image_2 or (), image_3 or (), image_4 or ())
        pictures = [picture.clamp(0, 1) for batch in given for picture in to_picture(batch)]
        names = [line.strip() for line in "\n".join(labels).splitlines()]
        where = centers_in(centers[0]) or details[0]
        return io.NodeOutput(to_image(draw_sheet(pictures, names, where, zoom[0], width[0], columns[0])))


def centers_in(text: str) -> Sequence[tuple[float, float]]:
    """Points within 0 to 1 of a text such as ``50 30, 20 80``, in percent.

    Raises:
        ValueError: it is no such text.
    """
    try:
        pairs = [tuple(float(number) / 100 for number in pair.split()) for pair in text.split(",") if pair.strip()]
        return [(x, y) for x, y in pairs]
    except ValueError as error:
        raise ValueError(
            f'centers is two numbers a detail, in percent across and down, such as 50 30, 20 80; got "{text}"'
        ) from error
