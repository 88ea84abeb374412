"""AWS clients, each created when it is first needed. All attempts fit into a webhook's 15 seconds.

A request that needs no workflow and no secret does not pay for their clients.
"""

from functools import cache
from typing import TYPE_CHECKING

import boto3
from botocore.config import Config

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_events import EventBridgeClient
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_ssm import SSMClient
    from mypy_boto3_stepfunctions import SFNClient

# botocore need not check parameters: our types and tests do, and the check is a seventh of a POST.
_BOUNDS = Config(
    connect_timeout=1,
    read_timeout=3,
    retries={"mode": "standard", "total_max_attempts": 3},
    parameter_validation=False,
)


@cache
def dynamodb() -> "DynamoDBClient":
    return boto3.client("dynamodb", config=_BOUNDS)


@cache
def step_functions() -> "SFNClient":
    return boto3.client("stepfunctions", config=_BOUNDS)


@cache
def sqs() -> "SQSClient":
    return boto3.client("sqs", config=_BOUNDS)


@cache
def events() -> "EventBridgeClient":
    return boto3.client("events", config=_BOUNDS)


@cache
def ssm() -> "SSMClient":
    return boto3.client("ssm", config=_BOUNDS)
