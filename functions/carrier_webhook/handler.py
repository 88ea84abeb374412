"""The carrier's door: TwiML at answer, call and conference status, what the waiting hear."""

from collections.abc import Iterable
from types import MappingProxyType
from typing import Any

from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.parameters import SSMProvider

from callback import aws, http, settings
from callback.call_control import progress
from callback.call_control.workflow import SettleQueue, Workflow
from callback.carrier import ringback
from callback.carrier.credentials import CredentialStore
from callback.carrier.instructions import Instruction
from callback.carrier.twilio import door, events, twiml
from callback.carrier.twilio.signature import OF_A_CALL, OF_A_ROOM, Form, Shapes
from callback.lifecycle.models import LegName
from callback.observability.redaction import redact_exceptions
from callback.storage.callbacks import CallbackStore
from callback.storage.table import Table

SETTINGS = settings.CarrierWebhook.read()
PUBLIC_URL = SETTINGS.public_url.rstrip("/")
logger = Logger(use_rfc3339=True)
table = Table(aws.dynamodb(), SETTINGS.table_name)
store = CallbackStore(table)
workflow = Workflow(aws.step_functions(), queue=SettleQueue(aws.sqs, SETTINGS.settle_queue_url))
credentials = CredentialStore(SETTINGS.carrier_secret_name, SSMProvider(boto3_client=aws.ssm()))


def verified(event: http.Event, shapes: Shapes = MappingProxyType({})) -> Form:
    return door.verified(event, shapes, PUBLIC_URL, credentials)


def reply(instructions: Iterable[Instruction]) -> http.Response:
    return http.xml_reply(twiml.render(instructions))


def leg_of(event: http.Event) -> progress.DialedLeg:
    """The ids that we put into the URL when we dialed; the signature vouches for them."""
    path = http.path
    return progress.DialedLeg(
        path(event, "callback_id"), LegName(path(event, "leg")), int(path(event, "attempt"))
    )


def answered(event: http.Event) -> http.Response:
    call_sid = verified(event, OF_A_CALL)["CallSid"]
    return reply(progress.answered(store, leg_of(event), call_sid, public_url=PUBLIC_URL))


def status_changed(event: http.Event) -> http.Response:
    form = verified(event, OF_A_CALL)
    progress.status_changed(store, workflow, leg_of(event), events.leg_event(form))
    return http.no_content()


def conference_changed(event: http.Event) -> http.Response:
    form = verified(event, OF_A_ROOM)
    callback_id = http.path(event, "callback_id")
    progress.conference_changed(store, workflow, callback_id, events.room_event(form))
    return http.no_content()


def wait(event: http.Event) -> http.Response:
    verified(event)
    return reply(progress.play_ringback(public_url=PUBLIC_URL))


def fallback(event: http.Event) -> http.Response:
    form = verified(event)
    logger.error("the carrier could not use our TwiML", error_code=form.get("ErrorCode"))
    return reply(progress.apologize())


def ringback_audio(event: http.Event) -> http.Response:  # noqa: ARG001  (the same for everybody)
    return http.wav_reply(ringback.wav())


ROUTES = {
    "POST /carrier/twiml/{callback_id}/{leg}/{attempt}": answered,
    "POST /carrier/status/{callback_id}/{leg}/{attempt}": status_changed,
    "POST /carrier/conference/{callback_id}": conference_changed,
    "POST /carrier/wait/{callback_id}": wait,
    "POST /carrier/fallback": fallback,
    "GET /carrier/ringback.wav": ringback_audio,
}


@redact_exceptions
@logger.inject_lambda_context
def handler(event: http.Event, context: Any) -> http.Response:  # noqa: ARG001
    return http.dispatch(ROUTES, event)
