"""What the carrier tells us: verified before it gets here, recorded before we say 2xx.

The same event may come twice, late or out of order; `transitions` makes that harmless. After
each write the workflow is settled if its step is decided, also on a repetition: the first
delivery may have died between the write and the settling.
"""

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from aws_lambda_powertools import Logger

from callback import carrier_queue, clock, transitions, twiml
from callback.callbacks import CallbackStore
from callback.errors import CallbackNotFound, Forbidden
from callback.models import Callback, LegName, LegOutcome, LegStatus
from callback.transitions import LegEvent
from callback.workflow import Workflow

logger = Logger(child=True)

_LEFT_THE_QUEUE = "initiated"
_SIP_CODE = re.compile(r"[1-6][0-9]{2}")


def answered(
    store: CallbackStore,
    callback_id: str,
    name: LegName,
    attempt: int,
    form: Mapping[str, str],
    *,
    public_url: str,
) -> str:
    """The fence. TwiML that joins this call to the room, or hangs it up."""
    try:
        callback, admitted = store.change(
            callback_id,
            lambda c: transitions.answer(c, name, attempt, form["CallSid"], clock.now()),
        )
    except CallbackNotFound:
        logger.error("a call was answered that no callback knows", callback_id=callback_id)
        return twiml.hang_up()
    if not admitted:
        logger.warning(
            "call not admitted to the room", callback_id=callback_id, leg=name, attempt=attempt
        )
        return twiml.hang_up()
    return twiml.join_room(
        callback.room,
        name,
        conference_url=f"{public_url}/carrier/conference/{callback_id}",
        wait_url=f"{public_url}/carrier/wait/{callback_id}",
    )


def status_changed(
    store: CallbackStore,
    workflow: Workflow,
    callback_id: str,
    name: LegName,
    attempt: int,
    form: Mapping[str, str],
) -> None:
    """A call progress event of one leg (Twilio docs, call-resource, StatusCallback)."""
    event = _progress(form)
    if event.status is None:
        logger.error("carrier sent an unknown CallStatus", callback_id=callback_id, word=event.word)
    callback = _change(
        store,
        workflow,
        callback_id,
        lambda c: transitions.record(c, name, attempt, event),
    )
    if callback and form["CallStatus"] == _LEFT_THE_QUEUE:
        carrier_queue.was_queued_until(callback.leg(name), event.at, callback_id)


def conference_changed(
    store: CallbackStore,
    workflow: Workflow,
    callback_id: str,
    form: Mapping[str, str],
) -> None:
    """A party entered the room, or both are in it (Twilio docs, Conference, statusCallback)."""
    at = _time(form)
    match form.get("StatusCallbackEvent"):
        case "participant-join":
            name, call_sid = _participant(form)
            event = LegEvent(LegStatus.JOINED, at=at, call_sid=call_sid)
            _change(
                store,
                workflow,
                callback_id,
                lambda c: transitions.record(c, name, c.leg(name).attempt, event),
            )
        case "conference-start":
            _change(store, workflow, callback_id, lambda c: transitions.connect(c, at))
        case other:
            logger.error(
                "carrier sent an unknown conference event", callback_id=callback_id, word=other
            )


def _change(
    store: CallbackStore,
    workflow: Workflow,
    callback_id: str,
    change: Callable[[Callback], Callback | None],
) -> Callback | None:
    try:
        callback, _ = store.change(callback_id, change)
    except CallbackNotFound:
        logger.error("carrier told of a callback that is not ours", callback_id=callback_id)
        return None
    workflow.settle(callback)
    store.release(callback)  # where others are in the way, `reconcile` does it
    return callback


def _participant(form: Mapping[str, str]) -> tuple[LegName, str]:
    """Raises Forbidden: no carrier leaves out what it was told to send."""
    name, call_sid = form.get("ParticipantLabel", ""), form.get("CallSid", "")
    if name not in tuple(LegName) or not call_sid:
        raise Forbidden("The participant is not one of ours.")
    return LegName(name), call_sid


def _progress(form: Mapping[str, str]) -> LegEvent:
    word = form.get("CallStatus", "")
    status, outcome = transitions.CARRIER_STATUS.get(word, (None, None))
    duration = form.get("CallDuration", "")
    return LegEvent(
        status,
        at=_time(form),
        call_sid=form["CallSid"],
        outcome=outcome,
        cause=_cause(outcome, form.get("SipResponseCode", "")),
        seconds=int(duration) if duration.isdecimal() else None,
        word=None if status else word[:32],
    )


def _cause(outcome: LegOutcome | None, sip_code: str) -> str | None:
    if outcome is None or outcome is LegOutcome.COMPLETED:
        return None
    return f"sip_{sip_code}" if _SIP_CODE.fullmatch(sip_code) else None


def _time(form: Mapping[str, str]) -> datetime:
    """The carrier's own time of the event, RFC 2822; ours where it tells none."""
    try:
        return parsedate_to_datetime(form["Timestamp"]).astimezone(UTC)
    except (KeyError, ValueError):
        return clock.now()
