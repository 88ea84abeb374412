"""Step Functions in moto, corrected where AWS behaves differently and the service depends on it.

moto's interpreter of the Amazon States Language runs unmodified. These are the corrections
(moto 5.2.5; each has a test in tests/local_stack/test_engine.py):

* A Lambda task calls the function in this process. moto would make a client for each call.
* Timeouts, waits, retry intervals and the history's timestamps are virtual. Each thread of an
  execution is work that the clock waits for, except while that thread waits.
* Each attempt of a task gets its own token. moto gives a retry the settled token of the previous
  attempt.
* A token is settled once. Settling it again, or after the task is over, is TaskTimedOut. moto
  responds with success, and its errors have no code.
* SendTaskFailure carries its cause. moto drops it.
* StopExecution and the time limit of a whole execution end it at once. moto waits for the task
  that is running.
* Settling, describing or starting executions does not fail while another execution starts.
* A state machine's definition and each path in it are parsed once, not for each execution.

They apply only inside `correct_moto`.
"""

import contextlib
import functools
import json
import threading
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any, ParamSpec, TypeVar, cast
from unittest import mock

from botocore.exceptions import ClientError
from jsonpath_ng.ext.parser import parse as parse_path
from moto.core.exceptions import AWSError
from moto.core.responses import EmptyResult
from moto.stepfunctions.exceptions import InvalidToken
from moto.stepfunctions.models import StateMachine
from moto.stepfunctions.parser.api import (
    ExecutionAbortedEventDetails,
    ExecutionStatus,
    ExecutionTimedOutEventDetails,
    HistoryEventType,
)
from moto.stepfunctions.parser.asl.component.common.retry import retrier_decl
from moto.stepfunctions.parser.asl.component.eval_component import EvalComponent
from moto.stepfunctions.parser.asl.component.program.program import Program
from moto.stepfunctions.parser.asl.component.state.exec import execute_state
from moto.stepfunctions.parser.asl.component.state.exec.state_task import lambda_eval_utils
from moto.stepfunctions.parser.asl.component.state.exec.state_task.service import (
    state_task_service_callback,
)
from moto.stepfunctions.parser.asl.component.state.wait.wait_function import timestamp
from moto.stepfunctions.parser.asl.component.state.wait.wait_function.wait_function import (
    WaitFunction,
)
from moto.stepfunctions.parser.asl.eval import environment
from moto.stepfunctions.parser.asl.eval.callback import callback
from moto.stepfunctions.parser.asl.eval.callback.callback import (
    CallbackOutcome,
    CallbackOutcomeFailure,
    CallbackOutcomeSuccess,
)
from moto.stepfunctions.parser.asl.eval.environment import Environment
from moto.stepfunctions.parser.asl.eval.event.event_detail import EventDetails
from moto.stepfunctions.parser.asl.eval.event.event_manager import EventManager
from moto.stepfunctions.parser.asl.eval.program_state import ProgramStopped
from moto.stepfunctions.parser.asl.parse.asl_parser import AmazonStateLanguageParser
from moto.stepfunctions.parser.asl.utils import json_path
from moto.stepfunctions.parser.backend.execution import (
    BaseExecutionWorkerCommunication,
    Execution,
)
from moto.stepfunctions.parser.backend.execution_worker import ExecutionWorker
from moto.stepfunctions.parser.models import StepFunctionsParserBackend
from moto.stepfunctions.parser.utils import TMP_THREADS
from moto.stepfunctions.responses import StepFunctionResponse

from tests.local.clock import Clock, Signal
from tests.local.functions import Functions, UnknownFunction

# Virtual seconds by which a task's wait for its token outlasts the task's timeout, so that the
# timeout reports first.
_OUTLASTING = 1.0

_CallbackService = state_task_service_callback.StateTaskServiceCallback

_P = ParamSpec("_P")
_R = TypeVar("_R")


class _RunEnvironment(Environment):
    """For mypy alone: moto's environment of a program that `_endings` evaluates."""

    over: Signal


