"""What every resource model has in common: camelCase on the wire, frozen, unknown fields ignored."""

from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import (
    AwareDatetime,
    BaseModel,
    ConfigDict,
    GetJsonSchemaHandler,
    PlainSerializer,
    ValidationError,
)
from pydantic.alias_generators import to_camel
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema


class ApiModel(BaseModel):
    """A part of a Kubernetes resource.

    Unknown fields are ignored on read, so that an older operator can read what a newer CRD lets through. The
    docstring under a field is its description in the CRD.
    """

    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        frozen=True,
        extra="ignore",
        use_attribute_docstrings=True,
        serialize_by_alias=True,
    )

    def to_json(self) -> dict[str, Any]:
        """Return the part as JSON-ready values, camelCase, without what is not set."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


def cel(rule: str, message: str, **more: str) -> dict[str, str]:
    """Return one entry of ``x-kubernetes-validations``; the message tells the user what to do."""
    return {"rule": rule, "message": message, **more}


def validations(*rules: dict[str, str]) -> dict[str, Any]:
    """Return the JSON schema extra that puts CEL rules on a model."""
    return {"x-kubernetes-validations": list(rules)}


class Schema:
    """An annotation that adds keys to a type's JSON schema and leaves its validation in Python alone.

    Unlike ``Field(json_schema_extra=…)`` it also works on a type whose schema is given as a whole.
    """

    def __init__(self, extra: dict[str, Any]) -> None:
        self.extra = extra

    def __get_pydantic_json_schema__(
        self, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return handler(core_schema) | self.extra


def describe_errors(error: ValidationError) -> str:
    """Return a validation failure as one line for a condition's message: each field and what is wrong.

    Nothing of a pod template is in it: that is a free object here, and may hold secrets.
    """
    parts = [
        f"{'.'.join(str(step) for step in item['loc'])}: {_reason(item['msg'])}" for item in error.errors()
    ]
    return "; ".join(parts)


def _reason(message: str) -> str:
    return message.removeprefix("Value error, ")


def _rfc3339(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


#: A moment in UTC with whole seconds, as Kubernetes' ``metav1.Time`` writes it.
Timestamp = Annotated[AwareDatetime, PlainSerializer(_rfc3339, return_type=str, when_used="json")]
