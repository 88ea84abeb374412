"""The events of a callback follow from the changes of its row alone."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callback.lifecycle import events, transitions
from callback.lifecycle.events import EventType
from callback.lifecycle.models import (
    Callback,
    CallbackStatus,
    LegName,
    LegOutcome,
    LegStatus,
    Order,
    from_record,
    to_record,
)
from callback.webhooks.schema import EndpointRequest, Selection
from tests.support import build


def all_events(*states: Callback) -> list[events.Event]:
    """The events of a callback whose row is written in these states, one after the other."""
    before, history = None, []
    for state in states:
        now = state if before is None else events.with_event_count(before, state)
        history += events.derive_events(before, now)
        before = now
    return history


def types(*states: Callback) -> list[str]:
    return [event.type for event in all_events(*states)]


def test_a_new_callback_makes_the_accepted_event():
    (event,) = all_events(build.callback())
    assert (event.type, event.sequence) == ("callback.accepted", 1)
    assert event.message_id == "msg_cb-1_1"
    assert json.loads(event.payload) == {
        "type": "callback.accepted",
        "timestamp": "2026-11-24T12:00:00.000Z",
        "data": {
            "callback_id": "cb-1",
            "sequence": 1,
            "status": "accepted",
            "outcome": None,
            "cause": None,
            "created_at": "2026-11-24T12:00:00.000Z",
            "connected_at": None,
            "ended_at": None,
        },
    }


def test_a_write_without_an_event_takes_no_sequence_number():
    planned = build.callback()
    waiting = build.allowed(transitions.wait(planned, build.task(transitions.Step.FIRST, "token")))
    claimed = build.allowed(transitions.claim(waiting, LegName.A, build.at(1)))
    assert [(e.type, e.sequence) for e in all_events(planned, waiting, claimed)] == [
        ("callback.accepted", 1),
        ("leg.dialing", 2),
    ]


def test_one_write_may_make_several_events_in_order():
    planned = build.callback()
    canceled = build.allowed(transitions.cancel(planned, build.at(1)))
    ended = build.allowed(transitions.close(canceled, None, build.at(2)))
    history = all_events(planned, canceled, ended)
    assert [event.type for event in history] == [
        "callback.accepted",
        "leg.ended",
        "leg.ended",
        "callback.ended",
    ]
    assert [json.loads(event.payload)["data"]["sequence"] for event in history] == [1, 2, 3, 4]
    legs = [json.loads(event.payload)["data"].get("leg", {}).get("name") for event in history]
    assert legs == [None, "A", "B", None]


def test_a_leg_that_skips_a_status_has_no_event_for_it():
    dialed = build.dialed(build.callback(), LegName.A)
    joined = build.recorded(dialed, LegName.A, build.event(LegStatus.JOINED, 9))
    assert types(build.callback(), dialed, joined)[1:] == ["leg.queued", "leg.joined"]


def test_a_leg_that_is_dialed_again_makes_the_dialing_event_again():
    planned = build.callback()
    claimed = build.allowed(transitions.claim(planned, LegName.A, build.at(1)))
    assert types(planned, claimed, planned, claimed).count("leg.dialing") == 2


def test_a_report_after_the_end_makes_no_event():
    ended = build.connected()
    for name in LegName:
        event = build.ended(LegOutcome.COMPLETED, 60, name)
        ended = build.recorded(ended, name, event)
    assert ended.status is CallbackStatus.ENDED
    reported = replace(ended, leg_a=replace(ended.leg_a, seconds=41))
    assert all_events(ended, reported) == all_events(ended)


@pytest.mark.parametrize(
    ("status", "field"),
    [
        (LegStatus.RINGING, "ringing_at"),
        (LegStatus.ANSWERED, "answered_at"),
        (LegStatus.JOINED, "joined_at"),
    ],
)
def test_an_event_has_the_time_in_the_record(status: LegStatus, field: str):
    dialed = build.dialed(build.callback(), LegName.A, 1)
    later = build.recorded(dialed, LegName.A, build.event(status, 7))
    assert all_events(dialed, later)[-1].at == getattr(later.leg_a, field) == build.at(7)


EVENTS = st.lists(
    st.tuples(
        st.sampled_from(list(LegName)),
        st.sampled_from([s for s in LegStatus if s not in (LegStatus.PLANNED, LegStatus.DIALING)]),
        st.integers(0, 100),
    ),
    max_size=30,
)


@given(order=st.sampled_from(list(Order)), history=EVENTS)
def test_every_history_has_gapless_sequences_and_at_most_one_end(order, history):
    states = [build.callback(order)]
    for name in LegName:
        states.append(build.dialed(states[-1], name) if order is Order.SIMULTANEOUS else states[-1])
    if order is not Order.SIMULTANEOUS:
        states.append(
            build.dialed(states[-1], LegName.A if order is Order.SEQUENTIAL else LegName.B)
        )
    for name, status, seconds in history:
        before = states[-1]
        outcome = LegOutcome.BUSY if status is LegStatus.ENDED else None
        event = build.event(status, seconds, name, outcome=outcome)
        after = transitions.record(before, name, before.leg(name).attempt, event)
        states.append(after or before)
    made = all_events(*states)
    assert [event.sequence for event in made] == list(range(1, len(made) + 1))
    assert len({event.message_id for event in made}) == len(made)
    ends = [event for event in made if event.type is EventType.CALLBACK_ENDED]
    assert len(ends) == (states[-1].status is CallbackStatus.ENDED)


def test_a_row_older_than_events_is_read_and_counts_from_its_next_event():
    row = to_record(build.callback())
    del row["event_count"]
    assert from_record(row) == build.callback()


def test_a_write_reported_twice_makes_the_same_event_byte_for_byte():
    before, after = build.callback(), build.dialed(build.callback(), LegName.A)
    after = events.with_event_count(before, after)
    assert events.derive_events(before, after) == events.derive_events(before, after)
    assert (
        events.derive_events(before, after)[0].payload
        == events.derive_events(before, after)[0].payload
    )


def test_every_type_of_event_is_made_by_some_write():
    made = {*events._LEG_EVENTS.values(), *events._CALLBACK_EVENTS.values()}
    assert made | {EventType.CALLBACK_ACCEPTED} == set(EventType)


def test_every_event_can_be_selected_and_is_selected_by_default():
    selection = EndpointRequest.model_fields["events"].default
    assert [t for t in EventType if events.is_selected(t, selection)] == list(EventType)
    assert set(EventType) | {events.EVERY_LEG_EVENT} == set(Selection)


@pytest.mark.parametrize(
    ("selection", "expected"),
    [
        (["leg.*"], [t for t in EventType if t.startswith("leg.")]),
        (["leg.ringing"], [EventType.LEG_RINGING]),
        (["callback.ended", "leg.joined"], [EventType.LEG_JOINED, EventType.CALLBACK_ENDED]),
        ([], []),
    ],
)
def test_a_selection_contains_the_events_that_it_names(selection, expected):
    assert [t for t in EventType if events.is_selected(t, selection)] == expected
