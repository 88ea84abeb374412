"""Render instructions as TwiML, the documents that Twilio executes (Twilio docs, TwiML)."""

from collections.abc import Iterable

from twilio.twiml.messaging_response import MessagingResponse
from twilio.twiml.voice_response import Dial, VoiceResponse

from callback.carrier.instructions import HangUp, Instruction, Join, Play, Reject, Say

# Makes Twilio repeat a failed request (Twilio docs, connection overrides). The fragment itself is
# neither sent nor signed.
RETRIES = "#rc=3&rp=all"


def render(instructions: Iterable[Instruction]) -> str:
    """The document for a call."""
    response = VoiceResponse()
    for instruction in instructions:
        match instruction:
            case Say(sentence):
                response.say(sentence)
            case Play(url):
                response.play(url, loop=0)  # 0: endless. A waitUrl does not loop by itself
            case Join():
                response.append(_conference(instruction))
            case HangUp():
                response.hangup()
            case Reject():
                response.reject(reason="busy")
    return str(response)


def _conference(join: Join) -> Dial:
    dial = Dial()
    dial.conference(
        join.room,
        participant_label=str(join.leg),
        beep="false",
        start_conference_on_enter=True,
        end_conference_on_exit=True,
        max_participants=2,
        wait_url=join.wait_url + RETRIES,
        wait_method="POST",
        status_callback=join.events_url + RETRIES,
        status_callback_event="start join",
        status_callback_method="POST",
    )
    return dial


def text_back(sentence: str | None) -> str:
    """The response to a text: one message to its sender, or none."""
    response = MessagingResponse()
    if sentence:
        response.message(sentence)
    return str(response)
