"""Validate a body or a query string with a pydantic model; report errors in our own words."""

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, BeforeValidator, ValidationError
from pydantic_core import ErrorDetails, PydanticCustomError

from callback.errors import BodyNotJson, BodyNotUtf8, BodyTooLarge, InvalidRequest

# Our sentence for each error type of pydantic's that a request can raise. Its own sentences are
# about Python. The values in braces are the error's context. A test fails on a type that is missing
# here, and on one that no request raises.
SENTENCES = {
    "bool_type": "Must be true or false.",
    "dict_type": "Must be an object.",
    "enum": "Must be one of {expected}.",
    "extra_forbidden": "Unknown field.",
    "greater_than_equal": "Must be at least {ge}.",
    "int_parsing_size": "The number has too many digits.",
    "int_type": "Must be a whole number.",
    "less_than_equal": "Must be at most {le}.",
    "list_type": "Must be an array.",
    "missing": "Required.",
    "model_type": "Must be an object.",
    "string_too_long": "Too long: the maximum is {max_length} characters.",
    "string_too_short": "Too short: the minimum is {min_length} characters.",
    "string_type": "Must be a string.",
    "too_long": "Too many items: the maximum is {max_length}.",
    "too_short": "Too few items: the minimum is {min_length}.",
}

_NOT_A_FIELD = ("", "[key]")  # in pydantic's path: an empty key; the key of a dict, not its value

_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"

_Model = TypeVar("_Model", bound=BaseModel)


def _digits(text: str) -> str:
    """pydantic would also accept "+5", "1_0", " 5" and "5.0"."""
    if not re.fullmatch(r"0|[1-9][0-9]*", text):
        raise PydanticCustomError("int_parsing", "Must be a whole number in digits.")
    return text


# A whole number in a query string.
Digits = Annotated[int, BeforeValidator(_digits)]


def validate(
    model: type[_Model], value: Mapping[str, Any], context: dict[str, Any] | None = None
) -> _Model:
    """Raises InvalidRequest naming every wrong field.

    Never use `model_validate_json` here. Given JSON text, pydantic 2.13 also accepts a field with
    an alias by its Python name, and silently drops the value.
    """
    try:
        return model.model_validate(value, context=context)
    except ValidationError as error:
        raise _invalid_request(error) from None


def text_of(body: bytes, limit: int) -> str:
    """The body as text. Raises BodyTooLarge over `limit` bytes, and BodyNotUtf8.

    The gateway passes a body with a textual Content-Type as a string, in which U+FFFD may replace
    bytes that are not UTF-8. A U+FFFD that the client sent looks the same, so both are refused.
    """
    if len(body) > limit:
        raise BodyTooLarge(f"The maximum is {limit} bytes.")
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        raise BodyNotUtf8(f"Invalid UTF-8 at byte {error.start + 1}.") from None
    if _REPLACEMENT in text:
        raise BodyNotUtf8(
            f"Character {text.index(_REPLACEMENT) + 1} is U+FFFD, which may replace bytes that are"
            " not UTF-8. If you mean U+FFFD itself, escape it."
        )
    return text


def json_object(text: str, hint: str) -> dict[str, Any]:
    """The JSON object in `text`. `hint` tells the client which object is expected.

    Raises BodyNotJson, and InvalidRequest for repeated fields.
    """
    if not text.strip():
        raise BodyNotJson(f"The body is empty. {hint}")
    try:
        value = json.loads(text, object_pairs_hook=_Object)
        json.dumps(value, ensure_ascii=False).encode()  # fails on half a surrogate pair
        refuse_repeated(_repeated_paths(value))
    except json.JSONDecodeError as error:
        raise BodyNotJson(
            f"Invalid JSON at line {error.lineno}, column {error.colno}. {hint}"
        ) from None
    except UnicodeEncodeError:
        raise BodyNotJson(f"The body contains half a surrogate pair. {hint}") from None
    except (ValueError, RecursionError):
        raise BodyNotJson(
            f"The body is nested too deeply or has a number that is too long. {hint}"
        ) from None
    if not isinstance(value, dict):
        raise BodyNotJson(f"The body is JSON but not an object. {hint}")
    return value


class _Object(dict[str, Any]):
    """Keeps the last value of a repeated field; `repeated` names such fields."""

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        self.repeated = repeated_names(name for name, _ in pairs)


def repeated_names(names: Iterable[str]) -> list[str]:
    """The names that occur more than once."""
    return [name for name, times in Counter(names).items() if times > 1]


def refuse_repeated(fields: Iterable[str]) -> None:
    """Raises InvalidRequest if there are any."""
    errors = [
        {
            "field": field,
            "code": "repeated_field",
            "message": "Send this field once: two values are ambiguous.",
        }
        for field in fields
    ]
    if errors:
        raise InvalidRequest(errors)


def _repeated_paths(value: Any, path: tuple[str, ...] = ()) -> Iterator[str]:
    """The path of each repeated field, such as leg_A.to."""
    if isinstance(value, _Object):
        yield from (".".join((*path, name)) for name in value.repeated)
        for name, part in value.items():
            yield from _repeated_paths(part, (*path, name))
    elif isinstance(value, list):
        for index, part in enumerate(value):
            yield from _repeated_paths(part, (*path, str(index)))


def _invalid_request(invalid: ValidationError) -> InvalidRequest:
    return InvalidRequest(
        [
            {
                "field": ".".join(str(part) for part in error["loc"] if part not in _NOT_A_FIELD),
                "code": error["type"],
                "message": _sentence(error),
            }
            for error in invalid.errors(include_url=False, include_input=False)
        ]
    )


def _sentence(error: ErrorDetails) -> str:
    """Errors that are not in the table are our validators' own, with their own sentences."""
    template = SENTENCES.get(error["type"])
    return template.format(**error.get("ctx", {})) if template else error["msg"]
