"""The table, empty."""

import copy
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from moto import mock_aws
from moto.dynamodb.models import dynamodb_backends

from tests.local import tables
from tests.local.template import ACCOUNT, REGION

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

TABLE: dict[str, Any] = {
    "TableName": "callbacks",
    "KeySchema": [
        {"AttributeName": "pk", "KeyType": "HASH"},
        {"AttributeName": "sk", "KeyType": "RANGE"},
    ],
    "AttributeDefinitions": [
        {"AttributeName": "pk", "AttributeType": "S"},
        {"AttributeName": "sk", "AttributeType": "S"},
        {"AttributeName": "due_in", "AttributeType": "S"},
        {"AttributeName": "due_at", "AttributeType": "S"},
    ],
    "GlobalSecondaryIndexes": [
        {
            "IndexName": "due",
            "KeySchema": [
                {"AttributeName": "due_in", "KeyType": "HASH"},
                {"AttributeName": "due_at", "KeyType": "RANGE"},
            ],
            "Projection": {"ProjectionType": "KEYS_ONLY"},
        }
    ],
    "BillingMode": "PAY_PER_REQUEST",
}


@pytest.fixture(scope="session")
def one_client() -> "Iterator[DynamoDBClient]":
    """Made once: that takes longer than almost every test. It asks moto without HTTP."""
    made = new_client()
    tables.without_http(made)
    yield made
    made.close()


def new_client() -> "DynamoDBClient":
    return boto3.client("dynamodb", REGION, aws_access_key_id="x", aws_secret_access_key="x")


@pytest.fixture
def client(one_client: "DynamoDBClient") -> "Iterator[DynamoDBClient]":
    """A copy: what a test replaces in it, or registers with it, is gone with the test."""
    own = object.__new__(type(one_client))
    vars(own).update(vars(one_client))
    own.meta = copy.copy(one_client.meta)
    own.meta._events = copy.copy(one_client.meta.events)  # type: ignore[attr-defined]
    own.create_table(**TABLE)
    yield own
    dynamodb_backends[ACCOUNT][REGION].reset()


@pytest.fixture
def client_over_http() -> "Iterator[DynamoDBClient]":
    """With all of botocore: requests are sent, and sent again."""
    with mock_aws():
        made = new_client()
        made.create_table(**TABLE)
        yield made
        made.close()
