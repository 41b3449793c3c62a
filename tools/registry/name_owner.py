"""Writes into pyproject.toml what only the owner of a repository knows, before the pack is published.

python -m tools.registry.name_owner PUBLISHER https://github.com/OWNER/NAME
"""

from __future__ import annotations

import argparse
from pathlib import Path

PYPROJECT = Path(__file__).parents[2] / "pyproject.toml"
NOBODY = 'PublisherId = ""\n'
ICON, BANNER = "workflows/01%20Restore.jpg", "docs/demo_astronaut.jpg"


def with_owner(pyproject: str, publisher: str, repository: str) -> str:
    """The text of pyproject.toml with its publisher and the repository's addresses.

    Raises:
        ValueError: it names a publisher already.
    """
    if pyproject.count(NOBODY) != 1:
        raise ValueError(f"expected one line {NOBODY.strip()} in pyproject.toml; restore it from the repository")
    pictures = f"{repository}/raw/HEAD"
    owner = f'PublisherId = "{publisher}"\nIcon = "{pictures}/{ICON}"\nbanner_url = "{pictures}/{BANNER}"\n'
    urls = f"""[project.urls]
Homepage = "{repository}"
Repository = "{repository}"
Documentation = "{repository}/tree/HEAD/docs"
Issues = "{repository}/issues"
"Bug Tracker" = "{repository}/issues"

[tool.comfy]
"""
    return pyproject.replace(NOBODY, owner).replace("[tool.comfy]\n", urls)


def main() -> None:
    """Write what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("publisher", help="id at registry.comfy.org")
    parser.add_argument("repository", help="address of the repository, without a slash at its end")
    given = parser.parse_args()
    text = with_owner(PYPROJECT.read_text(encoding="utf-8"), given.publisher, given.repository)
    PYPROJECT.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
