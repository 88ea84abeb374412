"""Counters, whole or divided into shards: nothing passes the limit, and all is given back."""

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callback.admission.limits import LimitCounter, Usage
from callback.errors import SpendCapReached
from callback.lifecycle.models import Reservation
from callback.storage import counters
from callback.storage.counters import UNDIVIDED_COUNT, UNDIVIDED_MONEY, ShardFilled
from tests.support.build import callback
from tests.support.counter_rows import Rows

DAY = "2026-11-24"
KEY = counters.spend("default", "USD", DAY)
REFUSAL = SpendCapReached("Too dear.")
UNDIVIDED = 10  # so that histories are short

LIMITS = st.integers(0, 3_000)
# Most leave room for others. Some are more than any shard's part.
AMOUNTS = st.one_of(st.integers(1, 12), st.integers(1, 400))
LANES = st.floats(0, 1, exclude_max=True)


def counter(limit: int, amount: int = 1, lane: float = 0.0, undivided: int = UNDIVIDED) -> Any:
    return LimitCounter(KEY, amount, limit, REFUSAL, undivided=undivided, lane=lane)


def read(rows: Rows, each: LimitCounter) -> Usage:
    return Usage([each], rows.read(each.first_read.values()), rows.read)


def store(rows: Rows, usage: Usage) -> dict[int, int]:
    """The stored callback's shares. Empty: it was refused."""
    try:
        usage.refuse_exceeded()
    except SpendCapReached:
        return {}
    conditions = usage.conditions()
    if rows.transact([each.write for each in conditions]) is None:
        return usage.shares(KEY)
    return {}


def release(rows: Rows, shares: Mapping[int, int]) -> None:
    """Of a callback that cost nothing. Without the row of concurrent callbacks."""
    by_shard = None if [*shares] == [0] else {str(shard): shares[shard] for shard in shares}
    reservation = Reservation(DAY, "USD", sum(shares.values()), 0, 0, spend_shares=by_shard)
    _, *writes = counters.release_writes(callback(reservation=reservation))
    assert rows.transact(writes) is None


HISTORIES = st.lists(
    st.one_of(
        st.lists(st.tuples(AMOUNTS, LANES), min_size=1, max_size=8),  # start side by side
        st.integers(0, 1_000),  # one ends
    ),
    max_size=60,
)


def play(rows: Rows, limit: int, history: list[Any]) -> list[dict[int, int]]:
    """The shares of the callbacks that have not ended."""
    going_on: list[dict[int, int]] = []
    for step in history:
        if isinstance(step, int):
            if going_on:
                release(rows, going_on.pop(step % len(going_on)))
            continue
        usages = [read(rows, counter(limit, amount, lane)) for amount, lane in step]
        going_on += filter(None, (store(rows, usage) for usage in usages))
        assert rows.total[KEY[1]] == sum(sum(each.values()) for each in going_on)
    return going_on


@given(LIMITS, HISTORIES)
def test_no_history_passes_the_limit_and_all_is_given_back(limit, history):
    rows = Rows()
    for shares in play(rows, limit, history):
        release(rows, shares)
    assert rows.most[KEY[1]] <= limit
    assert rows.total[KEY[1]] == 0


@given(st.lists(LIMITS, min_size=2, max_size=4).map(sorted), st.lists(HISTORIES, max_size=4))
def test_a_raised_limit_is_not_passed_whatever_was_counted_before(limits, histories):
    rows, old = Rows(), 0
    for limit, history in zip(limits, histories, strict=False):
        going_on = play_after(rows, limit, history, old)
        old += sum(sum(each.values()) for each in going_on)
        assert rows.most[KEY[1]] <= limit


def play_after(rows: Rows, limit: int, history: list[Any], before: int) -> list[dict[int, int]]:
    rows.total[KEY[1]] -= before  # what `play` compares is its own
    most, rows.most[KEY[1]] = rows.most[KEY[1]], 0
    going_on = play(rows, limit, history)
    rows.total[KEY[1]] += before
    rows.most[KEY[1]] = max(most, rows.most[KEY[1]] + before)
    return going_on


