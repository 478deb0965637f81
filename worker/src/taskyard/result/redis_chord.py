"""Chords in Redis: the worker that brings the last result of a header sends the body.

The keys and the way they are used are Celery 5.7's (see redis_chord_scripts), so header and body may run on
its workers and on ours.  Beyond it, a chord is recorded with its body and a date, and `sweep_chords` sends
the body when the worker that was about to do so is gone, and fails it before its parts expire.
"""

from __future__ import annotations

import logging
from math import ceil
from time import time
from typing import TYPE_CHECKING, Any

from taskyard.errors import BrokerError, ChordError
from taskyard.message.identity import new_id
from taskyard.result.chord_parts import Part, Times, claim_seconds, is_claimed, is_ordered, part_arguments
from taskyard.result.groups import GroupResult
from taskyard.result.joining import allow_join_result
from taskyard.result.redis_chord_scripts import DONE, EXTEND, FAILED, PART, SWEEP
from taskyard.result.states import EXCEPTION_STATES, PROPAGATE_STATES

if TYPE_CHECKING:
    from taskyard.app import App

logger = logging.getLogger("taskyard.task")

#: Seconds that the mark of a sent body stays at least, for copies of header tasks that come late.
_DONE_SECONDS = 300
#: A chord fails that many seconds before its parts expire.
_MARGIN_SECONDS = 60
#: The most that a body's publishing may take, seconds: a retry policy may be without end.
_LONGEST_CLAIM = 3600
#: Chords that one sweep looks at.
_SWEPT = 100


