"""Bodies to values and back: JSON with kombu's extended types, everything else through kombu's serialisers.

Plain JSON goes through msgspec.  What msgspec would write differently from kombu (datetime, Decimal, UUID,
bytes, NaN, keys that are not strings) is found before and goes through kombu's encoder, so the bytes mean
the same to a Celery peer: `{"__type__": "datetime", "__value__": ...}`.
"""

from __future__ import annotations

from collections.abc import Collection
from math import isfinite
from typing import Any

import msgspec

from taskyard.errors import ImproperlyConfigured, MalformedMessage

JSON = "application/json"

#: Short names of content types, as settings such as `accept_content` and `task_serializer` use them.
CONTENT_TYPES = {
    "json": JSON,
    "yaml": "application/x-yaml",
    "pickle": "application/x-python-serialize",
    "msgpack": "application/x-msgpack",
    "auth": "application/data",
}
#: Serialisers that need a package, and the extra that brings it.
_EXTRAS = {"msgpack": "msgpack", "yaml": "yaml"}

#: Values with more items than this are left to kombu's encoder, which is in C, without looking at each item
#: here.
_PLAIN_ITEMS = 500

#: What msgspec and kombu surely agree on, whatever the value.
_SIMPLE = frozenset({str, int, bool, type(None)})

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode


def dump_json(value: Any) -> bytes:
    """Encode as kombu's JSON serialiser would (the meaning, not the whitespace); TypeError for what it
    cannot.
    """
    if _plain(value, [_PLAIN_ITEMS]):
        try:
            return _encode(value)
        except UnicodeEncodeError:  # a lone surrogate: json escapes it
            pass
    from kombu.utils import json

    text: str = json.dumps(value)
    return text.encode()


def load_json(data: bytes | str) -> Any:
    """Decode JSON with kombu's extended types; MalformedMessage if it is none."""
    raw = data.encode() if isinstance(data, str) else data
    # An extended type must be spelled out, or hidden behind the escape of an underscore.
    # Single bytes are looked for much faster: most bodies have none.
    if (b"_" not in raw or b'"__type__"' not in raw) and (b"\\" not in raw or b"\\u005" not in raw):
        try:
            return _decode(raw)
        except (msgspec.DecodeError, RecursionError):
            pass  # NaN, lone surrogates and huge numbers are for the other decoder
    from kombu.utils import json

    try:
        return json.loads(raw)
    except (ValueError, TypeError, RecursionError, ArithmeticError) as error:
        raise MalformedMessage(f"body is no JSON: {_short(error)}") from None


def content_types(names: Collection[str]) -> frozenset[str]:
    """The content types that a list of short names or content types stands for.

    Other short names are looked up among the serialisers that were registered with kombu.
    """
    return frozenset(CONTENT_TYPES.get(name) or _registered(name) for name in names)


def _registered(name: str) -> str:
    if "/" in name:
        return name
    from kombu.serialization import registry

    found: str | None = registry.name_to_type.get(name)
    if found is None:
        raise ImproperlyConfigured(
            f"accept_content names {name!r}, which is no content type and no serialiser: register it with "
            "kombu.serialization.register before the app is used"
        )
    return found


def dumps(value: Any, serializer: str) -> tuple[bytes, str, str]:
    """Encode with a serialiser of that short name: (body, content type, content encoding)."""
    if serializer == "json":
        return dump_json(value), JSON, "utf-8"
    from kombu.exceptions import EncodeError, SerializerNotInstalled
    from kombu.serialization import dumps as kombu_dumps

    try:
        content_type, content_encoding, body = kombu_dumps(value, serializer=serializer)
    except (SerializerNotInstalled, EncodeError) as error:
        if isinstance(error, EncodeError) and not isinstance(error.__cause__, SerializerNotInstalled):
            raise
        raise ImproperlyConfigured(_not_installed(serializer)) from None
    return (body.encode() if isinstance(body, str) else body), content_type, content_encoding


def _not_installed(serializer: str) -> str:
    if serializer in _EXTRAS:
        return f"serializer {serializer!r} needs a package: pip install taskyard[{_EXTRAS[serializer]}]"
    if serializer == "auth":
        return "serializer 'auth' is not set up: call app.setup_security() first"
    return (
        f"serializer {serializer!r} is unknown: take json, msgpack, yaml or pickle, or register it with "
        "kombu.serialization.register"
    )


def loads(
    body: bytes | str,
    content_type: str | None,
    content_encoding: str | None,
    accept: frozenset[str],
    compression: str | None = None,
    limit: int | None = None,
) -> Any:
    """Decode a message body; MalformedMessage says why it cannot be, or that it has over `limit` bytes."""
    if content_type not in accept:
        raise MalformedMessage(f"content type {content_type!r} is not accepted (accept_content)")
    try:
        if compression:
            from taskyard.message.compression import decompress

            body = decompress(body, compression, limit)
        if content_type == JSON and (content_encoding or "utf-8").lower() in ("utf-8", "us-ascii", "binary"):
            return load_json(body)
        from kombu.serialization import loads as kombu_loads

        return kombu_loads(body, content_type, content_encoding or "utf-8", accept=accept)
    except MalformedMessage:
        raise
    except Exception as error:
        raise MalformedMessage(f"body cannot be decoded as {content_type}: {_short(error)}") from None


def _short(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"[:200]


def _plain(value: Any, budget: list[int]) -> bool:
    """Whether msgspec and kombu's JSON agree on the value, looking at no more than `budget` items."""
    kind = type(value)
    if kind is str or kind is int or value is None or kind is bool:
        return True
    if kind is float:
        return isfinite(value)
    budget[0] -= 1
    if budget[0] < 0:
        return False
    if kind is list or kind is tuple:
        items = value
    elif kind is dict:
        items = value.values()
    else:
        return False
    budget[0] -= len(value)
    if budget[0] < 0:
        return False
    # Generators for all() would cost as much as the whole look at a small value.
    if kind is dict:
        for key in value:
            if type(key) is not str:
                return False
    for item in items:  # noqa: SIM110
        if type(item) not in _SIMPLE and not _plain(item, budget):
            return False
    return True
