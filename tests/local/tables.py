"""DynamoDB as moto runs it, made safe for many callers at once.

moto's server answers each request on its own thread and guards nothing (moto 5.2.5): of two
conditional writes both may win, and a transaction that fails puts back the whole table as it was,
with it what others have written meanwhile. It also copies the whole table for each transaction.
Inside `serialized` one request is answered at a time, which makes each atomic as AWS's are, and
a transaction copies the table's index of items, and of the items those that it updates. Items that
are read are serialized directly, without filtering by the API's model.

Inside `streamed` every write of a table with a stream is reported once it is final. moto's own
stream keeps writes that a transaction has rolled back, and shows an item as it is at the time of
reading.

`without_http` connects a client of the same process directly to the table. It keeps botocore's
checks (names, types, errors) and skips signing, HTTP and the choice of the service, which cost
several times what the table does.
"""

import contextlib
import copy
import itertools
import json
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from unittest import mock

from botocore import parsers
from botocore.awsrequest import AWSResponse
from botocore.model import OperationModel
from moto.core.responses import ActionContext
from moto.dynamodb import models
from moto.dynamodb.models import DynamoDBBackend
from moto.dynamodb.models.dynamo_type import DynamoType, Item
from moto.dynamodb.models.table import StreamShard, Table
from moto.dynamodb.responses import DynamoHandler, DynamoResult

from tests.local.template import ACCOUNT, REGION

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

_READS = ("BatchGetItem", "GetItem", "Query")


@contextlib.contextmanager
def serialized() -> Iterator[None]:
    """One DynamoDB request at a time inside the block."""
    lock = threading.RLock()
    answer = DynamoHandler.call_action
    write_out = DynamoResult.execute_result
    transact = DynamoDBBackend.transact_write_items

    def call_action(self: DynamoHandler) -> Any:
        with lock:
            return answer(self)

    def transact_write_items(self: DynamoDBBackend, transact_items: list[dict[str, Any]]) -> None:
        # An update changes its item in place.
        updated = [item["Update"]["Key"] for item in transact_items if "Update" in item]
        copied = SimpleNamespace(copy=copy.copy, deepcopy=partial(_copy_of_index, updated))
        with mock.patch.object(models, "copy", copied):
            transact(self, transact_items)

    def execute_result(self: DynamoResult, context: ActionContext) -> Any:
        if context.operation_model.name in _READS:
            # A binary value is not JSON: moto's own serializer writes it.
            with contextlib.suppress(TypeError):
                headers = {"Content-Type": "application/x-amz-json-1.0"}
                return 200, headers, json.dumps(self.result)
        return write_out(self, context)

    with (
        mock.patch.object(DynamoHandler, "call_action", call_action),
        mock.patch.object(DynamoResult, "execute_result", execute_result),
        mock.patch.object(DynamoDBBackend, "transact_write_items", transact_write_items),
    ):
        yield


@contextlib.contextmanager
def streamed(tell: Callable[[str, dict[str, Any]], None]) -> Iterator[None]:
    """`tell(table, record)` of each write; a record is what Lambda gets of it (AWS Lambda
    Developer Guide, "Using AWS Lambda with Amazon DynamoDB")."""
    deferred: list[tuple[str, dict[str, Any]]] = []
    in_transaction = threading.local()
    numbers = itertools.count(1)
    transact = DynamoDBBackend.transact_write_items

    def add(self: StreamShard, old: Item | None, new: Item | None) -> None:
        item = new or old
        assert item is not None
        row = item.to_json()["Attributes"]
        keys = [each["AttributeName"] for each in self.table.schema]
        change: dict[str, Any] = {
            "Keys": {key: row[key] for key in keys},
            "SequenceNumber": str(next(numbers)),
            "StreamViewType": "NEW_AND_OLD_IMAGES",
        }
        if old is not None:
            change["OldImage"] = old.to_json()["Attributes"]
        if new is not None:
            change["NewImage"] = new.to_json()["Attributes"]
        event = "INSERT" if old is None else "REMOVE" if new is None else "MODIFY"
        record = {
            "eventID": change["SequenceNumber"],
            "eventName": event,
            "eventSource": "aws:dynamodb",
            "dynamodb": copy.deepcopy(change),
        }
        if getattr(in_transaction, "yes", False):
            deferred.append((self.table.name, record))
        else:
            tell(self.table.name, record)

    def transact_write_items(self: DynamoDBBackend, transact_items: list[dict[str, Any]]) -> None:
        in_transaction.yes = True
        try:
            transact(self, transact_items)
            for table, record in deferred:
                tell(table, record)
        finally:
            in_transaction.yes = False
            deferred.clear()

    with (
        mock.patch.object(StreamShard, "add", add),
        mock.patch.object(DynamoDBBackend, "transact_write_items", transact_write_items),
    ):
        yield


def _copy_of_index(updated: list[dict[str, Any]], value: Any, *memo: Any) -> Any:
    if not isinstance(value, Table):
        return copy.deepcopy(value, *memo)
    table = copy.copy(value)
    table.items = defaultdict(dict)
    for hash_key, items in value.items.items():
        table.items[hash_key] = copy.copy(items)
    for key in updated:
        place: dict[Any, Any] = table.items
        where = DynamoType(key[table.hash_key_attr])
        if table.range_key_attr is not None:
            place, where = table.items.get(where, {}), DynamoType(key[table.range_key_attr])
        if where in place:
            place[where] = copy.deepcopy(place[where])
    return table


def without_http(client: "DynamoDBClient") -> None:
    """Send the client's requests straight to moto's DynamoDB, in this process.

    botocore still validates and serializes the parameters, and parses the answer.
    """
    parser = parsers.create_parser("json")

    def answered(
        model: OperationModel, params: dict[str, Any], **_: Any
    ) -> tuple[AWSResponse, dict[str, Any]]:
        status, headers, body = _handler(params).call_action()
        raw = {"status_code": int(status), "headers": headers, "body": body.encode()}
        # An operation without an output has no shape, which botocore's parser takes.
        parsed = parser.parse(raw, model.output_shape)  # type: ignore[arg-type]
        if raw["status_code"] >= 300:
            code = parsed["Error"]["Code"]
            if shape := model.service_model.shape_for_error_code(code):
                parsed |= parser.parse(raw, shape)
        return AWSResponse(params["url"], raw["status_code"], headers, None), parsed

    # What this event's handler returns is the answer.
    client.meta.events.register("before-call.dynamodb", answered)  # type: ignore[arg-type]


def _handler(params: dict[str, Any]) -> DynamoHandler:
    """As moto makes it of a request, which it would parse and look through for these."""
    handler = DynamoHandler()
    handler.headers, handler.response_headers = params["headers"], {}
    handler.querystring, handler.params = {}, json.loads(params["body"])
    handler.region, handler.current_account = REGION, ACCOUNT
    return handler
