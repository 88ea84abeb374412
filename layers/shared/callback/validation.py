"""What pydantic should find wrong, and that as the refusal that clients see."""

import re
from typing import Annotated, Any, NoReturn

from pydantic import BeforeValidator, ValidationError
from pydantic_core import PydanticCustomError

from callback.errors import BodyNotJson, InvalidRequest

_NO_FIELD = ("", "[key]")  # how pydantic points at the key of a dict
_NOT_AN_OBJECT = ("json_invalid", "model_type", "model_attributes_type")


def _digits(text: str) -> str:
    """pydantic would also take "+5", "1_0", " 5" and "5.0"."""
    if not re.fullmatch(r"0|[1-9][0-9]*", text):
        raise PydanticCustomError("int_parsing", "Give a whole number in digits.")
    return text


# A whole number in a query string.
Digits = Annotated[int, BeforeValidator(_digits)]


def refuse_body(invalid: ValidationError, hint: str) -> NoReturn:
    """Raises BodyNotJson with the hint, or InvalidRequest naming every wrong field."""
    if any(not e["loc"] and e["type"] in _NOT_AN_OBJECT for e in invalid.errors()):
        raise BodyNotJson(hint) from None
    raise named(invalid) from None


def named(invalid: ValidationError) -> InvalidRequest:
    errors: list[dict[str, Any]] = [
        {
            "field": ".".join(str(part) for part in error["loc"] if part not in _NO_FIELD),
            "code": error["type"],
            "message": error["msg"],
        }
        for error in invalid.errors(include_url=False, include_context=False, include_input=False)
    ]
    return InvalidRequest(errors)
