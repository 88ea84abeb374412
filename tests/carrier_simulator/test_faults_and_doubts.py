"""Everything that can be made to go wrong, and every doubt, both ways."""

from typing import Any

import pytest
import requests
from twilio.base.exceptions import TwilioRestException
from twilio.rest import Client

from tests.local.carrier import CarrierSimulator, Clock
from tests.local.carrier.settings import DOUBTS

from .conftest import ACCOUNT, OURS, TOKEN, Application, hears

PAUSE = "<Response><Pause length='600'/></Response>"
SOMEBODY = "+14155552671"
ALL = ["initiated", "ringing", "answered", "completed"]


def fault(simulator: CarrierSimulator, **rule: Any) -> None:
    answer = requests.post(simulator.url + "/sim/faults", json=rule)
    assert answer.status_code == 201, answer.text


def create(client: Client, to: str = SOMEBODY, **values: Any) -> Any:
    return client.calls.create(**({"to": to, "from_": OURS, "twiml": PAUSE} | values))


def outcome(client: Client, to: str = SOMEBODY) -> Any:
    """201, an error's HTTP status, or what broke."""
    try:
        create(client, to)
    except TwilioRestException as error:
        return error.status
    except requests.exceptions.ConnectionError:
        return "reset"
    except ValueError:
        return "broken"
    return 201


# -- REST --------------------------------------------------------------------------------------


def test_a_429_says_when_to_ask_again_where_the_fault_does(
    client: Client, simulator: CarrierSimulator
) -> None:
    said = []
    for seconds in (None, 7):
        fault(simulator, fault="429", where="POST .*/Calls.json", times=1, retry_after=seconds)
        assert outcome(client) == 429
        said.append(client.http_client._test_only_last_response.headers.get("Retry-After"))
    assert said == [None, "7"]


@pytest.mark.parametrize(
    ("kind", "result", "placed"),
    [
        ("429", 429, 0),
        ("500-before", 500, 0),
        ("503-before", 503, 0),
        ("500-after", 500, 1),
        ("503-after", 503, 1),
        ("reset-before", "reset", 0),
        ("reset-after", "reset", 1),
        ("broken-body", "broken", 1),
    ],
)
def test_a_request_fails_before_or_after_the_call_is_placed(
    client: Client, simulator: CarrierSimulator, kind: str, result: Any, placed: int
) -> None:
    fault(simulator, fault=kind, where="POST .*/Calls.json", times=1)
    assert outcome(client) == result
    assert simulator.exchange.placed == placed
    assert outcome(client) == 201


@pytest.mark.parametrize(
    ("to", "result", "placed"),
    [
        ("1000221", 429, 0),
        ("1000222", 500, 0),
        ("1000223", 500, 1),
        ("1000224", 503, 0),
        ("1000225", "reset", 1),
        ("1000226", "reset", 0),
    ],
)
def test_scripted_destinations_break_their_own_create(
    client: Client, simulator: CarrierSimulator, to: str, result: Any, placed: int
) -> None:
    assert outcome(client, f"sip:{to}@d.example") == result
    assert simulator.exchange.placed == placed


def test_an_answer_can_be_slow_though_the_call_is_placed_at_once(
    client: Client, simulator: CarrierSimulator
) -> None:
    fault(simulator, fault="slow", seconds=0.3, times=1)
    began = simulator.clock.seconds()
    create(client)
    assert simulator.clock.seconds() - began >= 0.3


def test_a_fault_picks_its_destination_and_leaves_others_alone(
    client: Client, simulator: CarrierSimulator
) -> None:
    fault(simulator, fault="429", to="2671$", skip=1)
    assert [outcome(client), outcome(client), outcome(client, "+14155552672")] == [201, 429, 201]


def test_the_same_seed_breaks_the_same_requests() -> None:
    def run(seed: int) -> list[Any]:
        with CarrierSimulator(ACCOUNT, TOKEN, clock=Clock(stepped=True), seed=seed) as one:
            client = Client(ACCOUNT, TOKEN)
            client.api.base_url = one.url
            fault(one, fault="503-before", chance=0.5)
            results = [outcome(client) for _ in range(24)]
            client.http_client.session.close()
            return results

    first = run(1)
    assert first == run(1)
    assert first != run(2)
    assert {201, 503} == set(first)


