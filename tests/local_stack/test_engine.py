"""What the local stack promises about Step Functions beyond what moto does."""

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from moto.stepfunctions.models import StateMachine

from tests.local.aws import billed_transitions
from tests.local_stack.conftest import MachineMaker


def waiting(**more: Any) -> dict[str, Any]:
    """A machine of one task that hands its token to the function `hold`."""
    return {"StartAt": "Hold", "States": {"Hold": {**_holding(), "End": True, **more}}}


def _holding() -> dict[str, Any]:
    return {
        "Type": "Task",
        "Resource": "arn:aws:states:::lambda:invoke.waitForTaskToken",
        "Parameters": {
            "FunctionName": "hold",
            "Payload": {"token.$": "$$.Task.Token", "input.$": "$"},
        },
        "TimeoutSeconds": 900,
    }


def calling(function: str = "act", **more: Any) -> dict[str, Any]:
    task = {
        "Type": "Task",
        "Resource": "arn:aws:states:::lambda:invoke",
        "Parameters": {"FunctionName": function, "Payload.$": "$"},
        "OutputPath": "$.Payload",
        "TimeoutSeconds": 900,
        "End": True,
    }
    return {"StartAt": "Act", "States": {"Act": {**task, **more}}}


class Hold:
    """Keeps the tokens it is given."""

    def __init__(self) -> None:
        self.tokens: list[str] = []

    def __call__(self, event: dict[str, Any]) -> None:
        self.tokens.append(event["token"])


class CarrierUnavailable(Exception):
    pass


def test_a_lambda_task_gives_its_input_and_takes_the_answer(machine: MachineMaker) -> None:
    m = machine(calling(), {"act": lambda event: {"doubled": event["n"] * 2}})
    end = m.end(m.start({"n": 21}))
    assert (end["status"], json.loads(end["output"])) == ("SUCCEEDED", {"doubled": 42})


def test_a_token_settled_from_another_thread_ends_the_task(machine: MachineMaker) -> None:
    hold = Hold()
    m = machine(waiting(), {"hold": hold})
    execution = m.start()
    m.until(lambda: hold.tokens)
    m.aws.stepfunctions.send_task_success(taskToken=hold.tokens[0], output='{"joined": true}')
    end = m.end(execution)
    assert (end["status"], json.loads(end["output"])) == ("SUCCEEDED", {"joined": True})


def test_a_token_settled_before_its_function_returns_ends_the_task(machine: MachineMaker) -> None:
    def hold(event: dict[str, Any]) -> None:
        m.aws.stepfunctions.send_task_success(taskToken=event["token"], output='{"early": true}')

    m = machine(waiting(), {"hold": hold})
    assert m.end(m.start())["output"] == '{"early": true}'


def test_a_failed_token_carries_its_error_and_cause(machine: MachineMaker) -> None:
    hold = Hold()
    m = machine(waiting(), {"hold": hold})
    execution = m.start()
    m.until(lambda: hold.tokens)
    m.aws.stepfunctions.send_task_failure(taskToken=hold.tokens[0], error="busy", cause="486")
    end = m.end(execution)
    assert (end["status"], end["error"], end["cause"]) == ("FAILED", "busy", "486")


def test_a_token_is_settled_only_once(machine: MachineMaker) -> None:
    hold = Hold()
    then = {"Hold": {**_holding(), "Next": "Again"}, "Again": {**_holding(), "End": True}}
    m = machine({"StartAt": "Hold", "States": then}, {"hold": hold})
    client = m.aws.stepfunctions
    m.start()
    m.until(lambda: hold.tokens)
    client.send_task_success(taskToken=hold.tokens[0], output="1")
    with pytest.raises(client.exceptions.TaskTimedOut):
        client.send_task_success(taskToken=hold.tokens[0], output="2")
    with pytest.raises(client.exceptions.TaskTimedOut):
        client.send_task_failure(taskToken=hold.tokens[0], error="late")


def test_a_token_of_an_ended_execution_is_timed_out(machine: MachineMaker) -> None:
    hold = Hold()
    m = machine(waiting(), {"hold": hold})
    execution = m.start()
    m.until(lambda: hold.tokens)
    m.aws.stepfunctions.send_task_success(taskToken=hold.tokens[0], output="1")
    m.end(execution)
    with pytest.raises(m.aws.stepfunctions.exceptions.TaskTimedOut):
        m.aws.stepfunctions.send_task_success(taskToken=hold.tokens[0], output="2")


def test_an_invented_token_is_invalid(machine: MachineMaker) -> None:
    m = machine(waiting(), {"hold": Hold()})
    m.start()
    with pytest.raises(m.aws.stepfunctions.exceptions.InvalidToken):
        m.aws.stepfunctions.send_task_success(taskToken="no-such-token", output="1")


