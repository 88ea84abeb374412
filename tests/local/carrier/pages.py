"""Lists: filters by day and page tokens, as the 2010 API has them.

Source: Twilio docs, call-resource (read multiple), and its OpenAPI description's examples.
"""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar
from urllib.parse import urlencode

from multidict import MultiDictProxy

from .errors import ApiError

DEFAULT_SIZE, MAX_SIZE = 50, 1000
Item = TypeVar("Item")
DAY = timedelta(days=1)


def page(
    items: Sequence[Item],
    query: MultiDictProxy[str],
    *,
    path: str,
    key: str,
    sid: Callable[[Item], str],
    render: Callable[[Item], dict[str, Any]],
) -> dict[str, Any]:
    """One page of `items` (in list order) in Twilio's envelope.

    Raises ApiError 20007 for a page size over 1000, 20001-family 400 for one that is no number.
    """
    size = _natural(query, "PageSize", DEFAULT_SIZE)
    if size > MAX_SIZE:
        raise ApiError(400, 20007, f"Page size must be less than or equal to {MAX_SIZE}")
    size = max(size, 1)
    number = _natural(query, "Page", 0)
    start = _start(items, query.get("PageToken", ""), number, size, sid)
    shown = items[start : start + size]
    kept = [
        (name, value)
        for name, value in query.items()
        if name not in ("PageSize", "Page", "PageToken")
    ]

    def link(page_number: int, token: str = "") -> str:
        pairs = [*kept, ("PageSize", str(size)), ("Page", str(page_number))]
        if token:
            pairs.append(("PageToken", token))
        return f"{path}?{urlencode(pairs)}"

    more = start + size < len(items)
    return {
        "first_page_uri": link(0),
        "end": number * size + len(shown) - 1 if shown else 0,
        "previous_page_uri": link(number - 1, f"PB{sid(shown[0])}") if number and shown else None,
        key: [render(item) for item in shown],
        "uri": link(number, query.get("PageToken", "")),
        "page_size": size,
        "start": number * size if shown else 0,
        "next_page_uri": link(number + 1, f"PA{sid(shown[-1])}") if more else None,
        "page": number,
    }


def _start(
    items: Sequence[Item], token: str, number: int, size: int, sid: Callable[[Item], str]
) -> int:
    """The start of the page: after the token's item, or before it; else by page number."""
    if token[:2] in ("PA", "PB"):
        for index, item in enumerate(items):
            if sid(item) == token[2:]:
                return index + 1 if token[:2] == "PA" else max(0, index - size)
    return number * size


def _natural(query: MultiDictProxy[str], name: str, default: int) -> int:
    text = query.get(name, "")
    if not text:
        return default
    if not (text.isascii() and text.isdigit()):
        raise ApiError(400, 20001, f"Invalid {name}: {text}")
    return int(text)


def within(query: MultiDictProxy[str], name: str, moment: datetime | None) -> bool:
    """`Name=` is that UTC day, `Name<=` before, `Name>=` on or after; unset moments never match."""
    for relation in ("", "<", ">"):
        text = query.get(name + relation)
        if text is None:
            continue
        bound = _moment(text, name + relation)
        if moment is None or not _related(moment, relation, bound):
            return False
    return True


def _related(moment: datetime, relation: str, bound: datetime) -> bool:
    if relation == "<":
        return moment < bound
    if relation == ">":
        return moment >= bound
    day = bound.replace(hour=0, minute=0, second=0, microsecond=0)
    return day <= moment < day + DAY


def _moment(text: str, name: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError as error:
        raise ApiError(400, 20001, f"Invalid {name}: {text}") from error
    return moment.replace(tzinfo=moment.tzinfo or UTC)