def test_too_many_requests_at_once_are_20429(client: Client, simulator: CarrierSimulator) -> None:
    simulator.exchange.settings.change(concurrent_requests=0)
    with pytest.raises(TwilioRestException) as caught:
        create(client)
    assert (caught.value.status, caught.value.code) == (429, 20429)
    assert simulator.exchange.placed == 0


# -- webhooks ----------------------------------------------------------------------------------


def told(client: Client, simulator: CarrierSimulator, application: Application) -> list[str]:
    create(
        client,
        "sip:1000208@d.example",
        status_callback=application.url + "/status",
        status_callback_event=ALL,
    )
    simulator.advance(60)
    return [seen["CallStatus"] for seen in application.at("/status")]


def test_a_webhook_is_dropped(
    client: Client, simulator: CarrierSimulator, application: Application
) -> None:
    fault(simulator, fault="drop", where="^status", event="ringing")
    assert told(client, simulator, application) == ["initiated", "in-progress", "completed"]
    assert [s["SequenceNumber"] for s in application.at("/status")] == ["0", "2", "3"]


def test_a_webhook_comes_twice_with_one_token(
    client: Client, simulator: CarrierSimulator, application: Application
) -> None:
    fault(simulator, fault="duplicate", where="^status", event="in-progress")
    assert told(client, simulator, application) == [
        "initiated",
        "ringing",
        "in-progress",
        "in-progress",
        "completed",
    ]
    twice = application.at("/status")[2:4]
    assert len({s.headers["I-Twilio-Idempotency-Token"] for s in twice}) == 1


def test_a_webhook_is_late(
    client: Client, simulator: CarrierSimulator, application: Application
) -> None:
    fault(simulator, fault="delay", where="^status", event="completed", seconds=20)
    create(client, "sip:1000208@d.example", status_callback=application.url + "/status")
    simulator.advance(20)
    assert application.at("/status") == []
    simulator.advance(10)
    assert len(application.at("/status")) == 1


def test_webhooks_overtake_each_other(
    client: Client, simulator: CarrierSimulator, application: Application
) -> None:
    fault(simulator, fault="reorder", where="^status", event="ringing")
    assert told(client, simulator, application) == [
        "initiated",
        "in-progress",
        "ringing",
        "completed",
    ]


def test_a_dropped_document_is_like_an_application_that_is_gone(
    client: Client, simulator: CarrierSimulator, application: Application
) -> None:
    fault(simulator, fault="drop", where="^twiml")
    url = application.answer("/start", PAUSE)
    call = client.calls.create(to="sip:1000219@d.example", from_=OURS, url=url)
    simulator.advance(10)
    assert "application error" in hears(simulator, call.sid)[-1]
    assert application.seen == []


def test_a_fault_nobody_knows_is_refused(simulator: CarrierSimulator) -> None:
    for rule in (
        {"fault": "fire"},
        {"fault": "drop", "often": 1},
        {},
        {"fault": "drop", "to": "("},
        {"fault": "drop", "chance": 7},
    ):
        answer = requests.post(simulator.url + "/sim/faults", json=rule)
        assert answer.status_code == 400, rule
    requests.delete(simulator.url + "/sim/faults").raise_for_status()


# -- doubts ------------------------------------------------------------------------------------


def doubt(simulator: CarrierSimulator, name: str, value: Any) -> None:
    requests.patch(simulator.url + "/sim/settings", json={name: value}).raise_for_status()


