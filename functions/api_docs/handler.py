"""The API's description: GET /openapi.json for programs, GET /docs for people."""

from typing import Any

from aws_lambda_powertools import Logger

from callback import http, settings
from callback.api import docs_page, openapi
from callback.observability.redaction import redact_exceptions

SETTINGS = settings.ApiDocs.read()
DOCUMENT = openapi.build_document(
    SETTINGS.public_url, key_required=SETTINGS.require_idempotency_key == "true"
)
PAGE = docs_page.render_page(DOCUMENT)
logger = Logger(use_rfc3339=True)


def document(event: http.Event) -> http.Response:  # noqa: ARG001  (the same for every client)
    return http.json_reply(200, DOCUMENT)


def page(event: http.Event) -> http.Response:  # noqa: ARG001  (the same for every client)
    return http.page_reply(PAGE)


ROUTES = {
    "GET /openapi.json": document,
    "GET /docs": page,
}


@redact_exceptions
@logger.inject_lambda_context
def handler(event: http.Event, context: Any) -> http.Response:  # noqa: ARG001
    return http.dispatch(ROUTES, event)
