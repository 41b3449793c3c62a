"""The bundled workflows as files: for the canvas by title, for the API by name."""

import json
import re

from .server import ROOT

WORKFLOWS = ROOT / "workflows"
API = WORKFLOWS / "api"


def files_by_name():
    """The files for the canvas, by the names of those for the API: "01 Restore 4K tiles" is restore_4k_tiles."""
    files = sorted(WORKFLOWS.glob("*.json"))
    return {re.sub(r"^\d+ ", "", file.stem).lower().replace(" ", "_"): file for file in files}


def read(path):
    return json.loads(path.read_text(encoding="utf-8"))
