"""The table: results of failed conditions, and differences between moto and DynamoDB."""

import pytest

from callback.errors import CallbackNotFound, DeliveryNotFound, ErasureNotFound
from callback.privacy.erasures import ErasureStore
from callback.storage.callbacks import CallbackStore
from callback.storage.table import (
    ABSENT,
    CONDITION_FAILED,
    PRESENT,
    Expression,
    Table,
    TransactionCanceled,
    check_row,
    delete_row,
    put_row,
    update_row,
)
from callback.tenancy.api_keys import ApiKeyStore
from callback.webhooks.deliveries import DeliveryStore

ids = pytest.mark.parametrize(
    "too_long", ["x" * 3000, "x" * 2048, "\N{TELEPHONE SIGN}" * 700], ids=["3000", "2048", "bytes"]
)


class ValidationException(Exception):
    """The key is longer than DynamoDB allows (Developer Guide, "Constraints")."""


@pytest.fixture(autouse=True)
def strict(client):
    """moto accepts a key of any length."""

    def look(params, **_):
        for name, longest in (("pk", 2048), ("sk", 1024)):
            if len(params["Key"][name]["S"].encode()) > longest:
                raise ValidationException(name)

    client.meta.events.register("provide-client-params.dynamodb.GetItem", look)


@ids
def test_an_id_too_long_for_a_key_is_not_found(client, too_long):
    with pytest.raises(ErasureNotFound):
        ErasureStore(Table(client, "callbacks")).get("acme", too_long)
    with pytest.raises(DeliveryNotFound):
        DeliveryStore(Table(client, "callbacks")).replay("acme", too_long)
    with pytest.raises(CallbackNotFound):
        CallbackStore(Table(client, "callbacks")).get(too_long)
    assert ApiKeyStore(Table(client, "callbacks")).get(too_long) is None


@pytest.mark.parametrize(("pk", "sk"), [("x" * 2048, "x"), ("x", "x" * 1024)])
def test_a_key_of_the_maximum_length_is_found(client, pk, sk):
    client.put_item(TableName="callbacks", Item={"pk": {"S": pk}, "sk": {"S": sk}})
    assert Table(client, "callbacks").get((pk, sk)) == {"pk": pk, "sk": sk}


A_ROW = {"pk": "a", "sk": "1", "count": 1, "names": ["x", "y"], "of": {"kind": "row"}}


@pytest.fixture
def table(client):
    return Table(client, "callbacks")


def test_a_row_is_read_as_it_was_put(table):
    assert table.put(A_ROW)
    assert table.get(("a", "1")) == A_ROW
    assert table.get(("a", "2")) is None


def test_an_existing_row_is_not_overwritten_if_it_must_be_absent(table):
    assert table.put(A_ROW, ABSENT)
    assert not table.put(A_ROW | {"count": 2}, ABSENT)
    assert table.get(("a", "1")) == A_ROW


def test_a_put_that_loses_the_race_returns_the_row_of_the_winner(table):
    assert table.put_or_read(A_ROW, ABSENT) is None
    assert table.put_or_read(A_ROW | {"count": 2}, ABSENT) == A_ROW
    assert table.put_or_read({"pk": "b", "sk": "1"}, PRESENT) == {}


def test_an_update_and_a_deletion_return_whether_their_condition_held(table):
    table.put(A_ROW)
    raised = Expression("SET #count = #count + :one", {":one": 1}, {"#count": "count"})
    if_small = Expression("#count < :limit", {":limit": 2}, {"#count": "count"})
    assert table.update(("a", "1"), raised, if_small)
    assert not table.update(("a", "1"), raised, if_small)
    assert table.get(("a", "1")) == A_ROW | {"count": 2}
    assert not table.delete(("a", "2"), PRESENT)
    assert table.delete(("a", "1"), PRESENT)
    assert table.delete(("a", "1"))
    assert table.get(("a", "1")) is None


