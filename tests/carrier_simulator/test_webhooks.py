"""What the carrier sends: parameters, order, signature, retries, limits."""

import re
import socket
import threading
from typing import Any

import pytest
from twilio.rest import Client

from tests.local.carrier import CarrierSimulator, Clock, Settings
from tests.local.carrier.signature import sign, signed_url
from tests.local.carrier.webhooks import Overrides

from .conftest import OURS, Application, Seen

PAUSE = "<Response><Pause length='600'/></Response>"
ALL = ["initiated", "ringing", "answered", "completed"]
# Twilio's published vectors; each is what the SDKs' own test suites hold.
MYCOMPANY = "https://mycompany.com/myapp.php?foo=1&bar=2"
FORM = [
    ("CallSid", "CA1234567890ABCDE"),
    ("Caller", "+14158675309"),
    ("Digits", "1234"),
    ("From", "+14158675309"),
    ("To", "+18005551212"),
]
TWICE = [("Sid", "CA123"), ("SidAccount", "AC123")]
VECTORS = [
    (MYCOMPANY, FORM, "RSOYDt4T1cUTdK1PDd93/VVr8B8="),
    (MYCOMPANY.replace(".com", ".com:1234"), FORM, "RSOYDt4T1cUTdK1PDd93/VVr8B8="),
    (
        MYCOMPANY.replace("https", "http").replace(".com", ".com:1234"),
        FORM,
        "Zmvh+3yNM1Phv2jhDCwEM3q5ebU=",
    ),
    (
        MYCOMPANY.replace("https", "http").replace(".com", ".com:80"),
        FORM,
        "0ZXoZLH/DfblKGATFgpif+LLRf4=",
    ),
    (
        MYCOMPANY,
        [*TWICE, *(("Digits", digits) for digits in ("5678", "1234", "1234"))],
        "IK+Dwps556ElfBT0I3Rgjkr1wJU=",
    ),
    (
        MYCOMPANY + "#rc=3&rp=all",
        [*FORM, ("Reason", "Participant"), ("ReasonConferenceEnded", "test")],
        "vOEb5UThFn24KEfnOFLQY2AE5FY=",
    ),
    (
        MYCOMPANY.replace("https://", "http://user:pass@"),
        [*FORM, ("Reason", "Participant"), ("ReasonConferenceEnded", "test")],
        "n2xBNyzSW7rfYStDtOFiFMv7qNo=",
    ),
]


@pytest.mark.parametrize(("url", "form", "signature"), VECTORS)
def test_the_published_signatures_come_out(
    url: str, form: list[tuple[str, str]], signature: str
) -> None:
    assert sign("12345", signed_url(url), form) == signature


def place(client: Client, application: Application, to: str = "1000208", **values: Any) -> str:
    given: dict[str, Any] = {
        "to": f"sip:{to}@d.example",
        "from_": OURS,
        "url": application.answer("/twiml", PAUSE),
        "status_callback": application.url + "/status",
        "status_callback_event": ALL,
    } | values
    sid: str = client.calls.create(**given).sid
    return sid


def statuses(application: Application) -> list[str]:
    return [seen["CallStatus"] for seen in application.at("/status")]


def test_a_call_tells_its_four_events_in_order(
    client: Client, simulator: CarrierSimulator, application: Application
) -> None:
    sid = place(client, application)
    simulator.advance(10)
    seen = application.at("/status")
    assert [s["CallStatus"] for s in seen] == ["initiated", "ringing", "in-progress", "completed"]
    assert [s["SequenceNumber"] for s in seen] == ["0", "1", "2", "3"]
    assert {s["CallSid"] for s in seen} == {sid}
    assert {s["CallbackSource"] for s in seen} == {"call-progress-events"}
    last = seen[-1].form
    assert (last["CallDuration"], last["Duration"], last["SipResponseCode"]) == ("1", "1", "200")
    assert "CallDuration" not in seen[2].form
    for s in seen:
        assert re.fullmatch(r"\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d \+0000", s["Timestamp"])


