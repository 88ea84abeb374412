"""A tenant asks for a number to be forgotten, and how far that is: /voice/erasure."""

from typing import Any

from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.parameters import SSMProvider

from callback import aws, http, settings
from callback.observability.redaction import discreet
from callback.privacy.erasures import ErasureStore
from callback.privacy.views import erasure_view
from callback.requests import schema
from callback.scopes import Scope
from callback.storage.table import Table
from callback.tenancy import suppression
from callback.tenancy.tenants import Pepper

SETTINGS = settings.ErasureApi.read()
logger = Logger(use_rfc3339=True)
table = Table(aws.dynamodb(), SETTINGS.table_name)
store = ErasureStore(table)
pepper = Pepper(SETTINGS.key_pepper_name, SSMProvider(boto3_client=aws.ssm()))
# Whoever asked for an erasure may see what came of it.
MAY_READ = (Scope.READ, Scope.ERASE)


def create(event: http.Event) -> http.Answer:
    tenant = http.tenant(event, Scope.ERASE)
    number = schema.parse_erasure(http.body(event)).number
    erasure = store.add(tenant, number, suppression.hash_address(pepper, number))
    logger.info("erasure asked for", erasure_id=erasure.erasure_id)
    place = {"Location": f"/voice/erasure/{erasure.erasure_id}"}
    return http.json_reply(202, erasure_view(erasure), place)


def show(event: http.Event) -> http.Answer:
    erasure = store.get(http.tenant(event, *MAY_READ), http.path(event, "erasure_id"))
    return http.json_reply(200, erasure_view(erasure))


def show_many(event: http.Event) -> http.Answer:
    erasures = store.list_erasures(http.tenant(event, *MAY_READ))
    return http.json_reply(200, {"erasures": [erasure_view(e) for e in erasures]})


ROUTES = {
    "POST /voice/erasure": create,
    "GET /voice/erasure": show_many,
    "GET /voice/erasure/{erasure_id}": show,
}


@discreet
@logger.inject_lambda_context
def handler(event: http.Event, context: Any) -> http.Answer:  # noqa: ARG001
    return http.answer(ROUTES, event)
