"""Settings: what one app is configured with.

Sources are read at the first look at any value, so that a configuration module may import the app.  Above
the defaults stand, from weak to strong: `add_defaults` and configuration objects (the later wins), what was
set on the app itself, and for URLs the environment.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from copy import copy
from threading import RLock
from typing import TYPE_CHECKING, Any, ClassVar

from taskyard.errors import ImproperlyConfigured
from taskyard.settings.check import checked
from taskyard.settings.effective import ENVIRONMENT, Effective, from_environment
from taskyard.settings.names import NAMES, ONE_VALUE, REFUSED, WITHOUT_EFFECT, modern, unknown_setting
from taskyard.settings.options import Options

if TYPE_CHECKING:
    from taskyard.settings.options import Options as _Typed
else:

    class _Typed:
        """The settings are attributes of Options to a type checker, and found by __getattr__ in fact."""


logger = logging.getLogger("taskyard.settings")

Source = Callable[[], Mapping[str, Any]]


class Settings(Effective, _Typed, MutableMapping[str, Any]):
    """All settings of one app, as attributes and items."""

    #: Values where nothing is set; copied for each app.
    defaults: ClassVar[dict[str, Any]] = {name: getattr(Options, name) for name in Options.__annotations__}
    #: Unknown names and wrong types are refused; without it both are taken as they are.
    strict: bool = True

    def __init__(self, settings: Mapping[str, Any] | None = None, **more: Any) -> None:
        own = self.__dict__
        own["_lock"] = RLock()
        own["_loaded"] = own["_loading"] = False
        own["_set"] = {}
        own["_added"] = []
        #: The configuration object, which wins over added defaults.
        own["_config"] = None
        #: Called before the sources are read, and after.
        own["before_load"] = own["after_load"] = None
        #: Called with the name of what is set after that.
        own["after_change"] = None
        self.update(settings, **more)

    # -- reading
    def __getattr__(self, name: str) -> Any:
        # Only for what is not in __dict__: a setting before the first load, or no setting at all.
        if name.startswith("__"):
            raise AttributeError(name)
        if name in NAMES:
            if self._loading:
                return self._value_while_loading(name)
            self.finalize()
            return self.__dict__[name]
        if not name.startswith("_") and not self._loading:
            self.finalize()
            try:
                return self[name]
            except KeyError:
                pass
        raise AttributeError(unknown_setting(name))

    def __getitem__(self, name: str) -> Any:
        if name in NAMES:
            return getattr(self, name)
        new = modern(name)
        if new is not None:
            return getattr(self, new)
        if not self._loading:
            self.finalize()
        try:
            return self._unknown()[name]
        except KeyError:
            raise KeyError(unknown_setting(name)) from None

    def first(self, *names: str) -> Any:
        """The value of the first of these that has one."""
        return next((value for name in names if (value := self.get(name)) is not None), None)

    def __iter__(self) -> Iterator[str]:
        self.finalize()
        yield from Options.__annotations__
        yield from self._unknown()

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def _unknown(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for layer in (*self._layers, self._set):
            found.update({name: value for name, value in layer.items() if name not in NAMES})
        return found

    @property
    def _layers(self) -> list[Mapping[str, Any]]:
        return self.__dict__.setdefault("_read", [])  # type: ignore[no-any-return]

    def _value_while_loading(self, name: str) -> Any:
        return self._set.get(name, self.defaults[name])

    # -- loading
    def finalize(self) -> Settings:
        """Read the sources, if that was not done yet."""
        if self._loaded:
            return self
        own = self.__dict__
        with self._lock:
            if self._loaded or self._loading:
                return self
            own["_loading"] = True
            try:
                if self.before_load is not None:
                    self.before_load()
                own["_read"] = [self._checked_all(source()) for source in self._sources()]
                self._fill()
                own["_loaded"] = True
            finally:
                own["_loading"] = False
        if self.after_load is not None:
            self.after_load()
        return self

    def reload(self) -> None:
        """Read the sources again: now, if they have been read."""
        with self._lock:
            if self._loaded:
                self.__dict__["_read"] = [self._checked_all(source()) for source in self._sources()]
                self._fill()

    @property
    def configured(self) -> bool:
        """Whether the sources have been read."""
        return bool(self._loaded)

    def _fill(self) -> None:
        values = {
            name: copy(value) if isinstance(value, dict) else value for name, value in self.defaults.items()
        }
        for layer in (*self._layers, self._set):
            values.update((name, value) for name, value in layer.items() if name in NAMES)
        self.__dict__.update(values)
        for name in ENVIRONMENT:
            self._show_environment(name)

    def _show_environment(self, name: str) -> None:
        value = from_environment(name)
        if value:
            self.__dict__[name] = value

    def _sources(self) -> list[Source]:
        config = self.__dict__["_config"]
        return [*self._added, config] if config is not None else list(self._added)

    def read_config_from(self, source: Source) -> None:
        """Where the configuration comes from; read at the first look at a value."""
        self.__dict__["_config"] = source
        self.reload()

    def add_defaults(self, settings: Mapping[str, Any] | Source) -> None:
        """Values (or a function that gives them) for what nobody else sets."""
        with self._lock:
            self._added.append(settings if callable(settings) else lambda: settings)
            self.reload()

    # -- writing
    def __setattr__(self, name: str, value: Any) -> None:
        if name in ("strict", "before_load", "after_load", "after_change"):
            self.__dict__[name] = value
        else:
            self[name] = value

    def __setitem__(self, name: str, value: Any) -> None:
        self._put(*self._checked(name, value))

    def __delitem__(self, name: str) -> None:
        del self._set[name]
        if self._loaded:
            self.__dict__.pop(name, None)
            self._fill()

    def clear(self) -> None:
        """Forget what was set on the app itself."""
        self._set.clear()
        self.reload()

    def __delattr__(self, name: str) -> None:
        del self[name]

    def update(self, settings: Any = None, /, **more: Any) -> None:
        """Set many at once; all are checked before any value changes."""
        merged = {**(dict(settings) if settings else {}), **more}
        for name, value in self._checked_all(merged).items():
            self._put(name, value)

    def setdefault(self, name: str, default: Any = None, /) -> Any:
        """Set it unless somebody has; does not read the sources."""
        known = modern(name) or name
        if known not in (self.without_defaults() if self._loaded else self._set):
            self[known] = default
        return self._set.get(known, default) if not self._loaded else self[known]

    def _put(self, name: str, value: Any) -> None:
        self._set[name] = value
        if self._loaded and name in NAMES:
            self.__dict__[name] = value
            if name in ENVIRONMENT:
                self._show_environment(name)
            if self.after_change is not None:
                self.after_change(name)

    def _checked_all(self, values: Mapping[str, Any]) -> dict[str, Any]:
        return dict(self._checked(name, value) for name, value in values.items())

    def _checked(self, name: str, value: Any) -> tuple[str, Any]:
        known = name if name in NAMES else modern(name)
        if known is None:
            if self.strict:
                raise ImproperlyConfigured(unknown_setting(name))
            return name, value
        if value != self.defaults[known]:
            if known in REFUSED and self.strict:
                raise ImproperlyConfigured(f"setting {known!r} is not supported: {REFUSED[known]}")
            if known in ONE_VALUE and self.strict:
                only, reason = ONE_VALUE[known]
                raise ImproperlyConfigured(f"setting {known!r} must be {only}: {reason}")
            ignored = WITHOUT_EFFECT.get(known) or REFUSED.get(known)
            if ignored:
                logger.warning("setting %r has no effect: %s", known, ignored)
        if not self.strict:
            return known, value
        return known, checked(known, value)

    # -- views
    @property
    def changes(self) -> dict[str, Any]:
        """What was set on the app itself."""
        return dict(self._set)

    def without_defaults(self) -> dict[str, Any]:
        """Everything that somebody set."""
        self.finalize()
        merged: dict[str, Any] = {}
        for layer in (*self._layers, self._set):
            merged.update(layer)
        merged.update({name: self.__dict__[name] for name in ENVIRONMENT if from_environment(name)})
        return merged

    def value_set_for(self, name: str) -> bool:
        """Whether somebody set it, under any of its names."""
        return (modern(name) or name) in self.without_defaults()

    def copy(self) -> Settings:
        """The same values in an object of its own."""
        twin = Settings()
        twin.strict = self.strict
        twin.__dict__.update(_added=list(self._added), _config=self.__dict__["_config"])
        twin.update(self._set)
        return twin

    __copy__ = copy

    def table(self, with_defaults: bool = False, censored: bool = True) -> dict[str, Any]:
        """Names and values, with secrets masked."""
        from taskyard.settings import display

        values = dict(self) if with_defaults else self.without_defaults()
        return display.censored(values) if censored else values

    def humanize(self, with_defaults: bool = False, censored: bool = True) -> str:
        """The table as text, one setting a line."""
        from taskyard.settings import display

        return display.lines(self.table(with_defaults, censored))

    def __repr__(self) -> str:
        return f"<Settings: {self.table()!r}>" if self._loaded else "<Settings: not read yet>"


def use_celery_defaults(defaults: Mapping[str, Any]) -> None:
    """From now on these values hold where nothing is set, and unknown names are kept, as in Celery."""
    Settings.defaults.update(defaults)
    Settings.strict = False