class RedisChords:
    """The chord half of the Redis store."""

    if TYPE_CHECKING:
        app: App
        client: Any
        chord_expires: float | None
        chord_result_expires: float
        group_keyprefix: str
        ensure: Any
        payload: Any
        decode: Any
        encode_result: Any
        exception_to_python: Any
        get_key_for_group: Any
        restore_group: Any
        chord_error_from_stack: Any

    # -- the sender's side
    def apply_chord(self, header_result_args: tuple[Any, Any], body: Any, **options: Any) -> None:
        """Keep the shape of a header that has groups in it; anything else needs no preparation."""
        group_id, results = header_result_args
        if isinstance(results, (list, tuple)) and type(results) is not list:
            return  # a generator's results: asking for them would run it
        if any(isinstance(result, GroupResult) for result in results):
            header = GroupResult(group_id, list(results), app=self.app)
            self._set_for_chord(
                self.get_key_for_group(group_id), self.payload.encode({"result": header.as_tuple()})
            )

    def set_chord_size(self, group_id: str, chord_size: int) -> None:
        """How many parts complete the header; called before the last of it is sent."""
        # A frozen chord that is sent again begins anew.
        self.ensure(lambda: self.client.delete(self.get_key_for_group(group_id, ".c")))
        self._set_for_chord(self.get_key_for_group(group_id, ".s"), chord_size)

    def add_to_chord(self, group_id: str, result: Any) -> None:
        """The header has one part more."""
        self.client.incr(self.get_key_for_group(group_id, ".t"))

    def _set_for_chord(self, key: str, value: Any) -> None:
        self.ensure(lambda: self.client.set(key, value, ex=int(self.chord_expires or 0) or None))

    # -- the worker's side
    def on_chord_part_return(self, request: Any, state: str, result: Any, **options: Any) -> None:
        """Keep the part; whoever brings the last one sends the body."""
        group_id, task_id = request.group, request.id
        if not group_id or not task_id:
            return
        part = self.chord_part(request, state, result)
        token = new_id()
        keys = self._keys(group_id, "jtsd")
        keys += [self.get_key_for_group(group_id), *self._keys(group_id, "c"), *self._record_keys()]
        times = Times(
            int(self.chord_expires or 0), int(self.chord_result_expires or 0), self._claim_seconds()
        )
        arguments = part_arguments([part], group_id, part.body, token, times, ordered=self._ordered)
        if is_claimed(self._run(PART, keys, arguments)):
            self._complete(group_id, request.chord, token)

    def chord_part(self, request: Any, state: str, result: Any) -> Part:
        """What the chord of a request's is told."""
        index = request.group_index
        return Part(
            request.id,
            request.group,
            "+inf" if index is None else str(index),
            self.payload.encode([1, request.id, state, self.encode_result(result, state)]),
            self.payload.encode(request.chord),
            _comes_again(request),
        )

    def complete_chord(self, part: Part, token: str) -> None:
        """The part was the last one; the worker's parent has brought it, and the claim is the token's."""
        self._complete(part.group_id, self.decode(part.body), token)

    def _complete(self, group_id: str, body: Any, token: str) -> None:
        """Send the body with the header's results, or fail it; the claim is ours."""
        callback = self.app.signature(body)
        try:
            values = self._header_values(group_id)
        except Exception as error:
            if not isinstance(error, ChordError):
                error = _caused(f"Join error: {error!r}", error)
            self._fail(group_id, callback, error)
            return
        if not self._run(
            EXTEND,
            [*self._keys(group_id, "cs"), self._record_keys()[0]],
            [token, self._publish_seconds(callback), time(), group_id],
        ):
            logger.warning("Another worker has taken over the body of chord %r", group_id)
            return
        try:
            callback.delay(values)
        except BrokerError as error:
            # The parts stay, and the sweeper tries again.
            logger.error("The body of chord %r will be sent when the broker is back: %s", group_id, error)
            return
        except Exception as error:
            self._fail(group_id, callback, _caused(f"Callback error: {error!r}", error))
            return
        self._run(
            DONE,
            [*self._keys(group_id, "jtsdc"), *self._record_keys()],
            [token, self._done_seconds(), group_id],
        )

    def _header_values(self, group_id: str) -> list[Any]:
        """What the header's tasks returned, in its order and shape; ChordError for one that failed."""
        key = self.get_key_for_group(group_id, ".j")
        raw = self.client.zrange(key, 0, -1) if self._ordered else self.client.lrange(key, 0, -1)
        parts = [self.decode(each) for each in raw]
        values = {}
        flat = []
        for _, task_id, state, value in parts:
            if state in EXCEPTION_STATES:
                value = self.exception_to_python(value)
            if state in PROPAGATE_STATES:
                raise _caused(f"Dependency {task_id} raised {value!r}", value)
            values[task_id] = value
            flat.append(value)
        header = self.restore_group(group_id)
        return flat if header is None else self._shaped(header, values)

    def _shaped(self, header: Any, values: dict[str, Any]) -> list[Any]:
        """The values in the shape of a saved header; those that came in no part are asked for."""
        shaped = []
        for result in header.results:
            if isinstance(result, GroupResult):
                shaped.append(self._shaped(result, values))
            elif result.id in values:
                shaped.append(values[result.id])
            else:
                with allow_join_result():
                    shaped.append(result.get(timeout=self.app.conf.result_chord_join_timeout))
        return shaped

    def _fail(self, group_id: str, callback: Any, error: ChordError) -> None:
        logger.error("Chord %r raised: %r", group_id, error, exc_info=error.__cause__)
        called = [self.decode(each) for each in self.client.smembers(self._errbacks_key(group_id))]
        try:
            self.chord_error_from_stack(callback, error, called)
        finally:
            self.client.delete(self._errbacks_key(group_id))
            keys = [*self._keys(group_id, "sc"), *self._record_keys()]
            self._run(FAILED, keys, [self._done_seconds(), group_id])

    def errbacks_called(self, group_id: str, errbacks: list[Any]) -> None:
        """Remember them, for the worker that fails the body."""
        key = self._errbacks_key(group_id)
        self.client.sadd(key, *(self.payload.encode(errback) for errback in errbacks))
        self.client.expire(key, _DONE_SECONDS + int(self.chord_expires or 86400))

    def _errbacks_key(self, group_id: str) -> str:
        return str(self.get_key_for_group(group_id, ".errbacks"))

    # -- what hangs
    def sweep_chords(self) -> int:
        """Look at the chords whose date has come; how many bodies were sent or failed.

        Any number of workers may do so at the same time.
        """
        due, bodies = self._record_keys()
        ended = 0
        for raw in self.client.zrangebyscore(due, "-inf", time(), start=0, num=_SWEPT):
            group_id = _text(raw)
            body = self.client.hget(bodies, group_id)
            token = new_id()
            verdict, parts, total = self._run(
                SWEEP,
                [*self._keys(group_id, "jtsc"), due, bodies],
                [token, self._claim_seconds(), time(), group_id, self._margin()],
            )
            verdict = _text(verdict)
            if body is None or verdict not in ("complete", "expires"):
                continue
            ended += 1
            if verdict == "complete":
                logger.warning("Chord %r is complete and its body was not sent: sent now", group_id)
                self._complete(group_id, self.decode(body), token)
            else:
                error = ChordError(
                    f"{parts} of {total or 'an unknown number of'} results came before the chord expired "
                    "(result_chord_expires)"
                )
                self._fail(group_id, self.app.signature(self.decode(body)), error)
        return ended

    def _margin(self) -> int:
        return min(_MARGIN_SECONDS, int((self.chord_expires or 0) / 2))

    # -- keys and times
    @property
    def _ordered(self) -> bool:
        return is_ordered(self.app.conf)

    def _keys(self, group_id: str, names: str) -> list[str]:
        return [self.get_key_for_group(group_id, f".{name}") for name in names]

    def _record_keys(self) -> tuple[str, str]:
        prefix = self.group_keyprefix.removesuffix("celery-taskset-meta-")
        return f"{prefix}taskyard:chords", f"{prefix}taskyard:chord-bodies"

    def _run(self, source: str, keys: list[Any], arguments: list[Any]) -> Any:
        return self.ensure(lambda: self.client.register_script(source)(keys=keys, args=arguments))

    def _claim_seconds(self) -> int:
        """How long a worker may take to join the parts."""
        return claim_seconds(self.app.conf)

    def _done_seconds(self) -> int:
        return max(_DONE_SECONDS, self._claim_seconds() * 2)

    def _publish_seconds(self, callback: Any) -> int:
        """How long the publishing of the body may take with all its attempts."""
        conf = self.app.conf
        policy = {**conf.task_publish_retry_policy, **(callback.options.get("retry_policy") or {})}
        retry = callback.options.get("retry")
        attempts = policy.get("max_retries") if (conf.task_publish_retry if retry is None else retry) else 0
        if attempts is None:
            return _LONGEST_CLAIM
        patience = float(conf.broker_connection_timeout or 0) + float(policy.get("interval_max") or 0)
        return min(_LONGEST_CLAIM, self._claim_seconds() + ceil((int(attempts) + 2) * patience))


def _text(raw: bytes | str) -> str:
    """What Redis answered; with `decode_responses` it is text already."""
    return raw.decode() if isinstance(raw, bytes) else raw


def _comes_again(request: Any) -> bool:
    """Whether the message was delivered before."""
    info = getattr(request, "delivery_info", None) or {}
    return bool(info.get("redelivered") or getattr(request, "delivery_count", 0))


def _caused(text: str, cause: BaseException) -> ChordError:
    error = ChordError(text)
    if isinstance(cause, BaseException):
        error.__cause__ = cause
    return error
