"""Settings in files: JSON, TOML or YAML, as the suffix says."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from typing import Any

PARSERS = {
    ".json": ("JSON", "json", "loads"),
    ".toml": ("TOML", "tomllib" if sys.version_info >= (3, 11) else "tomli", "loads"),
    ".yaml": ("YAML", "yaml", "safe_load"),
    ".yml": ("YAML", "yaml", "safe_load"),
}


def read_mapping(path: Path) -> dict[str, Any]:
    """Read settings by their names.

    Raises:
        ValueError: the file is of no such kind, cannot be parsed, or holds something else.
        OSError: the file cannot be read.
        ImportError: the parser is not installed.
    """
    if path.suffix.lower() not in PARSERS:
        raise ValueError(f"{path}: expected a file of settings that ends in {', '.join(PARSERS)}")
    kind, module, parse = PARSERS[path.suffix.lower()]
    parser, data = import_module(module), path.read_bytes()
    try:
        content = getattr(parser, parse)(data.decode("utf-8-sig"))
    except Exception as error:  # each parser has an error of its own
        raise ValueError(f"{path}: expected {kind} ({' '.join(str(error).split())})") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path}: expected settings by their names, such as steps, got {type(content).__name__}")
    return content
