"""The Lua scripts, kept as files: the head of each says what its keys and arguments are."""

from dataclasses import dataclass
from functools import cache
from os.path import dirname, join

try:
    from _sha1 import sha1  # type: ignore[import-not-found]  # hashlib would load all of OpenSSL
except ImportError:  # pragma: no cover
    from hashlib import sha1


@dataclass(frozen=True, slots=True)
class Script:
    """The text of a script and the name by which Redis remembers it."""

    source: bytes
    sha: bytes


@dataclass(frozen=True, slots=True)
class Scripts:
    """All scripts of the transport."""

    take: Script
    settle: Script
    beat: Script
    leave: Script
    orphans: Script
    reclaim: Script
    due: Script


def read_script(path: str) -> bytes:
    """The text of a script that lies beside its module."""
    with open(path, "rb") as file:
        return file.read()


def script_of(source: bytes) -> Script:
    """A script by its text."""
    return Script(source, sha1(source, usedforsecurity=False).hexdigest().encode())


@cache
def scripts(*, flags: bool) -> Scripts:
    """Load the scripts; ``flags`` is whether the server knows script flags (Redis 7).

    With flags they may run on a server that is out of memory: they move messages, and emptying the queues is
    what such a server needs.
    """
    return Scripts(**{name: _load(name, flags) for name in Scripts.__slots__})


def joint_script(work: bytes) -> Script:
    """A script that does that work, the text of another script, and then acknowledges (joint.lua).

    Without flags: a server that is out of memory refuses work that needs some.
    """
    functions = (
        b"local function %s(KEYS, ARGV)\n%s\nend\n" % (name, source)
        for name, source in ((b"work", work), (b"settle", _source("settle")))
    )
    return script_of(b"".join(functions) + _source("joint"))


def _source(name: str) -> bytes:
    return read_script(join(dirname(dirname(__file__)), "redis_scripts", f"{name}.lua"))


def _load(name: str, flags: bool) -> Script:
    source = _source(name)
    if flags:
        source = b"#!lua flags=allow-oom,allow-cross-slot-keys\n" + source
    return script_of(source)