class TaskTimedOut(AWSError):
    """Carries its error code to the client; moto's own error does not."""

    TYPE = "TaskTimedOut"
    STATUS = 400


@contextlib.contextmanager
def correct_moto(
    functions: Functions, clock: Clock, changed: Callable[[Execution], None]
) -> Iterator[Callable[[], None]]:
    """Apply the corrections to executions inside the block.

    Executions that still run at the end of the block are abandoned. The yielded function abandons
    them earlier. `changed` is called for each execution that starts or has ended. It must return
    quickly.
    """
    seen: list[Execution] = []
    is_closing = threading.Event()

    def watch(execution: Execution) -> None:
        if execution.exec_status == ExecutionStatus.RUNNING:
            seen.append(execution)
        if not is_closing.is_set():
            changed(execution)

    def abandon_all() -> None:
        is_closing.set()
        for execution in seen:
            _abandon(execution, clock.now())
        TMP_THREADS.clear()

    with contextlib.ExitStack() as stack:
        for owner, name, replacement in (
            *_lambda_tasks(functions),
            *_virtual_time(clock),
            *_tokens(),
            *_endings(clock, watch),
            *_starts(clock, watch),
        ):
            stack.enter_context(mock.patch.object(owner, name, replacement))
        try:
            yield abandon_all
        finally:
            abandon_all()


_Replacement = tuple[Any, str, Any]


def _lambda_tasks(functions: Functions) -> Iterator[_Replacement]:
    def invoke(parameters: dict[str, Any], region: str, state_credentials: Any) -> dict[str, Any]:
        del region, state_credentials
        try:
            invocation = functions.invoke(
                parameters["FunctionName"], parameters.get("Payload", b"{}")
            )
        except UnknownFunction as unknown:
            raise ClientError(
                {
                    "Error": {
                        "Code": "ResourceNotFoundException",
                        "Message": f"Function not found: {unknown}",
                    },
                    "ResponseMetadata": {
                        "HTTPStatusCode": 404,
                        "RequestId": "local",
                        "HostId": "",
                        "HTTPHeaders": {},
                        "RetryAttempts": 0,
                    },
                },
                "Invoke",
            ) from unknown
        response = {
            "ExecutedVersion": "$LATEST",
            "Payload": json.loads(invocation.payload),
            "StatusCode": 200,
        }
        if invocation.error is not None:
            response["FunctionError"] = invocation.error
        return response

    yield lambda_eval_utils, "_invoke_lambda_function", invoke


def _virtual_time(clock: Clock) -> Iterator[_Replacement]:
    class Event(Signal):
        """Replaces threading.Event in moto."""

        def __init__(self) -> None:
            super().__init__(clock)

    class Thread:
        """Replaces threading.Thread in moto. moto joins none of these threads."""

        def __init__(
            self, target: Callable[..., Any], args: tuple[Any, ...] = (), **_: Any
        ) -> None:
            self._target, self._args = target, args

        def start(self) -> None:
            clock.start_thread("a state of an execution", self._target, *self._args)

    def wait(self: WaitFunction, env: Any) -> None:
        until = clock.now() + timedelta(seconds=self._get_wait_seconds(env=env))
        # The end of any other state wakes this one too.
        while env.is_running() and (remaining := (until - clock.now()).total_seconds()) > 0:
            env.program_state_event.wait(remaining)

    def now() -> datetime:
        """The current time for a Wait until a timestamp: UTC and naive, like moto's."""
        return clock.now().replace(tzinfo=None)

    wait_for_token = callback.CallbackEndpoint.wait

    def wait_longer(self: Any, timeout: float | None = None) -> Any:
        return wait_for_token(self, None if timeout is None else timeout + _OUTLASTING)

    # In these modules only the timeouts of tasks and heartbeats wait for an event with a timeout.
    names = {**vars(threading), "Event": Event, "Thread": Thread}
    yield execute_state, "threading", SimpleNamespace(**names)
    yield execute_state, "Thread", Thread
    yield environment, "threading", SimpleNamespace(**names)
    yield callback, "Event", Event
    yield callback.CallbackEndpoint, "wait", wait_longer
    yield WaitFunction, "_eval_body", wait
    yield retrier_decl, "time", SimpleNamespace(sleep=clock.pause)
    moments = SimpleNamespace(now=now, strptime=datetime.strptime)
    yield timestamp, "datetime", SimpleNamespace(datetime=moments)
    yield EventManager, "_get_current_timestamp", staticmethod(clock.now)