def test_a_task_times_out_in_virtual_time(machine: MachineMaker) -> None:
    """65 virtual seconds, given by the execution's own data."""
    hold = Hold()
    definition = waiting(TimeoutSecondsPath="$.seconds")
    del definition["States"]["Hold"]["TimeoutSeconds"]
    m = machine(definition, {"hold": hold})
    before = m.clock.now()
    end = m.end(m.start({"seconds": 65}))
    assert (end["status"], end["error"]) == ("FAILED", "States.Timeout")
    assert (m.clock.now() - before).total_seconds() == pytest.approx(65)
    with pytest.raises(m.aws.stepfunctions.exceptions.TaskTimedOut):
        m.aws.stepfunctions.send_task_success(taskToken=hold.tokens[0], output="1")


def test_a_task_does_not_time_out_before_its_time(machine: MachineMaker) -> None:
    hold = Hold()
    m = machine(waiting(TimeoutSeconds=10), {"hold": hold})
    execution = m.start()
    m.until(lambda: hold.tokens)
    m.clock.pause(9.9)
    m.aws.stepfunctions.send_task_success(taskToken=hold.tokens[0], output="1")
    assert m.end(execution)["status"] == "SUCCEEDED"


def test_a_slow_handler_takes_no_time_of_its_tasks_timeout(machine: MachineMaker) -> None:
    def act(_: Any) -> str:
        time.sleep(1.5)
        return "done"

    m = machine(calling(TimeoutSeconds=1), {"act": act})
    before = m.clock.now()
    assert m.end(m.start())["status"] == "SUCCEEDED"
    assert m.clock.now() == before


def test_a_retry_after_a_timeout_waits_anew_with_a_token_of_its_own(machine: MachineMaker) -> None:
    hold = Hold()
    retry = {
        "ErrorEquals": ["States.Timeout"],
        "IntervalSeconds": 1,
        "MaxAttempts": 1,
        "BackoffRate": 1,
    }
    m = machine(waiting(TimeoutSeconds=20, Retry=[retry]), {"hold": hold})
    execution = m.start()
    m.until(lambda: len(hold.tokens) == 2)
    assert hold.tokens[0] != hold.tokens[1]
    with pytest.raises(m.aws.stepfunctions.exceptions.TaskTimedOut):
        m.aws.stepfunctions.send_task_success(taskToken=hold.tokens[0], output="1")
    m.aws.stepfunctions.send_task_success(taskToken=hold.tokens[1], output="2")
    assert m.end(execution)["output"] == "2"


def test_a_handlers_exception_is_retried_and_caught_by_its_class_name(
    machine: MachineMaker,
) -> None:
    def act(_: Any) -> None:
        raise CarrierUnavailable("nobody there")

    retry = {
        "ErrorEquals": ["CarrierUnavailable"],
        "IntervalSeconds": 2,
        "MaxAttempts": 2,
        "BackoffRate": 2,
    }
    catch = {"ErrorEquals": ["CarrierUnavailable"], "ResultPath": "$.error", "Next": "Done"}
    definition = calling(Retry=[retry], Catch=[catch])
    definition["States"]["Done"] = {"Type": "Succeed"}
    m = machine(definition, {"act": act})
    execution = m.start({"callback_id": "c"})
    output = json.loads(m.end(execution)["output"])
    cause = json.loads(output["error"]["Cause"])
    assert output["callback_id"] == "c"
    assert output["error"]["Error"] == "CarrierUnavailable"
    assert (cause["errorType"], cause["errorMessage"]) == ("CarrierUnavailable", "nobody there")
    assert 'raise CarrierUnavailable("nobody there")' in cause["stackTrace"][-1]
    assert m.functions.invocations == {"Act": 3}
    # Act, its two retries, Done.
    assert billed_transitions(m.aws.history(execution)) == 4


def test_an_unknown_function_is_a_lambda_error(machine: MachineMaker) -> None:
    m = machine(calling("nobody"), {})
    end = m.end(m.start())
    assert (end["status"], end["error"]) == ("FAILED", "Lambda.ResourceNotFoundException")


def test_a_wait_passes_in_virtual_time(machine: MachineMaker) -> None:
    definition = {
        "StartAt": "Wait",
        "States": {"Wait": {"Type": "Wait", "Seconds": 60, "End": True}},
    }
    m = machine(definition, {})
    before = m.clock.now()
    m.end(m.start())
    assert (m.clock.now() - before).total_seconds() == pytest.approx(60)


def test_the_history_is_told_in_virtual_time(machine: MachineMaker) -> None:
    definition = {
        "StartAt": "Wait",
        "States": {"Wait": {"Type": "Wait", "Seconds": 60, "End": True}},
    }
    m = machine(definition, {})
    execution = m.start()
    m.end(execution)
    moments = [event["timestamp"] for event in m.aws.history(execution)]
    assert (moments[-1] - moments[0]).total_seconds() >= 60


def test_a_failed_execution_reaches_the_rules_function(machine: MachineMaker) -> None:
    heard: list[dict[str, Any]] = []
    definition = {
        "StartAt": "Fail",
        "States": {"Fail": {"Type": "Fail", "Error": "Broken", "Cause": "why"}},
    }
    m = machine(definition, {"close": heard.append}, "close")
    execution = m.start({"callback_id": "c1"}, name="c1")
    event = m.until(lambda: heard)[0]
    assert event["source"] == "aws.states"
    assert event["detail-type"] == "Step Functions Execution Status Change"
    assert event["resources"] == [execution]
    detail = event["detail"]
    assert (detail["name"], detail["status"], detail["error"]) == ("c1", "FAILED", "Broken")
    assert json.loads(detail["input"]) == {"callback_id": "c1"}
    assert detail["stopDate"] >= detail["startDate"] > 1_600_000_000_000


