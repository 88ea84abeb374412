"""A claimed leg is dialed at once or not at all."""

import pytest

from callback import clock
from callback.call_control.dialing import PacedCalls
from callback.call_control.steps import CallControl
from callback.carrier.port import DialResult, Sent
from callback.errors import CarrierUnavailable
from callback.lifecycle.models import LegName, LegStatus, Order, Step
from callback.storage.departures import Departure
from callback.tenancy.policy import Policy, Standing
from tests.support.build import SIDS, at, callback, dialed, task

NOW = Departure(0, 1, 0)


class Rows:
    """A store of one callback."""

    def __init__(self, row):
        self.row = row

    def change(self, _, transition, **_known):
        after = transition(self.row)
        self.row = after or self.row
        return self.row, after is not None


class AtOnce:
    """Departures at any moment."""

    def book(self, _requests):
        return NOW

    def is_near(self, _departure):
        return True

    def wait_for_claim(self, _departure):
        pass

    def on_time(self, departure):
        return departure


class Phone:
    def __init__(self, *, ready=True):
        self.dialed, self.is_ready, self.ready_calls = [], ready, 0

    def ready(self):
        self.ready_calls += 1
        return self.is_ready

    def dial(self, _, name):
        self.dialed.append(name)
        return DialResult(Sent.ACCEPTED, call_sid=SIDS[name])


def place(monkeypatch, *, seconds_between_claim_and_send):
    moments = iter([at(0), *[at(seconds_between_claim_and_send)] * 9])
    monkeypatch.setattr(clock, "now", lambda: next(moments))
    phone = Phone()
    after = PacedCalls(Rows(callback()), phone, AtOnce()).place(callback(), [LegName.A], NOW)
    return after.leg_a.status, phone.dialed


def test_a_claimed_leg_is_dialed(monkeypatch):
    placed = place(monkeypatch, seconds_between_claim_and_send=15)
    assert placed == (LegStatus.QUEUED, [LegName.A])


def test_a_sandbox_frozen_after_its_claim_sends_nothing(monkeypatch):
    placed = place(monkeypatch, seconds_between_claim_and_send=16)
    assert placed == (LegStatus.DIALING, [])


def test_no_leg_is_claimed_while_the_carrier_is_not_ready():
    phone, rows = Phone(ready=False), Rows(callback(Order.SIMULTANEOUS))
    after = PacedCalls(rows, phone, AtOnce()).place(rows.row, LegName, NOW)
    assert after == rows.row == callback(Order.SIMULTANEOUS)
    assert phone.dialed == []


def test_the_carrier_is_not_made_ready_for_a_leg_that_was_dialed():
    phone, rows = Phone(ready=False), Rows(dialed(callback(), LegName.A))
    after = PacedCalls(rows, phone, AtOnce()).place(rows.row, [LegName.A], NOW)
    assert (after, phone.ready_calls) == (rows.row, 0)


def test_a_step_is_retried_while_the_carrier_is_not_ready_and_then_dials(monkeypatch):
    monkeypatch.setattr(clock, "now", lambda: at(0))
    phone, rows = Phone(ready=False), Rows(callback())
    with pytest.raises(CarrierUnavailable):
        begin(phone, rows)
    assert (rows.row.leg_a.status, rows.row.leg_a.attempt) == (LegStatus.PLANNED, 0)
    phone.is_ready = True
    begin(phone, rows)
    assert (rows.row.leg_a.status, phone.dialed) == (LegStatus.QUEUED, [LegName.A])


def begin(phone, rows):
    CallControl(rows, phone, AtOnce(), NoWorkflow(), Allowed()).begin_step("cb-1", task(Step.FIRST))


class Allowed:
    def standing(self, _tenant):
        return Standing(Policy())


class NoWorkflow:
    def settle(self, _callback):
        pass
