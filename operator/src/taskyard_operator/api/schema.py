"""A resource model as the structural OpenAPI schema that the API server wants.

The API server's rules (Kubernetes' "structural schema"): no references, no unions but int-or-string, a type
on every node. Pydantic's JSON schema is close; this module takes the rest away and puts nothing in.
"""

import re
from typing import Any

from pydantic import BaseModel

from .durations import DURATION_PATTERN, format_duration

JSON = dict[str, Any]

_REFERENCE = "#/$defs/"

#: Of metadata the API server allows no schema of our own beyond its type.
_ROOT_FIELDS: dict[str, JSON] = {
    "apiVersion": {
        "type": "string",
        "description": "Group and version of the resource: taskyard.io/v1alpha1.",
    },
    "kind": {"type": "string", "description": "Kind of the resource."},
    "metadata": {"type": "object"},
}


class SchemaError(TypeError):
    """A model cannot be said in a structural schema; the message names the place."""


def structural_schema(model: type[BaseModel]) -> JSON:
    """Return the schema of a whole resource (apiVersion, kind, metadata, spec, status)."""
    source = model.model_json_schema(by_alias=True)
    root = _node(source, source.get("$defs", {}), model.__name__)
    root["properties"] |= _ROOT_FIELDS
    root["required"] = [name for name in root.get("required", []) if name != "metadata"]
    if not root["required"]:
        del root["required"]
    # The status is the operator's to write: a default there would look like something that was seen.
    root["properties"]["status"] = _without_defaults(root["properties"]["status"])
    return root


def _node(source: JSON, definitions: JSON, path: str) -> JSON:
    source = _plain(source, definitions, path)
    node = {key: value for key, value in source.items() if key not in {"title", "default", "$defs"}}
    if "description" in node:
        node["description"] = _flow(node["description"])
    if "properties" in source:
        node["properties"] = {
            name: _node(child, definitions, f"{path}.{name}") for name, child in source["properties"].items()
        }
    if "items" in source:
        node["items"] = _node(source["items"], definitions, f"{path}[]")
    # A free object keeps what it is given: the marker says so, and structural schemas want not both.
    if source.get("x-kubernetes-preserve-unknown-fields"):
        node.pop("additionalProperties", None)
    if "type" not in node and not node.get("x-kubernetes-int-or-string"):
        raise SchemaError(f"{path} has no single type")
    default = _default(source.get("default"), node)
    if default is not None:
        node["default"] = default
    return dict(sorted(node.items(), key=_reading_order))


def _reading_order(item: tuple[str, Any]) -> int:
    """Put what a reader looks for first: what it is, then what is in it, then the rules."""
    key, _ = item
    order = ("description", "type", "default", "enum")
    last = ("items", "properties", "required", "x-kubernetes-validations")
    return order.index(key) - len(order) if key in order else last.index(key) + 1 if key in last else 0


def _plain(source: JSON, definitions: JSON, path: str) -> JSON:
    """Follow references and take the null out of optional fields (absent is the API's null)."""
    while "$ref" in source or "anyOf" in source:
        rest = {key: value for key, value in source.items() if key not in {"$ref", "anyOf"}}
        if "$ref" in source:
            found = definitions[source["$ref"].removeprefix(_REFERENCE)]
        else:
            options = [option for option in source["anyOf"] if option.get("type") != "null"]
            if len(options) != 1:
                raise SchemaError(f"{path} may be of several types")
            found = options[0]
        source = found | rest
    return source


def _default(default: Any, node: JSON) -> Any:
    """Return the default to publish; None where it would only make objects longer.

    An object's default is ``{}``: the API server fills in its fields' own defaults.
    """
    if isinstance(default, dict):
        return {} if any("default" in child for child in node.get("properties", {}).values()) else None
    if node.get("pattern") == DURATION_PATTERN and isinstance(default, int):
        return format_duration(default)
    return None if default in ("", []) else default


def _without_defaults(node: JSON) -> JSON:
    bare = {key: value for key, value in node.items() if key != "default"}
    if "properties" in bare:
        bare["properties"] = {name: _without_defaults(child) for name, child in bare["properties"].items()}
    if "items" in bare:
        bare["items"] = _without_defaults(bare["items"])
    return bare


def _flow(text: str) -> str:
    """Join the lines of each paragraph."""
    return "\n\n".join(" ".join(part.split()) for part in re.split(r"\n\s*\n", text.strip()))
