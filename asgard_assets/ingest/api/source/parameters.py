"""Texts of a request template, in short (`"{row.email|lower}"`) or spelled out column by column."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    GetJsonSchemaHandler,
    JsonValue,
    ValidationError,
    field_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core.core_schema import CoreSchema

from asgard_assets.ingest.api.source.filters import OPTIONAL
from asgard_assets.ingest.api.source.templates import Template, fields_of
from asgard_assets.quality.tables import Model


class Parameter(Model):
    """A column as a query parameter or header: the long way to write `{row.<column>|<transform>|…}`."""

    column: str = Field(pattern=r"^\w+$", description="Column of the source row.")
    transform: tuple[str, ...] = Field(
        default=(), description="Applied in order, such as [trim, lower] or [date:%Y-%m-%d]."
    )
    default: str | None = Field(default=None, description="Sent where the column is null.")
    optional: bool = Field(default=False, description="Leave the parameter out where the column is null.")

    @field_validator("transform", mode="before")
    @classmethod
    def _one_is_a_list(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

    @property
    def template(self) -> str:
        default = () if self.default is None else (f"default:{self.default}",)
        parts = (f"row.{self.column}", *default, *self.transform, *((OPTIONAL,) if self.optional else ()))
        if odd := [part for part in parts if set(part) & set("{}|")]:
            raise ValueError(f"{odd[0]!r}: braces and | cannot stand in a column, transform or default")
        return "{" + "|".join(parts) + "}"


class _BothSpellings:
    """Tells editors that a text or a mapping is welcome."""

    def __get_pydantic_json_schema__(
        self, core: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return {"anyOf": [handler(core), handler(Parameter.__pydantic_core_schema__)]}


class Misfit(ValueError):
    """An error of a whole model that still names the field that it is about.

    No kind of its own: Dagster makes pydantic's errors anew, with the place in the YAML, and knows those of pydantic alone.
    """

    def __init__(self, at: str, message: str) -> None:
        super().__init__(message)
        self.at = at


def _listed(value: Any) -> Any:
    """A parameter that comes more than once; whole numbers need no quotes."""
    if not isinstance(value, list | tuple):
        return value
    return tuple(str(one) if isinstance(one, int) and not isinstance(one, bool) else one for one in value)


def _in_short(value: Any) -> Any:
    if not isinstance(value, Mapping | str):
        # 007, 1.10, on and 2026-10-05 are no texts to YAML, and what was written is not known any more.
        raise Misfit("", f"put it in quotes: without them it is read as {value!r}")
    if isinstance(value, str):
        return value
    try:
        return Parameter.model_validate(value).template
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        raise Misfit(".".join(map(str, first["loc"])), first["msg"].removeprefix("Value error, ")) from None


def _parsed(text: str) -> str:
    Template.parse(text)
    return text


def _parsed_body(body: JsonValue) -> JsonValue:
    fields_of(body)
    return body


TemplateText = Annotated[str, AfterValidator(_parsed)]
ParameterText = Annotated[str, _BothSpellings(), BeforeValidator(_in_short), AfterValidator(_parsed)]
QueryText = Annotated[ParameterText | tuple[ParameterText, ...], BeforeValidator(_listed)]
TemplateBody = Annotated[JsonValue, AfterValidator(_parsed_body)]
