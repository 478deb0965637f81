"""Dead letters: what could not be delivered or was rejected, where it lies, and the way back."""

from taskyard.broker.dead_letters.letter import DeadLetter
from taskyard.broker.dead_letters.opening import open_store
from taskyard.broker.dead_letters.store import DeadLetterStore, Wanted

__all__ = ["DeadLetter", "DeadLetterStore", "Wanted", "open_store"]
