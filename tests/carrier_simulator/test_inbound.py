"""Inbound calls, text messages both ways, recordings."""

import io
import wave
from typing import Any

import pytest
import requests
from twilio.base.exceptions import TwilioRestException
from twilio.rest import Client

from tests.local.carrier import CarrierSimulator

from .conftest import ACCOUNT, OURS, TOKEN, Application, hears

CALLER = "+14155552671"


def sim(simulator: CarrierSimulator, path: str, body: dict[str, Any], method: str = "POST") -> Any:
    answer = requests.request(method, simulator.url + "/sim/" + path, json=body)
    answer.raise_for_status()
    return answer.json()


@pytest.fixture
def number(simulator: CarrierSimulator, application: Application) -> str:
    sim(
        simulator,
        f"numbers/{OURS}",
        {
            "voice_url": application.url + "/voice",
            "voice_fallback_url": application.url + "/fallback",
            "status_callback": application.url + "/status",
            "sms_url": application.url + "/sms",
        },
        "PUT",
    )
    return OURS


def ring(simulator: CarrierSimulator, number: str, seconds: float = 5.0, **values: Any) -> str:
    sid: str = sim(simulator, "inbound-call", {"to": number, "from": CALLER} | values)["sid"]
    simulator.advance(seconds)
    return sid


def test_an_inbound_call_fetches_its_number_s_document_while_ringing(
    simulator: CarrierSimulator, client: Client, application: Application, number: str
) -> None:
    application.answer("/voice", "<Response><Say>Welcome.</Say></Response>")
    sid = ring(simulator, number)
    (seen,) = application.at("/voice")
    assert (seen["Direction"], seen["CallStatus"]) == ("inbound", "ringing")
    assert (seen["From"], seen["To"], seen["FromZip"]) == (CALLER, number, "")
    assert seen["StirVerstat"] == "TN-Validation-Passed-A"
    assert seen.genuine
    call = client.calls(sid).fetch()
    assert (call.direction, call.status, call.phone_number_sid[:2]) == (
        "inbound",
        "completed",
        "PN",
    )
    assert hears(simulator, sid) == ["ringback", 'says: "Welcome."']
    (last,) = application.at("/status")
    assert (last["CallStatus"], last["SequenceNumber"]) == ("completed", "0")


@pytest.mark.parametrize(
    ("verbs", "status"),
    [("<Reject/>", "no-answer"), ("<Reject reason='busy'/>", "busy"), ("<Hangup/>", "completed")],
)
def test_a_rejected_call_is_never_answered(
    simulator: CarrierSimulator,
    client: Client,
    application: Application,
    number: str,
    verbs: str,
    status: str,
) -> None:
    application.answer("/voice", f"<Response>{verbs}</Response>")
    call = client.calls(ring(simulator, number)).fetch()
    assert call.status == status
    assert (call.duration is None) == (status != "completed")


def test_a_pause_first_delays_the_pick_up(
    simulator: CarrierSimulator, client: Client, application: Application, number: str
) -> None:
    application.answer("/voice", "<Response><Pause length='4'/><Say>Hi.</Say></Response>")
    sid = ring(simulator, number, 3.9)
    assert client.calls(sid).fetch().status == "ringing"
    simulator.advance(0.2)
    assert client.calls(sid).fetch().status == "in-progress"


def test_an_inbound_caller_presses_keys_and_hangs_up(
    simulator: CarrierSimulator, client: Client, application: Application, number: str
) -> None:
    application.answer("/voice", "<Response><Gather action='/digits'/></Response>")
    application.answer("/digits", "<Response><Pause length='60'/></Response>")
    sid = ring(simulator, number, 1)
    sim(simulator, f"calls/{sid}/digits", {"digits": "12#"})
    simulator.advance(1)
    assert application.at("/digits")[0]["Digits"] == "12"
    answer = requests.post(f"{simulator.url}/sim/calls/{sid}/digits", json={"digits": "1"})
    assert answer.status_code == 409
    sim(simulator, f"calls/{sid}/hangup", {})
    assert client.calls(sid).fetch().status == "completed"


def test_an_inbound_call_dials_out_under_the_caller_s_number(
    simulator: CarrierSimulator, application: Application, number: str
) -> None:
    application.answer("/voice", "<Response><Dial>+14155552672</Dial></Response>")
    sid = ring(simulator, number, 6)
    leg = next(c for c in simulator.exchange.calls.values() if c.parent)
    assert (leg.from_, leg.to, leg.status) == (CALLER, "+14155552672", "in-progress")
    sim(simulator, f"calls/{sid}/say", {"text": "Can you hear me?"})
    assert '14155552671: "Can you hear me?"' in hears(simulator, leg.sid)


def test_with_answer_on_bridge_the_caller_hears_ringback_until_somebody_answers(
    simulator: CarrierSimulator, client: Client, application: Application, number: str
) -> None:
    dial = "<Response><Dial answerOnBridge='{}'><Client>1000123</Client></Dial></Response>"
    application.answer("/voice", dial.format("true"))
    waits = ring(simulator, number, 3)
    assert client.calls(waits).fetch().status == "ringing"
    simulator.advance(1)
    assert client.calls(waits).fetch().status == "in-progress"
    application.answer("/voice", dial.format("false"))
    assert client.calls(ring(simulator, number, 1)).fetch().status == "in-progress"


