"""Record the carrier's events. They are verified by the caller, and written before we respond 2xx.

An event may arrive twice, late or out of order; `transitions` makes that harmless. Every event,
repeated ones too, settles the workflow's step if it is decided: the first delivery may have died
between its write and its settlement.
"""

from collections.abc import Callable
from dataclasses import dataclass

from aws_lambda_powertools import Logger

from callback import clock
from callback.call_control.workflow import Workflow
from callback.carrier.instructions import HangUp, Instruction, Join, Play, Say
from callback.carrier.reports import PartyJoined, RoomEvent, RoomOpened, UnknownRoomEvent
from callback.errors import CallbackNotFound
from callback.lifecycle import transitions
from callback.lifecycle.models import Callback, Leg, LegName
from callback.lifecycle.transitions import LegEvent
from callback.storage.callbacks import CallbackStore

logger = Logger(child=True)

_SORRY = "We are sorry, something went wrong with this call. Goodbye."


@dataclass(frozen=True)
class DialedLeg:
    """The ids in an event's URL: a leg of a callback, and the attempt to dial it."""

    callback_id: str
    name: LegName
    attempt: int


def admit_call(
    store: CallbackStore, leg: DialedLeg, call_sid: str, *, public_url: str
) -> tuple[Instruction, ...]:
    """The fence. Instructions for an answered call: join the room, or hang up."""
    callback_id, name, attempt = leg.callback_id, leg.name, leg.attempt
    try:
        callback, is_admitted = store.change(
            callback_id,
            lambda c: transitions.answer(c, name, attempt, call_sid, clock.now()),
        )
    except CallbackNotFound:
        logger.error("an answered call belongs to no callback", callback_id=callback_id)
        return (HangUp(),)
    if not is_admitted:
        logger.warning(
            "call not admitted to the room", callback_id=callback_id, leg=name, attempt=attempt
        )
        return (HangUp(),)
    return (
        Join(
            callback.room,
            name,
            events_url=f"{public_url}/carrier/conference/{callback_id}",
            wait_url=f"{public_url}/carrier/wait/{callback_id}",
        ),
    )


def play_ringback(*, public_url: str) -> tuple[Instruction, ...]:
    """Instructions for a party alone in the room: play the ringback tone."""
    return (Play(f"{public_url}/carrier/ringback.wav"),)


def apologize() -> tuple[Instruction, ...]:
    """Instructions for a call whose instructions the carrier could not carry out."""
    return (Say(_SORRY), HangUp())


def record_status(
    store: CallbackStore, workflow: Workflow, leg: DialedLeg, event: LegEvent
) -> Leg | None:
    """Record the progress or the end of one leg's call. Returns the leg, if its callback exists."""
    callback_id, name, attempt = leg.callback_id, leg.name, leg.attempt
    if event.status is None:
        logger.error(
            "carrier sent an unknown call status", callback_id=callback_id, word=event.word
        )
    callback = _change_and_settle(
        store,
        workflow,
        callback_id,
        lambda c: transitions.record(c, name, attempt, event),
    )
    return callback.leg(name) if callback else None


def record_room_event(
    store: CallbackStore,
    workflow: Workflow,
    callback_id: str,
    room_event: RoomEvent,
) -> None:
    """Record that a party entered the room, or that both are in it."""
    match room_event:
        case PartyJoined(name, event):
            _change_and_settle(
                store,
                workflow,
                callback_id,
                lambda c: transitions.record(c, name, c.leg(name).attempt, event),
            )
        case RoomOpened(at):
            _change_and_settle(store, workflow, callback_id, lambda c: transitions.connect(c, at))
        case UnknownRoomEvent(word):
            logger.error(
                "carrier sent an unknown conference event", callback_id=callback_id, word=word
            )


def _change_and_settle(
    store: CallbackStore,
    workflow: Workflow,
    callback_id: str,
    change: Callable[[Callback], Callback | None],
) -> Callback | None:
    try:
        callback, _ = store.change(callback_id, change)
    except CallbackNotFound:
        logger.error("the carrier reported an unknown callback", callback_id=callback_id)
        return None
    workflow.settle(callback)
    store.release(callback)  # if other writers win, `reconcile` releases it
    return callback
