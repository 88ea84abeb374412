"""What Twilio reports in its forms, in our words."""

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
# `initiated` is reported when the call leaves the carrier's queue; nothing rings yet.
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

# What Twilio sends where the caller's number is withheld: words, and words spelled on a telephone's
# keys (Twilio help 223179988, "Why am I getting calls from these strange numbers?"). The words are
# no numbers, and neither is what follows, but not to every library.
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

# How the caller's network vouched for the number, where it did: StirVerstat is one of
# TN-Validation-Passed-A, -B or -C, the same with Failed, TN-Validation-Failed, No-TN-Validation
# (Twilio docs, "Trusted calling with SHAKEN/STIR"). Most calls in the world have none.
_FALSE_NUMBER = "TN-Validation-Failed"

# OptOutType comes from a Messaging Service that is set up for it, which has replied itself
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
    """A conference event (Twilio docs, Conference, statusCallback). Raises Forbidden for a
    participant that we did not name."""
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
    """Raises Forbidden: Twilio leaves out nothing that we told it to send."""
    name, call_sid = form.get("ParticipantLabel", ""), form.get("CallSid", "")
    if name not in tuple(LegName) or not call_sid:
        raise Forbidden("The participant is not one of ours.")
    return LegName(name), call_sid


def _cause(outcome: LegOutcome | None, sip_code: str) -> str | None:
    if outcome is None or outcome is LegOutcome.COMPLETED:
        return None
    return f"sip_{sip_code}" if _SIP_CODE.fullmatch(sip_code) else None


def _time(form: Mapping[str, str]) -> datetime:
    """Twilio's own time of the event, RFC 2822; ours where it sends none."""
    try:
        return parsedate_to_datetime(form["Timestamp"]).astimezone(UTC)
    except (KeyError, ValueError):
        return clock.now()
