"""Responses of Step Functions and SQS that only AWS gives, and how `workflow` handles them."""

import json

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, ConnectTimeoutError
from botocore.stub import Stubber

from callback.call_control.workflow import (
    CALLBACK_OVER,
    SettleQueue,
    Workflow,
    close_reason,
    parse_closing,
)
from callback.lifecycle import timing, transitions
from callback.lifecycle.models import CloseReason, LegName, LegOutcome, Order, Step
from tests.support import build

MACHINE = "arn:aws:states:us-east-1:000000000000:stateMachine:local-callback"
QUEUE = "https://sqs.us-east-1.amazonaws.com/000000000000/settle"
TOKEN = "the-token-of-the-task"


def client_of(service):
    return boto3.client(
        service,
        region_name="us-east-1",
        aws_access_key_id="local",
        aws_secret_access_key="local",
        config=Config(retries={"total_max_attempts": 1}),
    )


@pytest.fixture
def states():
    with Stubber(client_of("stepfunctions")) as stubber:
        yield stubber
        stubber.assert_no_pending_responses()


@pytest.fixture
def sqs():
    with Stubber(client_of("sqs")) as stubber:
        yield stubber
        stubber.assert_no_pending_responses()


def workflow_of(states, sqs=None):
    queue = SettleQueue(lambda: sqs.client, QUEUE) if sqs else None
    return Workflow(lambda: states.client, state_machine_arn=MACHINE, queue=queue)


def waiting_in(step, callback):
    return build.allowed(transitions.wait(callback, build.task(step, TOKEN)))


def first_step_done():
    return waiting_in(Step.FIRST, build.joined(build.callback(), LegName.A))


def first_step_over():
    return waiting_in(Step.FIRST, build.allowed(transitions.cancel(build.callback(), build.at(1))))


def canceled_while_they_talk():
    return waiting_in(
        Step.SECOND, build.allowed(transitions.cancel(build.connected(), build.at(1)))
    )


def hung_up_while_b_rings():
    rings = build.dialed(build.joined(build.callback(), LegName.A), LegName.B, 8)
    return waiting_in(Step.SECOND, hung_up(rings, LegName.A))


def both_hung_up():
    return hung_up(one_hung_up(), LegName.B)


def one_hung_up():
    """The carrier ends the other call with the room."""
    return waiting_in(Step.SECOND, hung_up(build.connected(), LegName.A))


def hung_up(callback, name):
    return build.recorded(callback, name, build.ended(LegOutcome.COMPLETED, 30, name))


SUCCESS = ("send_task_success", {"taskToken": TOKEN, "output": "{}"})
FAILURE = ("send_task_failure", {"taskToken": TOKEN, "error": CALLBACK_OVER})
DECIDED = {
    "the first party joined": (first_step_done, SUCCESS),
    "over before the first party joined": (first_step_over, FAILURE),
    "canceled while they talk": (canceled_while_they_talk, FAILURE),
    "the first party left while the second rang": (hung_up_while_b_rings, FAILURE),
    "both calls ended": (both_hung_up, SUCCESS),
}
decided = pytest.mark.parametrize(
    ("made", "request_sent"), DECIDED.values(), ids=[name.replace(" ", "_") for name in DECIDED]
)


# -- settling ------------------------------------------------------------------------------------


@decided
def test_a_decided_step_is_settled(states, made, request_sent):
    operation, parameters = request_sent
    states.add_response(operation, {}, parameters)
    workflow_of(states).settle(made())


@pytest.mark.parametrize(
    "callback",
    [
        build.callback(),
        build.joined(build.callback(), LegName.A),
        waiting_in(Step.FIRST, build.dialed(build.callback(), LegName.A)),
        waiting_in(Step.SECOND, build.joined(build.callback(), LegName.A)),
        waiting_in(Step.SECOND, build.connected()),
        one_hung_up(),
    ],
    ids=["nobody waits", "no token yet", "A rings", "B is to ring", "they talk", "one hung up"],
)
def test_an_undecided_step_is_not_settled(states, callback):
    workflow_of(states).settle(callback)


@decided
@pytest.mark.parametrize("code", ["InvalidToken", "TaskTimedOut", "TaskDoesNotExist"])
def test_a_token_that_is_settled_or_whose_task_is_gone_is_no_error(
    states, sqs, made, request_sent, code
):
    operation, parameters = request_sent
    states.add_client_error(operation, code, expected_params=parameters)
    workflow_of(states, sqs).settle(made())


THROTTLED = ["ThrottlingException", "ServiceUnavailable", "InternalFailure", "RequestLimitExceeded"]


@decided
@pytest.mark.parametrize("code", THROTTLED)
def test_a_throttled_settlement_is_queued_by_the_callbacks_id(
    states, sqs, made, request_sent, code
):
    states.add_client_error(request_sent[0], code)
    sqs.add_response(
        "send_message",
        {"MessageId": "1"},
        {"QueueUrl": QUEUE, "MessageBody": "cb-1", "DelaySeconds": 1},
    )
    workflow_of(states, sqs).settle(made())


