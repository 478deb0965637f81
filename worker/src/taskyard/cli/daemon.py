"""Running in the background as another user: --detach, --pidfile, --uid, --gid, --umask."""

from __future__ import annotations

import atexit
import contextlib
import os
import sys
from typing import TYPE_CHECKING

from taskyard.errors import ImproperlyConfigured

if TYPE_CHECKING:
    import argparse
    import pwd


def go_to_background(arguments: argparse.Namespace, pidfile: str | None) -> None:
    """As --detach, --umask, --uid and --gid say, with the process id in that file."""
    if arguments.detach:
        detach()
    if arguments.umask is not None or arguments.detach:
        os.umask(0o022 if arguments.umask is None else arguments.umask)
    if pidfile:
        write_pidfile(pidfile)
    drop_privileges(arguments.uid, arguments.gid)


def refuse_pickle_for_root(accept_content: object) -> None:
    """A superuser must not unpickle what anybody may send; C_FORCE_ROOT insists, as with Celery."""
    accepted = {accept_content} if isinstance(accept_content, str) else set(accept_content or ())  # type: ignore[call-overload]
    if os.geteuid() == 0 and accepted & {"pickle", "application/x-python-serialize"}:
        if os.environ.get("C_FORCE_ROOT"):
            return
        raise ImproperlyConfigured(
            "accept_content has pickle: a worker of the superuser would run whatever anybody sends. "
            "Use --uid, take pickle away, or insist with C_FORCE_ROOT=1"
        )


def drop_privileges(uid: str | None, gid: str | None) -> None:
    """Become another user and group; names or numbers."""
    if not uid and not gid:
        return
    user = _user(uid) if uid else None
    group = _group(gid) if gid else user.pw_gid if user is not None else os.getegid()
    try:
        if user is not None:
            os.initgroups(user.pw_name, group)
        os.setgid(group)
        if user is not None:
            os.setuid(user.pw_uid)
    except PermissionError:
        raise ImproperlyConfigured("--uid and --gid need a superuser") from None


def _user(text: str) -> pwd.struct_passwd:
    import pwd

    try:
        return pwd.getpwuid(int(text)) if text.isdigit() else pwd.getpwnam(text)
    except KeyError:
        raise ImproperlyConfigured(f"--uid: there is no user {text!r}") from None


def _group(text: str) -> int:
    import grp

    try:
        return (grp.getgrgid(int(text)) if text.isdigit() else grp.getgrnam(text)).gr_gid
    except KeyError:
        raise ImproperlyConfigured(f"--gid: there is no group {text!r}") from None


def check_pidfile(path: str) -> None:
    """Refuse to run twice; a file that a dead process left is taken away."""
    from pathlib import Path

    file = Path(path)
    try:
        pid = int(file.read_text().strip() or "0")
    except FileNotFoundError:
        return
    except (OSError, ValueError) as error:
        raise ImproperlyConfigured(f"--pidfile {path}: {error}") from None
    if pid and pid != os.getpid() and _is_alive(pid):
        raise ImproperlyConfigured(f"--pidfile {path} already exists: process {pid} is running")
    file.unlink()


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def write_pidfile(path: str) -> None:
    """The id of this process, until it ends."""
    me = os.getpid()
    try:
        with open(path, "w") as file:
            file.write(f"{me}\n")
    except OSError as error:
        raise ImproperlyConfigured(f"--pidfile {path}: {error.strerror}") from None

    def remove() -> None:
        if os.getpid() == me:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)

    atexit.register(remove)


def detach() -> None:
    """Go on in the background; what starts the command sees it end well."""
    for _ in range(2):
        if os.fork():
            os._exit(0)
        if os.getsid(0) != os.getpid():
            os.setsid()
    null = os.open(os.devnull, os.O_RDWR)
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush() if stream is not sys.stdin else None
    for number in (0, 1, 2):
        os.dup2(null, number)