def _tokens() -> Iterator[_Replacement]:
    settling = threading.Lock()
    evaluate_once = _CallbackService._evaluate_with_timeout

    def evaluate(self: Any, env: Any) -> None:
        context = env.states.context_object
        is_retry = context.context_object_data["State"].get("RetryCount", 0) > 0
        if is_retry and "Task" in context.context_object_data:
            env.callback_pool_manager.add(context.update_task_token())
        evaluate_once(self, env)

    def settle(backend: StepFunctionsParserBackend, outcome: CallbackOutcome) -> None:
        token = outcome.callback_id
        for execution in backend._get_executions():
            env = execution.exec_worker.env
            endpoint = env.callback_pool_manager.get(token)
            if endpoint is None:
                continue
            with settling:
                is_over = (
                    execution.exec_status != ExecutionStatus.RUNNING
                    or endpoint.get_outcome() is not None
                    or token not in _open_tokens(env)
                )
                if is_over:
                    raise TaskTimedOut("Task Timed Out: 'Provided task does not exist anymore'")
                endpoint.notify(outcome)
            return
        raise InvalidToken

    def succeed(self: StepFunctionsParserBackend, task_token: str, outcome: str) -> None:
        settle(self, CallbackOutcomeSuccess(callback_id=task_token, output=outcome))

    def fail(
        self: StepFunctionsParserBackend,
        task_token: str,
        error: str | None = None,
        cause: str | None = None,
    ) -> None:
        settle(self, CallbackOutcomeFailure(callback_id=task_token, error=error, cause=cause))

    def answer_failure(self: StepFunctionResponse) -> EmptyResult:
        backend = self.stepfunction_backend
        assert isinstance(backend, StepFunctionsParserBackend)
        fail(
            backend,
            self._get_param("taskToken"),
            self._get_param("error"),
            self._get_param("cause"),
        )
        return EmptyResult()

    yield _CallbackService, "_evaluate_with_timeout", evaluate
    yield StepFunctionsParserBackend, "send_task_success", succeed
    yield StepFunctionsParserBackend, "send_task_failure", fail
    yield StepFunctionResponse, "send_task_failure", answer_failure


def _open_tokens(env: Any) -> set[str]:
    """The tokens of the tasks that run now, including those in branches."""
    tokens = set()
    for frame in list(env._frames):
        task = frame.states.context_object.context_object_data.get("Task")
        if task is not None:
            tokens.add(task["Token"])
        tokens |= _open_tokens(frame)
    return tokens


def _endings(clock: Clock, watch: Callable[[Execution], None]) -> Iterator[_Replacement]:
    reflect = BaseExecutionWorkerCommunication.terminated

    def evaluate(self: Program, env: _RunEnvironment) -> None:
        env.next_state_name = self.start_at.start_at_name
        env.over = Signal(clock)

        def run() -> None:
            try:
                EvalComponent.eval(self, env)
            finally:
                has_run.set()
                env.over.set()

        has_run = Signal(clock)
        clock.start_thread("an execution's states", run)
        limit = self.timeout_seconds
        if not env.over.wait(limit.timeout_seconds if limit else None):
            env.set_timed_out()
        if not has_run.is_set() and not env.is_running():
            _close_history(env)

    def stop(self: ExecutionWorker, stop_date: Any, error: str | None, cause: str | None) -> None:
        env = _environment_of(self)
        env.set_stop(stop_date=stop_date, cause=cause, error=error)
        env.over.set()

    def terminated(self: BaseExecutionWorkerCommunication) -> None:
        reflect(self)
        self.execution.stop_date = clock.now()
        watch(self.execution)

    yield Program, "eval", evaluate
    yield ExecutionWorker, "stop", stop
    yield BaseExecutionWorkerCommunication, "terminated", terminated