@decided
def test_a_settlement_that_cannot_connect_is_queued(states, sqs, made, request_sent, monkeypatch):
    def unreachable(**_):
        raise ConnectTimeoutError(endpoint_url="https://states.us-east-1.amazonaws.com")

    monkeypatch.setattr(states.client, request_sent[0], unreachable)
    sqs.add_response("send_message", {"MessageId": "1"})
    workflow_of(states, sqs).settle(made())


@decided
@pytest.mark.parametrize("code", THROTTLED)
def test_a_throttled_settlement_is_an_error_without_a_queue(states, made, request_sent, code):
    """The whole caller is retried: the workflow, the consumer of the queue, or the next run."""
    states.add_client_error(request_sent[0], code)
    with pytest.raises(ClientError, match=code):
        workflow_of(states).settle(made())


def test_a_settlement_that_cannot_be_queued_is_an_error(states, sqs):
    """The webhook then gets a 5xx response, and the carrier sends it again."""
    states.add_client_error("send_task_success", "ThrottlingException")
    sqs.add_client_error("send_message", "ServiceUnavailable")
    with pytest.raises(ClientError, match="ServiceUnavailable"):
        workflow_of(states, sqs).settle(first_step_done())


def test_the_queues_client_is_not_created_before_it_is_needed(states):
    def never():
        raise AssertionError("created")

    states.add_response("send_task_success", {})
    queue = SettleQueue(never, QUEUE)
    Workflow(lambda: states.client, queue=queue).settle(first_step_done())


# -- starting ------------------------------------------------------------------------------------


def started_with(states, callback):
    """Start the callback's execution. Returns the input that was sent to AWS."""
    sent = {}
    states.client.meta.events.register(
        "provide-client-params.sfn.StartExecution", lambda params, **_: sent.update(params)
    )
    states.add_response(
        "start_execution", {"executionArn": f"{MACHINE}:cb-1", "startDate": build.NOON}
    )
    workflow_of(states).start(callback)
    assert (sent["stateMachineArn"], sent["name"]) == (MACHINE, callback.callback_id)
    return sent["input"]


@pytest.mark.parametrize("order", Order)
def test_an_executions_input_is_the_id_and_the_bounds_and_nothing_else(states, order):
    callback = build.callback(order)
    bounds = json.loads(started_with(states, callback))
    assert bounds == {
        "callback_id": "cb-1",
        "first_step_seconds": timing.step_bound(callback, Step.FIRST).total_seconds(),
        "second_step_seconds": timing.step_bound(callback, Step.SECOND).total_seconds(),
    }
    assert bounds["first_step_seconds"] < callback.max_duration_seconds
    assert callback.max_duration_seconds < bounds["second_step_seconds"]
    assert all(type(bound) is int for name, bound in bounds.items() if name.endswith("_seconds"))


def test_no_number_room_or_token_is_in_an_executions_input(states):
    callback = first_step_done()
    text = started_with(states, callback)
    for secret in (callback.leg_a.to, callback.leg_b.to, callback.room, TOKEN):
        assert secret not in text


def test_an_execution_that_exists_already_is_no_error(states):
    states.add_client_error("start_execution", "ExecutionAlreadyExists")
    workflow_of(states).start(build.callback())


@pytest.mark.parametrize(
    "code", ["ThrottlingException", "ExecutionLimitExceeded", "StateMachineDoesNotExist"]
)
def test_an_execution_that_cannot_be_started_is_an_error(states, code):
    states.add_client_error("start_execution", code)
    with pytest.raises(ClientError, match=code):
        workflow_of(states).start(build.callback())


# -- closing -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (None, None),
        (CALLBACK_OVER, None),
        ("States.Timeout", CloseReason.TIMED_OUT),
        ("TIMED_OUT", CloseReason.TIMED_OUT),
        ("FAILED", CloseReason.FAILED),
        ("ABORTED", CloseReason.FAILED),
        ("CarrierUnavailable", CloseReason.FAILED),
    ],
)
def test_the_close_reason_follows_from_the_error_that_ended_the_step(error, reason):
    assert close_reason(error) is reason


def test_a_closing_is_parsed_from_the_executions_state():
    assert parse_closing({"callback_id": "cb-1"}) == ("cb-1", None)
    caught = {"callback_id": "cb-1", "error": {"Error": "States.Timeout", "Cause": ""}}
    assert parse_closing(caught) == ("cb-1", CloseReason.TIMED_OUT)


def test_a_closing_is_parsed_from_the_report_that_an_execution_was_aborted():
    died = {"detail": {"name": "cb-1", "status": "ABORTED"}}
    assert parse_closing(died) == ("cb-1", CloseReason.FAILED)
