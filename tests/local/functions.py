"""The template's functions, run in this process as Lambda runs them.

Each handler module is loaded once, under its own name, with exactly its function's environment.
An invocation takes and returns JSON text, so only values that pass in AWS pass here, and an
exception becomes the error document that Step Functions matches Retry and Catch against.
"""

import contextlib
import functools
import importlib
import importlib.util
import itertools
import json
import logging
import sys
import threading
import time
import traceback
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from unittest import mock

import boto3
from botocore.config import Config

from tests.local import environment, logs, output_tap, tables
from tests.local.template import FunctionDefinition

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

Handler = Callable[[Any, Any], Any]


class UnknownFunction(Exception):
    """No function of that name or ARN in the template."""


class LoadError(Exception):
    """A handler could not be imported; the message names the function, the cause says why."""


@dataclass(frozen=True)
class Invocation:
    """The result of one invocation: `payload` is JSON; `error` is what Lambda puts into
    FunctionError, None if the handler returned; `trace` is for a person to read."""

    payload: bytes
    error: str | None = None
    trace: str = ""


@dataclass(frozen=True)
class Context:
    """Lambda's context object, as the Python runtime makes it."""

    function_name: str
    invoked_function_arn: str
    memory_limit_in_mb: str
    aws_request_id: str
    log_group_name: str
    deadline: float
    seconds: Callable[[], float]
    function_version: str = "$LATEST"
    log_stream_name: str = "local"
    identity: None = None
    client_context: None = None

    def get_remaining_time_in_millis(self) -> int:
        """Milliseconds until Lambda would kill the invocation; it is not killed here."""
        return max(0, int((self.deadline - self.seconds()) * 1000))


class Function:
    """One function, ready to be invoked from any thread."""

    def __init__(
        self,
        definition: FunctionDefinition,
        handler: Handler,
        seconds: Callable[[], float] = time.monotonic,
    ) -> None:
        """`seconds`: the clock that measures an invocation's remaining time."""
        self.definition = definition
        self._handler = handler
        self._seconds = seconds

    @property
    def module(self) -> Any:
        """The handler's module, with the objects that it made at import."""
        return sys.modules[self._handler.__module__]

    def invoke(self, payload: bytes) -> Invocation:
        """Run the handler on the JSON text `payload`; the result holds any error that it raises."""
        request_id = str(uuid.uuid4())
        event = json.loads(payload)
        if isinstance(event, dict) and isinstance(event.get("token"), str):
            output_tap.report_secret("a task token", event["token"])
        with logs.write_as(self.definition.name):
            try:
                result = self._handler(event, self._context(request_id))
            except Exception as error:  # noqa: BLE001 - as Lambda does: every error is an answer
                return _failed(error, request_id)
        try:
            return Invocation(json.dumps(result).encode())
        except (TypeError, ValueError) as error:
            message = f"Unable to marshal response: {error}"
            return Invocation(
                _error_document("Runtime.MarshalError", message, request_id, []),
                "Unhandled",
                f"{self.definition.name}: {message}\n",
            )

    def _context(self, request_id: str) -> Context:
        definition = self.definition
        return Context(
            function_name=definition.name,
            invoked_function_arn=definition.arn,
            memory_limit_in_mb=str(definition.memory),
            aws_request_id=request_id,
            log_group_name=f"/aws/lambda/{definition.name}",
            deadline=self._seconds() + definition.timeout,
            seconds=self._seconds,
        )


class Functions:
    """All functions of a template by name or ARN, with a count of invocations of each."""

    def __init__(self, functions: Iterable[Function]) -> None:
        self._by_name = {function.definition.name: function for function in functions}
        self._counts: Counter[str] = Counter()
        self._lock = threading.Lock()

    def __iter__(self) -> Iterator[Function]:
        return iter(self._by_name.values())

    def find(self, name_or_arn: str) -> Function:
        """Raises UnknownFunction."""
        parts = name_or_arn.split(":")
        name = parts[6] if len(parts) > 6 else parts[0]
        if name not in self._by_name:
            raise UnknownFunction(name_or_arn)
        return self._by_name[name]

    def invoke(self, name_or_arn: str, payload: bytes) -> Invocation:
        """Invoke and wait. Raises UnknownFunction."""
        function = self.find(name_or_arn)
        with self._lock:
            self._counts[function.definition.logical_id] += 1
        return function.invoke(payload)

    @property
    def invocations(self) -> Counter[str]:
        """The number of invocations of each function so far, by logical id."""
        with self._lock:
            return Counter(self._counts)


