"""JSON values against a dataclass: known names, fitting types."""

import math
from dataclasses import fields
from typing import Any


def mapping(values: Any, what: str) -> dict[str, Any]:
    """Raises ValueError, with `what` in it, for anything but a JSON object."""
    if not isinstance(values, dict):
        raise ValueError(f"{what} must be an object, not {values!r}")
    return values


def checked(kind: type[Any], document: Any, without: tuple[str, ...] = ()) -> dict[str, Any]:
    """`document`, with lists as tuples. Raises ValueError naming what is unknown or does not fit.

    Only fields of numbers, words, yes and no, and lists of words are understood, each None where
    its type says so; a number may be neither negative nor infinite.
    """
    values = mapping(document, kind.__name__)
    known = {field.name: str(field.type) for field in fields(kind) if field.name not in without}
    unknown = sorted(set(values) - set(known))
    if unknown:
        raise ValueError(f"{kind.__name__} has no {', '.join(unknown)}")
    ready = {n: tuple(v) if isinstance(v, list) else v for n, v in values.items()}
    for name, value in ready.items():
        if not _fits(known[name], value):
            raise ValueError(f"{name} cannot be {values[name]!r}")
    return ready


def _fits(declared: str, value: Any) -> bool:
    if value is None:
        return "None" in declared
    if isinstance(value, bool):
        return "bool" in declared
    if isinstance(value, tuple):
        return "tuple" in declared and all(isinstance(word, str) for word in value)
    if isinstance(value, int | float):
        # Also refuses NaN, which compares as False.
        return 0 <= value < math.inf and (
            "float" in declared or (isinstance(value, int) and "int" in declared)
        )
    return isinstance(value, str) and "str" in declared and "tuple" not in declared
