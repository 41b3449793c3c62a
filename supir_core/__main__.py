"""``python -m supir_core`` is the ``supir`` command."""

import sys

from .command.cli import main

if __name__ == "__main__":
    sys.exit(main())
