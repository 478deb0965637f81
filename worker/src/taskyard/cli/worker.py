"""`taskyard worker`: the start of a worker from its arguments."""

from __future__ import annotations

import argparse
import gc
import os
import sys
from importlib import import_module
from typing import TYPE_CHECKING

from taskyard.cli.worker_arguments import add_arguments
from taskyard.errors import ImproperlyConfigured

if TYPE_CHECKING:
    from taskyard.log import LogOptions
    from taskyard.worker.worker import Worker

__all__ = ["add_arguments", "run"]


def run(arguments: argparse.Namespace) -> int:
    """Run a worker until it is stopped; returns its exit code."""
    from taskyard.cli.daemon import go_to_background
    from taskyard.cli.find_app import find_app
    from taskyard.cli.worker_options import expand_node, node_name
    from taskyard.log import LEVELS
    from taskyard.worker.worker import Worker

    if arguments.loglevel not in LEVELS:
        raise ImproperlyConfigured(
            f"--loglevel must be one of {', '.join(LEVELS)}, not {arguments.loglevel!r}"
        )
    gc.disable()  # imports make much and leave nothing to collect
    try:
        app = find_app(arguments.app, arguments.workdir)
        worker = Worker(app, hostname=node_name(arguments))
        log = prepare(worker, arguments)
    finally:
        gc.enable()
    go_to_background(arguments, expand_node(arguments.pidfile, worker.node))
    log_and_greet(worker, log, quiet=arguments.quiet)
    if worker.options.purge:
        _purge(worker)
    code = worker.run()
    if worker.restart_wanted:
        sys.stdout.flush()
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606  the same command again
    return code


def prepare(worker: Worker, arguments: argparse.Namespace) -> LogOptions:
    """Configure the worker; all that can be wrong is found here, before anything is started."""
    from dataclasses import replace

    from taskyard.broker import connection
    from taskyard.cli.daemon import check_pidfile, refuse_pickle_for_root
    from taskyard.cli.user_options import parse_user_options
    from taskyard.cli.worker_options import expand_node, options_from
    from taskyard.log import LogOptions
    from taskyard.result import opening
    from taskyard.signals import celeryd_init, import_modules

    app, node = worker.app, worker.node
    arguments.user = parse_user_options(app, arguments.rest)
    for name in (arguments.include or "").split(","):
        if name.strip():
            _import(name.strip())
    for _, error in import_modules.send(sender=app):
        if isinstance(error, Exception):  # which the signal has logged with its traceback
            raise ImproperlyConfigured(f"importing the tasks failed: {type(error).__name__}: {error}")
    conf = app.conf
    refuse_pickle_for_root(conf.accept_content)
    if celeryd_init:
        celeryd_init.send(sender=node, instance=worker, conf=conf, options=vars(arguments))
    log = LogOptions.from_settings(
        conf,
        level=arguments.loglevel,
        file=expand_node(arguments.logfile, node),
        json=arguments.json_logs or os.environ.get("TASKYARD_LOG") == "json",
        **({"color": False} if arguments.no_color else {}),
    )
    options = replace(options_from(arguments, app, node), log=log.as_arguments())
    connection.refuse_unusable(conf.effective_broker_url())
    backend = conf.effective_result_backend()
    if backend:
        opening.refuse_unusable(backend, conf)
    if arguments.pidfile:
        check_pidfile(expand_node(arguments.pidfile, node) or "")
    worker.configure(options)
    return log


def _import(name: str) -> None:
    try:
        import_module(name)
    except ImportError as error:
        raise ImproperlyConfigured(f"-I {name}: {error}") from None


def log_and_greet(worker: Worker, log: LogOptions, *, quiet: bool) -> None:
    """Log as the options say, and show what the worker is."""
    from taskyard.log import setup_logging
    from taskyard.signals import celeryd_after_setup

    setup_logging(log)
    if celeryd_after_setup:
        celeryd_after_setup.send(sender=worker.node, instance=worker, conf=worker.app.conf)
        # A receiver may have selected other queues.
        worker.state.queues[:] = list(worker.app.router.queues.consume_from)
    if not quiet:
        print(_banner(worker), file=sys.__stderr__, flush=True)


def _purge(worker: Worker) -> None:
    from taskyard.control.purge import purge

    with worker.app.connection_for_write() as connection:
        count = purge(worker.app, connection, worker.state.queues)
    if count:
        plural = "s" if count > 1 else ""
        print(f"purge: Erased {count} message{plural} from the queue.", file=sys.__stdout__, flush=True)


def _banner(worker: Worker) -> str:
    from taskyard import __version__
    from taskyard.broker.connection import without_password

    app, options = worker.app, worker.options
    broker = without_password(app.conf.effective_broker_url())
    results = without_password(str(app.conf.effective_result_backend() or "disabled"))
    size = "{1}..{0}".format(*options.autoscale) if options.autoscale else str(options.concurrency)
    return (
        f"taskyard {__version__} worker: app {app.main or '__main__'}, broker {broker}, results {results}, "
        f"queues {','.join(worker.state.queues)}, "
        f"pool {options.pool} x {size}, {len(app.tasks)} tasks"
    )