def test_an_inbound_call_without_a_document_is_refused_by_the_simulator(
    simulator: CarrierSimulator,
) -> None:
    answer = requests.post(simulator.url + "/sim/inbound-call", json={"to": OURS, "from": CALLER})
    assert (answer.status_code, "no voice URL" in answer.json()["error"]) == (400, True)


# -- messages ----------------------------------------------------------------------------------


def test_a_message_is_queued_sent_and_delivered(
    simulator: CarrierSimulator, client: Client, application: Application
) -> None:
    message = client.messages.create(
        to=CALLER, from_=OURS, body="Hello", status_callback=application.url + "/status"
    )
    assert (message.status, message.num_segments, message.direction) == (
        "queued",
        "1",
        "outbound-api",
    )
    simulator.advance(3)
    assert client.messages(message.sid).fetch().status == "delivered"
    seen = application.at("/status")
    assert [s["MessageStatus"] for s in seen] == ["sent", "delivered"]
    assert seen[0]["SmsSid"] == seen[0]["MessageSid"] == message.sid
    assert [m.sid for m in client.messages.list(to=CALLER)] == [message.sid]


@pytest.mark.parametrize(
    ("values", "code"),
    [
        ({"to": ""}, 21604),
        ({"to": "12"}, 21211),
        ({"from_": None}, 21603),
        ({"body": None}, 21602),
        ({"body": "x" * 1601}, 21617),
        ({"status_callback": "nowhere"}, 21609),
    ],
)
def test_a_bad_message_is_refused(client: Client, values: dict[str, Any], code: int) -> None:
    given = {"to": CALLER, "from_": OURS, "body": "Hello"} | values
    with pytest.raises(TwilioRestException) as caught:
        client.messages.create(**{k: v for k, v in given.items() if v is not None})
    assert caught.value.code == code


def test_long_and_unicode_texts_count_their_segments(client: Client) -> None:
    def segments(body: str) -> str:
        return str(client.messages.create(to=CALLER, from_=OURS, body=body).num_segments)

    assert [segments(text) for text in ("x" * 160, "x" * 161, "é" * 70, "é" * 71)] == [
        "1",
        "2",
        "1",
        "2",
    ]


def test_an_inbound_text_is_answered_by_twiml(
    simulator: CarrierSimulator, client: Client, application: Application, number: str
) -> None:
    application.answer(
        "/sms", "<Response><Message>One</Message><Message><Body>Two</Body></Message></Response>"
    )
    sent = sim(simulator, "inbound-sms", {"to": number, "from": CALLER, "body": "call me & now"})
    simulator.advance(3)
    (seen,) = application.at("/sms")
    assert seen["MessageSid"] == seen["SmsSid"] == seen["SmsMessageSid"] == sent["sid"]
    assert (seen["Body"], seen["SmsStatus"], seen["NumMedia"]) == ("call me & now", "received", "0")
    assert (seen["NumSegments"], seen["FromCity"]) == ("1", "")
    assert seen.genuine
    replies = [m for m in client.messages.list() if m.direction == "outbound-reply"]
    assert sorted((m.body, m.to, m.status) for m in replies) == [
        ("One", CALLER, "delivered"),
        ("Two", CALLER, "delivered"),
    ]


def test_an_empty_answer_to_a_text_is_no_reply(
    simulator: CarrierSimulator, client: Client, number: str
) -> None:
    sim(simulator, "inbound-sms", {"to": number, "from": CALLER, "body": "x"})
    simulator.advance(3)
    assert [m.direction for m in client.messages.list()] == ["inbound"]


# -- recordings --------------------------------------------------------------------------------


def test_a_call_is_recorded_and_its_sound_is_a_real_wav_of_that_length(
    simulator: CarrierSimulator, client: Client, application: Application
) -> None:
    call = client.calls.create(
        to="sip:1000219@d.example",
        from_=OURS,
        twiml="<Response><Pause length='7'/></Response>",
        record=True,
        recording_channels="dual",
        recording_status_callback=application.url + "/rec",
        recording_status_callback_event=["in-progress", "completed"],
        status_callback=application.url + "/status",
    )
    simulator.advance(15)
    seen = application.at("/rec")
    assert [s["RecordingStatus"] for s in seen] == ["in-progress", "completed"]
    assert "RecordingDuration" not in seen[0].form
    (recording,) = client.recordings.list(call_sid=call.sid)
    assert (recording.source, recording.channels, recording.duration) == ("OutboundAPI", 2, "7")
    assert client.recordings(recording.sid).fetch().status == "completed"
    last = application.at("/status")[-1]
    assert (last["RecordingSid"], last["RecordingDuration"]) == (recording.sid, "7")
    url = seen[1]["RecordingUrl"]
    assert requests.get(url).status_code == 401
    for ending in ("", ".wav"):
        sound = requests.get(url + ending, auth=(ACCOUNT, TOKEN))
        assert sound.headers["Content-Type"] == "audio/x-wav"
        with wave.open(io.BytesIO(sound.content)) as opened:
            assert opened.getnframes() / opened.getframerate() == 7.0
            assert opened.getnchannels() == 2
    assert client.recordings(recording.sid).delete()
    assert client.recordings.list() == []
