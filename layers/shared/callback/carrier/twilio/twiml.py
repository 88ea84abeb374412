"""The documents that the carrier executes."""

from twilio.twiml.messaging_response import MessagingResponse
from twilio.twiml.voice_response import Dial, VoiceResponse

from callback.models import LegName

# Asks the carrier to repeat a request that was not taken (Twilio docs, connection overrides).
# A fragment is neither sent nor signed.
RETRIES = "#rc=3&rp=all"

SORRY = "We are sorry, something went wrong with this call. Goodbye."


def join_room(room: str, name: LegName, *, conference_url: str, wait_url: str) -> str:
    """Two at most, no beep; the room ends when either leaves, and so does the other's call."""
    dial = Dial()
    dial.conference(
        room,
        participant_label=str(name),
        beep="false",
        start_conference_on_enter=True,
        end_conference_on_exit=True,
        max_participants=2,
        wait_url=wait_url + RETRIES,
        wait_method="POST",
        status_callback=conference_url + RETRIES,
        status_callback_event="start join",
        status_callback_method="POST",
    )
    response = VoiceResponse()
    response.append(dial)
    return str(response)


def ringback(audio_url: str) -> str:
    """The waiting party hears the other's phone ring. waitUrl does not loop by itself."""
    response = VoiceResponse()
    response.play(audio_url, loop=0)
    return str(response)


def say_and_hang_up(sentence: str) -> str:
    response = VoiceResponse()
    response.say(sentence)
    response.hangup()
    return str(response)


def hang_up() -> str:
    response = VoiceResponse()
    response.hangup()
    return str(response)


def reject_as_busy() -> str:
    """An inbound call is not answered, so that nobody pays for it."""
    response = VoiceResponse()
    response.reject(reason="busy")
    return str(response)


def text_back(sentence: str | None) -> str:
    """One message to who texted; None: none."""
    response = MessagingResponse()
    if sentence:
        response.message(sentence)
    return str(response)
