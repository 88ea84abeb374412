"""moto's DynamoDB asked from its own process: as safe for many at once, and the same answers."""

import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError, ParamValidationError
from moto import mock_aws

from tests.local import tables
from tests.local.template import REGION

TABLE = "table-of-the-test"
ROW = {"pk": {"S": "row"}}
WRITERS, ROUNDS = 4, 50


@pytest.fixture
def over_http() -> Iterator[Any]:
    with mock_aws(), tables.serialized():
        client = boto3.Session("local", "local", region_name=REGION).client("dynamodb")
        client.create_table(
            TableName=TABLE,
            KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}],
            BillingMode="PAY_PER_REQUEST",
        )
        yield client
        client.close()


@pytest.fixture
def direct(over_http: Any) -> Iterator[Any]:
    assert over_http.list_tables()["TableNames"] == [TABLE]
    client = boto3.Session("local", "local", region_name=REGION).client("dynamodb")
    tables.without_http(client)
    yield client
    client.close()


@pytest.fixture
def hurried_threads() -> Iterator[None]:
    """One thread interrupts the other at every opportunity."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(usual)


@pytest.mark.usefixtures("hurried_threads")
def test_no_write_on_a_condition_overwrites_another(direct: Any):
    """As many count up one row, each on condition that nobody has meanwhile."""
    direct.put_item(TableName=TABLE, Item={**ROW, "count": {"N": "0"}})

    def counted_up() -> bool:
        before = direct.get_item(TableName=TABLE, Key=ROW)["Item"]["count"]
        try:
            direct.put_item(
                TableName=TABLE,
                Item={**ROW, "count": {"N": str(int(before["N"]) + 1)}},
                ConditionExpression="#count = :before",
                ExpressionAttributeNames={"#count": "count"},
                ExpressionAttributeValues={":before": before},
            )
        except direct.exceptions.ConditionalCheckFailedException:
            return False
        return True

    def writer(_: int) -> int:
        return sum(counted_up() for _ in range(ROUNDS))

    with ThreadPoolExecutor(WRITERS) as writers:
        won = sum(writers.map(writer, range(WRITERS)))
    assert direct.get_item(TableName=TABLE, Key=ROW)["Item"]["count"] == {"N": str(won)}
    assert won < WRITERS * ROUNDS, "nobody raced"


ASKED = {
    "a write": ("put_item", {"TableName": TABLE, "Item": {**ROW, "x": {"N": "1"}}}),
    "an update": (
        "update_item",
        {
            "TableName": TABLE,
            "Key": ROW,
            "UpdateExpression": "SET m = :m",
            "ExpressionAttributeValues": {":m": {"M": {"b": {"B": b"\x00\xff"}}}},
            "ReturnValues": "ALL_NEW",
        },
    ),
    "a read": ("get_item", {"TableName": TABLE, "Key": ROW, "ConsistentRead": True}),
    "a read of what is not there": ("get_item", {"TableName": TABLE, "Key": {"pk": {"S": "-"}}}),
    "a batch of reads": ("batch_get_item", {"RequestItems": {TABLE: {"Keys": [ROW]}}}),
    "a query": (
        "query",
        {
            "TableName": TABLE,
            "KeyConditionExpression": "pk = :pk",
            "ExpressionAttributeValues": {":pk": {"S": "row"}},
        },
    ),
    "a condition that fails": (
        "put_item",
        {"TableName": TABLE, "Item": ROW, "ConditionExpression": "attribute_not_exists(pk)"},
    ),
    "a transaction that fails": (
        "transact_write_items",
        {
            "TransactItems": [
                {"Put": {"TableName": TABLE, "Item": {"pk": {"S": "other"}}}},
                {
                    "Put": {
                        "TableName": TABLE,
                        "Item": ROW,
                        "ConditionExpression": "attribute_not_exists(pk)",
                    }
                },
            ]
        },
    ),
    "a table that is not there": ("get_item", {"TableName": "no-such-table", "Key": ROW}),
    "a word that is reserved": (
        "put_item",
        {"TableName": TABLE, "Item": ROW, "ConditionExpression": "status = :x"},
    ),
}


def answered(client: Any, operation: str, parameters: dict[str, Any]) -> Any:
    """The answer, or the error's class and its fields, but for what names the one request."""
    try:
        answer = getattr(client, operation)(**parameters)
    except ClientError as error:
        answer = {"class": type(error).__name__, **error.response}
    status = answer.pop("ResponseMetadata")["HTTPStatusCode"]
    return status, answer


def test_without_http_every_answer_and_every_error_is_the_same(over_http: Any, direct: Any):
    for what, asked in ASKED.items():
        assert answered(direct, *asked) == answered(over_http, *asked), what


def test_without_http_a_parameter_that_does_not_exist_is_still_refused(direct: Any):
    with pytest.raises(ParamValidationError):
        direct.get_item(TableName=TABLE, Key=ROW, Consistent=True)
