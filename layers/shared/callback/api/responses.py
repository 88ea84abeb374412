"""What clients are answered: results of use cases, rendered. Refusals are `http.problem`'s.

`accepted`, `refused` and `is_refusal` render and read what is kept for a repetition: this module
is an `idempotency.Responses`.
"""

import json
from collections.abc import Mapping

from callback import http
from callback.errors import CallbackError
from callback.http import Response
from callback.lifecycle.models import Callback
from callback.requests import dry_run, views
from callback.requests.dry_run import Rehearsal
from callback.requests.idempotent import Accepted, Repeated
from callback.storage.listings import Page

_ACCEPTED = 202


def accepted(callback: Callback) -> Response:
    return http.json_reply(
        _ACCEPTED, views.callback_view(callback), http.location(callback.callback_id)
    )


def refused(refusal: CallbackError) -> Response:
    return http.problem(refusal)


def is_refusal(answer: Response) -> bool:
    """Whether it is `refused`'s and not `accepted`'s."""
    return bool(answer["statusCode"] != _ACCEPTED)


def posted(result: Accepted | Repeated) -> Response:
    """The callback as it was accepted; for a repetition the first response, byte for byte."""
    if isinstance(result, Repeated):
        return _with_headers(result.answer, _REPLAYED)
    return _with_headers(accepted(result.callback), result.rates)


def posted_packet(result: Accepted | Repeated) -> Response:
    """The id alone of an accepted callback; for a repetition a first refusal, byte for byte."""
    if isinstance(result, Repeated) and result.is_refusal:
        return posted(result)
    return posted(result) | {"body": json.dumps({"callback_id": result.callback_id})}


def rehearsed(result: Rehearsal) -> Response:
    return http.json_reply(200, dry_run.view(result), result.rates)


def shown(callback: Callback) -> Response:
    return http.json_reply(200, views.callback_view(callback))


def canceled(callback: Callback) -> Response:
    return http.json_reply(_ACCEPTED, views.callback_view(callback))


def listed(page: Page) -> Response:
    callbacks = [views.callback_view(callback) for callback in page.callbacks]
    return http.json_reply(200, {"callbacks": callbacks, "next_cursor": page.cursor})


_REPLAYED = {"Idempotent-Replayed": "true"}


def _with_headers(reply: Response, headers: Mapping[str, str]) -> Response:
    return reply | {"headers": {**reply["headers"], **headers}}
