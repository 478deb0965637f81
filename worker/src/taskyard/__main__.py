"""`python -m taskyard`."""

import sys

from taskyard.cli.main import main

sys.exit(main())