def _environment_of(worker: ExecutionWorker | None) -> _RunEnvironment:
    """The environment of an execution whose program is being evaluated."""
    assert worker is not None
    return cast(_RunEnvironment, worker.env)


def _close_history(env: Environment) -> None:
    """Write an execution's last event while a task of it still runs, and nothing after it."""
    state = env.program_state()
    # moto gives each event one of the details, although the type requires all of them.
    if isinstance(state, ProgramStopped):
        kind = HistoryEventType.ExecutionAborted
        details = EventDetails(  # type: ignore[typeddict-item]
            executionAbortedEventDetails=ExecutionAbortedEventDetails(
                error=state.error, cause=state.cause
            )
        )
    else:
        kind = HistoryEventType.ExecutionTimedOut
        details = EventDetails(  # type: ignore[typeddict-item]
            executionTimedOutEventDetails=ExecutionTimedOutEventDetails()
        )
    env.event_manager.add_event(
        context=env.event_history_context, event_type=kind, event_details=details
    )
    _record_nothing(env.event_manager)


def _record_nothing(manager: EventManager) -> None:
    """Record no more events in any frame of the execution: all frames share its manager."""
    vars(manager)["add_event"] = lambda *_, **__: 0


def _starts(clock: Clock, watch: Callable[[Execution], None]) -> Iterator[_Replacement]:
    set_up = ExecutionWorker._get_evaluation_environment

    def ensure_environment(self: ExecutionWorker) -> Environment:
        if self.env is None:
            self.env = set_up(self)
        return self.env

    def begin(self: ExecutionWorker) -> None:
        # The environment is made here and not by the new thread, so that every listed execution
        # has one.
        ensure_environment(self)
        communication = self._execution_communication
        assert isinstance(communication, BaseExecutionWorkerCommunication)
        execution = communication.execution
        execution.start_date = clock.now()
        watch(execution)
        clock.start_thread("an execution", self._execution_logic)

    def started(
        self: StepFunctionsParserBackend, status: ExecutionStatus | None = None
    ) -> list[Execution]:
        return [
            execution
            for machine in self.state_machines
            for execution in executions_of(machine)
            if execution.exec_status is not None
            and execution.exec_worker is not None
            and execution.exec_worker.env is not None
            and status in (None, execution.exec_status)
        ]

    def status(self: Execution) -> str:
        return (self.exec_status or ExecutionStatus.RUNNING).value

    # moto checks the name first and adds the execution later.
    start = _one_at_a_time(StepFunctionsParserBackend.start_execution)
    yield StepFunctionsParserBackend, "start_execution", start
    yield StepFunctionsParserBackend, "_get_executions", started
    yield ExecutionWorker, "_get_evaluation_environment", ensure_environment
    yield ExecutionWorker, "start", begin
    yield Execution, "status", property(status)
    yield (
        AmazonStateLanguageParser,
        "parse",
        staticmethod(functools.lru_cache(AmazonStateLanguageParser.parse)),
    )
    yield json_path, "parse", functools.lru_cache(parse_path)


def _one_at_a_time(function: Callable[_P, _R]) -> Callable[_P, _R]:
    lock = threading.Lock()

    @functools.wraps(function)
    def call(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        with lock:
            return function(*args, **kwargs)

    return call


def executions_of(machine: StateMachine) -> list[Execution]:
    """A state machine's executions so far. moto's interpreter has its own class for them."""
    return list(cast(list[Execution], machine.executions))


def _abandon(execution: Execution, now: datetime) -> None:
    """End the threads of a running execution, and ignore their results."""
    env = _environment_of(execution.exec_worker)
    if env.is_running():
        _record_nothing(env.event_manager)
        env.set_stop(stop_date=now, cause=None, error=None)
        env.over.set()
        for endpoint in list(env.callback_pool_manager._pool.values()):
            endpoint.interrupt_all()
