"""The client's endpoint for erasures of a number, and for their progress: /voice/erasure."""

from typing import Any

from aws_lambda_powertools import Logger

from callback import aws, http, settings
from callback.observability.redaction import redact_exceptions
from callback.privacy.erasures import ErasureStore
from callback.privacy.views import erasure_view, erasures_view
from callback.requests import schema
from callback.scopes import Scope
from callback.storage.parameters import Parameters
from callback.storage.table import Table
from callback.tenancy import suppression
from callback.tenancy.pepper import Pepper

SETTINGS = settings.ErasureApi.read()
logger = Logger(use_rfc3339=True)
table = Table(aws.dynamodb(), SETTINGS.table_name)
store = ErasureStore(table)
pepper = Pepper(SETTINGS.key_pepper_name, Parameters(aws.ssm))
# A key that may request an erasure may read its progress.
MAY_READ = (Scope.READ, Scope.ERASE)


def create(event: http.Event) -> http.Response:
    tenant = http.tenant(event, Scope.ERASE)
    number = schema.parse_erasure(http.body(event)).number
    erasure = store.add(tenant, number, suppression.hash_address(pepper, number))
    logger.info("erasure requested", erasure_id=erasure.erasure_id)
    headers = {"Location": f"/voice/erasure/{erasure.erasure_id}"}
    return http.json_reply(202, erasure_view(erasure), headers)


def show(event: http.Event) -> http.Response:
    erasure = store.get(http.tenant(event, *MAY_READ), http.path(event, "erasure_id"))
    return http.json_reply(200, erasure_view(erasure))


def show_many(event: http.Event) -> http.Response:
    erasures = store.list_erasures(http.tenant(event, *MAY_READ))
    return http.json_reply(200, erasures_view(erasures))


ROUTES = {
    "POST /voice/erasure": create,
    "GET /voice/erasure": show_many,
    "GET /voice/erasure/{erasure_id}": show,
}


@redact_exceptions
@logger.inject_lambda_context
def handler(event: http.Event, context: Any) -> http.Response:  # noqa: ARG001
    return http.dispatch(ROUTES, event)