def test_a_transaction_returns_which_of_its_writes_failed(table):
    table.put(A_ROW)
    change = update_row(("c", "1"), Expression("SET done = :yes", {":yes": True}))
    reasons = table.transact(change, put_row(A_ROW, ABSENT), check_row(("d", "1"), ABSENT))
    assert reasons == ["None", CONDITION_FAILED, "None"]
    assert table.get(("c", "1")) is None
    assert table.transact(change, delete_row(("a", "1"), PRESENT)) is None
    assert table.get(("c", "1")) == {"pk": "c", "sk": "1", "done": True}
    assert table.get(("a", "1")) is None


def test_a_canceled_transaction_raises_its_reasons_on_request(table):
    table.transact_or_raise(put_row(A_ROW, ABSENT))
    with pytest.raises(TransactionCanceled, match=CONDITION_FAILED) as canceled:
        table.transact_or_raise(put_row(A_ROW, ABSENT))
    assert canceled.value.reasons == [CONDITION_FAILED]


def test_keys_that_dynamodb_leaves_unprocessed_are_requested_again(table, client, monkeypatch):
    keys = [("a", str(number)) for number in range(5)]
    for pk, sk in keys:
        table.put({"pk": pk, "sk": sk})
    batch, requested = client.batch_get_item, []

    def two_at_most(**request):
        remaining = request["RequestItems"]["callbacks"]["Keys"]
        requested.append(len(remaining))
        response = batch(RequestItems={"callbacks": {"Keys": remaining[:2]}})
        rest = {"callbacks": {"Keys": remaining[2:]}} if remaining[2:] else {}
        return response | {"UnprocessedKeys": rest}

    monkeypatch.setattr(client, "batch_get_item", two_at_most)
    assert set(table.read([*keys, keys[0], ("b", "1")])) == set(keys)
    assert requested == [6, 4, 2]
    del requested[:]
    assert table.read([]) == {}
    assert requested == []


def test_a_partition_is_read_in_order_and_by_prefix(table):
    for sk in ("B#2", "A#1", "B#1"):
        table.put({"pk": "a", "sk": sk})
    table.put({"pk": "b", "sk": "B#1"})
    assert [row["sk"] for row in table.under("a")] == ["A#1", "B#1", "B#2"]
    assert [row["sk"] for row in table.under("a", "B#")] == ["B#1", "B#2"]


def test_descending_pages_miss_no_row(table):
    for number in range(5):
        table.put({"pk": "a", "sk": str(number)})
    pages, before = [], None
    while not pages or before:
        everything = Expression("pk = :pk", {":pk": "a"})
        rows, before = table.last(everything, limit=2, before=before)
        pages.append([row["sk"] for row in rows])
    assert pages == [["4", "3"], ["2", "1"], ["0"]]


def test_the_index_has_rows_with_both_attributes_the_earliest_first(table):
    for sk, due_in, due_at in (("1", "x", "3"), ("2", "x", "1"), ("3", "y", "1"), ("4", "x", "2")):
        table.put({"pk": "a", "sk": sk, "due_in": due_in, "due_at": due_at, "body": "long"})
    table.put({"pk": "a", "sk": "5", "due_at": "1"})
    condition = Expression("due_in = :in AND due_at <= :at", {":in": "x", ":at": "2"})
    entries = table.due(condition, limit=5)
    assert [(entry["sk"], entry["due_at"]) for entry in entries] == [("2", "1"), ("4", "2")]
    assert [entry["sk"] for entry in table.due(condition, limit=1)] == ["2"]
    assert "body" not in entries[0]
    table.update(("a", "2"), Expression("REMOVE due_in"))
    assert [entry["sk"] for entry in table.due(condition, limit=5)] == ["4"]


def test_many_rows_are_written_and_those_without_capacity_returned(table, client, monkeypatch):
    write, sizes = client.batch_write_item, []

    def all_but_the_last(**request):
        writes = request["RequestItems"]["callbacks"]
        sizes.append(len(writes))
        write(RequestItems={"callbacks": writes[:-1]})
        return {"UnprocessedItems": {"callbacks": writes[-1:]}}

    monkeypatch.setattr(client, "batch_write_item", all_but_the_last)
    left = table.put_all([{"pk": "a", "sk": str(number)} for number in range(30)])
    assert left == {("a", "24"), ("a", "29")}
    assert sizes == [25, 5]
    assert len(list(table.under("a"))) == 28
    assert table.put_all([]) == set()
