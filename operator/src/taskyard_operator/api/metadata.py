"""The parts of a resource's metadata that the operator reads."""

from typing import Any

from pydantic import Field

from .model import ApiModel, Timestamp


class ObjectMeta(ApiModel):
    """Kubernetes' own metadata, as far as the operator needs it."""

    name: str
    """Name of the object."""

    namespace: str = ""
    """Namespace of the object."""

    uid: str = ""
    """Identity of the object: a new object of the same name has another."""

    generation: int = 0
    """Raised by the API server each time the spec changes."""

    resource_version: str = ""
    """Raised by the API server with each write; opaque."""

    creation_timestamp: Timestamp | None = None
    """When the object was made."""

    deletion_timestamp: Timestamp | None = None
    """When somebody asked to delete the object; absent while nobody has."""

    labels: dict[str, str] = Field(default_factory=dict)
    """Labels of the object."""

    annotations: dict[str, str] = Field(default_factory=dict)
    """Annotations of the object."""

    finalizers: tuple[str, ...] = ()
    """What must be done before the object goes away."""

    @property
    def deleting(self) -> bool:
        """Whether the object waits for its finalizers."""
        return self.deletion_timestamp is not None

    def owner_reference(self, api_version: str, kind: str) -> dict[str, Any]:
        """Return the controller owner reference for a child of this object."""
        return {
            "apiVersion": api_version,
            "kind": kind,
            "name": self.name,
            "uid": self.uid,
            "controller": True,
            "blockOwnerDeletion": True,
        }
