"""What a file is that is not what its name says, by its first bytes."""

from __future__ import annotations

import codecs

ARCHIVES = (b"\x1f\x8b", b"7z\xbc\xaf", b"Rar!", b"PK")
PICTURES = (b"\xff\xd8", b"\x89PNG")


def what_it_is(head: bytes) -> str:
    """A few words on a file, with what to do, by 64 bytes of it."""
    if not head:
        return "an empty file"
    if head.startswith(b"version https://git-lfs"):
        return "a Git LFS pointer in place of the file: fetch the real one with `git lfs pull` or download it again"
    if head.startswith(PICTURES):
        return "a picture"
    if head[4:8] == b"ftyp":
        return "of the family of HEIC, AVIF and MP4"
    if head.startswith(b"GGUF"):
        return "a GGUF file, quantised for other programs: take a .safetensors or .ckpt file"
    if head.startswith(ARCHIVES):
        return "an archive: unpack it, and name the file that was in it"
    if head.removeprefix(codecs.BOM_UTF8).lstrip()[:1] == b"<":
        return "a web page or other markup: the download link probably led to a page, not to the file"
    if not any(head):
        return "a file of zeros, which a download that broke off leaves: download it again"
    if all(byte in b"\t\n\r" or 32 <= byte < 127 for byte in head):
        return f"a text file ({' '.join(head.decode().split())!r})"
    return f"of no known kind (it starts with {head[:8].hex(' ')})"
