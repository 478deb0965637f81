"""What tasks can do with canvases: make signatures of themselves, be replaced by others while they run.

The canvases are imported when one of this is used: most programs only send and run.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from taskyard.errors import Ignore, ImproperlyConfigured

if TYPE_CHECKING:
    from taskyard.canvas import Signature, chunks, xmap, xstarmap


class CanvasMethods:
    """Mixed into Task, whose `app` and `request` it uses."""

    # -- signatures
    def signature(
        self: Any, args: Iterable[Any] | None = None, *starargs: Any, **starkwargs: Any
    ) -> Signature:
        """A signature of this task: arguments, keyword arguments, options, as `apply_async` takes them."""
        from taskyard.canvas.signatures import Signature

        starkwargs.setdefault("app", self.app)
        return Signature(self, args, *starargs, **starkwargs)

    subtask = signature

    def s(self: Any, *args: Any, **kwargs: Any) -> Signature:
        """A signature with these arguments."""
        made: Signature = self.signature(args, kwargs)
        return made

    def si(self: Any, *args: Any, **kwargs: Any) -> Signature:
        """A signature with these arguments and no others: results of earlier tasks are not passed to it."""
        made: Signature = self.signature(args, kwargs, immutable=True)
        return made

    def map(self: Any, it: Iterable[Any]) -> xmap:
        """One message that applies this task to each item."""
        from taskyard.canvas.maps import xmap

        return xmap(self.s(), it, app=self.app)

    def starmap(self: Any, it: Iterable[Any]) -> xstarmap:
        """One message that applies this task to each list of arguments."""
        from taskyard.canvas.maps import xstarmap

        return xstarmap(self.s(), it, app=self.app)

    def chunks(self: Any, it: Iterable[Any], n: int) -> chunks:
        """A group of starmaps of `n` lists of arguments each."""
        from taskyard.canvas.maps import chunks

        return chunks(self.s(), it, n, app=self.app)

    # -- while it runs
    def replace(self: Any, sig: Any) -> Any:
        """Let another signature take this task's place: its id, its links, its chain and its chord.

        To be used as `return self.replace(...)`: in a worker it raises Ignore.  ImproperlyConfigured for a
        signature that is part of a chord, and for an empty chain.
        """
        from taskyard.canvas import _chain, signature
        from taskyard.canvas.lazy_list import listed

        request = self.request
        if "chord" in sig.options:
            raise ImproperlyConfigured("A signature replacing a task must not be part of a chord")
        if isinstance(sig, _chain) and not sig.tasks:
            raise ImproperlyConfigured("Cannot replace with an empty chain")
        sig = self._with_one_result(sig)
        for callback in listed(request.callbacks):
            sig.link(callback)
        for errback in listed(request.errbacks):
            sig.link_error(errback)
        if isinstance(sig, _chain) and "link" in sig.options:
            # At the last task they run when the chain has ended, whatever is chained to it below.
            sig.tasks[-1].extend_list_option("link", sig.options.pop("link"))
        # Results that were handed out before stay those of this id.
        sig.freeze(request.id)
        nesting = (request.replaced_task_nesting or 0) + 1
        sig.set(
            chord=request.chord,
            group_id=request.group,
            group_index=request.group_index,
            root_id=request.root_id,
            replaced_task_nesting=nesting,
        )
        if isinstance(sig, _chain):
            for task in sig.tasks:
                task.set(replaced_task_nesting=nesting)
        for step in reversed(request.chain or ()):
            sig |= signature(step, app=self.app).set(replaced_task_nesting=nesting)
        return self.on_replace(sig)

    def _with_one_result(self: Any, sig: Any) -> Any:
        """What ends in a group gets a task that gathers its results, which links can be put on."""
        from taskyard.canvas import _chain, group

        if isinstance(sig, group):
            return sig | self._gatherer()
        if isinstance(sig, _chain) and isinstance(sig.tasks[-1], group):
            sig.tasks = [*sig.tasks[:-1], sig.tasks[-1] | self._gatherer()]
        return sig

    def _gatherer(self: Any) -> Any:
        from taskyard.canvas import maybe_signature

        return maybe_signature(self.app.tasks["celery.accumulate"].s(index=0))

    def on_replace(self: Any, sig: Any) -> Any:
        """Send the signature that takes this task's place; an override returns `super().on_replace(sig)`."""
        from taskyard.canvas.parts import value_of

        if self.request.is_eager:
            return value_of(sig.apply())
        sig.delay()
        raise Ignore("Replaced by new task")

    def add_to_chord(self: Any, sig: Any, lazy: bool = False) -> Any:
        """Add a task to the header of the chord that this one is part of; with `lazy` the caller sends it."""
        request = self.request
        if not request.chord:
            raise ValueError("Current task is not member of any chord")
        sig.set(
            group_id=request.group,
            group_index=request.group_index,
            chord=request.chord,
            root_id=request.root_id,
        )
        result = sig.freeze()
        self.app.backend.add_to_chord(request.group, result)
        return sig if lazy else sig.delay()
