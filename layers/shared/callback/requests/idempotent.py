"""POST: one callback and one response, however often the request comes."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from callback import clock
from callback.errors import CallbackError, CarrierRejected
from callback.lifecycle.models import Callback
from callback.requests import creation, idempotency
from callback.requests.intake import Intake, Requested
from callback.storage import counters
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

    Raises the refusals of `creation.admit`, `IntakeStore.add` and `CallControl.begin`.
    CarrierRejected is stored for repetitions like an acceptance, and its headers include the
    rates. After any other refusal nothing is stored, and the same key may be sent again.
    """
    callback = creation.plan(
        requested.tenant, requested.request, intake.retention, requested.source
    )
    rates = dict[str, str]()

    def store() -> tuple[Callback, Departure | None]:
        admitted = creation.admit(intake, callback, key)
        rates.update(admitted.headers)
        claimed, departure = intake.control.depart(admitted.callback)
        try:
            stored = intake.store.add(
                claimed,
                key,
                allow_parallel=requested.request.allow_parallel,
                conditions=admitted.conditions,
            )
        except (CallbackError, KeyUsed):
            if departure:
                intake.control.pace.departures.give_back(departure)
            raise
        return stored, departure

    def create() -> Callback:
        return intake.control.begin(*counters.in_other_shards(store))

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
