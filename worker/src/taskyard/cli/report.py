"""`taskyard report`: versions and settings, for reporting an error."""

from __future__ import annotations

import argparse
import json


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """How to print it."""
    parser.add_argument("-j", "--json", action="store_true", help="print JSON")


def run(arguments: argparse.Namespace) -> int:
    """Print it."""
    from taskyard.cli.find_app import find_app

    app = find_app(arguments.app, arguments.workdir, needed=False)
    app.import_default_modules()
    text = app.bugreport()
    print(json.dumps({"report": text}) if arguments.json else text)
    return 0
