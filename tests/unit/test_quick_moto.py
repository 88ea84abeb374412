"""What tests/support/quick_moto.py replaces does what moto itself does."""

import copy
import inspect
from collections.abc import Callable
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from hypothesis import example, given, settings
from hypothesis import strategies as st
from moto import mock_aws
from moto.dynamodb.exceptions import ItemSizeTooLarge
from moto.dynamodb.models.dynamo_type import DynamoType, Item
from moto.moto_api._internal import mock_random

from tests.support.quick_moto import ORIGINALS, REPLACED, replaced

_texts = st.text(max_size=4)
_numbers = st.one_of(st.integers(-3, 3), st.decimals(-2, 2, places=2)).map(str)
_values: st.SearchStrategy[dict[str, Any]] = st.recursive(
    st.one_of(
        st.builds(lambda v: {"S": v}, _texts),
        st.builds(lambda v: {"N": v}, _numbers),
        st.builds(lambda v: {"BOOL": v}, st.booleans()),
        st.just({"NULL": True}),
        st.builds(lambda v: {"B": v}, st.sampled_from(["YQ==", "YWI="])),
        st.builds(lambda v: {"SS": v}, st.lists(_texts, min_size=1, max_size=2)),
        st.builds(lambda v: {"NS": v}, st.lists(_numbers, min_size=1, max_size=2)),
    ),
    lambda inner: st.one_of(
        st.builds(lambda v: {"L": v}, st.lists(inner, max_size=2)),
        st.builds(lambda v: {"M": v}, st.dictionaries(_texts, inner, max_size=2)),
    ),
    max_leaves=5,
)


def by_both(work: Callable[[], Any]) -> tuple[Any, Any]:
    with replaced(ORIGINALS):
        original = work()
    with replaced(REPLACED):
        return original, work()


def test_it_is_replaced_in_the_whole_run():
    assert all(inspect.getattr_static(where, name) is by for where, name, by in REPLACED)


@settings(deadline=None)
@given(a=_values, b=_values)
@example(a={"S": "YQ=="}, b={"B": "YQ=="})
def test_values_are_as_large_and_equal_and_copied_alike(a, b):
    def observed() -> Any:
        one, other = DynamoType(a), DynamoType(b)
        copied = copy.deepcopy(one)
        simple = next(iter(a)) in ("S", "N", "B", "BOOL")
        return (
            one.size(),
            one.cast_value,
            one == other,
            one == DynamoType(a),
            one == copied,
            copied is not one,
            copied.to_regular_json(),
            len({one, DynamoType(a), copied}) if simple else None,
        )

    original, quick = by_both(observed)
    assert original == quick


@settings(deadline=None)
@given(st.dictionaries(_texts, _values, max_size=4))
def test_items_are_made_and_copied_alike(attrs):
    def observed() -> Any:
        item = Item(DynamoType({"S": "a"}), None, attrs)
        return item.size(), item.to_json(), copy.deepcopy(item).to_json(), dict(item.attrs)

    original, quick = by_both(observed)
    assert original == quick


def test_a_copy_is_not_changed_with_its_original():
    def observed() -> Any:
        one = DynamoType({"M": {"list": {"L": [{"M": {}}]}, "set": {"SS": ["b"]}}})
        copied = copy.deepcopy(one)
        one.value["list"].value[0].value["a"] = DynamoType({"S": "c"})
        one.value["list"].value.append(DynamoType({"S": "c"}))
        one.value["set"].value.append("d")
        return copied.to_regular_json()

    original, quick = by_both(observed)
    assert original == quick == {"M": {"list": {"L": [{"M": {}}]}, "set": {"SS": ["b"]}}}


