"""Compressed bodies, under the names and content types of kombu.

A body that unpacks to more than a limit is refused before it fills the memory, where the method allows to
look (all but brotli).
"""

from __future__ import annotations

from typing import Any, Final

from taskyard.errors import ImproperlyConfigured, MalformedMessage

#: Methods that need a package, and the extra that brings it.
EXTRAS: Final = {
    "zstd": "zstd",
    "zstandard": "zstd",
    "application/zstd": "zstd",
    "brotli": "brotli",
    "application/x-brotli": "brotli",
}


def compress(body: bytes, method: str) -> tuple[bytes, str]:
    """The compressed body and the content type of the method; ImproperlyConfigured for an unknown one."""
    check_method(method)
    from kombu.compression import compress as kombu_compress

    packed, content_type = kombu_compress(body, method)
    return packed, content_type


def check_method(method: str, setting: str = "compression") -> None:
    """ImproperlyConfigured, with the remedy, if the method cannot be used here."""
    from kombu.compression import encoders, get_encoder

    try:
        get_encoder(method)
    except KeyError:
        extra = EXTRAS.get(method)
        if extra:
            raise ImproperlyConfigured(
                f"{setting} {method!r} needs a package: pip install taskyard[{extra}]"
            ) from None
        known = ", ".join(sorted(encoders()))
        raise ImproperlyConfigured(f"{setting} {method!r} is unknown; there are {known}") from None


def decompress(body: bytes | str, method: str, limit: int | None = None) -> bytes:
    """The body as it was; MalformedMessage when the method is not at hand or it unpacks to over `limit`
    bytes. What the method itself raises comes out as it is.
    """
    from kombu.compression import decompress as kombu_decompress

    raw = body.encode() if isinstance(body, str) else body
    unpacker = _unpacker(method) if limit else None
    if limit is None or unpacker is None:
        try:
            plain: bytes = kombu_decompress(raw, method)
        except KeyError:
            extra = EXTRAS.get(method)
            remedy = f"; install taskyard[{extra}] in the worker" if extra else ""
            raise MalformedMessage(f"compression {method!r} is not known here{remedy}") from None
    else:
        plain = unpacker.decompress(raw, limit + 1)
    if limit is not None and len(plain) > limit:
        raise too_large(limit)
    return plain


def too_large(limit: int) -> MalformedMessage:
    """What is raised about a body over the limit."""
    return MalformedMessage(f"the body has more than {limit} bytes (worker_max_message_bytes)")


def _unpacker(method: str) -> Any:
    if method in ("application/x-gzip", "gzip", "zlib"):
        import zlib

        return zlib.decompressobj()
    if method in ("application/x-bz2", "bzip2", "bzip"):
        import bz2

        return bz2.BZ2Decompressor()
    if method in ("application/x-lzma", "lzma", "xz"):
        import lzma

        return lzma.LZMADecompressor()
    if method in ("application/zstd", "zstd", "zstandard"):
        try:
            from compression import zstd  # type: ignore[import-not-found]
        except ImportError:
            try:
                from backports import zstd
            except ImportError:
                return None
        return zstd.ZstdDecompressor()
    return None
