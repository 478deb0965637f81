"""Serialisers and compression: what is sent, what is accepted, and what is refused with the remedy."""

import subprocess
import sys

import pytest
from kombu.compression import compress as kombu_compress
from kombu.serialization import register, unregister

from taskyard.errors import ImproperlyConfigured, MalformedMessage
from taskyard.message.codec import content_types, dumps, loads
from taskyard.message.compression import check_method, compress, decompress

BODY = [[1, "two", None], {"k": [3.5, True]}, {"callbacks": None}]
METHODS = ["gzip", "zlib", "bzip2", "lzma", "zstd", "brotli"]


@pytest.mark.parametrize("serializer", ["json", "msgpack", "yaml", "pickle"])
def test_each_serializer_there_and_back(serializer: str) -> None:
    body, content_type, encoding = dumps(tuple(BODY), serializer)
    value = loads(body, content_type, encoding, content_types([serializer]))
    assert [list(value[0]), *value[1:]] == BODY


@pytest.mark.parametrize("serializer", ["msgpack", "yaml", "pickle"])
def test_only_what_is_accepted_is_decoded(serializer: str) -> None:
    body, content_type, encoding = dumps(BODY, serializer)
    with pytest.raises(MalformedMessage, match="not accepted"):
        loads(body, content_type, encoding, content_types(["json"]))


def test_a_serializer_of_ones_own() -> None:
    register(
        "shout",
        lambda value: repr(value).upper(),
        lambda text: text.lower().decode(),
        "application/x-shout",
        "utf-8",
    )
    try:
        body, content_type, encoding = dumps("hi", "shout")
        assert (body, content_type) == (b"'HI'", "application/x-shout")
        assert loads(body, content_type, encoding, content_types(["shout"])) == "'hi'"
    finally:
        unregister("shout")
    with pytest.raises(ImproperlyConfigured, match=r"'shout'.*register"):
        content_types(["shout"])
    with pytest.raises(ImproperlyConfigured, match="'shout' is unknown"):
        dumps("hi", "shout")


@pytest.mark.parametrize("method", METHODS)
def test_each_compression_as_kombu_has_it(method: str) -> None:
    plain = b"a task's body " * 100
    packed, content_type = compress(plain, method)
    assert len(packed) < len(plain)
    assert kombu_compress(plain, method)[1] == content_type
    for name in (method, content_type):
        assert decompress(packed, name) == plain
        assert decompress(kombu_compress(plain, method)[0], name, limit=len(plain)) == plain
    body, kind, encoding = dumps(BODY, "json")
    packed, content_type = compress(body, method)
    assert loads(packed, kind, encoding, content_types(["json"]), content_type) == BODY


@pytest.mark.parametrize("method", METHODS)
def test_a_body_that_unpacks_to_too_much_is_refused(method: str) -> None:
    packed, content_type = compress(b"0" * 5_000_000, method)
    assert len(packed) < 10_000
    with pytest.raises(MalformedMessage, match="more than 100000 bytes"):
        decompress(packed, content_type, limit=100_000)


def test_unknown_and_broken_compression() -> None:
    with pytest.raises(ImproperlyConfigured, match="'rar' is unknown; there are application/"):
        check_method("rar")
    with pytest.raises(MalformedMessage, match="'rar' is not known here"):
        decompress(b"x", "rar")
    for limit in (None, 1000):
        with pytest.raises(MalformedMessage, match="cannot be decoded"):
            loads(
                b"no gzip", "application/json", "utf-8", content_types(["json"]), "application/x-gzip", limit
            )


def test_a_package_that_is_missing_is_named_and_plain_json_needs_none() -> None:
    program = """
import sys
for name in ("msgpack", "yaml", "backports", "brotli", "brotlicffi"):
    sys.modules[name] = None
from taskyard.errors import ImproperlyConfigured
from taskyard.message import codec, compression
codec.loads(codec.dumps([], "json")[0], "application/json", "utf-8", codec.content_types(["json"]))
print("kombu" in sys.modules)
for use in (
    lambda: codec.dumps([], "msgpack"),
    lambda: codec.dumps([], "yaml"),
    lambda: compression.check_method("zstd"),
    lambda: compression.check_method("brotli"),
):
    try:
        use()
    except ImproperlyConfigured as error:
        print(error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    assert lines[0] == "False"
    assert [line.rpartition("pip install ")[2] for line in lines[1:]] == [
        f"taskyard[{extra}]" for extra in ("msgpack", "yaml", "zstd", "brotli")
    ]
