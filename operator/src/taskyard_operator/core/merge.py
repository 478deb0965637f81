"""Strategic merge: a user's PodTemplateSpec over the one that the operator makes.

Lists of things with a name are merged by that name, as `kubectl patch` does by default
(https://kubernetes.io/docs/tasks/manage-kubernetes-objects/update-api-object-kubectl-patch/); other lists
are replaced. Null removes a field, `$patch: delete` in a list entry removes the entry, `$patch: replace` in
an object puts the object in the place of the one below it.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

#: By which field the entries of a list are told apart, per name of the list. From the `patchMergeKey` of the
#: Kubernetes API's PodSpec and Container.
MERGE_KEYS: Mapping[str, str] = {
    "containers": "name",
    "initContainers": "name",
    "ephemeralContainers": "name",
    "env": "name",
    "volumes": "name",
    "volumeMounts": "mountPath",
    "volumeDevices": "devicePath",
    "ports": "containerPort",
    "imagePullSecrets": "name",
    "hostAliases": "ip",
    "topologySpreadConstraints": "topologyKey",
    "resourceClaims": "name",
    "schedulingGates": "name",
}
_DIRECTIVE = "$patch"
#: Exactly one of these may be set in a volume, so another kind of source replaces the one below.
_UNIONS: Mapping[str, frozenset[str]] = {
    "volumes": frozenset({"name"}),
    "env": frozenset({"name"}),
}


class MergeError(ValueError):
    """The overlay cannot be merged; the message names the field."""


def strategic_merge(base: Mapping[str, Any], overlay: Mapping[str, Any]) -> dict[str, Any]:
    """Return `base` with `overlay` over it; neither is changed, and the result shares nothing with them.

    Raises:
        MergeError: where an overlay's value has another shape than what it goes over.
    """
    return _merge(copy.deepcopy(base), copy.deepcopy(overlay), "")


def _merge(base: Mapping[str, Any], overlay: Mapping[str, Any], path: str) -> dict[str, Any]:
    if overlay.get(_DIRECTIVE) == "replace":
        return {key: value for key, value in overlay.items() if key != _DIRECTIVE}
    merged = dict(base)
    for key, value in overlay.items():
        if key == _DIRECTIVE:
            raise MergeError(f"{path or 'podTemplate'}.$patch: {value!r} has no meaning here")
        where = f"{path}.{key}" if path else key
        if value is None:
            merged.pop(key, None)
        elif isinstance(value, Mapping):
            below = merged.get(key)
            if below is not None and not isinstance(below, Mapping):
                raise MergeError(f"{where} must not be an object")
            merged[key] = _merge(below or {}, value, where)
        elif isinstance(value, list):
            below = merged.get(key, [])
            if not isinstance(below, list):
                raise MergeError(f"{where} must not be a list")
            merged[key] = _merge_list(key, below, value, where)
        else:
            if isinstance(merged.get(key), (Mapping, list)):
                raise MergeError(f"{where} must be {_shape(merged[key])}")
            merged[key] = value
    return merged


def _merge_list(name: str, base: list[Any], overlay: list[Any], path: str) -> list[Any]:
    key = MERGE_KEYS.get(name)
    if key is None:
        return overlay
    merged: dict[Any, Any] = {entry[key]: entry for entry in base}
    for index, entry in enumerate(overlay):
        where = f"{path}[{index}]"
        if not isinstance(entry, Mapping):
            raise MergeError(f"{where} must be an object")
        if entry.get(key) is None:
            raise MergeError(f"{where} has no {key}, by which it is merged")
        identity = entry[key]
        if entry.get(_DIRECTIVE) == "delete":
            merged.pop(identity, None)
            continue
        below = merged.get(identity, {})
        kept = _UNIONS.get(name)
        if kept is not None and any(field not in below for field in entry if field not in kept):
            below = {}  # another source than before: the two do not go together
        merged[identity] = _merge(below, entry, where)
    return list(merged.values())


def _shape(value: Any) -> str:
    return "a list" if isinstance(value, list) else "an object"
