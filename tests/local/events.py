"""EventBridge: the end of an execution reaches the functions of the rules that ask for it."""

import json
import sys
import threading
import uuid
from datetime import datetime
from typing import Any

from moto.events.models import EventPattern
from moto.stepfunctions.parser.api import ExecutionStatus
from moto.stepfunctions.parser.backend.execution import Execution

from tests.local import output_tap
from tests.local.clock import Clock, Signal
from tests.local.functions import Functions
from tests.local.template import ACCOUNT, REGION, Rule

# Lambda's waits before it runs a failed asynchronous invocation again (AWS Lambda Developer Guide,
# "Asynchronous invocation"): a minute, then two.
_RETRY_SECONDS = (60, 120)


def execution_status_change(execution: Execution, now: datetime) -> dict[str, Any]:
    """The event "Step Functions Execution Status Change" (AWS Step Functions Developer Guide,
    "Automating Step Functions event delivery with EventBridge")."""
    succeeded = execution.exec_status == ExecutionStatus.SUCCEEDED
    return {
        "version": "0",
        "id": str(uuid.uuid4()),
        "detail-type": "Step Functions Execution Status Change",
        "source": "aws.states",
        "account": ACCOUNT,
        "time": now.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "region": REGION,
        "resources": [execution.execution_arn],
        "detail": {
            "executionArn": execution.execution_arn,
            "stateMachineArn": execution.state_machine_arn,
            "name": execution.name,
            "status": execution.status,
            "startDate": _milliseconds(execution.start_date),
            "stopDate": _milliseconds(execution.stop_date) if execution.stop_date else None,
            "input": execution.execution_input,
            "output": json.dumps(execution.output) if succeeded else None,
            "inputDetails": {"included": True},
            "outputDetails": {"included": True} if succeeded else None,
            "error": execution.error,
            "cause": execution.cause,
            "stateMachineVersionArn": None,
            "stateMachineAliasArn": None,
            "redriveCount": 0,
            "redriveDate": None,
            "redriveStatus": (
                "REDRIVABLE"
                if execution.status in ("FAILED", "TIMED_OUT", "ABORTED")
                else "NOT_REDRIVABLE"
            ),
            "redriveStatusReason": None,
        },
    }


class Bus:
    """The default event bus: matches events against rules and invokes their functions."""

    def __init__(self, rules: tuple[Rule, ...], functions: Functions, clock: Clock) -> None:
        self._rules = [(EventPattern(None, rule.pattern), rule) for rule in rules]
        self._functions = functions
        self._clock = clock
        self._threads: list[threading.Thread] = []
        self._is_closed = Signal(clock)
        # Events whose function failed at every attempt; in AWS they go to its dead-letter queue.
        self.dead_letters: list[dict[str, Any]] = []

    def execution_changed(self, execution: Execution) -> None:
        self.publish(execution_status_change(execution, self._clock.now()))

    def publish(self, event: dict[str, Any]) -> None:
        """Deliver `event` to the functions of matching rules, each on its own thread."""
        for pattern, rule in self._rules:
            if matches(pattern, event):
                for target in rule.targets:
                    payload = target.input or json.dumps(event)
                    self._threads = [thread for thread in self._threads if thread.is_alive()]
                    what = f"an event for {target.function}"
                    self._threads.append(
                        self._clock.start_thread(
                            what, self._deliver, target.function, payload, event
                        )
                    )

    def _deliver(self, name: str, payload: str, event: dict[str, Any]) -> None:
        retries = self._functions.find(name).definition.retries
        for attempt in range(retries + 1):
            if attempt > 0:
                self._is_closed.wait(_RETRY_SECONDS[attempt - 1])
            if self._is_closed.is_set():
                return
            invocation = self._functions.invoke(name, payload.encode())
            if invocation.error is None:
                return
        self.dead_letters.append(event)
        output_tap.report_text(f"the dead letters of {name}", json.dumps(event))
        print(f"{name} failed on an event to the last:\n{invocation.trace}", file=sys.stderr)

    def close(self) -> None:
        """Start no more deliveries, and wait for those in progress."""
        self._is_closed.set()
        for thread in self._threads:
            thread.join()


def matches(pattern: EventPattern, document: dict[str, Any]) -> bool:
    """Whether an event, or a record of a stream, has what `pattern` asks for."""
    # moto matches any JSON object, though its type is an event's.
    return pattern.matches_event(document)  # type: ignore[arg-type]


def _milliseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)