_CONNECTIONS = 64

_load_number = itertools.count(1)


@contextlib.contextmanager
def loaded(
    definitions: Iterable[FunctionDefinition],
    aws_url: str,
    seconds: Callable[[], float] = time.monotonic,
) -> Iterator[Functions]:
    """Import every handler, and forget the modules when the block ends. `seconds` is the clock by
    which invocations have their time.

    Raises LoadError for a handler that cannot be imported, a missing variable included.
    """
    # A Lambda sandbox serves one invocation at a time and needs few connections. Here all
    # invocations share the clients, and a full pool would log a warning for each request.
    logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)
    names: list[str] = []
    number = next(_load_number)
    try:
        functions = []
        # What a handler makes only as it is needed, it makes for the AWS it was loaded for: there
        # may be another one in this process by then.
        clients = {
            f"callback.aws.{name}": functools.cache(functools.partial(_client, service, aws_url))
            for name, service in _SERVICES.items()
        }
        clients["callback.aws.dynamodb"] = functools.cache(lambda: _dynamodb(aws_url))
        with mock.patch.dict(Config.OPTION_DEFAULTS, max_pool_connections=_CONNECTIONS):
            for definition in definitions:
                name = f"local{number}_{definition.logical_id}"
                names.append(name)
                handler = _load(definition, name, aws_url, clients)
                functions.append(Function(definition, handler, seconds))
        yield Functions(functions)
    finally:
        for name in names:
            sys.modules.pop(name, None)


# Those that `callback.aws` makes over HTTP, each by the name of its function there.
_SERVICES = {"events": "events", "sqs": "sqs", "ssm": "ssm", "step_functions": "stepfunctions"}


def _client(service: Any, aws_url: str) -> Any:
    # The package is on the path once the functions are loaded.
    bounds: Config = importlib.import_module("callback.aws")._BOUNDS
    # The deployed functions leave the check of parameters out.
    config = bounds.merge(Config(max_pool_connections=_CONNECTIONS, parameter_validation=True))
    return boto3.client(service, endpoint_url=aws_url, config=config)


def _dynamodb(aws_url: str) -> "DynamoDBClient":
    """One for all functions, and straight to moto: by HTTP, a request would take most of their
    time."""
    client = boto3.client("dynamodb", endpoint_url=aws_url)
    tables.without_http(client)
    return client


def _load(
    definition: FunctionDefinition,
    name: str,
    aws_url: str,
    clients: Mapping[str, Callable[[], Any]],
) -> Handler:
    module_name, _, attribute = definition.handler.rpartition(".")
    path = definition.folder / f"{module_name.replace('.', '/')}.py"
    for layer in definition.layers:
        # Lambda puts layers on the path as well; they stay, for imports made while running.
        if str(layer) not in sys.path:
            sys.path.append(str(layer))
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None or not path.is_file():
        raise LoadError(f"{definition.logical_id}: there is no {path}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    variables = environment.of_function(definition, aws_url)
    with contextlib.ExitStack() as stack:
        stack.enter_context(logs.write_as(definition.name))
        stack.enter_context(contextlib.redirect_stdout(logs.stream()))
        stack.enter_context(environment.replaced(variables))
        for target, make in clients.items():
            stack.enter_context(mock.patch(target, make))
        try:
            spec.loader.exec_module(module)
        except Exception as error:
            raise LoadError(f"{definition.logical_id} cannot be loaded: {error!r}") from error
    if not hasattr(module, attribute):
        raise LoadError(f"{definition.logical_id}: {path} has no {attribute}")
    handler: Handler = getattr(module, attribute)
    return handler


def _failed(error: Exception, request_id: str) -> Invocation:
    trace = "".join(traceback.format_exception(error))
    logs.write(trace)
    # The first frame is ours, not the handler's.
    frames = traceback.extract_tb(error.__traceback__)[1:]
    document = _error_document(
        type(error).__name__, str(error), request_id, traceback.format_list(frames)
    )
    # Into the trace, the history of the execution that asked, the dead letter of the event.
    output_tap.report_text(f"the crash of {logs.running_function()}", document.decode())
    return Invocation(document, "Unhandled", trace)


def _error_document(kind: str, message: str, request_id: str, stack: list[str]) -> bytes:
    return json.dumps(
        {
            "errorMessage": message,
            "errorType": kind,
            "requestId": request_id,
            "stackTrace": stack,
        }
    ).encode()
