"""Translate Twilio's forms into our reports."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from callback import clock
from callback.carrier.reports import (
    InboundCall,
    InboundText,
    OptOut,
    PartyJoined,
    RoomEvent,
    RoomOpened,
    UnknownRoomEvent,
)
from callback.errors import Forbidden
from callback.lifecycle.models import LegName, LegOutcome, LegStatus
from callback.lifecycle.transitions import LegEvent

# CallStatus, in webhooks and on the Call resource (Twilio docs, call-resource).
# `initiated` means that the call leaves Twilio's queue. Nothing rings yet.
CALL_STATUS: dict[str, tuple[LegStatus, LegOutcome | None]] = {
    "queued": (LegStatus.QUEUED, None),
    "initiated": (LegStatus.QUEUED, None),
    "ringing": (LegStatus.RINGING, None),
    "in-progress": (LegStatus.ANSWERED, None),
    "completed": (LegStatus.ENDED, LegOutcome.COMPLETED),
    "busy": (LegStatus.ENDED, LegOutcome.BUSY),
    "no-answer": (LegStatus.ENDED, LegOutcome.NO_ANSWER),
    "failed": (LegStatus.ENDED, LegOutcome.FAILED),
    "canceled": (LegStatus.ENDED, LegOutcome.CANCELED),
}
_LEFT_THE_QUEUE = "initiated"
_SIP_CODE = re.compile(r"[1-6][0-9]{2}")

# What Twilio sends for a withheld number: a word, or a word spelled on a telephone's keys (Twilio
# help 223179988, "Why am I getting calls from these strange numbers?"). A plain word needs no
# entry, for no library parses it as a number. Some libraries accept these spellings as numbers.
WITHHELD = frozenset(
    {
        "+266696687",  # ANONYMOUS
        "+7378742883",  # RESTRICTED
        "+17378742883",
        "+7378742833",
        "+17378742833",
        "+2562533",  # BLOCKED
        "+8656696",  # UNKNOWN
        "+86282452253",  # UNAVAILABLE
    }
)

# StirVerstat tells how the caller's network attested the number. It is TN-Validation-Passed-A, -B
# or -C, TN-Validation-Failed-A, -B or -C, TN-Validation-Failed, or No-TN-Validation (Twilio docs,
# "Trusted calling with SHAKEN/STIR"). Most calls in the world have none.
_FALSE_NUMBER = "TN-Validation-Failed"

# OptOutType comes from a Messaging Service with Advanced Opt-Out, which has already replied
# (Twilio docs, "Advanced Opt-Out").
_OPT_OUT: dict[str, OptOut] = {"STOP": "stop", "START": "start", "HELP": "help"}


def leg_event(form: Mapping[str, str]) -> LegEvent:
    """A call progress event (Twilio docs, call-resource, StatusCallback)."""
    word = form.get("CallStatus", "")
    status, outcome = CALL_STATUS.get(word, (None, None))
    duration = form.get("CallDuration", "")
    return LegEvent(
        status,
        at=_time(form),
        call_sid=form["CallSid"],
        outcome=outcome,
        cause=_cause(outcome, form.get("SipResponseCode", "")),
        seconds=int(duration) if duration.isdecimal() else None,
        word=None if status else word[:32],
        left_queue=word == _LEFT_THE_QUEUE,
    )


def room_event(form: Mapping[str, str]) -> RoomEvent:
    """A conference event (Twilio docs, Conference, statusCallback).

    Raises Forbidden for a participant that is not one of our legs.
    """
    match form.get("StatusCallbackEvent"):
        case "participant-join":
            name, call_sid = _participant(form)
            event = LegEvent(LegStatus.JOINED, at=_time(form), call_sid=call_sid)
            return PartyJoined(name, event)
        case "conference-start":
            return RoomOpened(_time(form))
        case other:
            return UnknownRoomEvent(other)


def inbound_call(form: Mapping[str, str]) -> InboundCall:
    """A call to one of our numbers (Twilio docs, "TwiML for Programmable Voice")."""
    caller = form.get("From", "")
    return InboundCall(
        call_sid=form["CallSid"],
        caller="" if caller in WITHHELD else caller,
        called=form.get("To", ""),
        is_spoofed=form.get("StirVerstat", "").startswith(_FALSE_NUMBER),
    )


def inbound_text(form: Mapping[str, str]) -> InboundText:
    """A text to one of our numbers (Twilio docs, "TwiML for Programmable Messaging")."""
    return InboundText(
        message_sid=form["MessageSid"],
        sender=form.get("From", ""),
        recipient=form.get("To", ""),
        body=form.get("Body", ""),
        opt_out=_OPT_OUT.get(form.get("OptOutType", "")),
    )


def _participant(form: Mapping[str, str]) -> tuple[LegName, str]:
    """Raises Forbidden for a missing field: Twilio sends all that we requested."""
    name, call_sid = form.get("ParticipantLabel", ""), form.get("CallSid", "")
    if name not in tuple(LegName) or not call_sid:
        raise Forbidden("The participant is not one of ours.")
    return LegName(name), call_sid


def _cause(outcome: LegOutcome | None, sip_code: str) -> str | None:
    if outcome is None or outcome is LegOutcome.COMPLETED:
        return None
    return f"sip_{sip_code}" if _SIP_CODE.fullmatch(sip_code) else None


def _time(form: Mapping[str, str]) -> datetime:
    """Twilio's time of the event (RFC 2822), or our own time if it sends none."""
    try:
        return parsedate_to_datetime(form["Timestamp"]).astimezone(UTC)
    except (KeyError, ValueError):
        return clock.now()
