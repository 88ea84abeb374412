"""A claim is spent at once or not at all."""

from callback import clock, placement
from callback.dialer import DialResult, Sent
from callback.models import LegName, LegStatus
from tests.unit.build import SIDS, at, callback


class Rows:
    """A store of one callback."""

    def __init__(self, row):
        self.row = row

    def change(self, _, transition):
        after = transition(self.row)
        self.row = after or self.row
        return self.row, after is not None


class Phone:
    def __init__(self):
        self.dialed = []

    def dial(self, _, name):
        self.dialed.append(name)
        return DialResult(Sent.ACCEPTED, call_sid=SIDS[name])


def place(monkeypatch, *, seconds_between_claim_and_send):
    moments = iter([at(0), *[at(seconds_between_claim_and_send)] * 9])
    monkeypatch.setattr(clock, "now", lambda: next(moments))
    phone = Phone()
    after = placement.place(Rows(callback()), phone, callback(), [LegName.A])
    return after.leg_a.status, phone.dialed


def test_a_claimed_leg_is_dialed(monkeypatch):
    placed = place(monkeypatch, seconds_between_claim_and_send=15)
    assert placed == (LegStatus.QUEUED, [LegName.A])


def test_a_sandbox_that_was_frozen_after_its_claim_sends_nothing(monkeypatch):
    placed = place(monkeypatch, seconds_between_claim_and_send=16)
    assert placed == (LegStatus.DIALING, [])
