"""`import celery` finds Taskyard: for code that says `celery` and cannot be changed.

`install()` before the first `import celery` (or `taskyard --as-celery ...`) makes `celery.x.y` the very
module `taskyard.x.y`; `MODULES` holds the paths that differ, and `celery`
itself has Celery's version.  A name that Taskyard lacks is an ImportError,
never the real Celery, even where it is installed.  With it go Celery's defaults where Taskyard's differ, see
`DEFAULTS`.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import MappingProxyType, ModuleType
from typing import Any, NamedTuple

#: Celery's module paths that are not Taskyard's with another first name; what stands below one goes along.
MODULES: Mapping[str, str] = MappingProxyType(
    {
        "celery": "taskyard",
        "celery._state": "taskyard.shared",
        "celery.app.amqp": "taskyard.client.amqp",
        "celery.app.annotations": "taskyard.annotations",
        "celery.app.backends": "taskyard.result.opening",
        "celery.app.base": "taskyard.app",
        "celery.app.builtins": "taskyard.canvas.builtins",
        "celery.app.control": "taskyard.control",
        "celery.app.defaults": "taskyard.settings.catalogue",
        "celery.app.events": "taskyard.events",
        "celery.app.log": "taskyard.app.logs",
        "celery.app.registry": "taskyard.registry",
        "celery.app.routes": "taskyard.client.routes",
        "celery.app.task": "taskyard.task",
        "celery.app.trace": "taskyard.execution.tracing",
        "celery.backends": "taskyard.result.backends",
        "celery.backends.base": "taskyard.result.backend",
        "celery.bin": "taskyard.cli",
        "celery.concurrency": "taskyard.pool",
        "celery.fixups": "taskyard.contrib",
        "celery.fixups.django": "taskyard.contrib.django.fixup",
        "celery.utils.dispatch": "taskyard.signals",
        "celery.utils.graph": "taskyard.result.graph",
        "celery.utils.saferepr": "taskyard.message.saferepr",
        "celery.worker.request": "taskyard.context",
    }
)

#: Names that a module has in Celery and not in Taskyard, and what they are there.
NAMES: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "celery": {"Celery": "taskyard.app:App", "uuid": "taskyard.message.identity:new_id"},
        "celery.app": {"Celery": "taskyard.app:App"},
        "celery.app.base": {"Celery": "taskyard.app:App"},
        "celery._state": {"task_join_will_block": "taskyard.result.joining:task_join_will_block"},
        "celery.backends.base": {
            "COMPRESSED_PAYLOAD_MAGIC": "taskyard.result.payload:COMPRESSED",
            "compress_payload": "taskyard.result.payload:compress",
            "decompress_payload": "taskyard.result.payload:uncompressed",
        },
        "celery.canvas": {
            "_clear_chord_option": "taskyard.canvas.chord_bodies:drop_body",
            "_fold_chain": "taskyard.canvas.composition:fold",
            "_maybe_group": "taskyard.canvas.chords:_header",
            "_strip_chord_header_links": "taskyard.canvas.chord_bodies:drop_redundant_bodies",
        },
        "celery.app.registry": {"TaskRegistry": "taskyard.registry:Registry"},
        "celery.app.task": {"Context": "taskyard.context:Request"},
        "celery.worker": {"WorkController": "taskyard.apps.worker:WorkController"},
        "celery.worker.worker": {"WorkController": "taskyard.apps.worker:WorkController"},
        "celery.utils": {
            "LOG_LEVELS": "taskyard.utils.log:LOG_LEVELS",
            "cached_property": "kombu.utils.objects:cached_property",
            "chunks": "taskyard.utils.functional:chunks",
            "gen_task_name": "taskyard.utils.imports:gen_task_name",
            "gen_unique_id": "taskyard.message.identity:new_id",
            "get_cls_by_name": "kombu.utils.imports:symbol_by_name",
            "get_full_cls_name": "taskyard.utils.imports:qualname",
            "import_from_cwd": "taskyard.utils.imports:import_from_cwd",
            "instantiate": "taskyard.utils.imports:instantiate",
            "memoize": "kombu.utils.functional:memoize",
            "nodename": "taskyard.utils.nodenames:nodename",
            "nodesplit": "taskyard.utils.nodenames:nodesplit",
            "noop": "taskyard.utils.functional:noop",
            "uuid": "taskyard.message.identity:new_id",
            "worker_direct": "taskyard.utils.nodenames:worker_direct",
        },
    }
)

#: Celery's defaults that hold instead of Taskyard's own.
DEFAULTS: Mapping[str, object] = MappingProxyType(
    {
        "task_acks_late": False,
        "task_reject_on_worker_lost": False,
        "worker_prefetch_multiplier": 4,
    }
)

#: Loggers whose lines pass through Celery's of these names, which settings of logging name.
LOGGERS = (
    ("taskyard", "celery"),
    ("taskyard.worker", "celery.worker"),
    ("taskyard.trace", "celery.app.trace"),
    ("taskyard.beat", "celery.beat"),
)


class Version(NamedTuple):
    """A version as Celery gives it."""

    major: int
    minor: int
    micro: int
    releaselevel: str
    serial: str


#: The Celery whose names and behaviour these are: what `celery.VERSION` says.
CELERY_VERSION = Version(5, 7, 0, "", "")


def install() -> None:
    """Make `celery` another name of Taskyard in this process; a second call changes nothing.

    RuntimeError if the real Celery has been imported already: its objects could not be told from ours.
    """
    if any(isinstance(finder, _Finder) for finder in sys.meta_path):
        return
    loaded = sys.modules.get("celery")
    if loaded is not None:
        raise RuntimeError(
            f"celery was imported from {getattr(loaded, '__file__', 'elsewhere')} already: "
            "call taskyard.as_celery.install() before the first import of celery"
        )
    from taskyard import settings

    use_defaults = getattr(settings, "use_celery_defaults", None)
    if use_defaults is not None:
        use_defaults(DEFAULTS)
    _take_einfo_for_billiards()
    for ours, theirs in LOGGERS:
        logging.getLogger(ours).parent = logging.getLogger(theirs)
    sys.meta_path.insert(0, _Finder())
    sys.meta_path.append(_LastResort())


def _take_einfo_for_billiards() -> None:
    """What looks for billiard's ExceptionInfo, as OpenTelemetry does, finds the one that signals carry."""
    try:
        einfo = import_module("billiard.einfo")
    except ImportError:
        return
    from taskyard.execution.exception_info import ExceptionInfo

    vars(einfo)["ExceptionInfo"] = ExceptionInfo


