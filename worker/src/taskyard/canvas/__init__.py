"""Canvas: tasks as values that are combined before they are sent.

`a | b` (chain), group, chord, map, starmap, chunks; see the modules.  The names are Celery's.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from taskyard.canvas.chains import _chain, chain
    from taskyard.canvas.chords import _chord, chord
    from taskyard.canvas.groups import group, maybe_unroll_group
    from taskyard.canvas.maps import chunks, xmap, xstarmap
    from taskyard.canvas.signatures import Signature, maybe_signature, signature
    from taskyard.canvas.signatures import maybe_signature as maybe_subtask
    from taskyard.canvas.signatures import signature as subtask
    from taskyard.canvas.stamping import StampingVisitor

__all__ = [
    "Signature",
    "StampingVisitor",
    "_chain",
    "_chord",
    "chain",
    "chord",
    "chunks",
    "group",
    "maybe_signature",
    "maybe_subtask",
    "maybe_unroll_group",
    "signature",
    "subtask",
    "xmap",
    "xstarmap",
]

#: Name -> the module that has it; most tasks are sent one by one and need none of them.
_PLACES = {
    **dict.fromkeys(("_chain", "chain"), "chains"),
    **dict.fromkeys(("_chord", "chord"), "chords"),
    **dict.fromkeys(("group", "maybe_unroll_group"), "groups"),
    **dict.fromkeys(("chunks", "xmap", "xstarmap"), "maps"),
    **dict.fromkeys(("Signature", "maybe_signature", "signature"), "signatures"),
    "StampingVisitor": "stamping",
}
#: Older names of Celery's.
_OLDER = {"subtask": "signature", "maybe_subtask": "maybe_signature"}


def all_types() -> dict[str, type["Signature"]]:
    """Every kind of signature, by the name it has in messages."""
    for name in ("chains", "chords", "groups", "maps"):
        import_module(f"taskyard.canvas.{name}")
    from taskyard.canvas.signatures import Signature

    return Signature.TYPES


def __getattr__(name: str) -> Any:
    real = _OLDER.get(name, name)
    place = _PLACES.get(real)
    if place is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = globals()[name] = getattr(import_module(f"taskyard.canvas.{place}"), real)
    return found
