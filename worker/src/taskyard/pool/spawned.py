"""The start of a child that is a new interpreter: `python -m taskyard.pool.spawned SPEC`.

gevent and eventlet replace what blocks here, before anything else is imported.
"""

import sys


def main() -> None:
    """Load the app that the parent names, and live as its child."""
    import json

    spec = json.loads(sys.argv[1])
    if spec["lane"] == "gevent":
        from gevent import monkey

        monkey.patch_all()
    elif spec["lane"] == "eventlet":
        import eventlet

        eventlet.monkey_patch()
    sys.path[:] = spec.pop("path")
    if spec.pop("as_celery"):
        from taskyard import as_celery

        as_celery.install()
    import socket
    from importlib import import_module

    from taskyard.log import LogOptions, name_process, setup_logging
    from taskyard.pool.birth import ChildSpec
    from taskyard.pool.board import Board
    from taskyard.pool.child import child_main

    sock = socket.socket(fileno=spec.pop("sock"))
    board = Board(fd=spec.pop("board"))
    parent = spec.pop("parent")
    name_process(spec.pop("name"))
    child = ChildSpec(**spec)
    module, _, attribute = child.app.partition(":")
    app = import_module(module)
    for part in attribute.split("."):
        app = getattr(app, part)
    for extra in child.imports:
        import_module(extra)
    if child.log is not None:
        setup_logging(LogOptions(**child.log))
    child_main(app, child, sock, board, parent)  # type: ignore[arg-type]


if __name__ == "__main__":
    main()