def test_a_succeeded_execution_does_not_reach_the_rules_function(machine: MachineMaker) -> None:
    heard: list[dict[str, Any]] = []
    definition = {
        "StartAt": "Choose",
        "States": {
            "Choose": {
                "Type": "Choice",
                "Choices": [{"Variable": "$.fail", "BooleanEquals": True, "Next": "Fail"}],
                "Default": "Done",
            },
            "Fail": {"Type": "Fail", "Error": "Broken"},
            "Done": {"Type": "Succeed"},
        },
    }
    m = machine(definition, {"close": heard.append}, "close")
    m.end(m.start({"fail": False}, name="good"))
    m.end(m.start({"fail": True}, name="bad"))
    m.until(lambda: heard)
    assert [event["detail"]["name"] for event in heard] == ["bad"]


def test_a_stopped_execution_ends_at_once_and_reaches_the_rules_function(
    machine: MachineMaker,
) -> None:
    hold = Hold()
    heard: list[dict[str, Any]] = []
    m = machine(waiting(), {"hold": hold, "close": heard.append}, "close")
    execution = m.start(name="stopped")
    m.until(lambda: hold.tokens)
    m.aws.stepfunctions.stop_execution(executionArn=execution, error="Operator", cause="tired")
    assert m.end(execution)["status"] == "ABORTED"
    assert m.until(lambda: heard)[0]["detail"]["status"] == "ABORTED"
    assert m.kinds(execution)[-1] == "ExecutionAborted"
    with pytest.raises(m.aws.stepfunctions.exceptions.TaskTimedOut):
        m.aws.stepfunctions.send_task_success(taskToken=hold.tokens[0], output="1")


def test_an_execution_over_its_limit_times_out_in_virtual_time(machine: MachineMaker) -> None:
    heard: list[dict[str, Any]] = []
    definition = {**waiting(), "TimeoutSeconds": 30}
    m = machine(definition, {"hold": Hold(), "close": heard.append}, "close")
    execution = m.start()
    assert m.end(execution)["status"] == "TIMED_OUT"
    assert m.until(lambda: heard)[0]["detail"]["status"] == "TIMED_OUT"
    assert m.kinds(execution)[-1] == "ExecutionTimedOut"


def test_a_failing_target_is_tried_three_times_and_then_given_up(
    machine: MachineMaker, capsys: pytest.CaptureFixture[str]
) -> None:
    def close(_: Any) -> None:
        raise RuntimeError("cannot close")

    definition = {"StartAt": "Fail", "States": {"Fail": {"Type": "Fail", "Error": "Broken"}}}
    m = machine(definition, {"close": close}, "close")
    m.start(name="lost")
    m.until(lambda: m.bus.dead_letters)
    assert m.functions.invocations == {"Close": 3}
    assert m.bus.dead_letters[0]["detail"]["name"] == "lost"
    assert "cannot close" in capsys.readouterr().err


def test_one_name_starts_one_execution_however_many_ask_at_once(
    machine: MachineMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    hold = Hold()
    m = machine(waiting(), {"hold": hold})
    look_up = StateMachine._handle_name_input_idempotency

    def look_up_slowly(self: StateMachine, name: str, data: str) -> Any:
        found = look_up(self, name, data)
        # Long enough for everybody to look before anybody has started.
        time.sleep(0.02)
        return found

    monkeypatch.setattr(StateMachine, "_handle_name_input_idempotency", look_up_slowly)
    with ThreadPoolExecutor(8) as pool:
        arns = set(pool.map(lambda _: m.start({"a": 1}, name="same"), range(8)))
    m.until(lambda: hold.tokens)
    assert (len(arns), len(hold.tokens)) == (1, 1)
    m.aws.stepfunctions.send_task_success(taskToken=hold.tokens[0], output="1")
    m.end(arns.pop())
    with pytest.raises(m.aws.stepfunctions.exceptions.ExecutionAlreadyExists):
        m.start({"a": 1}, name="same")


def test_two_hundred_executions_wait_and_are_settled_at_once(machine: MachineMaker) -> None:
    settled = threading.Semaphore(0)

    def hold(event: dict[str, Any]) -> None:
        def settle() -> None:
            m.aws.stepfunctions.send_task_success(taskToken=event["token"], output="1")
            settled.release()

        pool.submit(settle)

    m = machine(waiting(), {"hold": hold})
    with ThreadPoolExecutor(32) as pool:
        executions = list(pool.map(lambda n: m.start({"n": n}), range(200)))
        for _ in executions:
            assert settled.acquire()
    ends = {m.end(execution)["status"] for execution in executions}
    assert ends == {"SUCCEEDED"}
