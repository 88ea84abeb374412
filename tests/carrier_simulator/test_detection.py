"""Answering machine detection and digits sent on answer."""

import pytest
from twilio.rest import Client

from tests.local.carrier import CarrierSimulator

from .conftest import OURS, Application, hears

PAUSE = "<Response><Pause length='600'/></Response>"


@pytest.mark.parametrize(
    ("to", "mode", "word", "milliseconds"),
    [
        ("1000201", "Enable", "human", "2500"),
        ("1000212", "Enable", "machine_start", "2500"),
        ("1000212", "DetectMessageEnd", "machine_end_beep", "6000"),
        ("1000213", "Enable", "fax", "2500"),
        ("1000214", "Enable", "unknown", "30000"),
    ],
)
def test_detection_holds_back_the_document_and_tells_it(
    client: Client,
    simulator: CarrierSimulator,
    application: Application,
    to: str,
    mode: str,
    word: str,
    milliseconds: str,
) -> None:
    call = client.calls.create(
        to=f"sip:{to}@d.example",
        from_=OURS,
        url=application.answer("/start", PAUSE),
        machine_detection=mode,
    )
    simulator.advance(7.2)
    waits = int(milliseconds) > 5_000
    assert bool(application.at("/start")) is not waits
    simulator.advance(30)
    (seen,) = application.at("/start")
    assert (seen["AnsweredBy"], seen["MachineDetectionDuration"]) == (word, milliseconds)
    assert client.calls(call.sid).fetch().answered_by == word


def test_detection_beside_the_document_tells_its_own_callback(
    client: Client, simulator: CarrierSimulator, application: Application
) -> None:
    call = client.calls.create(
        to="sip:1000212@d.example",
        from_=OURS,
        url=application.answer("/start", PAUSE),
        machine_detection="Enable",
        async_amd="true",
        async_amd_status_callback=application.url + "/amd",
        status_callback=application.url + "/status",
    )
    simulator.advance(4.6)
    assert "AnsweredBy" not in application.at("/start")[0].form
    assert application.at("/amd") == []
    simulator.advance(2.5)
    (seen,) = application.at("/amd")
    assert seen.form == {
        "CallSid": call.sid,
        "AccountSid": simulator.exchange.account_sid,
        "AnsweredBy": "machine_start",
        "MachineDetectionDuration": "2500",
    }
    assert seen.genuine
    client.calls(call.sid).update(status="completed")
    simulator.advance(1)
    assert application.at("/status")[-1]["AnsweredBy"] == "machine_start"


def test_a_python_true_is_not_the_word_true(
    client: Client, simulator: CarrierSimulator, application: Application
) -> None:
    client.calls.create(
        to="sip:1000201@d.example",
        from_=OURS,
        url=application.answer("/start", PAUSE),
        machine_detection="Enable",
        async_amd=True,
    )
    simulator.advance(5)
    assert application.at("/start")[0]["AnsweredBy"] == "human"
    assert [line.code for line in simulator.exchange.debugger.lines] == [21234]


def test_detection_beside_the_document_without_a_callback_is_a_warning(
    client: Client, simulator: CarrierSimulator
) -> None:
    call = client.calls.create(
        to="sip:1000201@d.example",
        from_=OURS,
        twiml=PAUSE,
        machine_detection="Enable",
        async_amd="true",
    )
    simulator.advance(5)
    assert [line.code for line in simulator.exchange.debugger.lines] == [21262]
    assert client.calls(call.sid).fetch().answered_by == "human"


def test_participants_are_told_by_their_own_callback(
    client: Client, simulator: CarrierSimulator, application: Application
) -> None:
    client.conferences("room").participants.create(
        from_=OURS,
        to="sip:1000212@d.example",
        machine_detection="Enable",
        amd_status_callback=application.url + "/amd",
    )
    simulator.advance(8)
    assert application.at("/amd")[0]["AnsweredBy"] == "machine_start"


def test_digits_are_sent_on_answer_and_switch_detection_off(
    client: Client, simulator: CarrierSimulator, application: Application
) -> None:
    call = client.calls.create(
        to="sip:1000201@d.example",
        from_=OURS,
        url=application.answer("/start", PAUSE),
        send_digits="WW7",
        machine_detection="Enable",
    )
    simulator.advance(2)
    assert application.at("/start") == []
    simulator.advance(1)
    assert "keys WW7" in hears(simulator, call.sid)
    assert "AnsweredBy" not in application.at("/start")[0].form
