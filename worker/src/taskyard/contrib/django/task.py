"""DjangoTask: what the tasks of an app derive from where Django is used."""

from __future__ import annotations

from functools import partial
from typing import Any

from taskyard.task import Task


class DjangoTask(Task[..., Any]):
    """A task that can wait with its message until the transaction is committed."""

    def delay_on_commit(self, *args: Any, **kwargs: Any) -> None:
        """As `delay`, once the transaction that is open now is committed; not at all if it is rolled back.

        Outside of a transaction the task is sent at once. There is no result to return.
        """
        self.apply_async_on_commit(args, kwargs)

    def apply_async_on_commit(
        self,
        args: tuple[Any, ...] | list[Any] | None = None,
        kwargs: dict[str, Any] | None = None,
        **options: Any,
    ) -> None:
        """As `apply_async`, once the open transaction (of the database `using`) is committed."""
        from django.db import transaction

        using = options.pop("using", None)
        transaction.on_commit(partial(self.apply_async, args, kwargs, **options), using=using)
