"""Start a callback, as the documentation of AWS, Powertools and Twilio writes it."""

import json
import os
import uuid
from typing import Any

import boto3
from aws_lambda_powertools import Logger, Metrics, Tracer
from aws_lambda_powertools.event_handler import APIGatewayHttpResolver
from aws_lambda_powertools.logging import correlation_paths
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.typing import LambdaContext
from pydantic import BaseModel
from twilio.rest import Client

logger = Logger()
metrics = Metrics(namespace="Callback")
tracer = Tracer()
app = APIGatewayHttpResolver(enable_validation=True)
dynamodb = boto3.client("dynamodb")
step_functions = boto3.client("stepfunctions")
twilio = Client(os.environ["TWILIO_ACCOUNT_SID"], os.environ["TWILIO_AUTH_TOKEN"])


class Request(BaseModel):
    a: str
    b: str


@app.post("/voice/call/callback")
@tracer.capture_method
def create(request: Request) -> dict[str, str]:
    callback_id = str(uuid.uuid4())
    table, key = os.environ["TABLE_NAME"], {"pk": {"S": callback_id}}
    dynamodb.put_item(TableName=table, Item={**key, "a": {"S": request.a}, "b": {"S": request.b}})
    call = twilio.calls.create(
        to=request.a,
        from_=os.environ["CALLER_ID"],
        url=os.environ["TWIML_URL"],
        status_callback=os.environ["STATUS_URL"],
        status_callback_event=["initiated", "ringing", "answered", "completed"],
    )
    step_functions.start_execution(
        stateMachineArn=os.environ["STATE_MACHINE_ARN"],
        name=callback_id,
        input=json.dumps({"callback_id": callback_id}),
    )
    dynamodb.update_item(
        TableName=table,
        Key=key,
        UpdateExpression="SET call_sid = :sid",
        ExpressionAttributeValues={":sid": {"S": call.sid}},
    )
    metrics.add_metric(name="Created", unit=MetricUnit.Count, value=1)
    return {"callback_id": callback_id}


@logger.inject_lambda_context(correlation_id_path=correlation_paths.API_GATEWAY_HTTP)
@tracer.capture_lambda_handler
@metrics.log_metrics(capture_cold_start_metric=True)
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    return app.resolve(event, context)
