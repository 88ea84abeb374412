"""Render the results of use cases as responses. `http.problem` renders refusals.

This module is an `idempotency.Responses`: `accepted`, `refused` and `is_refusal` render and read
the response that is stored for repetitions.
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


def is_refusal(response: Response) -> bool:
    """Whether `refused` rendered it, and not `accepted`."""
    return bool(response["statusCode"] != _ACCEPTED)


def posted(result: Accepted | Repeated) -> Response:
    """The accepted callback. For a repetition: the first response, byte for byte."""
    if isinstance(result, Repeated):
        return _with_headers(result.response, _REPLAYED)
    return _with_headers(accepted(result.callback), result.rates)


def posted_packet(result: Accepted | Repeated) -> Response:
    """Only the id of the accepted callback. For a repeated refusal: the refusal, byte for byte."""
    if isinstance(result, Repeated) and result.is_refusal:
        return posted(result)
    return posted(result) | {"body": json.dumps(views.accepted_view(result.callback_id))}


def rehearsed(result: Rehearsal) -> Response:
    return http.json_reply(200, dry_run.rehearsal_view(result), result.rates)


def shown(callback: Callback) -> Response:
    return http.json_reply(200, views.callback_view(callback))


def canceled(callback: Callback) -> Response:
    return http.json_reply(_ACCEPTED, views.callback_view(callback))


def listed(page: Page) -> Response:
    return http.json_reply(200, views.page_view(page))


_REPLAYED = {"Idempotent-Replayed": "true"}


def _with_headers(response: Response, headers: Mapping[str, str]) -> Response:
    return response | {"headers": {**response["headers"], **headers}}
