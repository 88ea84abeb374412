"""POST: one callback and one answer, however often the request comes."""

from collections.abc import Callable
from datetime import timedelta

from callback import clock, creation, http, idempotency
from callback.dialer import Dialer
from callback.errors import CarrierRejected
from callback.idempotency import Key, KeyUsed
from callback.models import Callback, Source
from callback.schema import CallbackRequest
from callback.store import CallbackStore
from callback.workflow import Workflow


def post(
    store: CallbackStore,
    dialer: Dialer,
    workflow: Workflow,
    *,
    tenant: str,
    request: CallbackRequest,
    retention: timedelta,
    key: Key | None,
    source: Source = Source.API,
) -> http.Answer:
    """The answer to this request: the first one's, byte for byte, where the key was used.

    A refusal by the carrier is an answer like any other; a request that was not taken at all
    (see `creation.create`) leaves no trace and may be sent again with the same key.
    """

    def create() -> Callback:
        return creation.create(
            store,
            dialer,
            workflow,
            tenant=tenant,
            request=request,
            retention=retention,
            key=key,
            source=source,
        )

    if key is None:
        return http.accepted(create())
    try:
        answer = _answer(create)
    except KeyUsed as seen:
        given = idempotency.answer_given(key, seen.used, clock.now())
        if given:
            return http.replayed(given)
        unfinished = store.get(seen.used.callback_id)
        answer = _answer(lambda: creation.complete(store, dialer, workflow, unfinished))
    store.remember_answer(tenant, key, answer)
    return answer


def _answer(work: Callable[[], Callback]) -> http.Answer:
    try:
        return http.accepted(work())
    except CarrierRejected as refused:
        return http.problem(refused)
