"""The departures row: no sliding second has more departures than the rate, whatever happens."""

from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from callback.storage.departures import KEY, LATENESS, SOON, Departures, gap, to_us
from callback.storage.table import Table
from tests.support.build import NOON

RATES = [1, 5, 20, 100]
MS = timedelta(milliseconds=1)


@pytest.fixture
def table(client):
    return Table(client, "callbacks")


def offsets(*departures):
    """Milliseconds after NOON."""
    return [round((departure.at - NOON) / MS) for departure in departures]


def most_in_a_second(sent):
    """The most sends in any half-open second, which begins with one of them."""
    sent = sorted(sent)
    return max(sum(first <= each < first + 1_000_000 for each in sent) for first in sent)


def test_departures_are_a_gap_apart(table):
    row = Departures(table, 5)
    assert offsets(*(row.book(NOON) for _ in range(3))) == [0, 204, 408]


def test_a_row_that_is_not_ahead_gives_out_the_present(table):
    row = Departures(table, 5)
    row.book(NOON)
    assert offsets(row.book(NOON + 900 * MS)) == [900]


def test_two_departures_are_booked_together(table):
    row = Departures(table, 5)
    both = row.book(NOON, 2)
    assert offsets(both, both.after_first(), row.book(NOON)) == [0, 204, 408]


def test_a_first_leg_departs_soon_or_not_at_all(table):
    row = Departures(table, 1)
    first, second = row.take(NOON), row.take(NOON)
    assert offsets(first[0]) == [0]
    assert (second[0], second[1]) == (None, NOON + 1020 * MS)
    later, _ = row.take(NOON + 1020 * MS - SOON)
    assert offsets(later) == [1020]


def test_a_second_leg_books_however_far_ahead(table):
    row = Departures(table, 1)
    assert offsets(*(row.book(NOON) for _ in range(40)))[-1] == 39 * 1020
    assert row.take(NOON)[0] is None


def test_a_late_sender_moves_its_departure_if_nobody_booked_after_it(table):
    row, late = Departures(table, 1), NOON + 500 * MS
    moved = row.postpone(row.book(NOON), late)
    assert offsets(moved, row.book(late)) == [500, 1520]


def test_a_late_sender_books_another_departure_if_somebody_booked_after_it(table):
    row = Departures(table, 1)
    first, _ = row.book(NOON), row.book(NOON)
    assert row.postpone(first, NOON + 500 * MS) is None


def test_a_departure_that_is_given_back_is_free_again(table):
    row = Departures(table, 1)
    row.give_back(row.book(NOON))
    assert offsets(row.book(NOON)) == [0]


def test_a_departure_before_a_booked_one_is_lost_when_it_is_given_back(table):
    row = Departures(table, 1)
    first, _ = row.book(NOON), row.book(NOON)
    row.give_back(first)
    assert offsets(row.book(NOON)) == [2040]


def test_an_operators_rate_replaces_the_deployments(table):
    row = Departures(table, 1)
    assert row.operators_rate() is None
    row.set_rate(20)
    assert row.operators_rate() == (20, 20)
    assert offsets(*(row.book(NOON) for _ in range(2))) == [0, 51]


def test_the_rate_is_lowered_once_in_ten_seconds_to_a_tenth_at_least(table):
    row = Departures(table, 20)
    assert row.lower(NOON) == (20, 16)
    assert row.lower(NOON + 9000 * MS) is None
    lowered = [row.lower(NOON + timedelta(seconds=10 * n)) for n in range(1, 20)]
    assert [rate.effective for rate in lowered if rate][-1] == 2
    assert lowered[-1] is None
    assert offsets(*(row.book(NOON) for _ in range(2))) == [0, 510]


def test_a_lowered_rate_is_restored_by_a_tenth_at_a_time(table):
    row = Departures(table, 20)
    row.lower(NOON)
    assert row.restore(NOON + timedelta(minutes=4)) is None
    minutes = (row.restore(NOON + timedelta(minutes=n)) for n in range(5, 10))
    assert [rate.effective for rate in minutes if rate] == [17.6, 19.36, 20]
    assert row.restore(NOON + timedelta(hours=1)) is None


def test_a_rate_that_was_not_lowered_stays(table):
    row = Departures(table, 20)
    assert row.restore(NOON) is None
    assert table.get(KEY) is None


def test_each_departure_is_one_update_while_nobody_else_moves_the_row(table, monkeypatch):
    row, updates = Departures(table, 20), []
    update = table._client.update_item
    monkeypatch.setattr(
        table._client, "update_item", lambda **how: updates.append(how) or update(**how)
    )
    for n in range(10):
        row.book(NOON + timedelta(seconds=n))
    assert len(updates) == 10


@pytest.mark.parametrize("rate", RATES)
def test_a_rate_is_used_almost_wholly(table, rate):
    row = Departures(table, rate)
    departures = [row.book(NOON) for _ in range(rate * 10)]
    seconds = (departures[-1].at - departures[0].at).total_seconds()
    assert (rate * 10 - 1) / seconds >= 0.98 * rate


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["book", "take", "postpone", "give back"]),
        st.integers(0, 1),  # which process
        st.integers(1, 2),  # how many requests together
        st.sampled_from([0, 0, 1, 5, 20, 100, 400, 1500]),  # milliseconds since the step before
        st.integers(0, 20),  # how late the sender is
    ),
    min_size=1,
    max_size=40,
)


@pytest.mark.parametrize("rate", RATES)
@given(steps=STEPS)
@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_no_sliding_second_has_more_sends_than_the_rate(table, rate, steps):
    table.delete(KEY)
    rows, now, sent = [Departures(table, rate) for _ in range(2)], NOON, []
    for step, process, count, passed, late in steps:
        row, now = rows[process], now + passed * MS
        if step == "take":
            departure, free_at = row.take(now, count)
            if departure is None:
                assert free_at > now + SOON
                continue
            assert departure.at <= now + SOON
        else:
            departure = row.book(now, count)
        assert departure.at >= now
        if step == "give back":
            row.give_back(departure)
            continue
        if step == "postpone":
            departure = row.postpone(departure, departure.at + 700 * MS) or row.book(
                departure.at + 700 * MS, count
            )
        sent += [departure.at_us + nth * gap(rate) + late * 1000 for nth in range(count)]
    assert late * MS <= LATENESS
    if sent:
        assert most_in_a_second(sent) <= rate
    assert all(each >= to_us(NOON) for each in sent)
