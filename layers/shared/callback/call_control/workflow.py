"""Step Functions: start a callback's execution, and settle the step in which it waits."""

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

# The error of a step whose callback is over. The state machine then closes the callback.
CALLBACK_OVER = "CallbackOver"

# The error of a task whose leg must be dialed again. The state machine retries it under States.ALL.
DIAL_AGAIN = "DialAgain"

# The error of a task whose leg the carrier refuses to dial now. The state machine then closes.
CARRIER_BUSY = "CarrierBusy"

# Close reasons by the error that ended a step, or by the status of the execution.
_CLOSE_REASON = {
    None: None,
    CALLBACK_OVER: None,
    "States.Timeout": CloseReason.TIMED_OUT,
    "TIMED_OUT": CloseReason.TIMED_OUT,
}

# Errors for a token that was settled or whose task is gone: moto raises the first, AWS the others.
_ALREADY_SETTLED = frozenset({"InvalidToken", "TaskTimedOut", "TaskDoesNotExist"})

_QUEUE_DELAY_SECONDS = 1


class SettleQueue:
    """Settlements to be repeated after Step Functions refused them, for example by throttling.

    The client is created at first use: most cold starts never need it.
    """

    def __init__(self, client: "Callable[[], SQSClient]", url: str) -> None:
        self._client = client
        self._url = url

    def put(self, callback_id: str) -> None:
        self._client().send_message(
            QueueUrl=self._url, MessageBody=callback_id, DelaySeconds=_QUEUE_DELAY_SECONDS
        )


class Workflow:
    """The client is created at first use: most cold starts of a webhook never need it.

    `start` needs `state_machine_arn`. With a `queue`, a failed settlement is queued and `settle`
    raises nothing: the caller has already written the event that decided the step.
    """

    def __init__(
        self,
        client: "Callable[[], SFNClient]",
        *,
        state_machine_arn: str = "",
        queue: SettleQueue | None = None,
    ) -> None:
        self._client = client
        self._state_machine_arn = state_machine_arn
        self._queue = queue

    def start(self, callback: Callback) -> None:
        """Start the callback's execution. It is named by the callback's id, so at most one exists.

        The input holds the id and time bounds: no number, no token.
        """
        bounds = {
            "callback_id": callback.callback_id,
            "first_step_seconds": _seconds(callback, Step.FIRST),
            "second_step_seconds": _seconds(callback, Step.SECOND),
        }
        try:
            self._client().start_execution(
                stateMachineArn=self._state_machine_arn,
                name=callback.callback_id,
                input=json.dumps(bounds),
            )
        except self._client().exceptions.ExecutionAlreadyExists:
            logger.info("execution exists already", callback_id=callback.callback_id)

    def settle(self, callback: Callback) -> None:
        """Wake the workflow if the step in which it waits is decided. Safe to repeat."""
        try:
            self._settle(callback)
        except (ClientError, BotoCoreError) as error:
            if _code(error) in _ALREADY_SETTLED:
                return
            if self._queue is None:
                raise
            logger.warning("settlement queued", callback_id=callback.callback_id, code=_code(error))
            self._queue.put(callback.callback_id)

    def dial_again(self, callback: Callback) -> None:
        """Fail the workflow's open task, so that its retry dials the planned leg.

        Call it after releasing a claim: the task found the leg claimed, and waits for its call.
        """
        self.fail_task(callback, DIAL_AGAIN)

    def fail_task(self, callback: Callback, name: str) -> None:
        """Fail the workflow's open task. The state machine retries or closes, by the error."""
        if callback.waiting is None:
            return
        try:
            self._client().send_task_failure(taskToken=callback.waiting.token, error=name)
        except (ClientError, BotoCoreError) as error:  # `reconcile` repeats it while the task waits
            if _code(error) not in _ALREADY_SETTLED:
                logger.warning(
                    "could not fail the task",
                    error=name,
                    callback_id=callback.callback_id,
                    code=_code(error),
                )

    def _settle(self, callback: Callback) -> None:
        waiting = callback.waiting
        if waiting is None:
            return
        is_over = transitions.over(callback)
        if transitions.must_be_closed(callback) or (is_over and waiting.step is Step.FIRST):
            self._client().send_task_failure(taskToken=waiting.token, error=CALLBACK_OVER)
        elif transitions.step_done(callback, waiting.step):
            self._client().send_task_success(taskToken=waiting.token, output="{}")


def _seconds(callback: Callback, step: Step) -> int:
    return int(timing.step_bound(callback, step).total_seconds())


def _code(error: Exception) -> str:
    if isinstance(error, ClientError):
        return str(error.response["Error"]["Code"])
    return type(error).__name__


def close_reason(error: str | None) -> CloseReason | None:
    """Any error without an entry is a failure of ours."""
    return _CLOSE_REASON.get(error, CloseReason.FAILED)


def parse_closing(event: dict[str, Any]) -> tuple[str, CloseReason | None]:
    """(callback id, close reason) from one of two events: the execution's state, with a caught
    error under `error`, or EventBridge's "Step Functions Execution Status Change"."""
    if "detail" in event:
        return event["detail"]["name"], close_reason(event["detail"]["status"])
    return event["callback_id"], close_reason(event.get("error", {}).get("Error"))
