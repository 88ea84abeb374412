"""DynamoDB as moto runs it, made safe for many callers at once.

moto's server answers each request on its own thread and guards nothing (moto 5.2.5): of two
conditional writes both may win, and a transaction that fails puts back the whole table as it was,
with it what others have written meanwhile. It also copies the whole table for each transaction.
Inside `serialized` one request is answered at a time, which makes each atomic as AWS's are, and
a transaction of puts, deletes and checks copies the table's index of items, not the items. Items
that are read are written out as they are, not walked through against the API's model.

`without_http` spares a client of the same process everything between the two that is neither
botocore's (names, types, errors) nor the table's: signing, HTTP and finding out which service is
meant cost several times what the table does.
"""

import contextlib
import copy
import json
import threading
from collections import defaultdict
from collections.abc import Iterator
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from unittest import mock

from botocore import parsers
from botocore.awsrequest import AWSResponse
from botocore.model import OperationModel
from moto.core.responses import ActionContext
from moto.dynamodb import models
from moto.dynamodb.models import DynamoDBBackend
from moto.dynamodb.models.table import Table
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
        # An update changes its item in place, so only then must the items be copied too.
        if any("Update" in item for item in transact_items):
            transact(self, transact_items)
            return
        with mock.patch.object(models, "copy", SimpleNamespace(deepcopy=_copy_of_index)):
            transact(self, transact_items)

    def execute_result(self: DynamoResult, context: ActionContext) -> Any:
        if context.operation_model.name in _READS:
            # A binary value is not JSON, and takes the long way.
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


def _copy_of_index(value: Any) -> Any:
    if not isinstance(value, Table):
        return copy.deepcopy(value)
    table = copy.copy(value)
    table.items = defaultdict(dict)
    for hash_key, items in value.items.items():
        table.items[hash_key] = copy.copy(items)
    return table


def without_http(client: "DynamoDBClient") -> None:
    """What the client is asked goes straight to moto's DynamoDB, in this process.

    As before, botocore checks the parameters and writes them out, and reads the answer.
    """
    parser = parsers.create_parser("json")

    def answered(
        model: OperationModel, params: dict[str, Any], **_: Any
    ) -> tuple[AWSResponse, dict[str, Any]]:
        status, headers, body = _handler(params).call_action()
        raw = {"status_code": int(status), "headers": headers, "body": body.encode()}
        parsed = parser.parse(raw, model.output_shape)
        if raw["status_code"] >= 300:
            code = parsed["Error"]["Code"]
            if shape := model.service_model.shape_for_error_code(code):
                parsed |= parser.parse(raw, shape)
        return AWSResponse(params["url"], raw["status_code"], headers, None), parsed

    client.meta.events.register("before-call.dynamodb", answered)


def _handler(params: dict[str, Any]) -> DynamoHandler:
    """As moto makes it of a request, which it would parse and look through for these."""
    handler = DynamoHandler()
    handler.headers, handler.response_headers = params["headers"], {}
    handler.querystring, handler.params = {}, json.loads(params["body"])
    handler.region, handler.current_account = REGION, ACCOUNT
    return handler
