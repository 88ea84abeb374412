"""POST: one callback and one answer, however often the request comes."""

from collections.abc import Callable
from datetime import timedelta

from callback import clock, creation, http, idempotency
from callback.admission import Admission
from callback.dialer import Dialer
from callback.errors import CarrierRejected
from callback.idempotency import Key, KeyUsed
from callback.intake_store import IntakeStore
from callback.models import Callback, Source
from callback.schema import CallbackRequest
from callback.workflow import Workflow


def post(
    store: IntakeStore,
    dialer: Dialer,
    workflow: Workflow,
    admission: Admission,
    *,
    tenant: str,
    request: CallbackRequest,
    retention: timedelta,
    key: Key | None,
    source: Source = Source.API,
) -> http.Answer:
    """The answer to this request: the first one's, byte for byte, where the key was used.

    A refusal by the carrier is an answer like any other; a request that was not taken at all
    (see `creation.admit` and `creation.create`) leaves no trace and may be sent again with the
    same key. What is left of the tenant's rates is told with each new answer, and not repeated.
    """
    callback = creation.planned(tenant, request, retention, source)
    policies, rates = admission.policies, dict[str, str]()

    def create() -> Callback:
        admitted = creation.admit(store, admission, callback, key)
        rates.update(admitted.headers)
        return creation.create(
            store,
            dialer,
            workflow,
            policies,
            admitted,
            allow_parallel=request.allow_parallel,
            key=key,
        )

    if key is None:
        return http.with_headers(http.accepted(create()), rates)
    try:
        answer = _answer(create)
    except KeyUsed as seen:
        given = idempotency.answer_given(key, seen.used, clock.now())
        if given:
            return http.replayed(given)
        unfinished = store.get(seen.used.callback_id)
        answer = _answer(lambda: creation.complete(store, dialer, workflow, policies, unfinished))
    store.keys.remember_answer(tenant, key, answer)
    return http.with_headers(answer, rates)


def _answer(work: Callable[[], Callback]) -> http.Answer:
    try:
        return http.accepted(work())
    except CarrierRejected as refused:
        return http.problem(refused)
