"""The calls of callbacks: dial them, each once, and end them.

To dial a leg: claim, send, classify, record. Exactly one create request per claim.

A claim is a conditional write, so of any number of processes that want to dial a leg one
does. A request whose fate is unknown is not repeated: its call is adopted from its first
webhook, and the fence (`transitions.answer`) lets one call of a leg into the room.

To close a callback: nobody rings on, nobody is left alone, and the record ends. Safe to run again,
at any moment, by the workflow, by its safety net, or by a refused create.
"""

import random
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from aws_lambda_powertools import Logger

from callback import clock
from callback.carrier.port import Carrier, DialResult, Sent
from callback.errors import CallbackNotFound, CarrierUnavailable
from callback.lifecycle import outcomes, timing, transitions
from callback.lifecycle.models import (
    Callback,
    CloseReason,
    Leg,
    LegName,
    LegOutcome,
    LegStatus,
    Step,
)
from callback.lifecycle.transitions import LegEvent
from callback.storage.callbacks import CallbackStore

logger = Logger(child=True)


@dataclass(frozen=True)
class Calls:
    """What it takes to place and to end the calls of callbacks."""

    store: CallbackStore
    carrier: Carrier

    def place(self, callback: Callback, names: Iterable[LegName]) -> Callback:
        """Claim and dial those of these legs that are planned. Where the carrier is not `ready`
        none is claimed, and it is still to be dialed like one whose claim was given back."""
        for name in names:
            if callback.leg(name).status is LegStatus.PLANNED and not self.carrier.ready():
                continue
            claim = partial(transitions.claim, name=name, now=clock.now())
            callback, claimed = self.store.change(callback.callback_id, claim)
            if claimed:
                callback = self._dial(callback, name)
        return callback

    def _dial(self, callback: Callback, name: LegName) -> Callback:
        attempt = callback.leg(name).attempt
        if transitions.claim_expired(callback.leg(name), clock.now()):
            return callback  # this sandbox was frozen since: the leg is others' to give up by now
        result = self.carrier.dial(callback, name)
        callback, _ = self.store.change(
            callback.callback_id, lambda c: _with_result(c, name, attempt, result)
        )
        if result.call_sid and transitions.over(callback):
            # Closed while the request was under way: nobody else may know this call.
            ended = self.carrier.end(result.call_sid)
            callback, _ = self.store.change(
                callback.callback_id, lambda c: transitions.record(c, name, attempt, ended)
            )
        return callback

    def close(self, callback_id: str, reason: CloseReason | None = None) -> Callback:
        """End what is left of the callback and answer how it now stands.

        A live call is asked to end; where the carrier does not yet say that it did, its status
        webhook completes the record. Raises CarrierUnavailable once both were tried.
        """
        callback, _ = self.store.change(
            callback_id, lambda c: transitions.close(c, reason, clock.now())
        )
        failures: list[CarrierUnavailable] = []
        for name in LegName:
            leg, other = callback.leg(name), callback.leg(name.other)
            if leg.ended or leg.call_sid is None:
                continue
            try:
                sentence = outcomes.parting_sentence(callback, leg, other)
                event = self.carrier.end(leg.call_sid, sentence)
            except CarrierUnavailable as failure:  # the other party is to be released all the same
                failures.append(failure)
                continue
            change = partial(transitions.record, name=name, attempt=leg.attempt, event=event)
            callback, _ = self.store.change(callback_id, change)
        self.store.release(callback)  # where others are in the way, `reconcile` does it
        if failures:
            raise failures[0]
        return callback

    def close_if_kept(self, callback_id: str, reason: CloseReason | None) -> None:
        """The workflow's last step. Where the callback was erased meanwhile, it had ended."""
        try:
            self.close(callback_id, reason)
        except CallbackNotFound:
            logger.info("there is nothing to close any more", callback_id=callback_id)


def still_to_dial(callback: Callback, step: Step) -> list[Leg]:
    """Whose claim was given back: the carrier took no request, and trying again is safe."""
    if transitions.over(callback):
        return []
    legs = (callback.leg(name) for name in timing.legs_of_step(callback, step))
    return [leg for leg in legs if leg.status is LegStatus.PLANNED]


def _with_result(
    callback: Callback, name: LegName, attempt: int, result: DialResult
) -> Callback | None:
    if result.sent is Sent.NOT_SENT:
        return transitions.release(callback, name, attempt, _not_before(result))
    return transitions.record(callback, name, attempt, _EVENTS[result.sent](result))


def _not_before(result: DialResult) -> datetime | None:
    if result.retry_after is None:
        return None
    return clock.now() + timing.pause(result.retry_after, random.random())  # noqa: S311 (no secret)


_EVENTS = {
    Sent.ACCEPTED: lambda result: LegEvent(
        LegStatus.QUEUED, at=clock.now(), call_sid=result.call_sid
    ),
    Sent.REJECTED: lambda result: LegEvent(
        LegStatus.ENDED,
        at=clock.now(),
        outcome=LegOutcome.REJECTED,
        cause="carrier_refused",
        carrier_code=result.carrier_code,
    ),
    Sent.UNKNOWN: lambda result: LegEvent(
        LegStatus.UNKNOWN, at=clock.now(), carrier_code=result.carrier_code
    ),
}
