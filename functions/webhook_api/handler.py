"""The client's door to its webhooks: the endpoint, its secret, and what could not be delivered."""

from typing import Any

from aws_lambda_powertools import Logger

from callback import aws, http, settings, webhook_schema, webhooks
from callback.deliveries import DeliveryQueue, DeliveryStore
from callback.discretion import discreet
from callback.endpoints import EndpointStore
from callback.outbound import Sender
from callback.table import Table

SETTINGS = settings.WebhookApi.read()
logger = Logger(use_rfc3339=True)
table = Table(aws.dynamodb(), SETTINGS.table_name)
endpoints = EndpointStore(table)
deliveries = DeliveryStore(table)
queue = DeliveryQueue(aws.sqs, SETTINGS.delivery_queue_url)
sender = Sender()


def put(event: http.Event) -> http.Answer:
    tenant = http.tenant(event)
    request = webhook_schema.parse_endpoint(http.body(event), sender.rules)
    endpoint, is_new = webhooks.put(endpoints, sender, tenant, request)
    if is_new:
        return http.json_reply(201, webhooks.endpoint_with_secret_view(endpoint))
    return http.json_reply(200, webhooks.endpoint_view(endpoint))


def show(event: http.Event) -> http.Answer:
    return http.json_reply(200, webhooks.endpoint_view(endpoints.get(http.tenant(event))))


def remove(event: http.Event) -> http.Answer:
    endpoints.remove(http.tenant(event))
    return http.no_content()


def rotate(event: http.Event) -> http.Answer:
    rotated = endpoints.rotate(http.tenant(event))
    return http.json_reply(200, webhooks.endpoint_with_secret_view(rotated))


def test(event: http.Event) -> http.Answer:
    sample = webhooks.test(endpoints, deliveries, queue, http.tenant(event))
    return http.json_reply(202, webhooks.delivery_view(sample))


def failed(event: http.Event) -> http.Answer:
    tenant = http.tenant(event)
    request = webhook_schema.parse_failed(http.query(event))
    page = deliveries.failed(tenant, request.limit, request.cursor)
    return http.json_reply(200, webhooks.failed_view(page))


def replay(event: http.Event) -> http.Answer:
    tenant = http.tenant(event)
    again = webhooks.replay(deliveries, queue, tenant, http.path(event, "delivery_id"))
    return http.json_reply(202, webhooks.delivery_view(again))


ROUTES = {
    "PUT /voice/webhook/endpoint": put,
    "GET /voice/webhook/endpoint": show,
    "DELETE /voice/webhook/endpoint": remove,
    "POST /voice/webhook/endpoint/rotate": rotate,
    "POST /voice/webhook/endpoint/test": test,
    "GET /voice/webhook/failed": failed,
    "POST /voice/webhook/failed/{delivery_id}/replay": replay,
}

WITH_PARAMETERS = ("GET /voice/webhook/failed",)


@discreet
@logger.inject_lambda_context
def handler(event: http.Event, context: Any) -> http.Answer:  # noqa: ARG001
    return http.answer(ROUTES, event, with_parameters=WITH_PARAMETERS)
