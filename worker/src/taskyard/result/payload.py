"""How a stored result becomes bytes and is read again: serialiser, compression, accepted content.

Compression travels in front of the payload, as in Celery 5.7: magic, content type, NUL, compressed bytes.
"""

from __future__ import annotations

import logging
import pickle
from collections.abc import Callable
from typing import Any

from taskyard.errors import ImproperlyConfigured
from taskyard.message.codec import JSON, content_types, dump_json, load_json
from taskyard.message.saferepr import safe_repr

logger = logging.getLogger(__name__)

#: No serialiser begins with a NUL: what was stored before compression was switched on stays readable.
COMPRESSED = b"\x00celery-compressed\x00"


class Payload:
    """Encodes and decodes with one serialiser."""

    def __init__(self, serializer: str, compression: str | None, accept: Any) -> None:
        self.serializer = serializer
        self.compression = compression
        self.accept = content_types(accept)
        self._json = serializer == "json"
        if self._json:
            self.content_type, self.content_encoding = JSON, "utf-8"
        else:
            from kombu.serialization import registry

            try:
                self.content_type, self.content_encoding, _ = registry._encoders[serializer]
            except KeyError:
                known = ", ".join(sorted(registry._encoders))
                raise ImproperlyConfigured(
                    f"result_serializer {serializer!r} is not known; there are {known}"
                ) from None
        if compression:
            _check_compression(compression)

    def encode(self, value: Any) -> bytes:
        """The bytes to store."""
        payload = self.dumps(value)
        return compress(payload, self.compression) if self.compression else payload

    def encode_text(self, value: Any) -> str | bytes:
        """The same as text, unless it is compressed or the serialiser's bytes are none."""
        payload = self.encode(value)
        return payload if self.compression or self.content_encoding == "binary" else payload.decode()

    def dumps(self, value: Any) -> bytes:
        """The same without compression."""
        if self._json:
            return dump_json(value)
        from kombu.serialization import dumps

        body = dumps(value, serializer=self.serializer)[2]
        return body.encode() if isinstance(body, str) else body

    def decode(self, payload: Any) -> Any:
        """What was stored; compressed or not, whatever the setting is now."""
        if payload is None:
            return None
        payload = uncompressed(payload)
        if self._json and JSON in self.accept:
            return load_json(payload)
        from kombu.serialization import loads

        return loads(payload, self.content_type, self.content_encoding, accept=self.accept)


def compress(payload: bytes, method: str) -> bytes:
    """Compressed, with the method in front."""
    from kombu.compression import compress as kombu_compress

    body, content_type = kombu_compress(payload, method)
    return b"".join([COMPRESSED, content_type.encode(), b"\x00", body])


def decompress(payload: bytes) -> bytes:
    """Undo `compress`."""
    from kombu.compression import decompress as kombu_decompress

    content_type, _, body = payload[len(COMPRESSED) :].partition(b"\x00")
    plain = kombu_decompress(body, content_type.decode())
    return plain if isinstance(plain, bytes) else bytes(plain)


def uncompressed(payload: Any) -> Any:
    """What was stored, without the compression if it has one."""
    if isinstance(payload, memoryview):
        payload = payload.tobytes()
    if isinstance(payload, (bytes, bytearray)) and payload.startswith(COMPRESSED):
        return decompress(bytes(payload))
    return payload


def _check_compression(method: str) -> None:
    from kombu.compression import encoders, get_encoder

    try:
        get_encoder(method)
    except KeyError:
        known = ", ".join(sorted(encoders()))
        raise ImproperlyConfigured(f"result_compression {method!r} is not known; there are {known}") from None


def pickleable(error: BaseException) -> BaseException:
    """The exception itself if pickle can carry it, else its nearest ancestor that it can."""
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301  our own bytes
    except Exception as unfit:
        logger.debug("%s cannot be pickled: %s", type(error).__name__, unfit)
        return nearest_pickleable(error) or Exception(safe_repr(error))
    return error


def nearest_pickleable(
    error: BaseException,
    loads: Callable[[bytes], Any] = pickle.loads,
    dumps: Callable[[Any], bytes] = pickle.dumps,
) -> BaseException | None:
    """The error made anew of its class, or of the nearest ancestor, that survives pickling; None where only
    Exception would be left, which says too little.
    """
    for kind in type(error).__mro__:
        if kind in (Exception, BaseException):
            break
        if not issubclass(kind, BaseException):
            continue
        try:
            candidate: BaseException = kind(*error.args)
            loads(dumps(candidate))
        except Exception:  # noqa: S112  the next one is tried
            continue
        return candidate
    return None
