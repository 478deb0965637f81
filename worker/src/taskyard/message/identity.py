"""Who sends: task ids and the origin header."""

from __future__ import annotations

import os
import socket
from functools import lru_cache


def new_id() -> str:
    """A random UUID of version 4 as text; uuid.uuid4() at a third of the cost."""
    text = os.urandom(16).hex()
    return f"{text[:8]}-{text[8:12]}-4{text[13:16]}-a{text[17:20]}-{text[20:]}"


#: Celery's name for it.
uuid = new_id


@lru_cache(maxsize=1)
def origin() -> str:
    """This process as Celery names senders: gen<pid>@<host>."""
    return f"gen{os.getpid()}@{socket.gethostname()}"


os.register_at_fork(after_in_child=origin.cache_clear)
