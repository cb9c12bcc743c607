"""`python -m nimify`: the same as the `nimify` command."""

from __future__ import annotations

import sys

from nimify.cli import main

if __name__ == "__main__":
    sys.exit(main())
