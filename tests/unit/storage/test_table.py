"""The table: results of failed conditions, and differences between moto and DynamoDB."""

from types import SimpleNamespace

import pytest
from botocore.exceptions import ClientError

from callback.errors import (
    CallbackNotFound,
    DeliveryNotFound,
    ErasureNotFound,
    StoreContended,
)
from callback.privacy.erasures import ErasureStore
from callback.storage import table as storage_table
from callback.storage.callbacks import CallbackStore
from callback.storage.table import (
    ABSENT,
    CONDITION_FAILED,
    PRESENT,
    Expression,
    RowInTransaction,
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
    monkeypatch.setattr(storage_table, "time", SimpleNamespace(sleep=lambda _: None))
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


def conflict(code, operation="PutItem"):
    return ClientError({"Error": {"Code": code, "Message": ""}}, operation)


@pytest.fixture
def pauses(monkeypatch):
    slept = []
    monkeypatch.setattr(storage_table, "time", SimpleNamespace(sleep=slept.append))
    return slept


def refuse(client, monkeypatch, operation, error, times):
    send, left = getattr(client, operation), [times]

    def refused(**request):
        left[0] -= 1
        if left[0] >= 0:
            raise error
        return send(**request)

    monkeypatch.setattr(client, operation, refused)


WRITES = {
    "put_item": lambda table: table.put(A_ROW, ABSENT),
    "update_item": lambda table: table.update(("a", "1"), Expression("SET n = :n", {":n": 1})),
    "delete_item": lambda table: table.delete(("a", "1")),
}


@pytest.mark.parametrize("operation", WRITES)
def test_a_write_that_meets_a_transaction_is_made_after_a_pause(
    table, client, monkeypatch, pauses, operation
):
    refuse(client, monkeypatch, operation, conflict("TransactionConflictException"), 3)
    assert WRITES[operation](table)
    assert len(pauses) == 3
    assert sum(pauses) <= 0.07


@pytest.mark.parametrize("operation", WRITES)
def test_a_write_that_transactions_keep_out_is_not_made_and_can_be_repeated(
    table, client, monkeypatch, pauses, operation
):
    refuse(client, monkeypatch, operation, conflict("TransactionConflictException"), 99)
    with pytest.raises(RowInTransaction) as refused:
        WRITES[operation](table)
    assert (refused.value.status, refused.value.code) == (503, "store_contended")
    assert 4 <= len(pauses) <= 10
    assert sum(pauses) < 0.5


READS = {
    "get_item": lambda table: table.get(("a", "1")),
    "batch_get_item": lambda table: table.read([("a", "1")]),
    "query": lambda table: table.last(Expression("pk = :pk", {":pk": "a"}), limit=1, before=None),
    "transact_write_items": lambda table: table.transact(put_row(A_ROW)),
}


@pytest.mark.parametrize("code", ["ThrottlingException", "ProvisionedThroughputExceededException"])
@pytest.mark.parametrize("operation", [*WRITES, *READS])
def test_a_request_for_which_there_is_no_capacity_can_be_repeated(
    table, client, monkeypatch, operation, code
):
    refuse(client, monkeypatch, operation, conflict(code), 99)
    with pytest.raises(StoreContended):
        {**WRITES, **READS}[operation](table)


@pytest.mark.parametrize("operation", [*WRITES, *READS])
def test_any_other_error_is_not_taken_for_contention(table, client, monkeypatch, operation):
    refuse(client, monkeypatch, operation, conflict("ResourceNotFoundException"), 1)
    with pytest.raises(ClientError):
        {**WRITES, **READS}[operation](table)


def canceled(client, *codes):
    reasons = [{"Code": code} for code in codes]
    return client.exceptions.TransactionCanceledException(
        {"Error": {"Code": "TransactionCanceledException"}, "CancellationReasons": reasons},
        "TransactWriteItems",
    )


@pytest.mark.parametrize("reason", ["TransactionConflict", "ThrottlingError"])
def test_a_transaction_that_meets_another_is_made_after_a_pause(
    table, client, monkeypatch, pauses, reason
):
    refuse(client, monkeypatch, "transact_write_items", canceled(client, reason, "None"), 2)
    assert table.transact(put_row(A_ROW), put_row({"pk": "b", "sk": "1"})) is None
    assert len(pauses) == 2
    assert table.get(("a", "1")) == A_ROW


def test_a_transaction_that_others_keep_out_can_be_repeated(table, client, monkeypatch, pauses):
    refuse(client, monkeypatch, "transact_write_items", canceled(client, "TransactionConflict"), 99)
    with pytest.raises(StoreContended):
        table.transact_or_raise(put_row(A_ROW))
    assert sum(pauses) < 0.5
    assert table.transact_once(put_row(A_ROW)) == ["TransactionConflict"]


def test_a_failed_condition_is_the_result_even_beside_a_conflict(
    table, client, monkeypatch, pauses
):
    error = canceled(client, "TransactionConflict", CONDITION_FAILED)
    refuse(client, monkeypatch, "transact_write_items", error, 1)
    assert table.transact(put_row(A_ROW), put_row(A_ROW)) == [
        "TransactionConflict",
        CONDITION_FAILED,
    ]
    assert pauses == []


def test_keys_that_stay_unprocessed_are_given_up(table, client, monkeypatch, pauses):
    def none(RequestItems):  # noqa: N803
        return {"Responses": {}, "UnprocessedKeys": RequestItems}

    monkeypatch.setattr(client, "batch_get_item", none)
    with pytest.raises(StoreContended):
        table.read([("a", "1")])
    assert 0 < sum(pauses) < 0.5
