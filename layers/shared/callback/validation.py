"""A body or a query as a model of pydantic's, and what is wrong with it as clients see it."""

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, BeforeValidator, ValidationError
from pydantic_core import PydanticCustomError

from callback.errors import BodyNotJson, BodyNotUtf8, BodyTooLarge, InvalidRequest

_NO_FIELD = ("", "[key]")  # how pydantic points at the key of a dict

_REPLACED = "\N{REPLACEMENT CHARACTER}"

# Of what came as JSON pydantic should speak in JSON's words, not in Python's.
_IN_JSON = {
    "model_type": "Input should be an object",
    "dict_type": "Input should be an object",
    "list_type": "Input should be a valid array",
}

_Model = TypeVar("_Model", bound=BaseModel)


def _digits(text: str) -> str:
    """pydantic would also take "+5", "1_0", " 5" and "5.0"."""
    if not re.fullmatch(r"0|[1-9][0-9]*", text):
        raise PydanticCustomError("int_parsing", "Give a whole number in digits.")
    return text


# A whole number in a query string.
Digits = Annotated[int, BeforeValidator(_digits)]


def checked(
    model: type[_Model], value: Mapping[str, Any], context: dict[str, Any] | None = None
) -> _Model:
    """Raises InvalidRequest naming every wrong field.

    Never `model_validate_json`: from JSON text pydantic 2.13 takes a field that has an alias by
    its name in Python too, says nothing and drops what came with it.
    """
    try:
        return model.model_validate(value, context=context)
    except ValidationError as invalid:
        raise _named(invalid) from None


def text_of(body: bytes, limit: int) -> str:
    """Raises BodyTooLarge over `limit` bytes, and BodyNotUtf8.

    What the gateway takes for text by its Content-Type it hands over as a string, in which U+FFFD
    may stand for bytes that were no UTF-8. Nobody can tell whether it was sent, so it is refused.
    """
    if len(body) > limit:
        raise BodyTooLarge(f"The body may be {limit} bytes at most.")
    try:
        text = body.decode()
    except UnicodeDecodeError as wrong:
        raise BodyNotUtf8(f"Send UTF-8: byte {wrong.start + 1} is none.") from None
    if _REPLACED in text:
        raise BodyNotUtf8(
            f"Character {text.index(_REPLACED) + 1} is U+FFFD, which stands for what is no UTF-8."
            " If you mean it, escape it."
        )
    return text


def json_object(text: str, hint: str) -> dict[str, Any]:
    """The object that the text is. The hint says what object is wanted.

    Raises BodyNotJson, and InvalidRequest for a field that is in it twice.
    """
    if not text.strip():
        raise BodyNotJson(f"It is empty. {hint}")
    try:
        value = json.loads(text, object_pairs_hook=_Object)
        json.dumps(value, ensure_ascii=False).encode()  # half a surrogate pair is no text
        refuse_repeated(_repeated(value))
    except json.JSONDecodeError as wrong:
        where = f"line {wrong.lineno}, column {wrong.colno}"
        raise BodyNotJson(f"It is no JSON from {where} on. {hint}") from None
    except UnicodeEncodeError:
        raise BodyNotJson(f"Half of a surrogate pair is in it. {hint}") from None
    except (ValueError, RecursionError):
        raise BodyNotJson(f"It is nested too deep, or a number is too long. {hint}") from None
    if not isinstance(value, dict):
        raise BodyNotJson(f"It is JSON, but not an object. {hint}")
    return value


class _Object(dict[str, Any]):
    """`repeated` names the fields that were sent more than once; the last one is kept."""

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        self.repeated = repeated(name for name, _ in pairs)


def repeated(names: Iterable[str]) -> list[str]:
    return [name for name, times in Counter(names).items() if times > 1]


def refuse_repeated(fields: Iterable[str]) -> None:
    """Raises InvalidRequest if there are any."""
    errors = [
        {
            "field": field,
            "code": "repeated_field",
            "message": "Send it once: of a field sent twice nobody knows which is meant.",
        }
        for field in fields
    ]
    if errors:
        raise InvalidRequest(errors)


def _repeated(value: Any, path: tuple[str, ...] = ()) -> Iterator[str]:
    """Where they are: a path such as leg_A.to."""
    if isinstance(value, _Object):
        yield from (".".join((*path, name)) for name in value.repeated)
        for name, part in value.items():
            yield from _repeated(part, (*path, name))
    elif isinstance(value, list):
        for place, part in enumerate(value):
            yield from _repeated(part, (*path, str(place)))


def _named(invalid: ValidationError) -> InvalidRequest:
    errors: list[dict[str, Any]] = [
        {
            "field": ".".join(str(part) for part in error["loc"] if part not in _NO_FIELD),
            "code": error["type"],
            "message": _IN_JSON.get(error["type"], error["msg"]),
        }
        for error in invalid.errors(include_url=False, include_context=False, include_input=False)
    ]
    return InvalidRequest(errors)
