"""`celery` as another name of Taskyard, each time in a fresh process: the finder is for ever."""

import subprocess
import sys
from textwrap import dedent


def run(code: str) -> str:
    prelude = "from taskyard import as_celery\n"
    command = [sys.executable, "-c", prelude + dedent(code)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_modules_are_the_very_same_and_keep_their_own_names() -> None:
    run("""
        as_celery.install()
        as_celery.install()
        import celery, celery.app.task, celery.app.registry
        from celery import Celery
        from celery.app.base import Celery as Same
        from celery.app import builtins, registry
        assert registry is celery.app.registry
        assert builtins.__name__.startswith("taskyard.")
        import taskyard.registry, taskyard.task
        assert celery.app is taskyard.app
        assert Celery is Same is taskyard.App
        assert celery.app.task.Task is taskyard.Task
        assert celery.app.registry is taskyard.registry
        assert taskyard.task.__spec__.name == "taskyard.task"
        assert taskyard.task.__name__ == "taskyard.task"
        assert celery.VERSION[:2] == celery.version_info[:2] == (5, 7)
        assert celery.__version__ == "5.7.0"
        assert taskyard.__version__ != celery.__version__
        assert not hasattr(taskyard, "VERSION")
        from importlib.util import find_spec
        assert find_spec("celery").name == "celery"
        from unittest import mock
        with mock.patch("celery.current_app") as patched:
            assert taskyard.current_app is celery.current_app is patched
        assert celery.current_app is taskyard.current_app is not patched
        assert "chain" in dir(celery)
        assert "software -> celery:5.7" in Celery().bugreport()
    """)


def test_what_taskyard_lacks_is_an_import_error_even_where_celery_is_installed() -> None:
    out = run("""
        as_celery.install()
        try:
            import celery.sphinx
        except ModuleNotFoundError as error:
            print(error, error.name)
        import sys
        files = [getattr(module, "__file__", None) or "" for module in sys.modules.values()]
        assert not any("site-packages/celery" in file for file in files)
    """)
    assert out == "no module 'celery.sphinx': Taskyard has nothing under that name celery.sphinx\n"


def test_too_late_is_said() -> None:
    out = run("""
        import celery
        try:
            as_celery.install()
        except RuntimeError as error:
            print(error)
    """)
    assert "before the first import of celery" in out


def test_loggers_of_celerys_names_hear_what_is_logged() -> None:
    out = run("""
        import logging, sys
        as_celery.install()
        for name in ("celery", "celery.app.trace"):
            handler = logging.StreamHandler(sys.stdout)
            handler.setFormatter(logging.Formatter(name + " %(message)s"))
            logging.getLogger(name).addHandler(handler)
        logging.getLogger("celery").setLevel("INFO")
        logging.getLogger("taskyard.trace").info("done")
        logging.getLogger("taskyard.worker").info("ready")
        logging.getLogger("taskyard.worker").debug("unheard")
    """)
    assert out == "celery.app.trace done\ncelery done\ncelery ready\n"


def test_paths_that_programs_import() -> None:
    run("""
        as_celery.install()
        from celery.app.registry import TaskRegistry
        from celery.app.utils import Settings, bugreport, filter_hidden_settings, find_app
        from celery.app.defaults import DEFAULT_TASK_LOG_FMT, NAMESPACES
        from celery.app.log import Logging, TaskFormatter
        from celery.apps.beat import Beat
        from celery.apps.worker import Worker
        from celery.bootsteps import Blueprint, ConsumerStep, StartStopStep, Step
        from celery.exceptions import FixupWarning, NotConfigured, SecurityWarning, Terminated
        from celery.exceptions import WorkerShutdown, WorkerTerminate, reraise
        from celery.loaders import get_loader_cls
        from celery.loaders.app import AppLoader
        from celery.loaders.base import BaseLoader
        from celery.utils.time import humanize_seconds, maybe_timedelta, rate, remaining, timezone
        from celery.worker import WorkController, state
        from celery.worker.components import Timer
        from celery.worker.worker import WorkController as Same
        from celery.worker.state import active_requests, revoked, total_count
        assert state.revoked is revoked
        assert issubclass(Worker, WorkController) and Same is WorkController
        try:
            reraise(KeyError, KeyError(1))
        except KeyError:
            pass
    """)