def test_only_completed_is_told_by_default_and_counts_from_zero(
    client: Client, simulator: CarrierSimulator, application: Application
) -> None:
    place(client, application, status_callback_event=[])
    simulator.advance(10)
    (seen,) = application.at("/status")
    assert (seen["CallStatus"], seen["SequenceNumber"]) == ("completed", "0")


def test_events_may_be_one_word_separated_by_spaces(
    client: Client, simulator: CarrierSimulator, application: Application
) -> None:
    place(client, application, status_callback_event=["ringing completed"])
    simulator.advance(10)
    assert statuses(application) == ["ringing", "completed"]


@pytest.mark.parametrize(
    ("to", "status", "sip"),
    [
        ("1000202", "busy", "486"),
        ("1000203", "no-answer", "487"),
        ("1000204", "failed", "404"),
        ("1000205", "failed", "503"),
    ],
)
def test_an_unanswered_call_tells_why_with_its_sip_code(
    client: Client,
    simulator: CarrierSimulator,
    application: Application,
    to: str,
    status: str,
    sip: str,
) -> None:
    place(client, application, to)
    simulator.advance(70)
    last = application.at("/status")[-1]
    assert (last["CallStatus"], last["SipResponseCode"]) == (status, sip)
    assert (last["CallDuration"], last["Duration"]) == ("0", "0")
    assert application.at("/twiml") == []


def test_a_call_canceled_in_the_queue_tells_nothing(
    client: Client, simulator: CarrierSimulator, application: Application
) -> None:
    simulator.exchange.settings.change(calls_per_second=0.01)
    place(client, application)
    waiting = place(client, application)
    simulator.advance(5)
    client.calls(waiting).update(status="canceled")
    simulator.advance(300)
    assert {s["CallSid"] for s in application.at("/status")} != set()
    assert waiting not in {s["CallSid"] for s in application.at("/status")}


def test_minutes_are_billed_rounded_up(
    client: Client, simulator: CarrierSimulator, application: Application
) -> None:
    place(client, application, "1000219", time_limit=61)
    simulator.advance(90)
    last = application.at("/status")[-1]
    assert (last["CallDuration"], last["Duration"]) == ("61", "2")


def test_a_fetch_carries_everything_with_unknown_places_empty(
    client: Client, simulator: CarrierSimulator, application: Application
) -> None:
    sid = place(client, application)
    simulator.advance(3)
    (seen,) = application.at("/twiml")
    assert seen.form == {
        "CallSid": sid,
        "AccountSid": simulator.exchange.account_sid,
        "From": OURS,
        "To": "sip:1000208@d.example",
        "Caller": OURS,
        "Called": "sip:1000208@d.example",
        "CallStatus": "in-progress",
        "ApiVersion": "2010-04-01",
        "Direction": "outbound-api",
        **{
            side + place: ""
            for side in ("From", "To", "Caller", "Called")
            for place in ("City", "State", "Zip", "Country")
        },
    }
    assert b"FromCity=&" in seen.body


def test_a_webhook_looks_like_twilio_s(
    client: Client, simulator: CarrierSimulator, application: Application
) -> None:
    place(client, application)
    simulator.advance(10)
    for seen in application.seen:
        headers = seen.headers
        assert headers["Content-Type"] == "application/x-www-form-urlencoded; charset=UTF-8"
        assert headers["User-Agent"] == "TwilioProxy/1.1"
        assert headers["Accept"] == "*/*"
        assert headers["X-Home-Region"] == "us1"
        assert re.fullmatch(r"[0-9a-f-]{36}", headers["I-Twilio-Idempotency-Token"])
    tokens = {seen.headers["I-Twilio-Idempotency-Token"] for seen in application.seen}
    assert len(tokens) == len(application.seen)


