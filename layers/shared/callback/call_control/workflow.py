"""Step Functions: start the execution of a callback, and settle the step it waits in."""

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from aws_lambda_powertools import Logger
from botocore.exceptions import BotoCoreError, ClientError

from callback.lifecycle import timing, transitions
from callback.lifecycle.models import Callback, CloseReason, Step

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_stepfunctions import SFNClient

logger = Logger(child=True)

# The first step failed because the callback is over: closing it is all that is left to do.
CALLBACK_OVER = "CallbackOver"

# A claim was given back: retried, as whatever is not named in the state machine.
DIAL_AGAIN = "DialAgain"

# Why the callback is closed, by the error that ended a step or by the execution's own status.
_CLOSE_REASON = {
    None: None,
    CALLBACK_OVER: None,
    "States.Timeout": CloseReason.TIMED_OUT,
    "TIMED_OUT": CloseReason.TIMED_OUT,
}

# AWS says the last two of a token that was settled or whose task is gone; moto says the first.
_ALREADY_SETTLED = frozenset({"InvalidToken", "TaskTimedOut", "TaskDoesNotExist"})

_QUEUE_DELAY_SECONDS = 1


class SettleQueue:
    """Where a settling waits that Step Functions would not take just now (throttling).

    Its client is made at the first use: most cold starts never need it.
    """

    def __init__(self, client: "Callable[[], SQSClient]", url: str) -> None:
        self._client = client
        self._url = url

    def put(self, callback_id: str) -> None:
        self._client().send_message(
            QueueUrl=self._url, MessageBody=callback_id, DelaySeconds=_QUEUE_DELAY_SECONDS
        )


class Workflow:
    """`state_machine_arn` is needed to start, `queue` where a failed settling must not fail
    the one who settles: what it settles for is written already."""

    def __init__(
        self, client: "SFNClient", *, state_machine_arn: str = "", queue: SettleQueue | None = None
    ) -> None:
        self._client = client
        self._state_machine_arn = state_machine_arn
        self._queue = queue

    def start(self, callback: Callback) -> None:
        """Start the callback's execution, named by its id, so that it exists once at most.

        The input holds ids and bounds only: no number, no token.
        """
        bounds = {
            "callback_id": callback.callback_id,
            "first_step_seconds": _seconds(callback, Step.FIRST),
            "second_step_seconds": _seconds(callback, Step.SECOND),
        }
        try:
            self._client.start_execution(
                stateMachineArn=self._state_machine_arn,
                name=callback.callback_id,
                input=json.dumps(bounds),
            )
        except self._client.exceptions.ExecutionAlreadyExists:
            logger.info("execution exists already", callback_id=callback.callback_id)

    def settle(self, callback: Callback) -> None:
        """Wake the workflow if the step that it waits in is decided. Twice is fine."""
        try:
            self._settle(callback)
        except (ClientError, BotoCoreError) as error:
            if _code(error) in _ALREADY_SETTLED:
                return
            if self._queue is None:
                raise
            logger.warning(
                "settling waits in the queue", callback_id=callback.callback_id, code=_code(error)
            )
            self._queue.put(callback.callback_id)

    def dial_again(self, callback: Callback) -> None:
        """Let the task that waits for a leg which is still to be dialed be tried again, which dials
        it. Whoever gives a claim back has to: the task found it taken, and waits for its call.
        """
        if callback.waiting is None:
            return
        try:
            self._client.send_task_failure(taskToken=callback.waiting.token, error=DIAL_AGAIN)
        except (ClientError, BotoCoreError) as error:  # if it still waits, `reconcile` comes by
            if _code(error) not in _ALREADY_SETTLED:
                logger.warning(
                    "a task was not told to dial again",
                    callback_id=callback.callback_id,
                    code=_code(error),
                )

    def _settle(self, callback: Callback) -> None:
        waiting = callback.waiting
        if waiting is None:
            return
        if transitions.over(callback) and waiting.step is Step.FIRST:
            self._client.send_task_failure(taskToken=waiting.token, error=CALLBACK_OVER)
        elif transitions.over(callback) or transitions.step_done(callback, waiting.step):
            self._client.send_task_success(taskToken=waiting.token, output="{}")


def _seconds(callback: Callback, step: Step) -> int:
    return int(timing.step_bound(callback, step).total_seconds())


def _code(error: Exception) -> str:
    if isinstance(error, ClientError):
        return str(error.response["Error"]["Code"])
    return type(error).__name__


def close_reason(error: str | None) -> CloseReason | None:
    """An error that nobody foresaw is a failure of ours."""
    return _CLOSE_REASON.get(error, CloseReason.FAILED)


def closing_of(event: dict[str, Any]) -> tuple[str, CloseReason | None]:
    """(callback id, why it is closed) from the execution's state, in which a caught error lies
    under `error`, or from EventBridge's "Step Functions Execution Status Change"."""
    if "detail" in event:
        return event["detail"]["name"], close_reason(event["detail"]["status"])
    return event["callback_id"], close_reason(event.get("error", {}).get("Error"))
