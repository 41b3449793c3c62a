"""The label of a restored picture: how it was made, and that it is a reconstruction and not a record."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape, unescape

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from .guard import check_room, reading

SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia"
"""IPTC's digital source type: a composite that includes trained algorithmic media."""

DESCRIPTION = "Generative restoration ({}). Detail is reconstructed by a trained model and may differ from the scene."

SOFTWARE = "supir"

XMP_KEYWORD = "XML:com.adobe.xmp"

QUOTE = {'"': "&quot;"}
LABEL = re.compile(rb'supir:label="([^"]*)"')


@dataclass(frozen=True)
class Label:
    """What is written into the file.

    Attributes:
        method: what restored the picture.
        settings: how, by name.
        caption: what the prompt began with.
        sizing: the size that was asked for, by name, such as its scale.
        models: SHA-256 of each model file, by file name.
        input: SHA-256 of the picture file that was restored.
    """

    method: str
    settings: Mapping[str, Any]
    caption: str
    sizing: Mapping[str, Any]
    models: Mapping[str, str]
    input: str | None = None

    def text(self) -> dict[str, str]:
        """The label as entries of text."""
        settings = dict(self.settings)
        return {
            **provenance(self.method),
            "supir.seed": str(settings["seed"]),
            "supir.caption": self.caption,
            "supir.positive": settings.pop("positive"),
            "supir.negative": settings.pop("negative"),
            "supir.settings": json.dumps({**self.sizing, **settings}, sort_keys=True),
            "supir.models": json.dumps(dict(self.models), sort_keys=True),
            **({"supir.input": self.input} if self.input else {}),
        }


def provenance(method: str = "SUPIR") -> dict[str, str]:
    """The PNG text entries that every restored picture has."""
    return {"Description": DESCRIPTION.format(method), "Software": SOFTWARE}


def xmp_packet(text: Mapping[str, str], whole: bool) -> bytes:
    """An XMP packet with the digital source type and the description, and the ``whole`` label where it is asked for."""
    label = f'\n    supir:label="{escape(json.dumps(dict(text)), QUOTE)}"' if whole else ""
    return f"""<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/">
 <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
  <rdf:Description rdf:about=""
    xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
    xmlns:dc="http://purl.org/dc/elements/1.1/"
    xmlns:supir="urn:supir:label"
    Iptc4xmpExt:DigitalSourceType="{SOURCE_TYPE}"{label}>
   <dc:description><rdf:Alt><rdf:li xml:lang="x-default">{escape(text["Description"])}</rdf:li></rdf:Alt></dc:description>
  </rdf:Description>
 </rdf:RDF>
</x:xmpmeta>
<?xpacket end="w"?>""".encode()


def png_chunks(text: Mapping[str, str] | None, exif: bytes | None) -> list[tuple[bytes, bytes]]:
    """Chunks of a PNG for the entries of text, the XMP and what the camera wrote; readable, not compressed."""
    info = PngInfo()
    for key, value in (text or {}).items():
        info.add_itxt(key, value)
    if text:
        info.add_itxt(XMP_KEYWORD, xmp_packet(text, whole=False).decode())
    camera = [(b"eXIf", exif.removeprefix(b"Exif\0\0"))] if exif else []
    return camera + [chunk[:2] for chunk in info.chunks]


def read_label(path: Path) -> dict[str, str] | None:
    """The entries of text of a whole picture, ``None`` where it has none of ours.

    Raises:
        UnreadablePictureError: it is not a picture, or not whole.
        OSError: the file cannot be opened.
    """
    with reading(path), Image.open(path, formats=["PNG", "TIFF", "JPEG", "WEBP"]) as image:
        check_room(path, *image.size, len(image.getbands()), 1)
        image.load()
        xmp = image.info.get("xmp", b"")
        text = dict(getattr(image, "text", {}))
        found = LABEL.search(xmp if isinstance(xmp, bytes) else xmp.encode())
        if found and not text:
            text = json.loads(unescape(found[1].decode(), {"&quot;": '"'}))
            text[XMP_KEYWORD] = xmp.decode()
    return text if text.get("Software") == SOFTWARE else None
