"""Panel: the commands that workers understand, by name, with what the command line needs to know of them."""

from __future__ import annotations

from collections import UserDict
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

#: handler(state, **arguments) -> reply
Handler = Callable[..., Any]


class CommandInfo(NamedTuple):
    """What is known of a command."""

    alias: str | None
    #: "inspect" (only looks) or "control".
    type: str
    #: Shown in lists.
    visible: bool
    #: Seconds that a caller should wait.
    default_timeout: float
    #: One line.
    help: str
    signature: str | None
    #: (name, type) of the positional arguments on the command line.
    args: list[tuple[str, Callable[[str], Any]]] | None
    #: The argument that takes the rest of the command line.
    variadic: str | None


class Panel(UserDict[str, Handler]):
    """Name -> handler, for all workers of this process; `meta` has what is known of each."""

    data: ClassVar[dict[str, Handler]] = {}  # type: ignore[misc]
    meta: ClassVar[dict[str, CommandInfo]] = {}

    @classmethod
    def register(cls, *functions: Handler, **options: Any) -> Any:
        """Add a command; a decorator with or without options."""
        decorator = cls._register(**options)
        return decorator(*functions) if functions else decorator

    @classmethod
    def _register(
        cls,
        name: str | None = None,
        alias: str | None = None,
        type: str = "control",
        visible: bool = True,
        default_timeout: float = 1.0,
        help: str | None = None,
        signature: str | None = None,
        args: list[tuple[str, Callable[[str], Any]]] | None = None,
        variadic: str | None = None,
    ) -> Callable[[Handler], Handler]:
        def register(handler: Handler) -> Handler:
            command = name or handler.__name__
            text = help or (handler.__doc__ or "").strip().partition("\n")[0]
            cls.data[command] = handler
            cls.meta[command] = CommandInfo(
                alias, type, visible, default_timeout, text, signature, args, variadic
            )
            if alias:
                cls.data[alias] = handler
            return handler

        return register


def control_command(**options: Any) -> Callable[[Handler], Handler]:
    """Register a command that changes something."""
    return Panel.register(type="control", **options)  # type: ignore[no-any-return]


def inspect_command(**options: Any) -> Callable[[Handler], Handler]:
    """Register a command that only looks."""
    return Panel.register(type="inspect", **options)  # type: ignore[no-any-return]


def ok(value: Any) -> dict[str, Any]:
    """The reply of what went well."""
    return {"ok": value}


def nok(value: Any) -> dict[str, Any]:
    """The reply of what did not."""
    return {"error": value}


def load_commands() -> type[Panel]:
    """The panel with all commands that come with Taskyard."""
    from taskyard.worker.remote import (  # noqa: F401  they register themselves
        debug_commands,
        inspect_commands,
        pool_commands,
        queue_commands,
        task_commands,
    )

    return Panel