@pytest.mark.parametrize("value", DOUBTS["answered_callback"])
def test_doubt_answered_callback(
    client: Client, simulator: CarrierSimulator, application: Application, value: str
) -> None:
    doubt(simulator, "answered_callback", value)
    client.calls.create(
        to="sip:1000201@d.example",
        from_=OURS,
        url=application.answer("/start", PAUSE),
        status_callback=application.url + "/status",
        status_callback_event=["answered"],
    )
    simulator.advance(2)
    order = [seen.path for seen in application.seen]
    assert sorted(order) == ["/start", "/status"]
    if value != "together":
        assert order[0] == ("/status" if value == "before_twiml" else "/start")


@pytest.mark.parametrize("value", DOUBTS["conference_sequence_base"])
def test_doubt_conference_sequence_base(
    client: Client, simulator: CarrierSimulator, application: Application, value: int
) -> None:
    doubt(simulator, "conference_sequence_base", value)
    callback = f"statusCallback='{application.url}/c' statusCallbackEvent='join'"
    twiml = f"<Response><Dial><Conference {callback}>r</Conference></Dial></Response>"
    create(client, twiml=twiml)
    simulator.advance(5)
    assert application.at("/c")[0]["SequenceNumber"] == str(value)


@pytest.mark.parametrize("value", DOUBTS["lone_room_status"])
def test_doubt_lone_room_status(client: Client, simulator: CarrierSimulator, value: str) -> None:
    doubt(simulator, "lone_room_status", value)
    create(client, twiml="<Response><Dial><Conference>r</Conference></Dial></Response>")
    simulator.advance(5)
    assert [c.status for c in client.conferences.list(status=value)] == [value]


@pytest.mark.parametrize("value", DOUBTS["queue_full_http_status"])
def test_doubt_queue_full_http_status(
    client: Client, simulator: CarrierSimulator, value: int
) -> None:
    doubt(simulator, "queue_full_http_status", value)
    simulator.exchange.settings.change(queue_limit_seconds=0.001)
    create(client)
    with pytest.raises(TwilioRestException) as caught:
        create(client)
    assert (caught.value.code, caught.value.status) == (22005, value)


@pytest.mark.parametrize("value", DOUBTS["concurrency_http_status"])
def test_doubt_concurrency_http_status(
    client: Client, simulator: CarrierSimulator, value: int
) -> None:
    doubt(simulator, "concurrency_http_status", value)
    simulator.exchange.settings.change(concurrent_calls=0)
    with pytest.raises(TwilioRestException) as caught:
        create(client)
    assert (caught.value.code, caught.value.status) == (10004, value)


def test_doubt_concurrency_effect(client: Client, simulator: CarrierSimulator) -> None:
    doubt(simulator, "concurrency_effect", "fail")
    simulator.exchange.settings.change(concurrent_calls=0)
    call = create(client)
    simulator.advance(1)
    assert client.calls(call.sid).fetch().status == "failed"
    assert [line.code for line in simulator.exchange.debugger.lines] == [10004]


@pytest.mark.parametrize(
    ("value", "code"), [("to-from-url", 21201), ("from-to-url", 21213), ("url-to-from", 21205)]
)
def test_doubt_validation_order(
    client: Client, simulator: CarrierSimulator, value: str, code: int
) -> None:
    doubt(simulator, "validation_order", value)
    with pytest.raises(TwilioRestException) as caught:
        client.calls.create(to="", from_="")
    assert caught.value.code == code


@pytest.mark.parametrize("value", DOUBTS["long_twiml_code"])
def test_doubt_long_twiml_code(client: Client, simulator: CarrierSimulator, value: int) -> None:
    doubt(simulator, "long_twiml_code", value)
    with pytest.raises(TwilioRestException) as caught:
        create(client, twiml="x" * 4001)
    assert caught.value.code == value


@pytest.mark.parametrize("value", DOUBTS["participants_share_queue"])
def test_doubt_participants_share_queue(
    client: Client, simulator: CarrierSimulator, value: bool
) -> None:
    doubt(simulator, "participants_share_queue", value)
    simulator.exchange.settings.change(calls_per_second=0.1)
    create(client)
    participant = client.conferences("r").participants.create(from_=OURS, to="+14155552672")
    assert participant.queue_time == ("10000" if value else "0")


