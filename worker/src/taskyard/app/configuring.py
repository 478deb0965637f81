"""How an app comes to its settings, and to its periodic tasks, which are settings too."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from taskyard.app.state import AppState
from taskyard.errors import ImproperlyConfigured
from taskyard.settings import Settings
from taskyard.settings.source import load, read
from taskyard.signals import Signal

logger = logging.getLogger("taskyard.app")


class Configuring(AppState):
    """`app.conf` and what fills it."""

    _config_source: Any = None
    _config_source_silent = False
    _pending_periodic: list[Callable[[], None]]

    def _make_conf(self) -> Settings:
        conf = Settings()
        conf.before_load = self._before_configure
        conf.after_load = self._after_configure
        conf.after_change = self._setting_changed
        conf.read_config_from(self._read_config)
        return conf

    def config_from_object(
        self, obj: Any, silent: bool = False, force: bool = False, namespace: str | None = None
    ) -> Any:
        """Take settings from a module, an object or a mapping (or "module", "module:attribute").

        With a namespace only names that begin with it count: CELERY_BROKER_URL.  It is read at the first look
        at a setting, at once with `force`; `silent` ignores that it cannot be imported.
        """
        self._config_source, self._config_source_silent = obj, silent
        if namespace:
            self.namespace = namespace
        if not force and not self.conf.configured:
            return None
        found = self._source()
        self.conf.reload() if self.conf.configured else self.conf.finalize()
        self._setting_changed("task_routes")
        return self.conf if found is not None else None

    def _setting_changed(self, name: str) -> None:
        """Look at task_routes anew, if somebody has looked at it."""
        if name != "task_routes":
            return
        if "amqp" in self.__dict__:
            self.amqp.flush_routes()
        elif "router" in self.__dict__:
            self.router.forget_routes()

    def config_from_envvar(
        self, variable_name: str, silent: bool = False, force: bool = False, namespace: str | None = None
    ) -> Any:
        """The same with the name of the module in an environment variable."""
        place = os.environ.get(variable_name)
        if not place:
            if silent:
                return False
            raise ImproperlyConfigured(
                f"environment variable {variable_name!r} is empty or not set: it must name the module with "
                "the settings"
            )
        return self.config_from_object(place, silent=silent, force=force, namespace=namespace)

    def config_from_cmdline(self, argv: Iterable[str], namespace: str = "celery") -> None:
        """Take settings written as on a command line: `task_serializer=json`, `worker.concurrency=3`."""
        from taskyard.settings.catalogue import from_arguments

        self.conf.update(from_arguments(argv, namespace))

    def add_defaults(self, settings: Mapping[str, Any] | Callable[[], Mapping[str, Any]]) -> None:
        """Values (or a function that gives them) for settings that nobody has set."""
        self.conf.add_defaults(settings)

    def _source(self) -> Any:
        """The configuration object; None without one."""
        source = self._config_source
        if source is None:
            environment = os.environ
            usual = self.loader_cls in (None, "app") and not environment.get("CELERY_LOADER")
            if usual and not environment.get("CELERY_CONFIG_MODULE"):
                return None  # which is known without a loader
            return self.loader.read_configuration()
        if not isinstance(source, str):
            return source
        try:
            return load(source)
        except ImportError:
            if self._config_source_silent:
                return None
            raise

    def _read_config(self) -> dict[str, Any]:
        source = self._source()
        return {} if source is None else read(source, self.namespace, strict=self.conf.strict)

    def _before_configure(self) -> None:
        hook: Any = self.on_configure
        if not isinstance(hook, Signal):
            hook()  # a method of a subclass
        elif hook:
            hook.send(sender=self)

    def _after_configure(self) -> None:
        pending, self._pending_periodic = self._pending_periodic, []
        for add in pending:
            add()
        if self.on_after_configure:
            self.on_after_configure.send(sender=self, source=self.conf)

    @property
    def configured(self) -> bool:
        """Whether the settings have been read."""
        return self.conf.configured

    def add_periodic_task(
        self,
        schedule: Any,
        sig: Any,
        args: Any = (),
        kwargs: Mapping[str, Any] | None = None,
        name: str | None = None,
        **options: Any,
    ) -> str:
        """Let the scheduler send a signature (or a task with arguments); returns the entry's name.

        `schedule` is a crontab or another schedule, a timedelta or seconds.
        """
        from taskyard.canvas import signature as signature_of

        if isinstance(sig, dict):
            signature = signature_of(sig, app=self).clone(args, kwargs)
        else:
            signature = signature_of(getattr(sig, "name", sig), args, kwargs, app=self)
        key = name or repr(signature)
        entry = {
            "schedule": schedule,
            "task": signature.name,
            "args": signature.args,
            "kwargs": signature.kwargs,
            "options": {**signature.options, **options},
        }

        def add() -> None:
            if name is None and key in self.conf.beat_schedule:
                logger.warning(
                    "The periodic task %r takes the place of another of the same arguments; "
                    "give one of them name=...",
                    key,
                )
            self.conf.beat_schedule[key] = entry

        if self.conf.configured:
            add()
        else:
            self._pending_periodic.append(add)
        return key
