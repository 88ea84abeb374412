"""Counts what an executed run uses of AWS: requests by function, units, invocations, log bytes."""

import contextlib
import json
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from unittest import mock

import boto3
import requests
from moto.dynamodb.models import DynamoDBBackend, dynamodb_backends

from callback.webhooks import http_sender
from tests.bench import units
from tests.local import logs
from tests.local.functions import Functions, Invocation
from tests.local.template import ACCOUNT, REGION, FunctionDefinition


@dataclass
class Usage:
    """Totals of a run. The keys of the counters are functions' logical ids."""

    invocations: Counter[str] = field(default_factory=Counter)
    http_requests: int = 0
    # (function, service, operation) of each request to AWS
    requests: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    other_requests: Counter[str] = field(default_factory=Counter)  # to the carrier and to clients
    write_units: Counter[str] = field(default_factory=Counter)
    read_units: Counter[str] = field(default_factory=Counter)
    log_bytes: Counter[str] = field(default_factory=Counter)
    events: Counter[str] = field(default_factory=Counter)  # by detail type
    queued_invocations: int = 0  # each: one receive and one delete of a batch
    traced_roots: int = 0  # invocations that begin a trace


class Recorder:
    """Records while it is entered. Enter it before the local stack: clients are made there."""

    def __init__(self) -> None:
        self.usage = Usage()
        self._lock = threading.Lock()
        self._functions: dict[str, str] = {}  # logical id by name
        self._indexes: dict[str, list[tuple[tuple[str, ...], set[str] | None]]] = {}
        self._is_on = False

    def begin(self, functions: tuple[FunctionDefinition, ...], tables: tuple[Any, ...]) -> None:
        """Start counting."""
        self._functions = {each.name: each.logical_id for each in functions}
        self._indexes = {table["TableName"]: _indexes_of(table) for table in tables}
        self.usage = Usage()
        self._is_on = True

    def end(self, lines: list[logs.Line]) -> Usage:
        """Stop counting. `lines` are the functions' log lines since `begin`."""
        self._is_on = False
        for line in lines:
            if line.function in self._functions:
                self.usage.log_bytes[self._functions[line.function]] += len(line.text.encode()) + 1
        return self.usage

    @contextlib.contextmanager
    def recording(self) -> Iterator["Recorder"]:
        boto3.setup_default_session()
        session = boto3._get_default_session()
        session.events.register_first("before-call.*", self._before)
        session.events.register_last("after-call.*", self._after)
        invoke = Functions.invoke

        def counted(functions: Functions, name_or_arn: str, payload: bytes) -> Invocation:
            self._count_invocation(functions.find(name_or_arn).definition.logical_id, payload)
            return invoke(functions, name_or_arn, payload)

        with (
            mock.patch.object(Functions, "invoke", counted),
            self._counting(requests.Session, "send"),
            self._counting(http_sender.Sender, "post"),
        ):
            yield self
        boto3.setup_default_session()

    def _counting(self, kind: type, method: str) -> Any:
        """Count calls of a method that sends one request to the carrier or to a client."""
        send = getattr(kind, method)

        def counted(*arguments: Any, **options: Any) -> Any:
            function = self._functions.get(logs.running_function() or "")
            if self._is_on and function is not None:
                with self._lock:
                    self.usage.other_requests[function] += 1
            return send(*arguments, **options)

        return mock.patch.object(kind, method, counted)

    def _count_invocation(self, function: str, payload: bytes) -> None:
        if not self._is_on:
            return
        event = json.loads(payload)
        is_http = "routeKey" in event and "type" not in event
        records = event.get("Records") or [{}]
        with self._lock:
            self.usage.invocations[function] += 1
            self.usage.http_requests += is_http
            self.usage.queued_invocations += records[0].get("eventSource") == "aws:sqs"
            self.usage.traced_roots += "token" not in event

    def _before(self, model: Any, params: Any, context: dict[str, Any], **_: Any) -> None:
        function = self._functions.get(logs.running_function() or "")
        if not self._is_on or function is None:
            return
        body = json.loads(params["body"]) if params.get("body") else {}
        service = model.service_model.service_name
        with self._lock:
            self.usage.requests[function, service, model.name] += 1
            if service == "events":
                for entry in body["Entries"]:
                    self.usage.events[entry["DetailType"]] += 1
        if service == "dynamodb":
            context["bench"] = function, body, [_item(*w) for w in _written(model.name, body)]

    def _after(self, model: Any, parsed: Any, context: dict[str, Any], **_: Any) -> None:
        if "bench" not in context:
            return
        function, body, before = context.pop("bench")
        written = _written(model.name, body)
        units_written = 0
        for (table, key), old in zip(written, before, strict=True):
            new = _item(table, key)
            base = units.write_units(old, new)
            units_written += 2 * base if model.name == "TransactWriteItems" else base
            for keys, attributes in self._indexes[table]:
                units_written += units.index_units(old, new, keys, attributes)
        with self._lock:
            self.usage.write_units[function] += units_written
            self.usage.read_units[function] += _read_units(model.name, body, parsed)


def _indexes_of(table: dict[str, Any]) -> list[tuple[tuple[str, ...], set[str] | None]]:
    schema = [each["AttributeName"] for each in table["KeySchema"]]
    indexes = []
    for index in table.get("GlobalSecondaryIndexes", []):
        keys = tuple(each["AttributeName"] for each in index["KeySchema"])
        projection = index["Projection"]
        held = None
        if projection["ProjectionType"] != "ALL":
            held = {*schema, *keys, *projection.get("NonKeyAttributes", [])}
        indexes.append((keys, held))
    return indexes


def _written(operation: str, body: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """The (table, key) of each item that the request writes or checks."""
    if operation == "PutItem":
        return [(body["TableName"], _key_of(body["Item"]))]
    if operation in ("UpdateItem", "DeleteItem"):
        return [(body["TableName"], body["Key"])]
    if operation == "TransactWriteItems":
        writes = [write for each in body["TransactItems"] for write in each.values()]
        return [(w["TableName"], w.get("Key") or _key_of(w["Item"])) for w in writes]
    if operation == "BatchWriteItem":
        return [
            (table, each["DeleteRequest"]["Key"])
            if "DeleteRequest" in each
            else (table, _key_of(each["PutRequest"]["Item"]))
            for table, entries in body["RequestItems"].items()
            for each in entries
        ]
    return []


def _key_of(item: dict[str, Any]) -> dict[str, Any]:
    return {"pk": item["pk"], "sk": item["sk"]}


def _item(table: str, key: dict[str, Any]) -> dict[str, Any] | None:
    """The stored item with typed values."""
    backend: DynamoDBBackend = dynamodb_backends[ACCOUNT][REGION]
    item = backend.get_item(table, key)
    return dict(item.to_json()["Attributes"]) if item else None


def _read_units(operation: str, body: dict[str, Any], parsed: dict[str, Any]) -> float:
    if operation == "GetItem":
        return units.read_units(
            [units.size(parsed.get("Item"))], consistent=body.get("ConsistentRead", False)
        )
    if operation == "BatchGetItem":
        total = 0.0
        for table, request in body["RequestItems"].items():
            items = parsed["Responses"].get(table, [])
            sizes = [units.size(item) for item in items]
            sizes += [0] * (len(request["Keys"]) - len(items))
            total += units.read_units(sizes, consistent=request.get("ConsistentRead", False))
        return total
    if operation == "Query":
        sizes = map(units.size, parsed.get("Items", []))
        return units.query_units(sizes, consistent=body.get("ConsistentRead", False))
    return 0.0
