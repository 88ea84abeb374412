"""Twilio's forms, translated into our reports."""

from datetime import UTC, datetime

import pytest

from callback import clock
from callback.carrier.reports import (
    InboundCall,
    InboundText,
    PartyJoined,
    RoomOpened,
    UnknownRoomEvent,
)
from callback.carrier.twilio import events
from callback.errors import Forbidden
from callback.lifecycle.models import LegName, LegOutcome, LegStatus
from callback.lifecycle.transitions import LegEvent
from tests.support.build import NOON

SID = "CA" + "a" * 32
AT = datetime(2026, 11, 24, 12, 0, 7, tzinfo=UTC)
OF_THE_CALL = {"CallSid": SID, "Timestamp": "Tue, 24 Nov 2026 12:00:07 +0000"}


@pytest.mark.parametrize(
    ("word", "status", "outcome"),
    [
        ("queued", LegStatus.QUEUED, None),
        ("initiated", LegStatus.QUEUED, None),
        ("ringing", LegStatus.RINGING, None),
        ("in-progress", LegStatus.ANSWERED, None),
        ("completed", LegStatus.ENDED, LegOutcome.COMPLETED),
        ("busy", LegStatus.ENDED, LegOutcome.BUSY),
        ("no-answer", LegStatus.ENDED, LegOutcome.NO_ANSWER),
        ("failed", LegStatus.ENDED, LegOutcome.FAILED),
        ("canceled", LegStatus.ENDED, LegOutcome.CANCELED),
    ],
)
def test_a_call_status_is_a_leg_status_and_an_outcome(word, status, outcome):
    event = events.leg_event({**OF_THE_CALL, "CallStatus": word})
    left_queue = word == "initiated"
    assert event == LegEvent(status, AT, SID, outcome=outcome, left_queue=left_queue)


@pytest.mark.parametrize("word", ["", "musing", "x" * 400])
def test_an_unknown_call_status_is_kept_and_cut(word):
    event = events.leg_event({**OF_THE_CALL, "CallStatus": word})
    assert event == LegEvent(None, AT, SID, word=word[:32])


def test_the_end_of_a_call_has_its_seconds_and_its_sip_code():
    fields = {"CallStatus": "busy", "CallDuration": "0", "SipResponseCode": "486"}
    event = events.leg_event({**OF_THE_CALL, **fields})
    assert (event.seconds, event.cause) == (0, "sip_486")


@pytest.mark.parametrize(
    ("word", "code"), [("completed", "200"), ("ringing", "180"), ("failed", "48"), ("failed", "")]
)
def test_a_sip_code_is_the_cause_of_failures_only(word, code):
    event = events.leg_event({**OF_THE_CALL, "CallStatus": word, "SipResponseCode": code})
    assert event.cause is None


@pytest.mark.parametrize("timestamp", [None, "", "yesterday"])
def test_an_event_without_a_time_happened_now(monkeypatch, timestamp):
    monkeypatch.setattr(clock, "now", lambda: NOON)
    form = {"CallSid": SID, "CallStatus": "ringing"}
    if timestamp is not None:
        form["Timestamp"] = timestamp
    assert events.leg_event(form).at == NOON


def test_a_party_joins_the_room():
    fields = {"StatusCallbackEvent": "participant-join", "ParticipantLabel": "B"}
    joined = LegEvent(LegStatus.JOINED, AT, SID)
    assert events.room_event({**OF_THE_CALL, **fields}) == PartyJoined(LegName.B, joined)


@pytest.mark.parametrize("fields", [{"ParticipantLabel": "C"}, {"ParticipantLabel": "A"}, {}])
def test_a_participant_that_is_not_one_of_our_legs_is_refused(fields):
    call = {} if fields == {"ParticipantLabel": "A"} else {"CallSid": SID}
    with pytest.raises(Forbidden):
        events.room_event({"StatusCallbackEvent": "participant-join", **call, **fields})


def test_the_room_opens():
    event = events.room_event({**OF_THE_CALL, "StatusCallbackEvent": "conference-start"})
    assert event == RoomOpened(AT)
    assert isinstance(event, RoomOpened)


@pytest.mark.parametrize("word", ["participant-mute", None])
def test_another_room_event_is_unknown(word):
    event = events.room_event({"StatusCallbackEvent": word} if word else {})
    assert event == UnknownRoomEvent(word)
    assert isinstance(event, UnknownRoomEvent)


def test_an_inbound_call_has_a_caller_and_a_called_number():
    form = {"CallSid": SID, "From": "+14155550123", "To": "+14155550100"}
    assert events.inbound_call(form) == InboundCall(SID, "+14155550123", "+14155550100", False)


@pytest.mark.parametrize("caller", ["", *sorted(events.WITHHELD)])
def test_a_withheld_caller_is_empty(caller):
    assert events.inbound_call({"CallSid": SID, "From": caller}).caller == ""


@pytest.mark.parametrize(
    ("verstat", "is_spoofed"),
    [
        ("TN-Validation-Failed", True),
        ("TN-Validation-Failed-C", True),
        ("TN-Validation-Passed-A", False),
        ("No-TN-Validation", False),
        ("", False),
    ],
)
def test_a_caller_is_spoofed_if_the_network_reports_it(verstat, is_spoofed):
    form = {"CallSid": SID, "From": "+14155550123", "StirVerstat": verstat}
    assert events.inbound_call(form).is_spoofed is is_spoofed


def test_an_inbound_text_has_both_numbers_and_its_opt_out():
    form = {"MessageSid": "SM1", "From": "+14155550123", "To": "+14155550100", "Body": "CALL ME"}
    expected = InboundText("SM1", "+14155550123", "+14155550100", "CALL ME", None)
    assert events.inbound_text(form) == expected
    assert events.inbound_text(form | {"OptOutType": "STOP"}) == expected._replace(opt_out="stop")
