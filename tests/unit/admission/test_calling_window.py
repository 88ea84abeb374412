"""A calling window is open or closed in a party's time zones, also on days of 23 or 25 hours."""

from datetime import UTC, datetime, time

import pytest

from callback.admission import calling_window
from callback.numbering import destinations
from callback.tenancy.policy import CallingWindow

DAILY = CallingWindow(time(8), time(21), frozenset(range(7)))
ALL_DAY = CallingWindow(time(0), None, frozenset(range(7)))
WEEKDAYS = CallingWindow(time(9), time(17), frozenset(range(5)))
LA, NY, BERLIN = "America/Los_Angeles", "America/New_York", "Europe/Berlin"


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("window", "zones", "at", "inside"),
    [
        (DAILY, [LA], "2026-11-24T15:59:59", False),
        (DAILY, [LA], "2026-11-24T16:00", True),
        (DAILY, [LA], "2026-11-25T04:59:59", True),
        (DAILY, [LA], "2026-11-25T05:00", False),
        # The day before and the day after clocks go back (1 November 2026, 09:00 UTC).
        (DAILY, [LA], "2026-10-31T15:00", True),
        (DAILY, [LA], "2026-11-01T15:59", False),
        (DAILY, [LA], "2026-11-01T16:00", True),
        # And forward (14 March 2027, 10:00 UTC).
        (DAILY, [LA], "2027-03-13T15:59", False),
        (DAILY, [LA], "2027-03-14T15:00", True),
        (DAILY, [BERLIN], "2026-10-25T06:59", False),
        (DAILY, [BERLIN], "2026-10-25T07:00", True),
        # Both zones must be inside.
        (DAILY, [LA, NY], "2026-11-24T14:00", False),
        (DAILY, [LA, NY], "2026-11-24T16:00", True),
        (DAILY, [LA, NY], "2026-11-25T02:00", False),
        # Friday in UTC; at 20:00 it is Saturday in Auckland.
        (WEEKDAYS, ["Pacific/Auckland"], "2026-11-27T00:00", True),
        (WEEKDAYS, ["Pacific/Auckland"], "2026-11-27T20:00", False),
        (ALL_DAY, [LA], "2026-11-24T23:59:59.999", True),
        (ALL_DAY, [], "2026-11-24T12:00", False),
    ],
)
def test_a_window_is_open_when_it_is_open_in_every_zone(window, zones, at, inside):
    assert calling_window.inside(window, zones, utc(at)) is inside


@pytest.mark.parametrize(
    ("window", "zones", "after", "at"),
    [
        (DAILY, [LA], "2026-11-24T12:00:30", "2026-11-24T16:00"),
        (DAILY, [LA], "2026-11-25T05:00", "2026-11-25T16:00"),
        # The night has one hour more, or one hour less.
        (DAILY, [LA], "2026-11-01T04:00", "2026-11-01T16:00"),
        (DAILY, [LA], "2027-03-14T05:00", "2027-03-14T15:00"),
        (DAILY, [LA, NY], "2026-11-25T02:00", "2026-11-25T16:00"),
        (WEEKDAYS, [BERLIN], "2026-11-27T16:00", "2026-11-30T08:00"),
        # This night has no half past two: the window opens at three.
        (
            CallingWindow(time(2, 30), time(4), frozenset({6})),
            [LA],
            "2027-03-14T08:00",
            "2027-03-14T10:00",
        ),
        # This night has half past one twice.
        (
            CallingWindow(time(1, 30), time(2), frozenset({6})),
            [LA],
            "2026-11-01T09:00",
            "2026-11-01T09:30",
        ),
    ],
)
def test_the_next_time_is_the_first_minute_inside_the_window(window, zones, after, at):
    assert calling_window.next_inside(window, zones, utc(after)) == utc(at)


@pytest.mark.parametrize(
    ("window", "zones"),
    [
        (CallingWindow(time(9), time(10), frozenset({0})), [LA, BERLIN]),
        (ALL_DAY, []),
    ],
    ids=["never in both", "no zones"],
)
def test_a_window_that_never_opens_has_no_next_time(window, zones):
    assert calling_window.next_inside(window, zones, utc("2026-11-24T12:00")) is None


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        ("+14155550123", {LA}),
        ("+12125550123", {NY}),
        ("+442079460000", {"Europe/London"}),
        ("+79201234567", {"Europe/Moscow", "Asia/Yekaterinburg"}),
        ("+870773123456", set()),
    ],
)
def test_a_number_has_the_zones_of_its_numbering_plan(number, expected):
    zones = set(destinations.telephone(number).zones)
    assert expected <= zones
    assert bool(zones) == bool(expected)
