"""Step Functions: start the execution of a callback, and settle the step it waits in."""

import json
from typing import TYPE_CHECKING, Any

from aws_lambda_powertools import Logger
from botocore.exceptions import ClientError

from callback import plan, transitions
from callback.models import Callback, CloseReason, Step

if TYPE_CHECKING:
    from mypy_boto3_stepfunctions import SFNClient

logger = Logger(child=True)

# The first step failed because the callback is over: closing it is all that is left to do.
CALLBACK_OVER = "CallbackOver"

# Why the callback is closed, by the error that ended a step or by the execution's own status.
_CLOSE_REASON = {
    None: None,
    CALLBACK_OVER: None,
    "States.Timeout": CloseReason.TIMED_OUT,
    "TIMED_OUT": CloseReason.TIMED_OUT,
}

# AWS says the last two of a token that was settled or whose task is gone; moto says the first.
_ALREADY_SETTLED = frozenset({"InvalidToken", "TaskTimedOut", "TaskDoesNotExist"})


def close_reason(error: str | None) -> CloseReason | None:
    """An error that nobody foresaw is a failure of ours."""
    return _CLOSE_REASON.get(error, CloseReason.FAILED)


def start(client: "SFNClient", state_machine_arn: str, callback: Callback) -> None:
    """Start the callback's execution, named by its id, so that it exists once at most.

    The input holds ids and bounds only: no number, no token.
    """
    bounds = {
        "callback_id": callback.callback_id,
        "first_step_seconds": int(plan.step_bound(callback, Step.FIRST).total_seconds()),
        "second_step_seconds": int(plan.step_bound(callback, Step.SECOND).total_seconds()),
    }
    try:
        client.start_execution(
            stateMachineArn=state_machine_arn,
            name=callback.callback_id,
            input=json.dumps(bounds),
        )
    except client.exceptions.ExecutionAlreadyExists:
        logger.info("execution exists already", callback_id=callback.callback_id)


def settle(client: "SFNClient", callback: Callback) -> None:
    """Wake the workflow if the step that it waits in is decided. Twice is fine."""
    waiting = callback.waiting
    if waiting is None:
        return
    try:
        if transitions.over(callback) and waiting.step is Step.FIRST:
            client.send_task_failure(taskToken=waiting.token, error=CALLBACK_OVER)
        elif transitions.over(callback) or transitions.step_done(callback, waiting.step):
            client.send_task_success(taskToken=waiting.token, output="{}")
    except ClientError as error:
        if error.response["Error"]["Code"] not in _ALREADY_SETTLED:
            raise


def closing_of(event: dict[str, Any]) -> tuple[str, CloseReason | None]:
    """(callback id, why it is closed) from the execution's state, in which a caught error lies
    under `error`, or from EventBridge's "Step Functions Execution Status Change"."""
    if "detail" in event:
        return event["detail"]["name"], close_reason(event["detail"]["status"])
    return event["callback_id"], close_reason(event.get("error", {}).get("Error"))