@pytest.mark.parametrize("letter", ["a", "ä"])
@pytest.mark.parametrize("over", [0, 1])
def test_the_largest_item_is_as_large(letter, over):
    width = len(letter.encode())
    attrs = {"a": {"S": letter * (404_990 // width)}, "bc": {"S": "x" * (7 + over)}}

    def observed() -> bool:
        try:
            Item(DynamoType({"S": "a"}), None, attrs)
        except ItemSizeTooLarge:
            return False
        return True

    original, quick = by_both(observed)
    assert original == quick == (not over)


NAMES = {"#a": "a", "#b": "b"}
VALUES: dict[str, Any] = {":one": {"N": "1"}, ":x": {"S": "x"}, ":list": {"L": [{"S": "y"}]}}
UPDATES = [
    "SET #a = :one",
    "SET #a = :x, #b.c = :one",
    "SET #b = if_not_exists(#b, :list)",
    "SET #b = list_append(#b, :list), #a = #a + :one",
    "ADD #a :one REMOVE #b",
    "REMOVE #a, #a",
    "SET #a",
    "SET key = :one",
    "DELETE #a :one",
]
CONDITIONS = [
    "attribute_not_exists(#a)",
    "attribute_exists(#a) AND (#a = :one OR NOT #b <> :x)",
    "#a BETWEEN :one AND :one",
    "#a IN (:one, :x)",
    "size(#a) > :one",
    "begins_with(#b, :x)",
    "contains(#b, :x)",
    "((#a = :one))",
    "#a = ",
    "#a ? :one",
]


def test_requests_are_answered_alike_the_second_time_too():
    """Twice, because an expression is read once: an error as well as a result."""

    def observed() -> list[Any]:
        with mock_aws():
            client = boto3.client(
                "dynamodb", "us-east-1", aws_access_key_id="x", aws_secret_access_key="x"
            )
            answers = [_answer(client.create_table, **_TABLE)]
            for _ in range(2):
                for request in _requests():
                    answers += [_answer(getattr(client, name), **f) for name, f in request]
            client.close()
        return answers

    original, quick = by_both(observed)
    assert original == quick
    assert len({str(answer) for answer in quick}) > len(UPDATES), "they tell nothing apart"


_TABLE: dict[str, Any] = {
    "TableName": "table",
    "KeySchema": [{"AttributeName": "pk", "KeyType": "HASH"}],
    "AttributeDefinitions": [{"AttributeName": "pk", "AttributeType": "S"}],
    "BillingMode": "PAY_PER_REQUEST",
}


def _requests() -> list[list[tuple[str, dict[str, Any]]]]:
    table, key = {"TableName": "table"}, {"pk": {"S": "k"}}
    get = ("get_item", {**table, "Key": key})
    binary = {**key, "bytes": {"B": b"\x00\xff"}, "flag": {"BOOL": True}, "none": {"NULL": True}}
    found: list[list[tuple[str, dict[str, Any]]]] = [[("put_item", {**table, "Item": binary}), get]]
    pairs = [(update, CONDITIONS[0]) for update in UPDATES]
    pairs += [(update, condition) for update in UPDATES[:2] for condition in CONDITIONS]
    for update, condition in pairs:
        used = [name for name in (*NAMES, *VALUES) if name in update + condition]
        update_item = {
            **table,
            "Key": key,
            "UpdateExpression": update,
            "ConditionExpression": condition,
            "ExpressionAttributeNames": {n: NAMES[n] for n in used if n in NAMES},
            "ExpressionAttributeValues": {v: VALUES[v] for v in used if v in VALUES},
            "ReturnValues": "ALL_NEW",
        }
        plain = {k: v for k, v in update_item.items() if k != "ReturnValues" and v}
        transaction = {"TransactItems": [{"Update": plain}]}
        updates = [("update_item", update_item), ("transact_write_items", transaction)]
        found.append([*updates, get, ("scan", table)])
    fails = {**table, "Key": {"pk": {"S": "new"}}, "ConditionExpression": "attribute_exists(pk)"}
    writes = [{"Delete": {**table, "Key": key}}, {"Put": {**table, "Item": {"pk": {"S": "b"}}}}]
    transactions = ([*writes, {"ConditionCheck": fails}], writes)  # the first changes nothing
    found += [
        [("transact_write_items", {"TransactItems": each}), ("scan", table)]
        for each in transactions
    ]
    return found


def _answer(method: Callable[..., Any], **fields: Any) -> Any:
    try:
        answer = dict(method(**fields))
    except ClientError as error:
        answer = dict(error.response)
    except (LookupError, TypeError, ValueError) as error:  # what moto itself trips over
        return repr(error)
    answer.pop("ResponseMetadata")
    description = answer.get("TableDescription", {})
    for made_up in ("TableId", "CreationDateTime"):
        description.pop(made_up, None)
    return answer


def test_what_is_drawn_at_random_is_as_long_and_of_the_same_letters():
    for fields in ({}, {"length": 3000}, {"include_digits": False}, {"lower_case": True}):
        original, quick = by_both(lambda fields=fields: mock_random.get_random_string(**fields))
        assert len(original) == len(quick)
    drawn = by_both(lambda: set(mock_random.get_random_string(9000)))
    assert drawn[0] == drawn[1]
    assert len({mock_random.get_random_string(52) for _ in range(1000)}) == 1000
