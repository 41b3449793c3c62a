"""Which files are pictures, by their names."""

from __future__ import annotations

from importlib.util import find_spec

from PIL import features

HEIF = find_spec("pillow_heif") is not None
JXL = find_spec("pillow_jxl") is not None

ALWAYS = [
    *(".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".webp", ".tif", ".tiff"),
    *(".bmp", ".dib", ".gif", ".ppm", ".pgm", ".pbm", ".pnm"),
]
RAW = [
    *(".dng", ".cr2", ".cr3", ".crw", ".nef", ".nrw", ".arw", ".sr2", ".orf", ".rw2", ".raf", ".pef", ".srw"),
    *(".3fr", ".iiq", ".x3f"),
]
OTHERS = [
    *(".psd", ".psb", ".xcf", ".exr", ".hdr", ".tga", ".pcx", ".sgi", ".ico", ".svg", ".eps", ".pdf"),
    *(".qoi", ".dds", ".jxr", ".pfm"),
]


def _unless(there: bool | None, remedy: str) -> str:
    return "" if there else remedy


KNOWN_SUFFIXES: dict[str, str] = {
    **dict.fromkeys(ALWAYS, ""),
    **dict.fromkeys(
        [".jp2", ".j2k", ".j2c", ".jpc", ".jpx", ".jpf"],
        _unless(features.check("jpg_2000"), "install a Pillow with JPEG 2000"),
    ),
    **dict.fromkeys([".heic", ".heif", ".hif"], _unless(HEIF, "install pillow-heif")),
    ".avif": _unless(features.check("avif") or HEIF, "install Pillow 11.3 or newer"),
    ".jxl": _unless(JXL, "install pillow-jxl-plugin"),
    **dict.fromkeys(RAW, "a raw file: develop it to a TIFF first"),
    **dict.fromkeys(OTHERS, "save it as TIFF or PNG first"),
    **dict.fromkeys([".tar", ".tgz", ".zip", ".7z"], "unpack it to a folder first"),
}
"""What to do about pictures of each kind that cannot be read here; nothing for those that can."""

SUFFIXES = tuple(suffix for suffix, remedy in KNOWN_SUFFIXES.items() if not remedy)
"""Of the pictures that can be read here."""
