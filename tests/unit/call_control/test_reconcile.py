"""`reconcile` reads a callback and its calls again before it ends any of them."""

from dataclasses import replace

import pytest

from callback import clock
from callback.call_control.dialing import Calls
from callback.call_control.reconcile import Reconciliation
from callback.errors import CarrierUnavailable
from callback.lifecycle import transitions
from callback.lifecycle.models import CloseReason, LegName, LegOutcome, LegStatus, Step
from callback.storage.departures import Departures
from callback.storage.intake import IntakeStore
from callback.storage.table import Table
from tests.support.build import (
    NOON,
    SIDS,
    allowed,
    at,
    callback,
    connected,
    dialed,
    ended,
    event,
    joined,
    recorded,
    task,
)

A, B = LegName.A, LegName.B
ANOTHERS = "CA" + "c" * 32


class Carrier:
    """`live`: its list of live calls. `now`: the events that `fetch` and `end` return. `slow` runs
    while another callback's call is fetched."""

    def __init__(self, live, now, slow=lambda: None):
        self._live, self._now, self._slow = live, now, slow
        self.ended = []

    def live_calls(self):
        return self._live

    def fetch(self, call_sid):
        if call_sid == ANOTHERS:
            self._slow()
        return self._now[call_sid]

    def end(self, call_sid, _=None):
        self.ended.append(call_sid)
        if isinstance(self._now[call_sid], CarrierUnavailable):
            raise self._now[call_sid]
        return self._now[call_sid]


class Executions:
    def settle(self, _):
        pass


@pytest.fixture(autouse=True)
def time(monkeypatch):
    """The current time. Set it with `time[0] = ...`."""
    time = [NOON]
    monkeypatch.setattr(clock, "now", lambda: time[0])
    return time


@pytest.fixture
def store(client):
    return IntakeStore(Table(client, "callbacks"))


def b_rings():
    """A waits in the room; B has been ringing since second 12, with a timeout of 30 s."""
    one = dialed(joined(callback(), A), B, 10)
    one = recorded(one, B, event(LegStatus.RINGING, 12, B))
    return allowed(transitions.wait(one, task(Step.SECOND)))


def test_a_conversation_that_began_after_its_row_was_read_continues(store, time):
    store.add(b_rings())
    another = allowed(transitions.claim(callback(callback_id="cb-2", created_at=at(1)), A, at(1)))
    ringing = event(LegStatus.RINGING, 2, A)
    another = recorded(another, A, replace(ringing, call_sid=ANOTHERS))
    store.add(allowed(transitions.wait(another, task(Step.FIRST))))

    def b_picks_up():
        for each in (event(LegStatus.ANSWERED, 40, B), event(LegStatus.JOINED, 41, B)):
            store.change("cb-1", lambda c, e=each: transitions.record(c, B, 1, e))
        time[0] = at(71)

    time[0] = at(39)
    busy = replace(ended(LegOutcome.BUSY, 40, A), call_sid=ANOTHERS)
    live = {SIDS[A]: LegStatus.ANSWERED, SIDS[B]: LegStatus.RINGING}
    carrier = Carrier(live, {ANOTHERS: busy}, b_picks_up)
    Reconciliation(Calls(store, carrier), Executions(), Departures(store.table, 1)).run()
    assert store.get("cb-2").leg_a.outcome is LegOutcome.BUSY
    assert carrier.ended == []
    assert store.get("cb-1").leg_b.status is LegStatus.JOINED


@pytest.mark.parametrize(
    ("now", "hung_up", "becomes"),
    [(LegStatus.RINGING, [SIDS[B]], LegStatus.RINGING), (LegStatus.ANSWERED, [], "answered")],
)
def test_a_call_that_rings_too_long_is_hung_up_unless_it_was_answered(
    store, time, now, hung_up, becomes
):
    """The list of live calls is as old as the run."""
    store.add(b_rings())
    time[0] = at(90)
    live = {SIDS[A]: LegStatus.ANSWERED, SIDS[B]: LegStatus.RINGING}
    carrier = Carrier(live, {SIDS[B]: event(now, 60, B)})
    Reconciliation(Calls(store, carrier), Executions(), Departures(store.table, 1)).run()
    assert carrier.ended == hung_up
    assert store.get("cb-1").leg_b.status == becomes


def test_one_partys_call_is_ended_although_the_others_cannot_be(store):
    store.add(connected())
    carrier = Carrier(
        {}, {SIDS[A]: CarrierUnavailable("No."), SIDS[B]: ended(LegOutcome.COMPLETED, 30, B)}
    )
    with pytest.raises(CarrierUnavailable):
        Calls(store, carrier).close("cb-1", CloseReason.CANCELED)
    assert carrier.ended == [SIDS[A], SIDS[B]]
    assert [leg.status for leg in store.get("cb-1").legs] == [LegStatus.JOINED, LegStatus.ENDED]
