"""Dataclasses and models with every field filled by its type, including new fields."""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass, replace
from datetime import datetime, timedelta
from enum import Enum
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

from pydantic import BaseModel

from tests.support.build import NOON

_numbers = itertools.count(1000)


def full(kind: Any) -> Any:
    """An instance of a dataclass or model. No field has its default value.

    Fields also differ from each other, if their type has enough values.
    """
    if is_dataclass(kind):
        hints = get_type_hints(kind)
        return kind(**{f.name: other(hints[f.name], f.default, f.name) for f in fields(kind)})
    return kind.model_construct(
        **{
            name: other(field.annotation, field.default, name)
            for name, field in kind.model_fields.items()
        }
    )


def other(kind: Any, than: Any, name: str) -> Any:
    """A value of the type `kind`, different from `than`. A text contains `name`."""
    kind = _inner(kind)
    origin, arguments = get_origin(kind) or kind, get_args(kind)
    if is_dataclass(kind) or issubclass(origin, BaseModel):
        return full(kind)
    if issubclass(origin, Enum):
        return next(member for member in kind if member != than)
    if origin is bool:
        return than is not True
    if origin is list:
        return [other(arguments[0], than[0] if isinstance(than, list) else None, name)]
    if origin is dict:
        return {other(arguments[0], None, name): other(arguments[1], None, name)}
    if origin not in _MADE:
        raise TypeError(f"{name} has a type without a value in this module: {kind}")
    return _MADE[origin](next(_numbers), name)


_MADE: dict[type, Callable[[int, str], Any]] = {
    int: lambda number, _: number,
    str: lambda number, name: f"{name}-{number}",
    datetime: lambda number, _: NOON + timedelta(seconds=number),
}


def _inner(kind: Any) -> Any:
    """The type without pydantic's constraints and without None."""
    if get_origin(kind) is Annotated:
        return _inner(get_args(kind)[0])
    if get_origin(kind) in (Union, UnionType):
        (only,) = [option for option in get_args(kind) if option is not type(None)]
        return _inner(only)
    return kind


def changes(whole: Any) -> Iterator[tuple[tuple[str, ...], Any, Any]]:
    """(path of a field, `whole` with another value there, that value), for every field at any
    depth."""
    is_model = isinstance(whole, BaseModel)
    kinds = (
        {name: field.annotation for name, field in type(whole).model_fields.items()}
        if is_model
        else get_type_hints(type(whole))
    )
    for name, kind in kinds.items():
        value = getattr(whole, name)
        inner = (
            changes(value)
            if is_dataclass(value) or isinstance(value, BaseModel)
            else [((), (new := other(kind, value, name)), new)]
        )
        for path, changed, new in inner:
            made = (
                whole.model_copy(update={name: changed})
                if is_model
                else replace(whole, **{name: changed})
            )
            yield (name, *path), made, new


def news(before: dict[str, Any], after: dict[str, Any]) -> Iterator[Any]:
    """Everything in `after`, at any depth, that is not in `before`."""
    for name, value in after.items():
        if before.get(name) != value:
            yield value
            if isinstance(value, dict):
                yield from news(before.get(name) or {}, value)
