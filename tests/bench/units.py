"""DynamoDB's read and write units of a request, by AWS's rules.

Sources, all in the DynamoDB Developer Guide: "Item sizes and formats"; "Read and write operations"
(a unit is 4 KB read or 1 KB written; a strongly consistent read costs one, any other half); "Amazon
DynamoDB transactions" (every item of a transaction costs twice, a condition check as well); "Using
global secondary indexes" ("Provisioned throughput considerations": a changed index key costs two
writes). A condition that fails costs a write too ("Condition expressions").
"""

from collections.abc import Iterable, Mapping
from typing import Any

Item = Mapping[str, Any]  # a row with DynamoDB's typed values

_READ_BYTES, _WRITE_BYTES = 4096, 1024

# Step Functions' task tokens on AWS. The local state machine's are shorter.
_TOKEN_BYTES = 700


def size(item: Item | None) -> int:
    """Bytes of an item. A task token counts with the length that it has on AWS."""
    if item is None:
        return 0
    return sum(len(name.encode()) + _value_size(name, value) for name, value in item.items())


def _value_size(name: str, value: Mapping[str, Any]) -> int:
    ((kind, content),) = value.items()
    if kind == "S":
        length = len(content.encode())
        return max(length, _TOKEN_BYTES) if name == "token" else length
    if kind == "M":
        return 3 + sum(len(n.encode()) + _value_size(n, v) + 1 for n, v in content.items())
    if kind == "L":
        return 3 + sum(_value_size("", v) + 1 for v in content)
    if kind == "N":
        return len(content.strip("-0").replace(".", "")) // 2 + 2
    return 1  # BOOL, NULL; a row has no other kinds


def write_units(before: Item | None, after: Item | None) -> int:
    """Units of one write outside a transaction: of the larger of both states."""
    return max(1, -(-max(size(before), size(after)) // _WRITE_BYTES))


def read_units(sizes: Iterable[int], *, consistent: bool) -> float:
    """Units of items that are read one by one. An item that does not exist costs a unit, too."""
    units = sum(max(1, -(-each // _READ_BYTES)) for each in sizes)
    return units if consistent else units / 2


def query_units(sizes: Iterable[int], *, consistent: bool) -> float:
    """Units of one query: of the sum of its items."""
    units = max(1, -(-sum(sizes) // _READ_BYTES))
    return units if consistent else units / 2


def index_units(
    before: Item | None, after: Item | None, keys: tuple[str, ...], attributes: set[str] | None
) -> int:
    """Units of the writes to one index. `keys`: its key attributes. `attributes`: those that it
    holds, None for all."""
    old, new = (_entry(item, keys, attributes) for item in (before, after))
    if old == new:
        return 0
    if old is None or new is None or all(old[key] == new[key] for key in keys):
        return write_units(old, new)
    return write_units(old, None) + write_units(None, new)


def _entry(item: Item | None, keys: tuple[str, ...], attributes: set[str] | None) -> Item | None:
    """The item as the index holds it. None: the index does not hold it."""
    if item is None or not all(key in item for key in keys):
        return None
    return item if attributes is None else {n: v for n, v in item.items() if n in attributes}
