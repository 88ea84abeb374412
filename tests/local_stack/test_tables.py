"""What the local stack promises about DynamoDB beyond what moto does."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from moto.dynamodb.models.table import Table

from tests.local import aws
from tests.local.template import Template
from tests.local_stack.conftest import TABLE


@pytest.fixture
def dynamodb():
    with aws.run_aws() as embedded:
        embedded.create(Template((), (), (TABLE,), {}, (), ()), {})
        yield embedded.dynamodb


def put(pk: str, **attributes: str) -> dict[str, object]:
    item = {"pk": {"S": pk}, **{name: {"S": value} for name, value in attributes.items()}}
    return {
        "TableName": "things",
        "Item": item,
        "ConditionExpression": "attribute_not_exists(pk)",
    }


@pytest.fixture
def slow_reads(monkeypatch):
    """Every look at an item takes long enough for others to look as well, if they may."""
    look = Table.get_item

    def look_slowly(*arguments, **options):
        item = look(*arguments, **options)
        time.sleep(0.005)
        return item

    monkeypatch.setattr(Table, "get_item", look_slowly)


@pytest.mark.usefixtures("slow_reads")
def test_of_many_conditional_writes_one_wins(dynamodb):
    def claim(number: int) -> bool:
        try:
            dynamodb.put_item(**put("leg", owner=str(number)))
        except dynamodb.exceptions.ConditionalCheckFailedException:
            return False
        return True

    with ThreadPoolExecutor(16) as pool:
        assert sum(pool.map(claim, range(32))) == 1


@pytest.mark.usefixtures("slow_reads")
def test_a_transaction_that_fails_writes_nothing_and_undoes_nobody_elses_write(dynamodb):
    dynamodb.put_item(**put("taken"))
    failing = [{"Put": put("new")}, {"Put": put("taken")}]

    # The first access makes botocore's exceptions; two threads would each make their own.
    canceled = dynamodb.exceptions.TransactionCanceledException

    def fail(_: int) -> None:
        with pytest.raises(canceled):
            dynamodb.transact_write_items(TransactItems=failing)

    with ThreadPoolExecutor(16) as pool:
        failures = pool.map(fail, range(40))
        writes = pool.map(lambda n: dynamodb.put_item(**put(f"other-{n}")), range(40))
        assert len([*failures, *writes]) == 80
    kept = {item["pk"]["S"] for item in dynamodb.scan(TableName="things")["Items"]}
    assert kept == {"taken", *(f"other-{n}" for n in range(40))}


def test_a_transaction_with_an_update_that_fails_leaves_the_item_as_it_was(dynamodb):
    dynamodb.put_item(**put("counted", n="1"))
    dynamodb.put_item(**put("taken"))
    update = {
        "TableName": "things",
        "Key": {"pk": {"S": "counted"}},
        "UpdateExpression": "SET n = :two",
        "ExpressionAttributeValues": {":two": {"S": "2"}},
    }
    with pytest.raises(dynamodb.exceptions.TransactionCanceledException):
        dynamodb.transact_write_items(TransactItems=[{"Update": update}, {"Put": put("taken")}])
    item = dynamodb.get_item(TableName="things", Key={"pk": {"S": "counted"}})["Item"]
    assert item["n"] == {"S": "1"}


@pytest.mark.parametrize("_", range(3))
def test_every_embedded_aws_starts_empty(_):
    with aws.run_aws() as embedded:
        assert embedded.dynamodb.list_tables()["TableNames"] == []
        assert embedded.stepfunctions.list_state_machines()["stateMachines"] == []
        embedded.create(Template((), (), (TABLE,), {}, (), ()), {"/secret": {"a": "b"}})


class Streaming:
    """An embedded AWS whose table has a stream."""

    def __init__(self, embedded: aws.EmbeddedAws) -> None:
        self.dynamodb = embedded.dynamodb
        self._told: list[tuple[str, dict[str, Any] | None, dict[str, Any]]] = []
        embedded.on_write = self._add

    def _add(self, table: str, record: dict[str, Any]) -> None:
        assert table == "things"
        change = record["dynamodb"]
        images = change.get("OldImage"), change.get("NewImage")
        self._told.append((record["eventName"], *images))

    def take(self) -> list[tuple[str, dict[str, Any] | None, dict[str, Any]]]:
        """(event, old row, new row) of every write since the last look."""
        told, self._told = self._told, []
        return told


@pytest.fixture
def streaming() -> Iterator[Streaming]:
    stream = {"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"}
    with aws.run_aws() as embedded:
        table = {**TABLE, "StreamSpecification": stream}
        embedded.create(Template((), (), (table,), {}, (), ()), {})
        yield Streaming(embedded)


def test_a_stream_tells_what_a_row_was_and_what_it_became(streaming):
    one, two = ({"pk": {"S": "leg"}, "owner": {"S": owner}} for owner in "12")
    streaming.dynamodb.put_item(TableName="things", Item=one)
    streaming.dynamodb.update_item(
        TableName="things",
        Key={"pk": {"S": "leg"}},
        UpdateExpression="SET #owner = :two",
        ExpressionAttributeNames={"#owner": "owner"},
        ExpressionAttributeValues={":two": {"S": "2"}},
    )
    streaming.dynamodb.delete_item(TableName="things", Key={"pk": {"S": "leg"}})
    assert streaming.take() == [("INSERT", None, one), ("MODIFY", one, two), ("REMOVE", two, None)]


def test_a_stream_tells_of_a_transaction_once_it_is_certain_and_of_no_other(streaming):
    streaming.dynamodb.put_item(**put("taken"))
    streaming.take()
    with pytest.raises(streaming.dynamodb.exceptions.TransactionCanceledException):
        streaming.dynamodb.transact_write_items(
            TransactItems=[{"Put": put("new")}, {"Put": put("taken")}]
        )
    assert streaming.take() == []
    streaming.dynamodb.transact_write_items(
        TransactItems=[{"Put": put("new")}, {"Put": put("other")}]
    )
    assert [new["pk"]["S"] for _, _, new in streaming.take()] == ["new", "other"]