def test_every_webhook_is_signed_also_get_and_query_and_unicode(
    client: Client, simulator: CarrierSimulator, application: Application
) -> None:
    url = application.answer("/get", PAUSE) + "?b=2&a=%C3%A4%20+x&empty="
    place(client, application, url=url, method="GET", status_callback_method="GET")
    simulator.advance(10)
    (got,) = application.at("/get")
    assert got.method == "GET"
    assert got.url.startswith(url + "&CallSid=CA")
    assert got.query["FromCity"] == [""]
    assert len(application.at("/status")) == 4
    assert all(seen.genuine for seen in application.seen)


def test_a_signature_is_not_valid_elsewhere(
    client: Client, simulator: CarrierSimulator, application: Application
) -> None:
    place(client, application)
    simulator.advance(10)
    seen = application.at("/status")[0]
    assert seen.genuine
    seen.url += "/other"
    assert not seen.genuine


# -- connection overrides ----------------------------------------------------------------------


def test_overrides_are_read_and_kept_in_range() -> None:
    plain = Overrides.parse("http://h/", 15.0)
    assert (plain.connect, plain.read, plain.total, plain.retries) == (5.0, 15.0, 15.0, 1)
    assert plain.retry_on == {"ct"}
    tuned = Overrides.parse("http://h/#ct=50&rt=20000&tt=99999&rc=9&rp=4xx,5xx", 15.0)
    assert (tuned.connect, tuned.read, tuned.total, tuned.retries) == (0.1, 15.0, 15.0, 5)
    assert tuned.retry_on == {"4xx", "5xx"}
    assert Overrides.parse("http://h/#rp=all", 15.0).retries_after("rt")


def answers(status: int) -> tuple[int, dict[str, str], str]:
    return status, {}, ""


def attempts(
    client: Client, simulator: CarrierSimulator, application: Application, part: str
) -> int:
    place(
        client,
        application,
        status_callback=application.url + "/status" + part,
        status_callback_event=["completed"],
    )
    simulator.advance(10)
    return len(application.at("/status"))


@pytest.mark.parametrize(
    ("fragment", "status", "tries"),
    [
        ("", 500, 1),
        ("", 404, 1),
        ("#rc=3", 500, 1),
        ("#rc=3&rp=5xx", 500, 4),
        ("#rc=3&rp=5xx", 404, 1),
        ("#rc=2&rp=4xx", 404, 3),
        ("#rc=0&rp=all", 500, 1),
        ("#rc=5&rp=all", 503, 6),
    ],
)
def test_a_failed_webhook_is_retried_only_as_its_url_asks(
    client: Client,
    simulator: CarrierSimulator,
    application: Application,
    fragment: str,
    status: int,
    tries: int,
) -> None:
    application.answer("/status", answers(status))
    assert attempts(client, simulator, application, fragment) == tries
    seen = application.at("/status")
    assert len({s.headers["I-Twilio-Idempotency-Token"] for s in seen}) == 1
    assert all(s.genuine for s in seen)
    assert [line.code for line in simulator.exchange.debugger.lines] == [15003]


def test_a_retry_that_succeeds_is_the_last(
    client: Client, simulator: CarrierSimulator, application: Application
) -> None:
    application.answer("/status", [answers(500), answers(204)])
    assert attempts(client, simulator, application, "#rc=5&rp=all") == 2
    assert list(simulator.exchange.debugger.lines) == []


def test_a_slow_answer_is_given_up_and_retried_where_asked(
    client: Client, simulator: CarrierSimulator, application: Application
) -> None:
    arrived, release = threading.Semaphore(0), threading.Event()

    def slow(_: Seen) -> Any:
        arrived.release()
        release.wait()
        return answers(204)

    application.answer("/status", slow)
    attempts(client, simulator, application, "#rt=150&rc=2&rp=rt")
    assert simulator.exchange.webhooks.log[-1].attempts == 3
    # A request that was given up is not work, so the clock does not wait until it arrives.
    for _ in range(3):
        arrived.acquire()
    release.set()
    assert len(application.at("/status")) == 3


