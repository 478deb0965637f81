"""The words for yes and no in settings, variables and command lines."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

#: In small letters; an empty text is a no.
TRUTH: Final[Mapping[str, bool]] = {
    **dict.fromkeys(("true", "yes", "on", "1"), True),
    **dict.fromkeys(("false", "no", "off", "0", ""), False),
}
