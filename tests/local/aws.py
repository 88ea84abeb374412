"""The embedded AWS: moto in server mode on 127.0.0.1, with the template's resources in it."""

import contextlib
import functools
import io
import json
import logging
import socket
import weakref
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar
from unittest import mock

import boto3
from botocore.config import Config
from moto import backends
from moto.core import responses
from moto.core.base_backend import BackendDict
from moto.core.config import default_user_config
from moto.core.utils import method_names_from_class
from moto.moto_server.werkzeug_app import (
    DomainDispatcherApplication,
    MotoRequestHandler,
    create_backend_app,
)
from moto.server import ThreadedMotoServer
from moto.sqs.models import Message, Queue
from moto.stepfunctions.parser.models import stepfunctions_parser_backends
from werkzeug.serving import make_server

from tests.local import engine, environment, output_tap, tables
from tests.local.template import ACCOUNT, REGION, Template, Workflow

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_events import EventBridgeClient
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_ssm import SSMClient
    from mypy_boto3_stepfunctions import SFNClient

# Enough for every thread of the front to hold a connection.
_CONNECTIONS = 64
_POLL_SECONDS = 0.02


class EmbeddedAws:
    """`url` is what AWS_ENDPOINT_URL should be; the clients talk to it as anybody would."""

    def __init__(self, url: str) -> None:
        self.url = url
        # The number of writes so far, and the listeners to each: (table, record of its stream).
        self.writes = 0
        self.on_write: Callable[[str, dict[str, Any]], None] | None = None
        session = boto3.Session(
            aws_access_key_id="local", aws_secret_access_key="local", region_name=REGION
        )
        config = Config(max_pool_connections=_CONNECTIONS, retries={"total_max_attempts": 1})

        client = functools.partial(session.client, endpoint_url=url, config=config)
        self.dynamodb: DynamoDBClient = client("dynamodb")
        self.events: EventBridgeClient = client("events")
        self.sqs: SQSClient = client("sqs")
        self.ssm: SSMClient = client("ssm")
        self.stepfunctions: SFNClient = client("stepfunctions")

    def create(self, template: Template, secrets: Mapping[str, Any]) -> None:
        """Create the template's tables, queues and state machines, and the parameters `secrets`
        (name to text, or to what is stored as JSON), which the template expects to be there
        before it."""
        for table in template.tables:
            self.dynamodb.create_table(**table)
        for name, attribute in template.time_to_live.items():
            self.dynamodb.update_time_to_live(
                TableName=name,
                TimeToLiveSpecification={"Enabled": True, "AttributeName": attribute},
            )
        for name in template.queues:
            self.sqs.create_queue(QueueName=name)
        for bus in template.event_buses:
            self.events.create_event_bus(Name=bus)
        for name, value in secrets.items():
            self.ssm.put_parameter(Name=name, Type="SecureString", Value=_as_text(value))
        for workflow in template.workflows:
            self._create_state_machine(workflow)

    def wrote(self, table: str, record: dict[str, Any]) -> None:
        self.writes += 1
        if self.on_write is not None:
            self.on_write(table, record)

    def _create_state_machine(self, workflow: Workflow) -> None:
        self.stepfunctions.create_state_machine(
            name=workflow.name,
            definition=workflow.definition,
            roleArn="arn:aws:iam::123456789012:role/local",
            type=workflow.type,
        )

    def history(self, execution_arn: str) -> list[dict[str, Any]]:
        """Every event of an execution, oldest first."""
        answer = self.stepfunctions.get_execution_history(executionArn=execution_arn)
        return [dict(event) for event in answer["events"]]

    def close(self) -> None:
        for client in (self.dynamodb, self.events, self.sqs, self.ssm, self.stepfunctions):
            client.close()


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def billed_transitions(history: list[dict[str, Any]]) -> int:
    """State transitions that a Standard workflow is billed for: each state entered, and each
    retry (AWS Step Functions pricing)."""
    kinds = Counter(event["type"] for event in history)
    entered = sum(count for kind, count in kinds.items() if kind.endswith("StateEntered"))
    attempts = kinds["TaskScheduled"] + kinds["LambdaFunctionScheduled"]
    return entered + max(0, attempts - kinds["TaskStateEntered"])


