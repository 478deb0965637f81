"""``python -m tests.cluster``: see cli.py."""

import sys

from tests.cluster.cli import main

if __name__ == "__main__":
    sys.exit(main())
