"""The carrier's endpoint: TwiML for answered and waiting calls, and call and conference events."""

from collections.abc import Iterable
from types import MappingProxyType
from typing import Any

from aws_lambda_powertools import Logger

from callback import aws, http, settings
from callback.call_control import progress
from callback.call_control.workflow import SettleQueue, Workflow
from callback.carrier import queueing, ringback
from callback.carrier.credentials import CredentialStore
from callback.carrier.instructions import Instruction
from callback.carrier.twilio import door, events, twiml
from callback.carrier.twilio.signature import OF_A_CALL, OF_A_ROOM, Form, Shapes
from callback.lifecycle.models import LegName
from callback.observability.redaction import redact_exceptions
from callback.storage.callbacks import CallbackStore
from callback.storage.departures import Departures
from callback.storage.parameters import Parameters
from callback.storage.table import Table

SETTINGS = settings.CarrierWebhook.read()
PUBLIC_URL = SETTINGS.public_url.rstrip("/")
logger = Logger(use_rfc3339=True)
table = Table(aws.dynamodb(), SETTINGS.table_name)
store = CallbackStore(table)
workflow = Workflow(aws.step_functions, queue=SettleQueue(aws.sqs, SETTINGS.settle_queue_url))
credentials = CredentialStore(SETTINGS.carrier_secret_name, Parameters(aws.ssm))
departures = Departures(table, SETTINGS.calls_per_second)


def verified_form(event: http.Event, shapes: Shapes = MappingProxyType({})) -> Form:
    return door.verified_form(event, shapes, PUBLIC_URL, credentials)


def render_twiml(instructions: Iterable[Instruction]) -> http.Response:
    return http.xml_reply(twiml.render(instructions))


def dialed_leg(event: http.Event) -> progress.DialedLeg:
    """The ids in the URL. We put them there when we dialed, and the signature covers them."""
    path = http.path
    return progress.DialedLeg(
        path(event, "callback_id"), LegName(path(event, "leg")), int(path(event, "attempt"))
    )


def admit_call(event: http.Event) -> http.Response:
    call_sid = verified_form(event, OF_A_CALL)["CallSid"]
    return render_twiml(
        progress.admit_call(store, dialed_leg(event), call_sid, public_url=PUBLIC_URL)
    )


def record_status(event: http.Event) -> http.Response:
    form = verified_form(event, OF_A_CALL)
    dialed, report = dialed_leg(event), events.leg_event(form)
    leg = progress.record_status(store, workflow, dialed, report)
    if leg and report.left_queue:
        queueing.slow_down_if_queued(departures, leg, report.at, dialed.callback_id)
    return http.no_content()


def record_room_event(event: http.Event) -> http.Response:
    form = verified_form(event, OF_A_ROOM)
    callback_id = http.path(event, "callback_id")
    progress.record_room_event(store, workflow, callback_id, events.room_event(form))
    return http.no_content()


def play_ringback(event: http.Event) -> http.Response:
    verified_form(event)
    return render_twiml(progress.play_ringback(public_url=PUBLIC_URL))


def apologize(event: http.Event) -> http.Response:
    form = verified_form(event)
    logger.error("the carrier could not execute our TwiML", error_code=form.get("ErrorCode"))
    return render_twiml(progress.apologize())


def ringback_audio(event: http.Event) -> http.Response:  # noqa: ARG001  (the same for every client)
    return http.wav_reply(ringback.wav())


ROUTES = {
    "POST /carrier/twiml/{callback_id}/{leg}/{attempt}": admit_call,
    "POST /carrier/status/{callback_id}/{leg}/{attempt}": record_status,
    "POST /carrier/conference/{callback_id}": record_room_event,
    "POST /carrier/wait/{callback_id}": play_ringback,
    "POST /carrier/fallback": apologize,
    "GET /carrier/ringback.wav": ringback_audio,
}


@redact_exceptions
@logger.inject_lambda_context
def handler(event: http.Event, context: Any) -> http.Response:  # noqa: ARG001
    return http.dispatch(ROUTES, event)
