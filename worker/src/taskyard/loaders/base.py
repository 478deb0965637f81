"""The base of loaders."""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterable
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from taskyard import signals

if TYPE_CHECKING:
    from taskyard.app.app import App

__all__ = ("AppLoader", "BaseLoader")

_UNREAD: Any = object()


class BaseLoader:
    """`app.loader`: a subclass may say where the configuration is, and what happens when workers begin and
    end.
    """

    builtin_modules: ClassVar[Iterable[str]] = frozenset()
    override_backends: ClassVar[dict[str, str]] = {}
    configured = False
    worker_initialized = False

    def __init__(self, app: App, **kwargs: Any) -> None:
        self.app = app
        self.task_modules: set[str] = set()
        self._conf = _UNREAD

    # -- hooks
    def on_task_init(self, task_id: str, task: Any) -> None:
        """A task is about to run."""

    def on_process_cleanup(self) -> None:
        """A task has run."""

    def on_worker_init(self) -> None:
        """The worker starts."""

    def on_worker_shutdown(self) -> None:
        """The worker ends."""

    def on_worker_process_init(self) -> None:
        """A child process starts."""

    def init_worker(self) -> None:
        """Import all modules with tasks and call the hook, once."""
        if not self.worker_initialized:
            self.worker_initialized = True
            self.import_default_modules()
            self.on_worker_init()

    def init_worker_process(self) -> None:
        """Call the hook."""
        self.on_worker_process_init()

    def shutdown_worker(self) -> None:
        """Call the hook."""
        self.on_worker_shutdown()

    # -- configuration
    def read_configuration(self, env: str = "CELERY_CONFIG_MODULE") -> Any:
        """What the app is configured by where it names nothing itself: here the module that the environment
        names; None for nothing.
        """
        name = os.environ.get(env)
        return self._import_config_module(name) if name else None

    def _import_config_module(self, name: str) -> Any:
        self.find_module(name)
        return self.import_from_cwd(name)

    def find_module(self, module: str) -> str:
        """The name of the module; ImportError where that is the name of a file."""
        if module.endswith(".py"):
            raise ImportError(f"{module!r} is no module: did you mean {module.removesuffix('.py')!r}?")
        return module

    def config_from_object(self, obj: Any, silent: bool = False) -> bool:
        """Take this configuration, or what stands at that path; False where that cannot be imported, with
        `silent`.
        """
        if isinstance(obj, str):
            try:
                obj = self.import_from_cwd(obj)
            except (ImportError, AttributeError):
                if silent:
                    return False
                raise
        self._conf = obj
        if isinstance(obj, dict) and obj.get("override_backends") is not None:
            self.override_backends = obj["override_backends"]  # type: ignore[misc]
        return True

    @property
    def conf(self) -> Any:
        """The configuration."""
        if self._conf is _UNREAD:
            self._conf = self.read_configuration()
        return self._conf

    def cmdline_config_parser(self, args: Iterable[str], namespace: str = "celery") -> dict[str, Any]:
        """Settings from a command line; see App.config_from_cmdline."""
        from taskyard.settings.catalogue import from_arguments

        return from_arguments(args, namespace)

    def now(self, utc: bool = True) -> datetime:
        """The time."""
        return datetime.now(UTC) if utc else datetime.now()

    # -- modules
    def import_module(self, module: str, package: str | None = None) -> Any:
        """importlib's."""
        return importlib.import_module(module, package=package)

    def import_from_cwd(self, module: str, imp: Any = None, package: str | None = None) -> Any:
        """Import, looking in the current directory too."""
        from taskyard.settings.source import load

        return load(module) if imp is None else imp(module, package=package)

    def import_task_module(self, module: str) -> Any:
        """Import a module with tasks."""
        self.task_modules.add(module)
        return self.import_from_cwd(module)

    def import_default_modules(self) -> list[Any]:
        """Import all modules with tasks: those to discover, and the settings `imports` and `include`."""
        for _, answer in signals.import_modules.send(sender=self.app):
            if isinstance(answer, Exception):
                raise answer
        return [self.import_task_module(name) for name in self.default_modules]

    def autodiscover_tasks(self, packages: Iterable[str], related_name: str | None = "tasks") -> list[Any]:
        """Import the modules of that name in the packages."""
        found = [module for module in autodiscover_tasks(packages or (), related_name) if module]
        self.task_modules.update(module.__name__ for module in found)
        return found

    @cached_property
    def default_modules(self) -> tuple[str, ...]:
        """The modules that the settings name."""
        return (*self.builtin_modules, *self.app.conf.imports, *self.app.conf.include)


class AppLoader(BaseLoader):
    """The loader of apps that have none of their own."""


def autodiscover_tasks(packages: Iterable[str], related_name: str | None = "tasks") -> list[Any]:
    """The modules of that name in the packages; None for a package without one."""
    return [find_related_module(package, related_name) for package in packages]


def find_related_module(package: str, related_name: str | None) -> Any:
    """The module of that name in a package (or in the package that a class path stands in); None without
    one.  An error within the module is raised.
    """
    try:
        module = importlib.import_module(package)
    except ModuleNotFoundError:
        # The path of a class within it, as Django's INSTALLED_APPS may have.
        package = package.rpartition(".")[0]
        if not package:
            raise
        module = None
    if not related_name:
        return module or importlib.import_module(package)
    name = f"{package}.{related_name}"
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name == name:
            return None
        raise


def connect_hooks(app: App) -> None:
    """Let the hooks of the app's own loader be called in its workers."""
    loader = app.loader

    def begin(**_: Any) -> None:
        loader.init_worker()

    def begin_process(**_: Any) -> None:
        loader.init_worker_process()

    def begin_task(task_id: str, task: Any, **_: Any) -> None:
        loader.on_task_init(task_id, task)

    def end_task(**_: Any) -> None:
        loader.on_process_cleanup()

    def end(**_: Any) -> None:
        loader.shutdown_worker()

    kind = type(loader)
    for name, signal, hook in (
        ("on_worker_init", signals.worker_init, begin),
        ("on_worker_process_init", signals.worker_process_init, begin_process),
        ("on_task_init", signals.task_prerun, begin_task),
        ("on_process_cleanup", signals.task_postrun, end_task),
        ("on_worker_shutdown", signals.worker_shutdown, end),
    ):
        if getattr(kind, name, None) is not getattr(BaseLoader, name):
            signal.connect(hook, weak=False, dispatch_uid=f"loader {name} {id(app)}")
