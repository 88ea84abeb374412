"""Answer a carrier's webhook, as the documentation of AWS, Powertools and Twilio writes it."""

import os
from typing import Any
from urllib.parse import parse_qsl

import boto3
from aws_lambda_powertools import Logger, Metrics, Tracer
from aws_lambda_powertools.event_handler import APIGatewayHttpResolver, Response
from aws_lambda_powertools.logging import correlation_paths
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.typing import LambdaContext
from twilio.request_validator import RequestValidator
from twilio.twiml.voice_response import Dial, VoiceResponse

logger = Logger()
metrics = Metrics(namespace="Callback")
tracer = Tracer()
app = APIGatewayHttpResolver()
dynamodb = boto3.client("dynamodb")
step_functions = boto3.client("stepfunctions")
validator = RequestValidator(os.environ["TWILIO_AUTH_TOKEN"])


def signed_form(url: str) -> dict[str, str] | None:
    event = app.current_event
    form = dict(parse_qsl(event.decoded_body or "", keep_blank_values=True))
    signature = event.headers.get("x-twilio-signature", "")
    return form if validator.validate(os.environ[url], form, signature) else None


@app.post("/carrier/twiml")
@tracer.capture_method
def answer() -> Response:
    form = signed_form("TWIML_URL")
    if form is None:
        return Response(403, "text/plain", "forbidden")
    row = dynamodb.get_item(TableName=os.environ["TABLE_NAME"], Key={"pk": {"S": form["CallSid"]}})[
        "Item"
    ]
    step_functions.send_task_success(taskToken=row["token"]["S"], output="{}")
    response = VoiceResponse()
    dial = Dial()
    dial.conference(row["room"]["S"])
    response.append(dial)
    metrics.add_metric(name="Answered", unit=MetricUnit.Count, value=1)
    return Response(200, "text/xml", str(response))


@app.post("/carrier/status")
@tracer.capture_method
def record_status() -> Response:
    form = signed_form("STATUS_URL")
    if form is None:
        return Response(403, "text/plain", "forbidden")
    dynamodb.update_item(
        TableName=os.environ["TABLE_NAME"],
        Key={"pk": {"S": form["CallSid"]}},
        UpdateExpression="SET call_status = :status",
        ExpressionAttributeValues={":status": {"S": form["CallStatus"]}},
    )
    metrics.add_metric(name="Reported", unit=MetricUnit.Count, value=1)
    return Response(204)


@logger.inject_lambda_context(correlation_id_path=correlation_paths.API_GATEWAY_HTTP)
@tracer.capture_lambda_handler
@metrics.log_metrics(capture_cold_start_metric=True)
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    return app.resolve(event, context)
