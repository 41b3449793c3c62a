"""The label of a restored picture: how it was made, and that it is a reconstruction and not a record."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia"
"""IPTC's digital source type: a composite that includes trained algorithmic media."""

DESCRIPTION = "Generative restoration ({}). Detail is reconstructed by a trained model and may differ from the scene."

XMP_KEYWORD = "XML:com.adobe.xmp"


@dataclass(frozen=True)
class Label:
    """What is written into the file.

    Attributes:
        method: what restored the picture.
        settings: how, by name.
        caption: what the prompt began with.
        scale: factor of enlargement.
        size: exact (height, width) that was asked for instead.
        models: SHA-256 of each model file, by file name.
    """

    method: str
    settings: Mapping[str, Any]
    caption: str
    scale: float
    size: tuple[int, int] | None
    models: Mapping[str, str]

    def text(self) -> dict[str, str]:
        """The PNG text entries."""
        settings = dict(self.settings)
        size = {"size": self.size} if self.size else {"scale": self.scale}
        return {
            **provenance(self.method),
            "supir.seed": str(settings["seed"]),
            "supir.caption": self.caption,
            "supir.positive": settings.pop("positive"),
            "supir.negative": settings.pop("negative"),
            "supir.settings": json.dumps(size | settings, sort_keys=True),
            "supir.models": json.dumps(dict(self.models), sort_keys=True),
        }


def provenance(method: str = "SUPIR") -> dict[str, str]:
    """The PNG text entries that every restored picture has."""
    return {"Description": DESCRIPTION.format(method), "Software": "supir"}


def xmp_packet(description: str) -> str:
    """An XMP packet with the digital source type and the description."""
    return f"""<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/">
 <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
  <rdf:Description rdf:about=""
    xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
    xmlns:dc="http://purl.org/dc/elements/1.1/"
    Iptc4xmpExt:DigitalSourceType="{SOURCE_TYPE}">
   <dc:description><rdf:Alt><rdf:li xml:lang="x-default">{escape(description)}</rdf:li></rdf:Alt></dc:description>
  </rdf:Description>
 </rdf:RDF>
</x:xmpmeta>
<?xpacket end="w"?>"""


def png_info(text: Mapping[str, str]) -> Any:
    """Pillow's container of text entries and the XMP."""
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    for key, value in text.items():
        info.add_itxt(key, value)
    info.add_itxt(XMP_KEYWORD, xmp_packet(text["Description"]))
    return info


def read_label(path: Path) -> dict[str, str]:
    """The text entries of a PNG."""
    from PIL import Image

    with Image.open(path) as image:
        image.load()
        return dict(image.text)  # type: ignore[attr-defined]
