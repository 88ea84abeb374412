"""Step Functions, one step at a time: interprets the real state machine in virtual time.

moto's engine runs each execution on its own thread. A history must be repeatable, and shrinkable
when it fails, which threads prevent. So this module interprets the definition itself: Task (with
and without a token), TimeoutSecondsPath, Retry, Catch, Next, End. Any other field is an error, so a
change of the definition cannot go unnoticed.
"""

import itertools
import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from botocore.exceptions import ClientError

from tests.local import output_tap

Invoke = Callable[[str, dict[str, Any]], tuple[Any, str | None]]
_KNOWN = {
    "Comment", "Type", "Resource", "Parameters", "TimeoutSecondsPath", "TimeoutSeconds",
    "ResultPath", "Retry", "Catch", "Next", "End",
}  # fmt: skip
_KNOWN_OF_RETRY = {
    "ErrorEquals", "IntervalSeconds", "BackoffRate", "MaxAttempts", "MaxDelaySeconds",
}  # fmt: skip


@dataclass
class Execution:
    name: str
    state: str
    data: dict[str, Any]
    status: str = "RUNNING"
    token: str | None = None
    deadline: datetime | None = None
    due: datetime | None = None  # when the task is to be (re)run; None: it waits for its token
    retries: dict[int, int] = field(default_factory=dict)
    entered_at: str = ""
    retry: int = 0


class _AlreadyExists(Exception):
    pass


