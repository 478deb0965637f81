"""A server of the tests' own that speaks MongoDB's wire protocol: FerretDB over SQLite.

MongoDB itself is in no package registry. FerretDB is compiled once (a minute on two cores) into the cache
that the test cluster keeps outside the tree.
"""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.cluster import cache, commands, toolchain
from tests.cluster.progress import step
from tests.stores.server import Server

VERSION = "v1.24.2"
_MODULE = "github.com/FerretDB/FerretDB"
_SOURCES = Path(__file__).parent / "ferretdb"
#: FerretDB stores arrays in arrays but refuses them at its door; MongoDB takes them, and children are such.
_CHECKED = "internal/types/document_validation.go"
_CHECK = (
    "case *Array:\n\t\t\t\t\treturn newValidationError(",
    "case nil:\n\t\t\t\t\treturn newValidationError(",
)
_FLAGS = ["-trimpath", "-buildvcs=false", "-mod=mod", "-tags", "ferretdb_no_postgresql", "-ldflags", "-s -w"]


def program() -> Path:
    """The path of the server's program, after building it where needed."""
    return cache.entry("ferretdb", VERSION, _inputs(), _compile) / "ferretdb"


def _inputs() -> Iterator[bytes | str]:
    yield f"{os.uname().sysname} {os.uname().machine}"
    yield from (*_FLAGS, *_CHECK)
    for name in ("go.mod", "go.sum", "main.go"):
        yield (_SOURCES / name).read_bytes()


def _compile(into: Path) -> None:
    go = toolchain.find_go()
    env = {"CGO_ENABLED": "0", "GOFLAGS": "", "GOWORK": "off"}
    log = cache.root() / "build-ferretdb.log"
    log.unlink(missing_ok=True)
    with (
        step(f"building FerretDB {VERSION} (from a cold cache a minute)"),
        tempfile.TemporaryDirectory(prefix="ferretdb-") as directory,
    ):
        work = Path(directory)
        shutil.copytree(_SOURCES, work, dirs_exist_ok=True)
        commands.run([go, "mod", "download", _MODULE], env=env, cwd=work, log=log)
        module = commands.run([go, "list", "-m", "-f", "{{.Dir}}", _MODULE], env=env, cwd=work).strip()
        # What the module cache holds is read-only.
        shutil.copytree(module, work / "changed", copy_function=shutil.copyfile)
        commands.run(["chmod", "-R", "u+w", "changed"], cwd=work)
        checked = work / "changed" / _CHECKED
        text = checked.read_text()
        assert text.count(_CHECK[0]) == 1, f"{_CHECKED} of {VERSION} is not what it was"
        checked.write_text(text.replace(*_CHECK))
        commands.run([go, "mod", "edit", f"-replace={_MODULE}=./changed"], env=env, cwd=work)
        commands.run([go, "build", *_FLAGS, "-o", str(into / "ferretdb"), "."], env=env, cwd=work, log=log)


class MongoDB(Server):
    """One server; every database is a file."""

    #: Asked politely, it waits seconds for its clients to leave.
    stop_signal = signal.SIGKILL

    @property
    def url(self) -> str:
        """As result_backend has it, without a database."""
        return f"mongodb://127.0.0.1:{self.port}"

    def command(self) -> list[str]:
        return [str(program()), "-address", f"127.0.0.1:{self.port}", "-directory", str(self.directory)]
