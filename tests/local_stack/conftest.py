"""An embedded AWS with a few functions and one state machine, all given by the test."""

import contextlib
import itertools
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pytest

from tests.local import aws, engine, events
from tests.local.clock import Clock, run_loop
from tests.local.functions import Function, Functions
from tests.local.template import FunctionDefinition, Rule, RuleTarget, Template, Workflow

Result = TypeVar("Result")

TABLE = {
    "TableName": "things",
    "BillingMode": "PAY_PER_REQUEST",
    "KeySchema": [{"AttributeName": "pk", "KeyType": "HASH"}],
    "AttributeDefinitions": [{"AttributeName": "pk", "AttributeType": "S"}],
}


def definition_of(name: str, **changes: Any) -> FunctionDefinition:
    values: dict[str, Any] = {
        "logical_id": name.title(),
        "name": name,
        "folder": Path(),
        "handler": "handler.handler",
        "environment": {},
        "timeout": 3,
        "memory": 128,
        "retries": 2,
        "log_level": None,
        "system_log_level": "WARN",
        "is_traced": False,
        "layers": (),
    }
    return FunctionDefinition(**{**values, **changes})


@dataclass
class Machine:
    """The embedded AWS with one state machine in it."""

    aws: aws.EmbeddedAws
    clock: Clock
    functions: Functions
    bus: events.Bus
    arn: str
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    def start(self, data: dict[str, Any] | None = None, name: str | None = None) -> str:
        answer = self.aws.stepfunctions.start_execution(
            stateMachineArn=self.arn,
            name=name or f"run-{next(self._numbers)}",
            input=json.dumps(data or {}),
        )
        return answer["executionArn"]

    def describe(self, execution: str) -> dict[str, Any]:
        return self.aws.stepfunctions.describe_execution(executionArn=execution)  # type: ignore[return-value]

    def until(self, condition: Callable[[], Result], within: float = 900.0) -> Result:
        """The first true value of `condition`; fails after so many virtual seconds without one."""
        return self.clock.until(condition, within)

    def end(self, execution: str, within: float = 900.0) -> dict[str, Any]:
        def ended() -> dict[str, Any] | None:
            description = self.describe(execution)
            return None if description["status"] == "RUNNING" else description

        description = self.until(ended, within)
        assert description is not None
        return description

    def kinds(self, execution: str) -> list[str]:
        return [event["type"] for event in self.aws.history(execution)]


MachineMaker = Callable[..., Machine]


@pytest.fixture
def machine() -> Iterator[MachineMaker]:
    """machine(definition, handlers, rule_target=None): handlers are functions of an event."""
    with contextlib.ExitStack() as stack:

        def make(
            definition: dict[str, Any],
            handlers: dict[str, Callable[..., Any]],
            rule_target: str | None = None,
        ) -> Machine:
            clock = Clock(stepped=True)
            stack.callback(clock.shut)
            stack.enter_context(run_loop(clock))
            functions = Functions(
                Function(definition_of(name), lambda event, _, handler=handler: handler(event))
                for name, handler in handlers.items()
            )
            workflow = Workflow("Machine", "machine", json.dumps(definition), "STANDARD")
            rules: tuple[Rule, ...] = ()
            if rule_target is not None:
                pattern = {
                    "source": ["aws.states"],
                    "detail-type": ["Step Functions Execution Status Change"],
                    "detail": {
                        "status": ["FAILED", "TIMED_OUT", "ABORTED"],
                        "stateMachineArn": [workflow.arn],
                    },
                }
                rules = (Rule("Ended", pattern, (RuleTarget(rule_target),)),)
            embedded = stack.enter_context(aws.run_aws())
            bus = events.Bus(rules, functions, clock)
            stack.callback(bus.close)
            stack.enter_context(engine.correct_moto(functions, clock, bus.execution_changed))
            embedded.create(
                Template((), (), (TABLE,), {}, (workflow,), rules),
                {"/secret": {"account_sid": "AC1", "auth_token": "t"}},
            )
            return Machine(embedded, clock, functions, bus, workflow.arn)

        yield make