class Sequencer:
    """Stands in for `boto3.client("stepfunctions")`, with `run` and `stop` added."""

    class exceptions:  # noqa: N801  (as boto3 spells it)
        ExecutionAlreadyExists = _AlreadyExists

    def __init__(
        self, definition: dict[str, Any], invoke: Invoke, now: Callable[[], datetime]
    ) -> None:
        self._states = definition["States"]
        self._start_at = definition["StartAt"]
        for state in self._states.values():
            assert state["Type"] == "Task", state
            assert set(state) <= _KNOWN, set(state) - _KNOWN
            for rule in state.get("Retry", []):
                assert set(rule) <= _KNOWN_OF_RETRY, set(rule) - _KNOWN_OF_RETRY
        self._invoke = invoke
        self._now = now
        self._numbers = itertools.count(1)
        self.executions: dict[str, Execution] = {}
        self.died: list[Execution] = []
        self.throttled = 0  # the number of coming SendTask calls to throttle
        self._lock = threading.RLock()  # webhooks settle on threads of their own

    # -- what our code calls ---------------------------------------------------------------------

    def start_execution(self, *, stateMachineArn: str, name: str, input: str) -> None:  # noqa: A002, ARG002, N803
        output_tap.report_text("the input of an execution", input)
        with self._lock:
            if name in self.executions:
                raise _AlreadyExists(name)
            self.executions[name] = Execution(name, self._start_at, json.loads(input))
            self._enter(self.executions[name], self._start_at)

    def send_task_success(self, *, taskToken: str, output: str) -> None:  # noqa: N803
        json.loads(output)
        with self._lock:
            self._next(self._holder(taskToken))

    def send_task_failure(self, *, taskToken: str, error: str) -> None:  # noqa: N803
        with self._lock:
            self._failed(self._holder(taskToken), error)

    def _holder(self, token: str) -> Execution:
        if self.throttled:
            self.throttled -= 1
            raise ClientError({"Error": {"Code": "ThrottlingException", "Message": ""}}, "SendTask")
        for execution in self.executions.values():
            if execution.token == token and execution.status == "RUNNING":
                return execution
        raise ClientError({"Error": {"Code": "TaskTimedOut", "Message": ""}}, "SendTask")

    # -- what a test calls -----------------------------------------------------------------------

    def run(self) -> None:
        """Run every task that is due and time out every task past its deadline."""
        for execution in list(self.executions.values()):
            while self._is_due(execution):
                self._task(execution)
            with self._lock:
                if (
                    execution.status == "RUNNING"
                    and execution.deadline
                    and execution.deadline <= self._now()
                ):
                    self._failed(execution, "States.Timeout")

    def _is_due(self, execution: Execution) -> bool:
        with self._lock:
            due = execution.due
            return execution.status == "RUNNING" and due is not None and due <= self._now()

    def next_due(self) -> datetime:
        """The next moment at which `run` has work, as far as is known now."""
        with self._lock:
            moments = [
                moment
                for execution in self.executions.values()
                if execution.status == "RUNNING"
                for moment in (execution.due, execution.deadline)
                if moment
            ]
        return min(moments, default=datetime.max.replace(tzinfo=UTC))

    def try_again(self) -> None:
        """Fail every task that runs or waits, and retry it at once."""
        with self._lock:
            for execution in self.executions.values():
                if execution.status == "RUNNING" and execution.token:
                    self._failed(execution, "Lambda.SdkClientException")
                    execution.due = self._now()
        self.run()

    def stop(self, name: str) -> None:
        """StopExecution, as an operator may call it."""
        execution = self.executions.get(name)
        if execution and execution.status == "RUNNING":
            self._died(execution, "ABORTED")

    # -- the states ------------------------------------------------------------------------------

    def _enter(self, execution: Execution, name: str) -> None:
        state = self._states[name]
        execution.state, execution.retries, execution.token = name, {}, None
        execution.entered_at, execution.retry = self._now().isoformat(), 0
        execution.due = self._now()
        path = state.get("TimeoutSecondsPath")
        seconds = execution.data[path[2:]] if path else state["TimeoutSeconds"]
        execution.deadline = self._now() + timedelta(seconds=seconds)

    def _task(self, execution: Execution) -> None:
        with self._lock:
            state = self._states[execution.state]
            execution.due = None
            waits = state["Resource"].endswith(".waitForTaskToken")
            execution.token = f"token-{next(self._numbers)}" if waits else None
            token, payload = execution.token, self._payload(execution)
        _, error = self._invoke(state["Parameters"]["FunctionName"], payload)
        with self._lock:
            if waits and execution.token != token:
                return  # settled while the function was still running
            if error:
                self._failed(execution, error)
            elif not waits:
                self._next(execution)

    def _payload(self, execution: Execution) -> dict[str, Any]:
        parameters = self._states[execution.state]["Parameters"]
        if parameters.get("Payload.$") == "$":
            return dict(execution.data)
        payload = {}
        for key, value in parameters["Payload"].items():
            context = {
                "$$.Task.Token": execution.token,
                "$$.State.EnteredTime": execution.entered_at,
                "$$.State.RetryCount": execution.retry,
            }
            if value in context:
                payload[key.removesuffix(".$")] = context[value]
            elif key.endswith(".$"):
                payload[key.removesuffix(".$")] = execution.data[value[2:]]
            else:
                payload[key] = value
        return payload

    def _failed(self, execution: Execution, error: str) -> None:
        state = self._states[execution.state]
        execution.token = None
        for number, rule in enumerate(state.get("Retry", [])):
            if not _matches(rule, error):
                continue
            tried = execution.retries.get(number, 0)
            if tried < rule.get("MaxAttempts", 3):
                execution.retries[number] = tried + 1
                execution.retry += 1
                delay = rule["IntervalSeconds"] * rule["BackoffRate"] ** tried
                delay = min(delay, rule.get("MaxDelaySeconds", delay))
                execution.due = self._now() + timedelta(seconds=delay)
                return
            break
        for rule in state.get("Catch", []):
            if _matches(rule, error):
                execution.data[rule["ResultPath"][2:]] = {"Error": error, "Cause": ""}
                self._enter(execution, rule["Next"])
                return
        self._died(execution, "FAILED")

    def _next(self, execution: Execution) -> None:
        state = self._states[execution.state]
        if state.get("End"):
            execution.status, execution.token, execution.due = "SUCCEEDED", None, None
        else:
            self._enter(execution, state["Next"])

    def _died(self, execution: Execution, status: str) -> None:
        execution.status, execution.token, execution.due = status, None, None
        self.died.append(execution)


def _matches(rule: dict[str, Any], error: str) -> bool:
    return error in rule["ErrorEquals"] or "States.ALL" in rule["ErrorEquals"]
