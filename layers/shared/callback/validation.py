"""What pydantic finds wrong, as the refusal that clients see."""

from typing import Any, NoReturn

from pydantic import ValidationError

from callback.errors import BodyNotJson, InvalidRequest

_NO_FIELD = ("", "[key]")  # how pydantic points at the key of a dict
_NOT_AN_OBJECT = ("json_invalid", "model_type", "model_attributes_type")


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
