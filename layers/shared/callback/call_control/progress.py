"""What the carrier tells us: verified before it gets here, recorded before we say 2xx.

The same event may come twice, late or out of order; `transitions` makes that harmless. After
each write the workflow is settled if its step is decided, also on a repetition: the first
delivery may have died between the write and the settling.
"""

from collections.abc import Callable
from dataclasses import dataclass

from aws_lambda_powertools import Logger

from callback import clock
from callback.call_control.workflow import Workflow
from callback.carrier import queueing
from callback.carrier.instructions import HangUp, Instruction, Join, Play, Say
from callback.carrier.reports import PartyJoined, RoomEvent, RoomOpened, UnknownRoomEvent
from callback.errors import CallbackNotFound
from callback.lifecycle import transitions
from callback.lifecycle.models import Callback, LegName
from callback.lifecycle.transitions import LegEvent
from callback.storage.callbacks import CallbackStore

logger = Logger(child=True)

_SORRY = "We are sorry, something went wrong with this call. Goodbye."


@dataclass(frozen=True)
class DialedLeg:
    """What the URL of an event names: the callback's leg, and which attempt to dial it."""

    callback_id: str
    name: LegName
    attempt: int


def answered(
    store: CallbackStore, leg: DialedLeg, call_sid: str, *, public_url: str
) -> tuple[Instruction, ...]:
    """The fence. What joins this call to the room, or hangs it up."""
    callback_id, name, attempt = leg.callback_id, leg.name, leg.attempt
    try:
        callback, admitted = store.change(
            callback_id,
            lambda c: transitions.answer(c, name, attempt, call_sid, clock.now()),
        )
    except CallbackNotFound:
        logger.error("a call was answered that no callback knows", callback_id=callback_id)
        return (HangUp(),)
    if not admitted:
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
    """A party who is alone in the room hears the other one's phone ring."""
    return (Play(f"{public_url}/carrier/ringback.wav"),)


def apologize() -> tuple[Instruction, ...]:
    """For a call of which the carrier could not carry out what we asked for."""
    return (Say(_SORRY), HangUp())


def status_changed(
    store: CallbackStore, workflow: Workflow, leg: DialedLeg, event: LegEvent
) -> None:
    """The call of one leg has come further, or has ended."""
    callback_id, name, attempt = leg.callback_id, leg.name, leg.attempt
    if event.status is None:
        logger.error(
            "carrier sent an unknown call status", callback_id=callback_id, word=event.word
        )
    callback = _change(
        store,
        workflow,
        callback_id,
        lambda c: transitions.record(c, name, attempt, event),
    )
    if callback and event.left_queue:
        queueing.was_queued_until(callback.leg(name), event.at, callback_id)


def conference_changed(
    store: CallbackStore,
    workflow: Workflow,
    callback_id: str,
    happened: RoomEvent,
) -> None:
    """A party entered the room, or both are in it."""
    match happened:
        case PartyJoined(name, event):
            _change(
                store,
                workflow,
                callback_id,
                lambda c: transitions.record(c, name, c.leg(name).attempt, event),
            )
        case RoomOpened(at):
            _change(store, workflow, callback_id, lambda c: transitions.connect(c, at))
        case UnknownRoomEvent(word):
            logger.error(
                "carrier sent an unknown conference event", callback_id=callback_id, word=word
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
