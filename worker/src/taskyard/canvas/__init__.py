"""Canvas: tasks as values that are combined before they are sent.

`a | b` (chain), group, chord, map, starmap, chunks; see the modules.  The names are Celery's.
"""

from taskyard.canvas.chains import _chain, chain
from taskyard.canvas.chords import _chord, chord
from taskyard.canvas.groups import group, maybe_unroll_group
from taskyard.canvas.maps import chunks, xmap, xstarmap
from taskyard.canvas.signatures import Signature, maybe_signature, signature
from taskyard.canvas.stamping import StampingVisitor

#: Older names of Celery's.
subtask, maybe_subtask = signature, maybe_signature

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
