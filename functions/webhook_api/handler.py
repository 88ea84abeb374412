"""The client's endpoint for webhooks: the URL, its secret, and failed deliveries."""

from typing import Any

from aws_lambda_powertools import Logger

from callback import aws, http, settings
from callback.observability.redaction import redact_exceptions
from callback.storage.table import Table
from callback.webhooks import management, schema
from callback.webhooks.breakers import BreakerStore
from callback.webhooks.deliveries import DeliveryQueue, DeliveryStore
from callback.webhooks.endpoints import EndpointStore
from callback.webhooks.http_sender import Sender

SETTINGS = settings.WebhookApi.read()
logger = Logger(use_rfc3339=True)
table = Table(aws.dynamodb(), SETTINGS.table_name)
endpoints = EndpointStore(table)
stores = management.Stores(endpoints, BreakerStore(table))
deliveries = DeliveryStore(table)
queue = DeliveryQueue(aws.sqs, SETTINGS.delivery_queue_url)
sender = Sender()


def put(event: http.Event) -> http.Response:
    tenant = http.tenant(event)
    request = schema.parse_endpoint(http.body(event), sender.rules)
    endpoint, is_new = management.put(stores, sender, tenant, request)
    if is_new:
        return http.json_reply(201, management.endpoint_with_secret_view(endpoint))
    return http.json_reply(200, management.endpoint_view(endpoint))


def show(event: http.Event) -> http.Response:
    return http.json_reply(200, management.endpoint_view(endpoints.get(http.tenant(event))))


def remove(event: http.Event) -> http.Response:
    management.remove(stores, http.tenant(event))
    return http.no_content()


def rotate(event: http.Event) -> http.Response:
    endpoint = endpoints.rotate(http.tenant(event))
    return http.json_reply(200, management.endpoint_with_secret_view(endpoint))


def test(event: http.Event) -> http.Response:
    sample = management.test(endpoints, deliveries, queue, http.tenant(event))
    return http.json_reply(202, management.delivery_view(sample))


def list_failed(event: http.Event) -> http.Response:
    tenant = http.tenant(event)
    request = schema.parse_failed(http.query(event))
    page = deliveries.list_failed(tenant, request.limit, request.cursor)
    return http.json_reply(200, management.failed_view(page))


def replay(event: http.Event) -> http.Response:
    tenant = http.tenant(event)
    delivery = management.replay(deliveries, queue, tenant, http.path(event, "delivery_id"))
    return http.json_reply(202, management.delivery_view(delivery))


ROUTES = {
    "PUT /voice/webhook/endpoint": put,
    "GET /voice/webhook/endpoint": show,
    "DELETE /voice/webhook/endpoint": remove,
    "POST /voice/webhook/endpoint/rotate": rotate,
    "POST /voice/webhook/endpoint/test": test,
    "GET /voice/webhook/failed": list_failed,
    "POST /voice/webhook/failed/{delivery_id}/replay": replay,
}

WITH_PARAMETERS = ("GET /voice/webhook/failed",)


@redact_exceptions
@logger.inject_lambda_context
def handler(event: http.Event, context: Any) -> http.Response:  # noqa: ARG001
    return http.dispatch(ROUTES, event, with_parameters=WITH_PARAMETERS)
