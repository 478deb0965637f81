"""Sending what follows a task: signatures from a message's embed (links, error links, the rest of a chain).

The JSON form is Celery's: {"task", "args", "kwargs", "options", "subtask_type", "immutable"}.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from taskyard.errors import NotSupported
from taskyard.message.identity import new_id

if TYPE_CHECKING:
    from taskyard.app import App
    from taskyard.result import AsyncResult

#: Signature options that mean the same to send_task under another name.
_RENAMED = {"link": "link", "link_error": "link_error"}


def refuse_unsupported(embed: dict[str, Any]) -> None:
    """NotSupported if the embed, or any signature within it, needs a chord."""
    if embed.get("chord"):
        raise NotSupported(
            "this task is part of a chord, which this version does not run; nothing was executed"
        )
    for name in ("callbacks", "errbacks", "chain"):
        for signature in embed.get(name) or ():
            _refuse(signature)


def _refuse(signature: dict[str, Any]) -> None:
    if signature.get("subtask_type") == "chord" or signature.get("task") == "celery.chord":
        raise NotSupported("a chord follows this task, which this version does not run; nothing was executed")
    options = signature.get("options") or {}
    if options.get("chord"):
        raise NotSupported("a chord follows this task, which this version does not run; nothing was executed")
    for inner in (signature.get("kwargs") or {}).get("tasks") or ():
        if isinstance(inner, dict):
            _refuse(inner)
    for inner in [
        *_listed(options.get("link")),
        *_listed(options.get("link_error")),
        *_listed(options.get("chain")),
    ]:
        _refuse(inner)


def send_signature(
    app: App,
    signature: dict[str, Any],
    prefix: Sequence[Any],
    *,
    parent_id: str | None,
    root_id: str | None,
    **extra: Any,
) -> list[AsyncResult[Any]]:
    """Send a signature after its predecessor; `prefix` (its result) goes before the arguments unless
    immutable.
    """
    kind = signature.get("subtask_type")
    options: dict[str, Any] = {**(signature.get("options") or {})}
    for name, value in extra.items():
        options[name] = [*_listed(options.get("chain")), *value] if name == "chain" else value
    tasks = (signature.get("kwargs") or {}).get("tasks") or []
    if kind == "chain" or signature.get("task") == "celery.chain":
        if not tasks:
            return []
        first, rest = tasks[0], list(reversed(tasks[1:]))
        outer_chain = options.pop("chain", None) or []
        links = {name: options[name] for name in ("link", "link_error") if options.get(name)}
        if rest and links.get("link"):
            rest[0] = _with_links(rest[0], links["link"])
            links.pop("link")
        return send_signature(
            app, first, prefix, parent_id=parent_id, root_id=root_id, chain=[*outer_chain, *rest], **links
        )
    if kind == "group" or signature.get("task") == "celery.group":
        if options.get("chain"):
            raise NotSupported("a group with a task after it is a chord, which this version does not run")
        group_id = options.get("task_id") or options.get("group_id") or new_id()
        sent: list[AsyncResult[Any]] = []
        for index, inner in enumerate(tasks):
            sent += send_signature(
                app, inner, prefix, parent_id=parent_id, root_id=root_id, group_id=group_id, group_index=index
            )
        return sent
    args = list(signature.get("args") or ())
    if not signature.get("immutable"):
        args = [*prefix, *args]
    return [
        app.send_task(
            signature["task"],
            args,
            signature.get("kwargs") or {},
            parent_id=parent_id,
            root_id=root_id,
            **_sendable(options),
        )
    ]


def _with_links(signature: dict[str, Any], links: Any) -> dict[str, Any]:
    options = {**(signature.get("options") or {})}
    options["link"] = [*_listed(options.get("link")), *_listed(links)]
    return {**signature, "options": options}


def _sendable(options: dict[str, Any]) -> dict[str, Any]:
    return {
        _RENAMED.get(name, name): value
        for name, value in options.items()
        if name not in ("root_id", "parent_id")
    }


def _listed(value: Any) -> list[Any]:
    if value is None:
        return []
    return list(value) if isinstance(value, (list, tuple)) else [value]
