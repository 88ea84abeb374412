"""Details of a record. Each test here kills a mutant (`make mutants`) that survived all others."""

import re
from dataclasses import replace
from urllib.parse import urlencode

import pytest
from twilio.base.exceptions import TwilioRestException

from callback.carrier.twilio.client import classify
from callback.carrier.twilio.signature import OF_A_CALL, OF_A_ROOM, genuine_form
from callback.errors import Forbidden
from callback.lifecycle import outcomes, transitions
from callback.lifecycle.models import CallbackStatus, LegName, LegOutcome, LegStatus, Order
from callback.lifecycle.transitions import LegEvent
from tests.support.build import (
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
)
from tests.unit.carrier.twilio.test_signature import FIELDS, URL, Stored, signed

A, B = LegName.A, LegName.B


def claimed(seconds=0):
    return allowed(transitions.claim(callback(), A, at(seconds)))


# -- dialing -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("status", "code"), [(429, 20429), (503, 20503)])
def test_a_request_that_was_not_accepted_keeps_the_carriers_code(status, code):
    error = TwilioRestException(status, "/Calls.json", msg="no", code=code)
    assert classify(error).carrier_code == code


def test_a_released_claim_has_no_dialing_time():
    leg = allowed(transitions.release(claimed(), A, 1)).leg_a
    assert (leg.status, leg.dialed_at) == (LegStatus.PLANNED, None)


def test_a_claim_without_a_report_is_given_up_with_a_time_and_a_cause():
    leg = allowed(transitions.close(claimed(), None, at(100))).leg_a
    assert (leg.outcome, leg.cause, leg.ended_at) == (
        LegOutcome.DIAL_OUTCOME_UNKNOWN,
        "carrier_did_not_answer",
        at(100),
    )


def test_a_claim_with_a_reported_call_is_not_given_up():
    """A call exists, even if its status is unknown."""
    word = LegEvent(None, at=at(1), call_sid=SIDS[A], word="musing")
    reported = recorded(claimed(), A, word)
    assert reported.leg_a.status is LegStatus.DIALING
    assert not allowed(transitions.close(reported, None, at(100))).leg_a.ended


# -- merging -------------------------------------------------------------------------------------


def test_a_time_reported_twice_is_the_earlier_one():
    ringing = [event(LegStatus.RINGING, seconds) for seconds in (5, 8, 3, 4)]
    assert recorded(dialed(callback(), A), A, *ringing).leg_a.ringing_at == at(3)


def test_a_start_of_the_conversation_reported_twice_is_the_earlier_one():
    both = joined(joined(callback(), A), B, 20)
    for seconds in (21, 20, 25):
        both = allowed(transitions.connect(both, at(seconds)))
    assert both.connected_at == at(20)


def test_the_report_of_the_conversation_may_precede_the_report_of_bs_joining():
    alone = recorded(dialed(joined(callback(), A), B, 6), B, event(LegStatus.ANSWERED, 9, B))
    talking = allowed(transitions.connect(alone, at(9)))
    assert talking.status is CallbackStatus.CONNECTED


def test_an_end_keeps_its_code_and_zero_seconds():
    end = ended(LegOutcome.REJECTED, 5, A, carrier_code=21211, seconds=0)
    leg = recorded(dialed(callback(), A), A, end).leg_a
    assert (leg.carrier_code, leg.seconds) == (21211, 0)


# -- the fence -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", LegName)
def test_the_fence_stores_the_first_time_of_admission(name):
    ringing = dialed(dialed(callback(Order.SIMULTANEOUS), A), B)
    for seconds in (7, 9):
        ringing = allowed(transitions.answer(ringing, name, 1, SIDS[name], at(seconds)))
    leg = ringing.leg(name)
    assert (leg.answered_at, leg.admitted_at) == (at(7), at(7))
    assert ringing.leg(name.other).admitted_at is None


# -- the outcome ---------------------------------------------------------------------------------


def test_bridged_seconds_are_unknown_before_both_legs_have_ended():
    gone = recorded(dialed(joined(callback(), A), B, 6), A, ended(LegOutcome.COMPLETED, 8, A))
    assert outcomes.bridged_seconds(gone) is None


def test_a_conversation_may_last_zero_seconds():
    both = joined(joined(callback(), A), B, 20)
    both = allowed(transitions.connect(both, at(20)))
    over = recorded(both, B, ended(LegOutcome.COMPLETED, 20.2, B))
    assert outcomes.bridged_seconds(over) == 0


def test_a_call_without_a_reported_duration_was_not_cut_off():
    short = connected()
    short = replace(short, max_duration_seconds=1)
    over = recorded(short, B, ended(LegOutcome.COMPLETED, 21, B))
    over = recorded(over, A, ended(LegOutcome.COMPLETED, 21, A))
    assert (over.outcome, over.cause) == ("completed", "hung_up")


def test_a_party_whose_telephone_rings_hears_no_announcement():
    both = dialed(dialed(callback(Order.SIMULTANEOUS), A), B)
    busy = recorded(both, B, ended(LegOutcome.BUSY, 5, B))
    ringing = recorded(busy, A, event(LegStatus.RINGING, 4))
    assert outcomes.parting_sentence(ringing, ringing.leg_a, ringing.leg_b) is None
    answered = replace(ringing.leg_a, status=LegStatus.ANSWERED)
    assert outcomes.parting_sentence(ringing, answered, ringing.leg_b)


# -- whose webhook it is ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shapes", "field"), [(OF_A_CALL, "CallSid"), (OF_A_CALL, "CallStatus"), (OF_A_ROOM, None)]
)
def test_a_genuine_webhook_without_a_field_that_is_acted_upon_is_refused(shapes, field):
    fields = {name: value for name, value in FIELDS.items() if name != field}
    with pytest.raises(Forbidden):
        genuine_form(URL, urlencode(fields).encode(), signed(fields), Stored(), shapes)


def test_a_genuine_webhook_with_every_field_that_is_acted_upon_is_taken():
    assert genuine_form(URL, urlencode(FIELDS).encode(), signed(FIELDS), Stored(), OF_A_CALL)


@pytest.mark.parametrize("shape", ["X*[A-Z]", "[a-z]+", ".+"])
def test_a_field_that_is_not_there_has_no_shape(shape):
    shapes = {"NotSent": re.compile(shape)}
    with pytest.raises(Forbidden):
        genuine_form(URL, urlencode(FIELDS).encode(), signed(FIELDS), Stored(), shapes)


def test_a_refused_webhook_is_logged_by_one_constant_line_and_told_nothing_more(caplog):
    for signature in (None, "bm8="):
        with pytest.raises(Forbidden) as refused:
            genuine_form(URL, urlencode(FIELDS).encode(), signature, Stored())
        assert refused.value.detail == "The carrier's signature is missing or wrong."
    line = "a webhook lacks the carrier's signature"
    assert [record.getMessage() for record in caplog.records] == [line, line]


@pytest.mark.parametrize(("spare", "taken"), [(0, True), (-1, False)])
def test_a_form_may_be_64_kib_long_and_no_longer(spare, taken):
    room = 64 * 1024 - len(urlencode({**FIELDS, "Extra": ""})) - spare
    fields = {**FIELDS, "Extra": "x" * room}
    body, signature = urlencode(fields).encode(), signed(fields)
    if taken:
        assert genuine_form(URL, body, signature, Stored())["Extra"]
    else:
        with pytest.raises(Forbidden):
            genuine_form(URL, body, signature, Stored())