@given(LIMITS, st.integers(0, 3_000), HISTORIES)
def test_a_row_older_than_the_division_counts(limit, used, history):
    rows, before = Rows(), min(used, limit)
    if before:
        rows.transact(
            [
                c.write
                for c in counter(limit, before, undivided=limit).conditions({0: before}, {0: 0})
            ]
        )
    play_after(rows, limit, history, before)
    assert rows.most[KEY[1]] <= limit


@given(LIMITS, st.lists(st.tuples(AMOUNTS, LANES), max_size=200))
def test_a_callback_is_refused_only_if_all_shards_together_lack_room(limit, starts):
    rows = Rows()
    for amount, lane in starts:
        left = limit - rows.total[KEY[1]]
        assert bool(store(rows, read(rows, counter(limit, amount, lane)))) == (amount <= left)


@given(LIMITS, LIMITS, LANES)
def test_parts_add_up_to_the_limit_and_none_shrinks_when_it_is_raised(limit, more, lane):
    parts, larger = (
        each.room(dict.fromkeys(each.rows, 0)) for each in (counter(limit), counter(limit + more))
    )
    assert sum(parts.values()) == limit
    assert all(part > 0 for part in parts.values()) or limit == 0
    assert all(larger[shard] >= part for shard, part in parts.items())
    assert counter(limit, lane=lane).preferred in parts


@pytest.mark.parametrize(
    ("limit", "undivided", "shards"),
    [
        (UNDIVIDED_COUNT, UNDIVIDED_COUNT, 1),
        (UNDIVIDED_COUNT + 1, UNDIVIDED_COUNT, 2),
        (1_000_000, UNDIVIDED_COUNT, 64),
        (UNDIVIDED_MONEY, UNDIVIDED_MONEY, 1),
        (10 * UNDIVIDED_MONEY, UNDIVIDED_MONEY, 10),
    ],
)
def test_only_a_large_limit_is_divided(limit, undivided, shards):
    whole = counter(limit, lane=0.999, undivided=undivided)
    assert whole.shards == len(whole.rows) == shards
    assert len({pk for pk, _ in whole.rows.values()}) == shards
    assert whole.rows[0] == KEY
    assert len(whole.first_read) == min(shards, 2)


def test_a_reservation_older_than_the_division_is_given_back_to_the_one_row():
    over = callback(reservation=Reservation(DAY, "USD", 500, 0, 0))
    keys = [write["Update"]["Key"]["pk"]["S"] for write in counters.release_writes(over)]
    assert keys == ["LIMIT#default", "LIMIT#default"]


def test_who_finds_a_shard_filled_takes_another_while_there_is_room():
    """Eleven have read the rows before any of them writes, and each prefers the same shard."""
    rows, limit = Rows(), 2 * UNDIVIDED
    others = [read(rows, counter(limit)) for _ in range(UNDIVIDED)]
    late = [read(rows, counter(limit))]

    def store_it() -> dict[int, int]:
        usage = late.pop() if late else read(rows, counter(limit))
        usage.refuse_exceeded()
        (condition,) = usage.conditions()
        if rows.transact([condition.write]) is not None:
            raise condition.refusal
        return usage.shares(KEY)

    assert all(store(rows, each) == {0: 1} for each in others)
    assert counters.in_other_shards(store_it) == {1: 1}
    for _ in range(UNDIVIDED - 1):
        counters.in_other_shards(store_it)
    with pytest.raises(SpendCapReached):
        counters.in_other_shards(store_it)


def test_who_loses_every_race_is_told_to_come_again():
    (condition,) = counter(2 * UNDIVIDED).conditions({0: 1}, {0: 0})

    def lose() -> None:
        raise condition.refusal

    with pytest.raises(ShardFilled) as refused:
        counters.in_other_shards(lose)
    assert (refused.value.status, refused.value.code) == (503, "store_contended")
