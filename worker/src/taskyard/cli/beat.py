"""`taskyard beat`: the scheduler as a process."""

from __future__ import annotations

import argparse
import signal
import sys

from taskyard.cli.worker_arguments import add_daemon
from taskyard.errors import ImproperlyConfigured

_SCHEDULER = "the scheduler: shared (several may run), module:Class, or what a package calls its own (django)"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Celery's names."""
    add = parser.add_argument
    add("-s", "--schedule", metavar="FILE", default=None, help="where it is kept when entries ran last")
    add("-S", "--scheduler", metavar="CLASS", default=None, help=_SCHEDULER)
    add("--max-interval", type=float, default=None, help="longest pause between two looks, seconds")
    add(
        "--enable-remote-control",
        dest="remote_control",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="answer `inspect ping` while the scheduler ticks (also: beat_enable_remote_control)",
    )
    add("-n", "--hostname", metavar="NODE", default=None, help="its node name then (default: celerybeat@%%h)")
    add("-l", "--loglevel", default="warning", type=str.lower, help="debug, info, warning, error or critical")
    add("-f", "--logfile", metavar="FILE", default=None, help="log to this file")
    add_daemon(parser.add_argument_group("daemon"), pidfile="write the process id there")


def run(arguments: argparse.Namespace) -> int:
    """Send what is due until TERM or INT; returns the exit code."""
    from taskyard.beat import service_maker
    from taskyard.broker.connection import without_password
    from taskyard.cli.daemon import check_pidfile, go_to_background
    from taskyard.cli.find_app import find_app
    from taskyard.log import LogOptions, setup_logging
    from taskyard.signals import import_modules

    app = find_app(arguments.app, arguments.workdir)
    for _, error in import_modules.send(sender=app):
        if isinstance(error, Exception):
            raise ImproperlyConfigured(f"importing the tasks failed: {type(error).__name__}: {error}")
    service = service_maker(
        app,
        arguments.scheduler,
        schedule_filename=arguments.schedule,
        max_interval=arguments.max_interval,
        remote_control=arguments.remote_control,
        hostname=arguments.hostname,
    )()
    try:
        scheduler = service.scheduler
    except (ImportError, AttributeError, TypeError, KeyError, OSError) as error:
        raise ImproperlyConfigured(f"the scheduler cannot be started: {error!r}") from error
    if arguments.pidfile:
        check_pidfile(arguments.pidfile)
    go_to_background(arguments, arguments.pidfile)
    setup_logging(LogOptions.from_settings(app.conf, level=arguments.loglevel, file=arguments.logfile))
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, frame: service.stop())
    if not arguments.quiet:
        broker = without_password(app.conf.effective_broker_url())
        count = len(scheduler.schedule)
        print(f"taskyard beat: {count} periodic tasks, broker {broker}", file=sys.__stderr__, flush=True)
    service.start()
    return 0