def module_of(name: str) -> str:
    """The path in Taskyard of one of Celery's modules: the table's entry for it or for what it stands in."""
    head, tail = name, ""
    while head not in MODULES:
        head, _, last = head.rpartition(".")
        tail = f".{last}{tail}"
    return MODULES[head] + tail


class _Top(ModuleType):
    """`celery` itself: taskyard in all but its version, which code compares with Celery's."""

    def __init__(self, module: ModuleType) -> None:
        super().__init__("celery", module.__doc__)
        own = {
            name: value for name, value in vars(module).items() if name in ("__file__", "__path__", "__all__")
        }
        version = ".".join(map(str, CELERY_VERSION[:3]))
        vars(self).update(own, VERSION=CELERY_VERSION, version_info=CELERY_VERSION, __version__=version)
        vars(self)["__wrapped__"] = module

    def __getattr__(self, name: str) -> Any:
        return getattr(vars(self)["__wrapped__"], name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in vars(self) or name in _MODULE_ATTRIBUTES:
            super().__setattr__(name, value)
        else:
            setattr(vars(self)["__wrapped__"], name, value)

    def __delattr__(self, name: str) -> None:
        delattr(vars(self)["__wrapped__"], name)

    def __dir__(self) -> list[str]:
        return sorted({*vars(self), *self.__all__, *dir(vars(self)["__wrapped__"])})


#: What the import system writes into a module.
_MODULE_ATTRIBUTES = frozenset(
    {"__spec__", "__loader__", "__package__", "__path__", "__file__", "__cached__"}
)


class _Finder(MetaPathFinder):
    """Answers for `celery` and all below it; all other names are left to the finders after it."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != "celery" and not fullname.startswith("celery."):
            return None
        ours = module_of(fullname)
        try:
            module = import_module(ours)
        except ModuleNotFoundError as error:
            if error.name is None or not (ours == error.name or ours.startswith(f"{error.name}.")):
                raise
            raise ModuleNotFoundError(
                f"no module {fullname!r}: Taskyard has nothing under that name", name=fullname
            ) from None
        if not hasattr(module, "__path__") and any(name.startswith(f"{fullname}.") for name in MODULES):
            module.__path__ = []  # a package by Celery's paths, though not by ours
        for missing, place in NAMES.get(fullname, {}).items():
            if not hasattr(module, missing):
                source, _, attribute = place.partition(":")
                setattr(module, missing, getattr(import_module(source), attribute))
        if fullname == "celery":
            module = _Top(module)
        return ModuleSpec(fullname, _Alias(module), is_package=hasattr(module, "__path__"))


class _LastResort(MetaPathFinder):
    """Finds what `from celery.app import control` looks for: the import system asks our package for it."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        package, _, name = fullname.rpartition(".")
        if package.partition(".")[0] != "taskyard":
            return None
        same = "celery" + package.removeprefix("taskyard")
        for theirs in [same, *(each for each, ours in MODULES.items() if ours == package)]:
            if f"{theirs}.{name}" in MODULES:
                module = import_module(f"{theirs}.{name}")
                return ModuleSpec(fullname, _Alias(module), is_package=hasattr(module, "__path__"))
        return None


class _Alias(Loader):
    """Gives a module that exists already, and leaves it as it was."""

    def __init__(self, module: ModuleType) -> None:
        self._module = module
        self._spec = module.__spec__

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return self._module

    def exec_module(self, module: ModuleType) -> None:
        if self._spec is not None:
            module.__spec__ = self._spec  # the import system has just put the alias's there