@pytest.mark.parametrize("value", DOUBTS["busy_sip_code"])
def test_doubt_busy_sip_code(
    client: Client, simulator: CarrierSimulator, application: Application, value: int | None
) -> None:
    doubt(simulator, "busy_sip_code", value)
    create(client, "sip:1000202@d.example", status_callback=application.url + "/status")
    simulator.advance(5)
    told = application.at("/status")[0].form.get("SipResponseCode")
    assert told == (None if value is None else str(value))


@pytest.mark.parametrize("value", DOUBTS["failure_sip_code"])
def test_doubt_failure_sip_code(
    client: Client, simulator: CarrierSimulator, application: Application, value: int | None
) -> None:
    doubt(simulator, "failure_sip_code", value)
    requests.put(
        simulator.url + "/sim/behaviours/1000777", json={"outcome": "failed"}
    ).raise_for_status()
    create(client, "sip:1000777@d.example", status_callback=application.url + "/status")
    simulator.advance(5)
    told = application.at("/status")[0].form.get("SipResponseCode")
    assert told == (None if value is None else str(value))


@pytest.mark.parametrize("value", DOUBTS["empty_twiml"])
@pytest.mark.parametrize("status", [200, 204])
def test_doubt_empty_twiml(
    client: Client,
    simulator: CarrierSimulator,
    application: Application,
    value: str,
    status: int,
) -> None:
    doubt(simulator, "empty_twiml", value)
    fallback = application.answer("/fallback", "<Response><Say>Plan B.</Say></Response>")
    call = client.calls.create(
        to="sip:1000219@d.example",
        from_=OURS,
        url=application.answer("/start", (status, {"Content-Type": "text/xml"}, "")),
        fallback_url=fallback,
    )
    simulator.advance(10)
    assert client.calls(call.sid).fetch().status == "completed"
    assert len(application.at("/fallback")) == (1 if value == "error" else 0)


@pytest.mark.parametrize("value", DOUBTS["redirect_ringing"])
def test_doubt_redirect_ringing(client: Client, simulator: CarrierSimulator, value: str) -> None:
    doubt(simulator, "redirect_ringing", value)
    call = create(client, "sip:1000219@d.example")
    simulator.advance(1)
    document = "<Response><Say>Moved.</Say></Response>"
    if value == "refuse":
        with pytest.raises(TwilioRestException) as caught:
            client.calls(call.sid).update(twiml=document)
        assert caught.value.code == 21220
    else:
        client.calls(call.sid).update(twiml=document)
    simulator.advance(5)
    assert ('says: "Moved."' in hears(simulator, call.sid)) == (value == "accept")


@pytest.mark.parametrize("value", DOUBTS["completed_while_ringing"])
def test_doubt_completed_while_ringing(
    client: Client, simulator: CarrierSimulator, value: str
) -> None:
    doubt(simulator, "completed_while_ringing", value)
    call = create(client, "sip:1000219@d.example")
    simulator.advance(1)
    assert client.calls(call.sid).update(status="completed").status == value


@pytest.mark.parametrize("value", DOUBTS["conference_list_default"])
def test_doubt_conference_list_default(
    client: Client, simulator: CarrierSimulator, value: str
) -> None:
    doubt(simulator, "conference_list_default", value)
    create(client, twiml="<Response><Dial><Conference>r</Conference></Dial></Response>")
    simulator.advance(5)
    assert len(client.conferences.list()) == (1 if value == "all" else 0)


def test_each_doubt_has_its_test() -> None:
    tests = {name for name in globals() if name.startswith("test_doubt_")}
    assert [name for name in DOUBTS if f"test_doubt_{name}" not in tests] == []


def test_a_switch_refuses_what_it_does_not_know(simulator: CarrierSimulator) -> None:
    for change in ({"busy_sip_code": 1}, {"nothing": 1}, {"calls_per_second": 0}):
        answer = requests.patch(simulator.url + "/sim/settings", json=change)
        assert answer.status_code == 400, change
    assert simulator.exchange.settings.busy_sip_code == 486
