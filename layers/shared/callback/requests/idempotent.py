"""POST: one callback and one response, however often the request comes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from callback import clock
from callback.admission.admission import Admitted
from callback.call_control.pacing import PLAN_EVERY
from callback.errors import CallbackError, CarrierRejected, NoDeparture
from callback.lifecycle import transitions
from callback.lifecycle.models import Callback, WaitingFor
from callback.requests import creation, idempotency
from callback.requests.intake import Intake, Requested
from callback.storage import counters
from callback.storage.counters import Condition
from callback.storage.departures import Departure
from callback.storage.idempotency_keys import Key, KeyUsed, Response


class Accepted(NamedTuple):
    """`rates` are headers: how much of the tenant's rates is left."""

    callback: Callback
    rates: dict[str, str]

    @property
    def callback_id(self) -> str:
        return self.callback.callback_id


class Repeated(NamedTuple):
    """The key was used before. `response` is the stored response to the first request."""

    callback_id: str
    response: Response
    is_refusal: bool


def post(intake: Intake, requested: Requested, key: Key | None = None) -> Accepted | Repeated:
    """Accept a callback once for each key.

    One that cannot be started now is stored as waiting: `FirstLegs` starts it.
    Raises the refusals of `creation.admit`, `IntakeStore.add` and `CallControl.begin`; NoDeparture
    for one that may not wait, and TooManyWaiting.
    CarrierRejected is stored for repetitions like an acceptance, and its headers include the
    rates. After any other refusal nothing is stored, and the same key may be sent again.
    """
    callback = creation.plan(
        requested.tenant, requested.request, intake.retention, requested.source
    )
    rates = dict[str, str]()

    may_wait = requested.request.start_within_seconds > 0

    def add(new: Callback, conditions: Sequence[Condition]) -> Callback:
        parallel = requested.request.allow_parallel
        return intake.store.add(new, key, allow_parallel=parallel, conditions=conditions)

    def store() -> tuple[Callback, Departure | None]:
        admitted = creation.admit(intake, callback, key, may_wait=may_wait)
        rates.update(admitted.headers)
        if admitted.is_full:
            return _wait(intake, admitted, WaitingFor.LIMITS, add), None
        try:
            claimed, departure = intake.control.depart(admitted.callback)
        except NoDeparture as refusal:
            if not may_wait:
                refusal.headers |= rates
                if key:  # a repetition gets the first response
                    intake.store.keys.refuse_used(callback, key)
                raise
            return _wait(intake, admitted, WaitingFor.DEPARTURE, add), None
        try:
            return add(claimed, admitted.conditions), departure
        except (CallbackError, KeyUsed):
            if departure:
                intake.control.pace.departures.give_back(departure)
            raise

    def create() -> Callback:
        stored, departure = counters.in_other_shards(store)
        if transitions.is_waiting(stored):
            return stored
        return intake.control.begin(stored, departure)

    if key is None:
        return Accepted(create(), rates)
    keep = _Keeper(intake, requested.tenant, key, rates)
    try:
        return keep.result_of(create)
    except KeyUsed as conflict:
        used = conflict.used
        if response := idempotency.first_response(key, used, clock.now()):
            return Repeated(used.callback_id, response, intake.responses.is_refusal(response))
        unfinished = intake.store.get(used.callback_id)
        return keep.result_of(lambda: intake.control.complete(unfinished))


def _wait(
    intake: Intake,
    admitted: Admitted,
    what: WaitingFor,
    add: Callable[[Callback, Sequence[Condition]], Callback],
) -> Callback:
    """Store the callback as waiting. Raises the refusals of `add`, and TooManyWaiting."""
    pace = intake.control.pace
    conditions, place = intake.admission.waiting_place(admitted.callback)
    expected_at = None
    if what is WaitingFor.DEPARTURE:
        expected_at = pace.departures.promise(clock.now())
    callback = transitions.begin_waiting(admitted.callback, what, place, expected_at)
    intake.line.join(callback.tenant, clock.now())
    stored = add(callback, [*conditions, *admitted.suppressions])
    # The plan of the coming minute sends the other messages.
    if expected_at and expected_at - clock.now() <= PLAN_EVERY:
        pace.offer_first_leg(expected_at)
    return stored


def take(intake: Intake, requested: Requested, trigger_id: str) -> str:
    """Accept a trigger's callback once for each `trigger_id`, and return the callback's id.

    Raises what `post` and `idempotency.key_of` do, and CarrierRejected each time.
    """
    result = post(intake, requested, intake.key_of(requested, trigger_id))
    if isinstance(result, Repeated) and result.is_refusal:
        raise CarrierRejected("The carrier refused the call.", callback_id=result.callback_id)
    return result.callback_id


@dataclass(frozen=True)
class _Keeper:
    """Stores the response to the first request with a key, without that moment's rates."""

    intake: Intake
    tenant: str
    key: Key
    rates: dict[str, str]

    def result_of(self, work: Callable[[], Callback]) -> Accepted:
        try:
            callback = work()
        except CarrierRejected as refusal:
            self._remember(self.intake.responses.refused(refusal))
            refusal.headers |= self.rates
            raise
        self._remember(self.intake.responses.accepted(callback))
        return Accepted(callback, self.rates)

    def _remember(self, response: Response) -> None:
        self.intake.store.keys.remember_response(self.tenant, self.key, response)
