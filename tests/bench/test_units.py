"""The ledger's units of DynamoDB, on items whose sizes can be counted by hand."""

from typing import Any

import pytest

from tests.bench import units

KEYS = ("due_in", "due_at")


def item(**attributes: Any) -> dict[str, Any]:
    return {
        name: {"N": str(value)} if isinstance(value, int) else {"S": value}
        for name, value in attributes.items()
    }


@pytest.mark.parametrize(
    ("attributes", "size"),
    [
        ({}, 0),
        ({"pk": {"S": "abc"}}, 5),
        ({"pk": {"S": "é"}}, 4),
        ({"n": {"N": "12"}}, 4),
        ({"yes": {"BOOL": True}}, 4),
        ({"m": {"M": {}}}, 4),
        ({"m": {"M": {"a": {"S": "bc"}}}}, 8),
        ({"l": {"L": [{"S": "ab"}]}}, 7),
        ({"token": {"S": "short"}}, 705),
    ],
)
def test_an_item_has_the_size_that_aws_counts(attributes: dict[str, Any], size: int) -> None:
    assert units.size(attributes) == size


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [(None, 10, 1), (None, 1024, 1), (None, 1025, 2), (3000, 10, 3), (None, None, 1)],
)
def test_a_write_costs_by_the_larger_state(
    before: int | None, after: int | None, expected: int
) -> None:
    old, new = (item(pk="x" * (n - 2)) if n else None for n in (before, after))
    assert units.write_units(old, new) == expected


def test_a_read_costs_by_the_item_and_a_query_by_their_sum() -> None:
    assert units.read_units([100, 5000, 0], consistent=True) == 4
    assert units.read_units([100, 5000, 0], consistent=False) == 2
    assert units.query_units([100, 3000, 2000], consistent=True) == 2
    assert units.query_units([], consistent=False) == 0.5


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (None, item(pk="a"), 0),
        (None, item(pk="a", due_in="X", due_at="1"), 1),
        (item(pk="a", due_in="X", due_at="1"), item(pk="a", due_in="X", due_at="1", b="c"), 0),
        (item(pk="a", due_in="X", due_at="1"), item(pk="a", due_in="X", due_at="2"), 2),
        (item(pk="a", due_in="X", due_at="1"), item(pk="a"), 1),
    ],
)
def test_an_index_costs_only_if_its_entry_changes(
    before: dict[str, Any] | None, after: dict[str, Any], expected: int
) -> None:
    assert units.index_units(before, after, KEYS, {"pk", *KEYS}) == expected
