"""Running other programs, with errors that say which one failed and why."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

from tests.cluster.errors import ClusterError, CommandError

# Root's PATH in a container or under cron often lacks the directories where its tools are.
_SYSTEM_DIRECTORIES = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")


def search_path() -> str:
    """Return $PATH with the system's own directories behind it."""
    given = os.environ.get("PATH", "").split(os.pathsep)
    return os.pathsep.join([*filter(None, given), *(d for d in _SYSTEM_DIRECTORIES if d not in given)])


def find(program: str) -> str | None:
    """Return the path of a program, or None if it is not installed."""
    return shutil.which(program, path=search_path())


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment for a program: this one's, with the whole search path and ``extra``."""
    return {**os.environ, "PATH": search_path(), **(extra or {})}


def run(
    command: Sequence[str],
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    log: Path | None = None,
    stdin: str | IO[bytes] | None = None,
    timeout: float | None = None,
) -> str:
    """Run a program to its end and return its standard output.

    ``env`` is added to this process's environment; ``log`` gets all of the output (and then "" is returned);
    ``stdin`` is a text or an open file; ``timeout`` is in seconds.
    Raises CommandError if it exits with an error and ClusterError if it is missing or too slow.
    """
    try:
        done = _complete(command, environment(env), cwd, log, stdin, timeout)
    except FileNotFoundError as error:
        raise ClusterError(f"{command[0]} is not installed: install it and try again") from error
    except subprocess.TimeoutExpired as error:
        raise ClusterError(f"`{shlex.join(command[:4])} ...` did not end within {timeout:.0f} s") from error
    if done.returncode:
        said = tail(log) if log else (done.stderr or done.stdout).decode(errors="replace")
        raise CommandError(command, done.returncode, said, log)
    return "" if log else done.stdout.decode(errors="replace")


def _complete(
    command: Sequence[str],
    env: Mapping[str, str],
    cwd: Path | None,
    log: Path | None,
    stdin: str | IO[bytes] | None,
    timeout: float | None,
) -> subprocess.CompletedProcess[bytes]:
    with contextlib.ExitStack() as stack:
        out: IO[bytes] | int = stack.enter_context(log.open("ab")) if log else subprocess.PIPE
        if isinstance(stdin, str):
            text = stack.enter_context(tempfile.TemporaryFile())
            text.write(stdin.encode())
            text.seek(0)
            stdin = text
        return subprocess.run(
            command,
            env=env,
            cwd=cwd,
            stdin=stdin if stdin is not None else subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT if log else subprocess.PIPE,
            timeout=timeout,
            check=False,
        )


def succeeds(command: Sequence[str], *, timeout: float = 20) -> bool:
    """Tell whether a program runs and exits with 0."""
    try:
        run(command, timeout=timeout)
    except ClusterError:
        return False
    return True


def tail(path: Path, lines: int = 20) -> str:
    """Return the last lines of a log, or "" if there is none."""
    try:
        with path.open("rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - 64 * 1024))
            return "\n".join(file.read().decode(errors="replace").splitlines()[-lines:])
    except FileNotFoundError:
        return ""
