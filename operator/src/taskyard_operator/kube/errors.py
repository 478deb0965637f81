"""What can go wrong between the operator and the API server, one class per way to react."""

from __future__ import annotations


class KubeError(Exception):
    """The API server refused or failed a request.

    ``status`` is the HTTP status (0 when there was no answer), ``reason`` the machine-readable reason of the
    ``Status`` object (``AlreadyExists``, ``Forbidden``, …), ``message`` its text.
    """

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(message or reason or f"HTTP {status}")
        self.status = status
        self.reason = reason
        self.message = message


class NotFound(KubeError):  # noqa: N818 - named as the API names it
    """There is no such object, or no such resource type (its CustomResourceDefinition is not installed)."""


class Conflict(KubeError):  # noqa: N818 - named as the API names it
    """The object exists already, or is not what the precondition expected: read again, then decide again."""


class Forbidden(KubeError):  # noqa: N818 - named as the API names it
    """The credentials are not accepted (401), or may not do this (403): mend the role or the credentials."""


class Invalid(KubeError):  # noqa: N818 - named as the API names it
    """The API server refuses what was sent (400, 422): sending it again cannot help."""


class Unreachable(KubeError):  # noqa: N818 - named as the API names it
    """No answer, or none but 429 and 5xx within the attempts allowed: try again later."""


def error_of(status: int, reason: str, message: str) -> KubeError:
    """The error that fits an HTTP status."""
    kind: type[KubeError]
    match status:
        case 404 | 410:
            kind = NotFound
        case 409:
            kind = Conflict
        case 401 | 403:
            kind = Forbidden
        case 400 | 422:
            kind = Invalid
        case 429:
            kind = Unreachable
        case _ if status >= 500:
            kind = Unreachable
        case _:
            kind = KubeError
    return kind(status, reason, message)
