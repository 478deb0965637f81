"""Canvas: tasks as values that are combined before they are sent.

`a | b` (chain), group, chord, map, starmap, chunks; see the modules.  The names are Celery's.
"""

from taskyard.canvas.chain import _chain, chain
from taskyard.canvas.chord import chord
from taskyard.canvas.group import group, maybe_unroll_group
from taskyard.canvas.maps import chunks, xmap, xstarmap
from taskyard.canvas.signature import Signature, maybe_signature, signature
from taskyard.canvas.stamping import GroupStampingVisitor, StampingVisitor

#: Older names of Celery's.
subtask, maybe_subtask = signature, maybe_signature
#: The class under the name that Celery keeps free of clashes with arguments called `chord`.
_chord = chord

__all__ = [
    "GroupStampingVisitor",
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
