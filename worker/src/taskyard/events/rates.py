"""Rates as text: "100/m" is a hundred a minute."""

from __future__ import annotations

_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0}


def rate(value: object) -> float:
    """Events a second of a number (a second), "10/s", "10/m", "10/h" or "10"; 0 for none or no limit.

    ValueError for anything else.
    """
    if not value:
        return 0.0
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        number, unit = float(value), "s"
    elif isinstance(value, str):
        count, slash, unit = value.partition("/")
        try:
            number, unit = float(count), (unit.strip() if slash else "s")
        except ValueError:
            number, unit = -1.0, "s"
    else:
        raise ValueError(f"a rate must be a number or a text such as '10/m', not {value!r}")
    if unit not in _SECONDS or not 0 <= number < float("inf"):
        raise ValueError(f"a rate must be a number or a text such as '10/m', not {value!r}")
    return number / _SECONDS[unit]