@contextlib.contextmanager
def run_aws() -> Iterator[EmbeddedAws]:
    """An empty embedded AWS for as long as the block lasts."""
    # Without this the server logs several lines for every request.
    for name in ("werkzeug", "moto"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    with (
        mock.patch.dict(default_user_config, stepfunctions={"execute_state_machine": True}),
        once_for_all(),
        _report_messages(),
        tables.serialized(),
    ):
        BackendDict.reset()
        server = _Server("127.0.0.1", 0, verbose=False)
        server.start()
        url = "http://{}:{}".format(*server.get_host_and_port())
        try:
            with environment.harmless(url):
                aws = EmbeddedAws(url)
                with contextlib.closing(aws), tables.streamed(aws.wrote):
                    yield aws
        finally:
            server.stop()
            _tell_executions()
            BackendDict.reset()


@contextlib.contextmanager
def once_for_all() -> Iterator[None]:
    """Cache values that moto computes for each request, which takes a third of its time."""
    modules = tuple(backends.list_of_moto_modules())
    with (
        mock.patch.object(backends, "list_of_moto_modules", return_value=modules),
        mock.patch.object(
            responses,
            "method_names_from_class",
            functools.cache(method_names_from_class),
        ),
    ):
        yield


@contextlib.contextmanager
def _report_messages() -> Iterator[None]:
    """Every message of every queue, dead letters too."""
    add = Queue.add_message

    def add_and_tell(self: Queue, message: Message) -> None:
        output_tap.report_text(f"the queue {self.name}", message.body)
        add(self, message)

    with mock.patch.object(Queue, "add_message", add_and_tell):
        yield


def _tell_executions() -> None:
    """The history of each execution, which Step Functions keeps for 90 days in AWS."""
    for machine in stepfunctions_parser_backends[ACCOUNT][REGION].state_machines:
        for execution in engine.executions_of(machine):
            output_tap.report_text("the input of an execution", str(execution.execution_input))
            history = json.dumps(execution.to_history_output(), default=str)
            output_tap.report_text("the history of an execution", f"{history} {execution.output}")


class _Handler(MotoRequestHandler):
    """Answers many requests on one connection, which werkzeug's own development server does not:
    it closes each, after waiting for more of it."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    connections: ClassVar[weakref.WeakSet[socket.socket]] = weakref.WeakSet()

    def setup(self) -> None:
        super().setup()
        self.connections.add(self.connection)

    def run_wsgi(self) -> None:
        environ = self.make_environ()
        length = int(environ.get("CONTENT_LENGTH") or 0)
        # Read it to the end, or the rest would be parsed as the next request.
        environ["wsgi.input"] = io.BytesIO(self.rfile.read(length))
        status, headers = "", []
        written: list[bytes] = []

        def start_response(
            status_line: str, fields: list[tuple[str, str]], _: Any = None
        ) -> Callable[[bytes], object]:
            nonlocal status, headers
            status, headers = status_line, fields
            return written.append

        parts = self.server.app(environ, start_response)
        try:
            rest = b"".join(parts)
        finally:
            if hasattr(parts, "close"):
                parts.close()
        self.send_response_only(int(status.split(maxsplit=1)[0]), status.partition(" ")[2])
        for name, value in headers:
            if name.lower() != "content-length":
                self.send_header(name, value)
        body = b"".join(written) + rest
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class _Server(ThreadedMotoServer):
    """moto's server, but it stops without the delay of half a second and closes its sockets."""

    def _server_entry(self) -> None:
        app = DomainDispatcherApplication(create_backend_app)
        with make_server(
            self._ip_address, self._port, app, threaded=True, request_handler=_Handler
        ) as self._server:
            self._server_ready_event.set()
            self._server.serve_forever(poll_interval=_POLL_SECONDS)

    def stop(self) -> None:
        super().stop()
        for connection in list(_Handler.connections):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
