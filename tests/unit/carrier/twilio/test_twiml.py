"""Instructions rendered as TwiML, byte for byte."""

from typing import get_args

import pytest

from callback.carrier.instructions import HangUp, Instruction, Join, Play, Reject, Say
from callback.carrier.twilio import twiml
from callback.lifecycle.models import LegName

XML = '<?xml version="1.0" encoding="UTF-8"?><Response>{}</Response>'
ROOM = Join(
    "a-room",
    LegName.A,
    events_url="https://x.example/carrier/conference/cb-1",
    wait_url="https://x.example/carrier/wait/cb-1",
)
CONFERENCE = (
    '<Dial><Conference beep="false" endConferenceOnExit="true" maxParticipants="2"'
    ' participantLabel="A" startConferenceOnEnter="true"'
    ' statusCallback="https://x.example/carrier/conference/cb-1#rc=3&amp;rp=all"'
    ' statusCallbackEvent="start join" statusCallbackMethod="POST" waitMethod="POST"'
    ' waitUrl="https://x.example/carrier/wait/cb-1#rc=3&amp;rp=all">a-room</Conference></Dial>'
)
CASES = [
    ([ROOM], CONFERENCE),
    ([Play("https://x.example/tone.wav")], '<Play loop="0">https://x.example/tone.wav</Play>'),
    (
        [Say("Good-bye & <thanks>."), HangUp()],
        "<Say>Good-bye &amp; &lt;thanks&gt;.</Say><Hangup />",
    ),
    ([HangUp()], "<Hangup />"),
    ([Reject()], '<Reject reason="busy" />'),
]


@pytest.mark.parametrize(("instructions", "verbs"), CASES)
def test_instructions_are_rendered_as_twiml_in_their_order(instructions, verbs):
    assert twiml.render(instructions) == XML.format(verbs)


def test_the_cases_cover_every_instruction():
    rendered = {type(each) for instructions, _ in CASES for each in instructions}
    assert rendered == set(get_args(Instruction))


def test_the_response_to_a_text_is_one_message_or_none():
    assert twiml.text_back("Hi & bye") == XML.format("<Message>Hi &amp; bye</Message>")
    assert twiml.text_back(None) == '<?xml version="1.0" encoding="UTF-8"?><Response />'