def test_everything_about_one_webhook_ends_at_the_ceiling(
    client: Client, simulator: CarrierSimulator, application: Application
) -> None:
    simulator.exchange.settings.change(webhook_ceiling=0.5)
    release = threading.Event()
    application.answer("/status", lambda _: (release.wait(), answers(204))[1])
    attempts(client, simulator, application, "#rc=5&rp=all")
    # The first attempt used up the ceiling: none of the five retries was made.
    delivery = simulator.exchange.webhooks.log[-1]
    assert (delivery.attempts, delivery.error) == (1, "no answer in time")
    release.set()


def test_a_refused_connection_is_tried_twice(
    client: Client, simulator: CarrierSimulator, application: Application
) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        place(client, application, status_callback=f"http://127.0.0.1:{port}/gone")
        simulator.advance(10)
    log = [d for d in simulator.exchange.webhooks.log if d.kind == "status"]
    assert [d.attempts for d in log] == [2, 2, 2, 2]


def test_a_redirect_is_followed_by_a_get_without_the_form(
    client: Client, simulator: CarrierSimulator, application: Application
) -> None:
    application.answer("/moved", (302, {"Location": "/there?x=1"}, ""))
    application.answer("/there", PAUSE)
    place(client, application, url=application.url + "/moved")
    simulator.advance(3)
    (seen,) = application.at("/there")
    assert (seen.method, seen.body, seen.query) == ("GET", b"", {"x": ["1"]})
    assert seen.genuine


def test_redirects_without_end_are_an_error(
    client: Client, simulator: CarrierSimulator, application: Application
) -> None:
    application.answer("/moved", (302, {"Location": "/moved"}, ""))
    place(client, application, url=application.url + "/moved")
    simulator.advance(20)
    assert len(application.at("/moved")) == 11
    assert simulator.exchange.debugger.lines[0].code == 11215


def test_cookies_of_a_call_are_kept(
    client: Client, simulator: CarrierSimulator, application: Application
) -> None:
    application.answer(
        "/first",
        (
            200,
            {"Content-Type": "text/xml", "Set-Cookie": "session=abc; Path=/"},
            "<Response><Redirect>/second</Redirect></Response>",
        ),
    )
    application.answer("/second", PAUSE)
    place(client, application, url=application.url + "/first")
    simulator.advance(3)
    assert application.at("/first")[0].headers["Cookie"] is None
    assert application.at("/second")[0].headers["Cookie"] == "session=abc"


def test_nothing_is_sent_beyond_this_machine_unless_allowed(
    client: Client, simulator: CarrierSimulator, application: Application
) -> None:
    application.answer("/moved", (302, {"Location": "http://198.51.100.7/"}, ""))
    for url in ("http://198.51.100.7/", "http://example.com/", application.url + "/moved"):
        place(client, application, url=url, status_callback="")
    simulator.advance(10)
    assert [line.code for line in simulator.exchange.debugger.lines] == [11210] * 3
    webhooks = simulator.exchange.webhooks
    assert not webhooks.allowed("http://localhost.example/")
    assert webhooks.allowed("http://[::1]:80/")
    simulator.exchange.settings.change(allow_hosts=["example.com"])
    assert webhooks.allowed("http://example.com/")


def test_the_log_of_webhooks_is_bounded(
    client: Client, application: Application, clock: Clock
) -> None:
    simulator = CarrierSimulator(
        client.username, client.password, clock=clock, settings=Settings(keep_deliveries=3)
    )
    with simulator:
        client.api.base_url = simulator.url
        place(client, application)
        simulator.advance(10)
        assert simulator.exchange.webhooks.sent == 5
        assert len(simulator.exchange.webhooks.log) == 3
