"""What a child keeps of the files that it has inherited."""

from __future__ import annotations

import os
import socket

from taskyard.pool.birth import let_go, open_file, open_files


def test_a_file_is_not_kept_for_its_number() -> None:
    reader, writer = os.pipe()
    stale = os.dup(reader)
    files = open_files()
    ours, theirs = socket.socketpair()
    os.dup2(ours.fileno(), stale)  # as a number that was free is given away again
    pid = os.fork()
    if pid == 0:
        try:
            own = open_file(theirs.fileno())
            let_go(files | {own} if own else files)
            os.write(writer, b"kept")
            theirs.settimeout(60)
            os._exit(0 if theirs.recv(1) == b"" else 1)
        finally:
            os._exit(2)
    assert os.read(reader, 4) == b"kept"
    ours.close()
    os.close(stale)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0, "it holds no end but its own"
    theirs.close()
    os.close(reader)
    os.close(writer)
