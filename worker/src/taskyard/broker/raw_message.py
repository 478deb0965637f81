"""Messages of kombu's virtual transports with their bodies as they were sent."""

from __future__ import annotations

from typing import Any

from kombu.transport import virtual


class RawMessage(virtual.Message):  # type: ignore[misc]
    """kombu unpacks compressed bodies whatever they unpack to; this one leaves them packed."""

    def __init__(self, payload: dict[str, Any], channel: Any = None, **kwargs: Any) -> None:
        headers = payload.get("headers") or {}
        compression = headers.pop("compression", None)
        super().__init__(payload, channel=channel, **kwargs)
        if compression is not None:
            self.headers["compression"] = compression
