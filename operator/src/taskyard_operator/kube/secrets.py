"""Secrets, read by name and decoded; the operator never lists or watches them."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Protocol

from taskyard_operator.kube.resources import JSON, SECRETS, Resource


class _Api(Protocol):
    async def get(self, resource: Resource, namespace: str, name: str) -> JSON | None: ...


class Secrets:
    """Reads Secrets. What it returns must not reach a log, an event or a status."""

    def __init__(self, api: _Api) -> None:
        self._api = api

    async def read(self, namespace: str, name: str) -> Mapping[str, str] | None:
        """The decoded values by key, or None if there is no such Secret. Raises KubeError.

        A value that is no text is left out: nothing that the operator reads is binary.
        """
        body = await self._api.get(SECRETS, namespace, name)
        if body is None:
            return None
        values: dict[str, str] = {}
        for key, encoded in (body.get("data") or {}).items():
            try:
                values[key] = base64.b64decode(encoded, validate=True).decode()
            except (binascii.Error, UnicodeDecodeError):
                continue
        return values
