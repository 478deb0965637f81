"""Coloured text in terminals, under the path that Celery's users import."""

from __future__ import annotations

import platform
from typing import Any

__all__ = ("colored",)

BLACK, RED, GREEN, YELLOW, BLUE, MAGENTA, CYAN, WHITE = range(8)
_COLOURS = ("black", "red", "green", "yellow", "blue", "magenta", "cyan", "white")
OP_SEQ = "\033[%dm"
COLOR_SEQ = "\033[1;%dm"
RESET_SEQ = "\033[0m"


def fg(s: int) -> str:
    """The sequence that switches a colour on."""
    return COLOR_SEQ % s


def _plain(part: Any) -> str:
    return part.no_color() if isinstance(part, colored) else str(part)


class colored:  # noqa: N801  Celery's name
    """Text in colours: `colored().red("stop ", colored().bold("now"))`; with enabled=False as it is."""

    def __init__(self, *s: object, enabled: bool = True, op: str = "") -> None:
        self.s = s
        self.enabled = enabled and platform.system() != "Windows"
        self.op = op
        self.names = {name: getattr(self, name) for name in _COLOURS}

    def node(self, s: tuple[object, ...], op: str) -> colored:
        """These parts with another sequence in front."""
        return type(self)(*s, enabled=self.enabled, op=op)

    def embed(self) -> str:
        """The text without the reset at its end."""
        return (self.op if self.enabled else "") + "".join(map(str, self.s))

    def no_color(self) -> str:
        """The text alone."""
        return "".join(map(_plain, self.s))

    def __str__(self) -> str:
        return self.embed() + (RESET_SEQ if self.enabled else "")

    def __repr__(self) -> str:
        return repr(self.no_color())

    def __add__(self, other: object) -> str:
        return f"{self}{other}"

    def reset(self, *s: object) -> colored:
        """Back to the terminal's own colours."""
        return self.node(s or ("",), RESET_SEQ)


def _way(sequence: str, name: str) -> Any:
    def way(self: colored, *s: object) -> colored:
        return self.node(s, sequence)

    way.__name__ = name
    way.__doc__ = f"The parts in {name}."
    return way


for _code, _name in enumerate(_COLOURS):
    setattr(colored, _name, _way(fg(30 + _code), _name))
    if _name != "black":
        setattr(colored, f"i{_name}", _way(fg(40 + _code), f"i{_name}"))
for _code, _name in ((1, "bold"), (4, "underline"), (5, "blink"), (7, "reverse"), (8, "bright")):
    setattr(colored, _name, _way(OP_SEQ % _code, _name))
