"""Start waiting callbacks: each message in the departure queue starts the next one.

A message does not name a callback. Who departs is decided when it arrives: the tenant that was
served least recently, and of that tenant the callback that has waited longest.
"""

from dataclasses import dataclass, replace
from enum import Enum, auto

from aws_lambda_powertools import Logger

from callback import clock
from callback.admission.admission import Admission
from callback.admission.limits import LIMIT_REFUSALS
from callback.call_control.steps import CallControl
from callback.errors import CallbackError, CarrierRejected, StoreContended
from callback.lifecycle import timing, transitions
from callback.lifecycle.models import Callback, CloseReason, Step
from callback.requests.expiry import end_waiting
from callback.storage import counters
from callback.storage.departures import Departure
from callback.storage.intake import IntakeStore
from callback.storage.waiting_line import WaitingLine

logger = Logger(child=True)


class _Turn(Enum):
    """What became of a callback whose turn it was."""

    STARTED = auto()
    GONE = auto()  # it ended, or another process was first
    LIMITS_FULL = auto()  # its tenant's callbacks wait while limits are full


@dataclass(frozen=True)
class FirstLegs:
    """Let the first legs of waiting callbacks depart."""

    store: IntakeStore
    control: CallControl
    admission: Admission

    def depart_next(self) -> None:
        """Start the next waiting callback, if a departure is soon. Safe to repeat.

        The callback is admitted again, at the present time. Raises StoreContended.
        """
        if not self.control.carrier.ready():
            return
        departure, _ = self.control.pace.take()
        if departure is None:
            return
        line = WaitingLine(self.store)
        for tenant in line.tenants():
            for callback in line.next_callbacks(tenant.name):
                enough = self._for_all_legs(callback, departure)
                if enough is None:
                    return
                departure = enough
                turn, stored = self._take_turn(callback, departure)
                if turn is _Turn.STARTED:
                    line.serve(tenant.name, clock.now())
                    self._begin(stored, departure)
                    return
                if turn is _Turn.LIMITS_FULL:
                    break
        self.control.pace.departures.give_back(departure)

    def _for_all_legs(self, callback: Callback, departure: Departure) -> Departure | None:
        """A departure of as many requests as the callback's first step has, if one is soon."""
        legs = len(timing.legs_of_step(callback, Step.FIRST))
        if departure.requests >= legs:
            return departure
        self.control.pace.departures.give_back(departure)
        return self.control.pace.take(legs)[0]

    def _take_turn(self, callback: Callback, departure: Departure) -> tuple[_Turn, Callback]:
        """Store the callback as started and its first legs as claimed, or end it."""
        now = clock.now()
        if callback.start_by and callback.start_by <= now:
            end_waiting(self.store, callback, CloseReason.EXPIRED)
            return _Turn.GONE, callback
        try:
            started = counters.in_other_shards(lambda: self._start(callback, departure))
        except StoreContended:
            self.control.pace.departures.give_back(departure)
            raise
        except CallbackError as refusal:
            waits = self.admission.waits_while_full(callback.tenant)
            if waits and isinstance(refusal, LIMIT_REFUSALS):
                return _Turn.LIMITS_FULL, callback
            logger.info(
                "a waiting callback was refused",
                callback_id=callback.callback_id,
                code=refusal.code,
            )
            end_waiting(self.store, callback, CloseReason.NOT_PLACED, refusal.code)
            return _Turn.GONE, callback
        return (_Turn.STARTED, started) if started else (_Turn.GONE, callback)

    def _start(self, callback: Callback, departure: Departure) -> Callback | None:
        """Admit the callback as if it had just been created, and store it as started.

        None: another process was first. Raises the refusals of `admission`."""
        now = clock.now()
        started = transitions.start(callback, now)
        if started is None:
            return None
        admitted = self.admission.admit(replace(started, created_at=now))
        started = replace(admitted.callback, created_at=callback.created_at)
        claimed = self.control.claim_first(started, departure)
        return self.store.start(callback, claimed, admitted.conditions)

    def _begin(self, callback: Callback, departure: Departure) -> None:
        try:
            self.control.begin(callback, departure)
        except CarrierRejected as refusal:  # its record says so
            logger.info(
                "the carrier refused the call", callback_id=callback.callback_id, code=refusal.code
            )
