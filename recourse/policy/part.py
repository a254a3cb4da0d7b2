"""A table of the policy: frozen, knowing its keys, and saying in our words what is wrong with it."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any, Self, cast

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, ValidationError, WithJsonSchema

from .explain import explain
from .values import Level, read_level, read_number, read_sequence, read_step, read_text, read_whole

if TYPE_CHECKING:
    from pydantic._internal._model_construction import ModelMetaclass
else:
    ModelMetaclass = type(BaseModel)

Number = Annotated[float, BeforeValidator(read_number)]
Size = Annotated[float, Field(ge=0), BeforeValidator(read_number)]
Step = Annotated[
    Decimal,
    BeforeValidator(read_step),
    PlainSerializer(lambda step: int(step) if step == int(step) else float(step), when_used="json"),
    WithJsonSchema({"type": "number", "exclusiveMinimum": 0}, mode="validation"),
]
Whole = Annotated[int, Field(ge=0), BeforeValidator(read_whole)]
Text = Annotated[str, BeforeValidator(read_text)]
OneLevel = Annotated[Level, BeforeValidator(read_level)]
Levels = Annotated[tuple[OneLevel, ...], BeforeValidator(read_sequence)]


class Readable(ModelMetaclass):
    """Turns pydantic's errors into ours when a part of a policy is built in Python."""

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        try:
            return super().__call__(*args, **kwargs)
        except ValidationError as error:
            raise explain(error, cast("type[BaseModel]", cls)) from None


class Part(BaseModel, metaclass=Readable):
    """A frozen table of the policy that knows no other keys than its own."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)

    @classmethod
    def model_validate(cls, obj: Any, **kwargs: Any) -> Self:
        """Build from a dict; problems raise one `PolicyError` that lists them all."""
        try:
            return super().model_validate(obj, **kwargs)
        except ValidationError as error:
            raise explain(error, cls) from None

    @classmethod
    def model_validate_json(cls, json_data: str | bytes | bytearray, **kwargs: Any) -> Self:
        """Build from JSON, with the same errors as `model_validate`."""
        try:
            return super().model_validate_json(json_data, **kwargs)
        except ValidationError as error:
            raise explain(error, cls) from None
