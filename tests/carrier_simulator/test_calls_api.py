"""Calls over REST, by the unmodified SDK. Every answer is also held against the description."""

import pytest
import requests
from twilio.base.exceptions import TwilioException, TwilioRestException
from twilio.rest import Client

from tests.local.carrier import CarrierSimulator, Settings

from .conftest import ACCOUNT, OURS, TOKEN, Application
from .facts import FACTS

PAUSE = "<Response><Pause length='600'/></Response>"
SOMEBODY = "+14155552671"


def refused(client: Client, **values: object) -> TwilioRestException:
    given = {"to": SOMEBODY, "from_": OURS, "twiml": PAUSE} | values
    with pytest.raises(TwilioRestException) as caught:
        client.calls.create(**{k: v for k, v in given.items() if v is not None})
    return caught.value


def test_a_fresh_call_is_queued_and_has_no_dates(client: Client) -> None:
    call = client.calls.create(to=SOMEBODY, from_=OURS, twiml=PAUSE)
    assert call.status == "queued"
    assert call.direction == "outbound-api"
    assert call.date_created is None
    assert call.start_time is None
    assert call.duration is None
    assert call.queue_time == "0"
    assert call.to_formatted == "(415) 555-2671"
    assert call.phone_number_sid.startswith("PN")


def test_a_call_moves_from_queued_to_completed(client: Client, simulator: CarrierSimulator) -> None:
    call = client.calls.create(to="sip:1000208@demo.example", from_="1000125", twiml=PAUSE)
    statuses = [call.status]
    for _ in range(8):
        simulator.advance(0.5)
        statuses.append(client.calls(call.sid).fetch().status)
    assert list(dict.fromkeys(statuses)) == ["queued", "ringing", "in-progress", "completed"]
    ended = client.calls(call.sid).fetch()
    assert ended.duration == "1"
    assert (ended.end_time - ended.start_time).seconds == 1
    assert ended.price is None
    simulator.advance(3)
    assert client.calls(call.sid).fetch().price == "-0.01400"


@pytest.mark.parametrize(
    ("destination", "status"),
    [("1000202", "busy"), ("1000203", "no-answer"), ("1000204", "failed"), ("1000205", "failed")],
)
def test_a_call_that_is_not_answered_says_why(
    client: Client, simulator: CarrierSimulator, destination: str, status: str
) -> None:
    call = client.calls.create(to=f"sip:{destination}@d.example", from_=OURS, twiml=PAUSE)
    simulator.advance(70)
    ended = client.calls(call.sid).fetch()
    assert (ended.status, ended.duration, ended.price) == (status, None, None)


def test_the_ring_timeout_has_a_buffer_of_five_seconds(
    client: Client, simulator: CarrierSimulator
) -> None:
    call = client.calls.create(to="sip:1000203@d.example", from_=OURS, twiml=PAUSE, timeout=10)
    simulator.advance(0.5 + 14.9)
    assert client.calls(call.sid).fetch().status == "ringing"
    simulator.advance(0.2)
    assert client.calls(call.sid).fetch().status == "no-answer"


def test_the_time_limit_ends_a_call(client: Client, simulator: CarrierSimulator) -> None:
    call = client.calls.create(to="sip:1000219@d.example", from_=OURS, twiml=PAUSE, time_limit=60)
    simulator.advance(120)
    assert client.calls(call.sid).fetch().duration == "60"


def test_a_call_is_redirected_by_url_and_by_twiml(
    client: Client, simulator: CarrierSimulator, application: Application
) -> None:
    application.answer("/next", "<Response><Pause length='5'/></Response>")
    call = client.calls.create(to="sip:1000219@d.example", from_=OURS, twiml=PAUSE)
    simulator.advance(5)
    assert client.calls(call.sid).update(url=application.url + "/next").status == "in-progress"
    simulator.advance(1)
    assert application.at("/next")[0]["CallStatus"] == "in-progress"
    client.calls(call.sid).update(twiml="<Response><Say>Goodbye.</Say></Response>")
    simulator.advance(2)
    assert client.calls(call.sid).fetch().status == "completed"
    assert [line["hears"] for line in simulator.exchange.calls[call.sid].lines][-1] == (
        'says: "Goodbye."'
    )


def test_canceled_ends_a_ringing_call_and_leaves_a_live_one(
    client: Client, simulator: CarrierSimulator
) -> None:
    call = client.calls.create(to="sip:1000219@d.example", from_=OURS, twiml=PAUSE)
    simulator.advance(1)
    assert client.calls(call.sid).update(status="canceled").status == "canceled"
    live = client.calls.create(to="sip:1000219@d.example", from_=OURS, twiml=PAUSE)
    simulator.advance(5)
    assert client.calls(live.sid).update(status="canceled").status == "in-progress"
    assert client.calls(live.sid).update(status="completed").status == "completed"


def test_a_call_that_is_over_cannot_be_moved(client: Client, simulator: CarrierSimulator) -> None:
    call = client.calls.create(to="sip:1000208@d.example", from_=OURS, twiml=PAUSE)
    simulator.advance(10)
    for change in ({"status": "completed"}, {"twiml": PAUSE}):
        with pytest.raises(TwilioRestException) as caught:
            client.calls(call.sid).update(**change)
        assert (caught.value.status, caught.value.code) == (400, 21220)
        assert "Call is not in-progress. Cannot redirect." in caught.value.msg


def test_only_a_call_that_is_over_can_be_deleted(
    client: Client, simulator: CarrierSimulator
) -> None:
    call = client.calls.create(to="sip:1000208@d.example", from_=OURS, twiml=PAUSE)
    with pytest.raises(TwilioRestException) as caught:
        client.calls(call.sid).delete()
    assert caught.value.code == 20009
    simulator.advance(10)
    assert client.calls(call.sid).delete()
    with pytest.raises(TwilioRestException) as caught:
        client.calls(call.sid).fetch()
    assert (caught.value.status, caught.value.code) == (404, 20404)


def test_a_record_may_be_refused_for_a_while_after_the_calls_end(
    client: Client, simulator: CarrierSimulator
) -> None:
    """Twilio error 20009: it may take 14 days."""
    simulator.exchange.settings.deletable_after = 3600.0
    call = client.calls.create(to="sip:1000208@d.example", from_=OURS, twiml=PAUSE)
    simulator.advance(1800)
    with pytest.raises(TwilioRestException) as caught:
        client.calls(call.sid).delete()
    assert (caught.value.status, caught.value.code) == (400, 20009)
    simulator.advance(3600)
    assert client.calls(call.sid).delete()


# -- lists -------------------------------------------------------------------------------------


def test_a_list_is_paged_newest_first(client: Client) -> None:
    sids = [client.calls.create(to=SOMEBODY, from_=OURS, twiml=PAUSE).sid for _ in range(7)]
    assert [call.sid for call in client.calls.list(page_size=2)] == sids[::-1]
    assert [call.sid for call in client.calls.list(limit=3)] == sids[:3:-1]
    first = client.calls.page(page_size=3)
    second = first.next_page()
    assert [call.sid for call in second] == sids[3:0:-1]
    assert [call.sid for call in second.previous_page()] == sids[:3:-1]
    assert second.next_page().next_page() is None


def test_the_next_page_is_relative_and_carries_a_token(
    client: Client, simulator: CarrierSimulator
) -> None:
    sids = [client.calls.create(to=SOMEBODY, from_=OURS, twiml=PAUSE).sid for _ in range(3)]
    body = requests.get(
        f"{simulator.url}/2010-04-01/Accounts/{ACCOUNT}/Calls.json?PageSize=2",
        auth=(ACCOUNT, TOKEN),
    ).json()
    path = f"/2010-04-01/Accounts/{ACCOUNT}/Calls.json"
    assert body["next_page_uri"] == f"{path}?PageSize=2&Page=1&PageToken=PA{sids[1]}"
    assert body["previous_page_uri"] is None
    assert (body["start"], body["end"], body["page"], body["page_size"]) == (0, 1, 0, 2)


def test_a_page_does_not_shift_when_a_call_is_added_meanwhile(client: Client) -> None:
    sids = [client.calls.create(to=SOMEBODY, from_=OURS, twiml=PAUSE).sid for _ in range(4)]
    first = client.calls.page(page_size=2)
    client.calls.create(to=SOMEBODY, from_=OURS, twiml=PAUSE)
    assert [call.sid for call in first.next_page()] == [sids[1], sids[0]]


def test_a_page_over_a_thousand_is_refused(client: Client) -> None:
    with pytest.raises(TwilioException, match="20007"):
        client.calls.list(limit=5000)


def test_calls_are_filtered(client: Client, simulator: CarrierSimulator) -> None:
    busy = client.calls.create(to="sip:1000202@d.example", from_=OURS, twiml=PAUSE)
    live = client.calls.create(to="sip:1000219@d.example", from_=OURS, twiml=PAUSE)
    simulator.advance(5)
    assert [c.sid for c in client.calls.list(status="busy")] == [busy.sid]
    assert [c.sid for c in client.calls.list(to="sip:1000219@d.example")] == [live.sid]
    assert client.calls.list(from_="+14155550111") == []
    now = simulator.clock.now()
    assert len(client.calls.list(start_time_after=simulator.clock.start)) == 2
    assert client.calls.list(start_time_before=simulator.clock.start) == []
    assert len(client.calls.list(start_time=now)) == 2
    assert [c.sid for c in client.calls.list(end_time_after=simulator.clock.start)] == [busy.sid]


# -- refusals ----------------------------------------------------------------------------------


def test_wrong_credentials_are_20003(simulator: CarrierSimulator) -> None:
    stranger = Client(ACCOUNT, "wrong")
    stranger.api.base_url = simulator.url
    with pytest.raises(TwilioRestException) as caught:
        stranger.calls.create(to=SOMEBODY, from_=OURS, twiml=PAUSE)
    assert (caught.value.status, caught.value.code) == (401, 20003)
    url = f"{simulator.url}/2010-04-01/Accounts/{ACCOUNT}/Calls.json"
    messages = [
        requests.get(url, auth=auth).json()["message"]
        for auth in (None, ("somebody", TOKEN), (ACCOUNT, "wrong"), ("AC" + "f" * 32, TOKEN))
    ]
    assert messages == [
        "Authentication Error - No credentials provided",
        "Authentication Error - invalid username",
        "Authenticate",
        "Authenticate",
    ]


def test_an_api_key_is_as_good_as_the_token(simulator: CarrierSimulator) -> None:
    key = "SK" + "e" * 32
    scenario = {"api_keys": {key: "secret"}}
    requests.post(simulator.url + "/sim/scenario", json=scenario).raise_for_status()
    client = Client(key, "secret", ACCOUNT)
    client.api.base_url = simulator.url
    assert client.calls.create(to=SOMEBODY, from_=OURS, twiml=PAUSE).status == "queued"
    client.http_client.session.close()
    url = f"{simulator.url}/2010-04-01/Accounts/{ACCOUNT}/Calls.json"
    assert requests.get(url, auth=(key, "wrong")).status_code == 401


def test_another_account_s_path_and_an_unknown_one_are_20404(
    simulator: CarrierSimulator,
) -> None:
    for path in (f"Accounts/AC{'f' * 32}/Calls.json", f"Accounts/{ACCOUNT}/calls.json", "Nothing"):
        answer = requests.get(f"{simulator.url}/2010-04-01/{path}", auth=(ACCOUNT, TOKEN))
        assert (answer.status_code, answer.json()["code"]) == (404, 20404)
        assert answer.json()["message"] == (
            f"The requested resource /2010-04-01/{path} was not found"
        )
    answer = requests.put(
        f"{simulator.url}/2010-04-01/Accounts/{ACCOUNT}/Calls.json",
        auth=(ACCOUNT, TOKEN),
    )
    assert (answer.status_code, answer.json()["code"]) == (405, 20004)


@pytest.mark.parametrize(
    ("values", "code"),
    [
        ({"to": ""}, 21201),
        ({"from_": ""}, 21213),
        ({"twiml": None}, 21205),
        ({"to": "12"}, 21211),
        ({"to": "+1415555267１"}, 21211),
        ({"to": OURS}, 21211),
        ({"from_": "somebody"}, 21212),
        ({"url": "ftp://example.com/"}, 21205),
        ({"url": "nowhere"}, 21205),
        ({"twiml": "x" * 4001}, 21205),
        ({"application_sid": "AP" + "0" * 32}, 21218),
        ({"fallback_url": "nowhere"}, 21205),
        ({"method": "PUT"}, 21209),
        ({"fallback_method": "DELETE"}, 21209),
        ({"status_callback_method": "HEAD"}, 21209),
        ({"status_callback": "http://bad_host.example/"}, 21609),
        ({"status_callback": "http://h.example/" + "x" * 4000}, 21609),
        ({"status_callback_event": ["ringing", "answering"]}, 21626),
        ({"send_digits": "12x"}, 21206),
        ({"send_digits": "1" * 33}, 21206),
        ({"timeout": 0}, 21208),
        ({"timeout": 601}, 21208),
        ({"time_limit": 59}, 21200),
        ({"time_limit": 86401}, 21200),
        ({"machine_detection": "Yes"}, 21234),
        ({"machine_detection_timeout": 60}, 21234),
        ({"machine_detection_speech_threshold": 999}, 21234),
        ({"machine_detection_speech_end_threshold": 5001}, 21234),
        ({"machine_detection_silence_timeout": 1999}, 21234),
        ({"async_amd_status_callback": "nowhere"}, 21205),
        ({"async_amd_status_callback_method": "PUT"}, 21209),
        ({"recording_channels": "stereo"}, 21200),
        ({"recording_track": "mine"}, 21200),
        ({"recording_status_callback": "nowhere"}, 21609),
        ({"recording_status_callback_method": "PUT"}, 21209),
        ({"recording_status_callback_event": ["over"]}, 21200),
        ({"trim": "short"}, 21200),
        ({"sip_auth_username": "u" * 256, "sip_auth_password": "p"}, 21221),
        ({"sip_auth_username": "a b", "sip_auth_password": "p"}, 21222),
        ({"sip_auth_password": "p" * 256}, 21223),
        ({"sip_auth_username": "u", "sip_auth_password": "a\nb"}, 21224),
        ({"sip_auth_username": "u"}, 21225),
        ({"byoc": "BY1"}, 21200),
        ({"client_notification_url": "nowhere"}, 21205),
    ],
)
def test_a_bad_parameter_is_refused_with_its_code_and_nothing_is_called(
    client: Client, simulator: CarrierSimulator, values: dict[str, object], code: int
) -> None:
    error = refused(client, **values)
    assert (error.status, error.code) == (400, code)
    assert simulator.exchange.placed == 0


def test_every_documented_parameter_of_a_create_is_accepted(
    simulator: CarrierSimulator, application: Application
) -> None:
    url = application.url + "/x"
    good = {
        "To": SOMEBODY,
        "From": OURS,
        "Url": url,
        "Twiml": PAUSE,
        "ApplicationSid": "",
        "Method": "GET",
        "FallbackUrl": url,
        "FallbackMethod": "GET",
        "StatusCallback": url,
        "StatusCallbackEvent": "initiated ringing answered completed",
        "StatusCallbackMethod": "GET",
        "SendDigits": "ww12#",
        "Timeout": "600",
        "Record": "true",
        "RecordingChannels": "dual",
        "RecordingStatusCallback": url,
        "RecordingStatusCallbackMethod": "GET",
        "RecordingStatusCallbackEvent": "in-progress completed absent",
        "RecordingTrack": "both",
        "SipAuthUsername": "u",
        "SipAuthPassword": "p",
        "MachineDetection": "DetectMessageEnd",
        "MachineDetectionTimeout": "59",
        "MachineDetectionSpeechThreshold": "6000",
        "MachineDetectionSpeechEndThreshold": "5000",
        "MachineDetectionSilenceTimeout": "10000",
        "AsyncAmd": "true",
        "AsyncAmdStatusCallback": url,
        "AsyncAmdStatusCallbackMethod": "GET",
        "Trim": "do-not-trim",
        "CallerId": OURS,
        "Byoc": "BY" + "0" * 32,
        "CallReason": "your callback",
        "CallToken": "token",
        "TimeLimit": "86400",
        "ClientNotificationUrl": url,
    }
    assert sorted(good) == FACTS["parameters"]["create_call"]
    answer = requests.post(
        f"{simulator.url}/2010-04-01/Accounts/{ACCOUNT}/Calls.json",
        data=good | {"Unheard": "of"},
        auth=(ACCOUNT, TOKEN),
    )
    assert answer.status_code == 201, answer.text
    assert answer.headers["Twilio-Request-Id"].startswith("RQ")
    assert answer.headers["Twilio-Concurrent-Requests"] == "1"
    assert answer.headers["Content-Type"] == "application/json"


def test_the_application_beats_the_url_and_the_url_beats_the_twiml(
    client: Client, simulator: CarrierSimulator, application: Application
) -> None:
    sid = "AP" + "1" * 32
    requests.post(
        simulator.url + "/sim/scenario",
        json={"applications": {sid: {"voice_url": application.url + "/application"}}},
    ).raise_for_status()
    url = application.url + "/url"
    client.calls.create(to=SOMEBODY, from_=OURS, url=url, twiml=PAUSE)
    simulator.advance(5)
    client.calls.create(to=SOMEBODY, from_=OURS, url=url, twiml=PAUSE, application_sid=sid)
    simulator.advance(5)
    assert [seen.path for seen in application.seen] == ["/url", "/application"]


@pytest.mark.parametrize(
    ("to", "from_", "code"),
    [
        ("+15005550001", OURS, 21217),
        ("+15005550002", OURS, 21214),
        ("+15005550003", OURS, 21215),
        ("+15005550004", OURS, 21216),
        (SOMEBODY, "+15005550001", 21212),
        (SOMEBODY, "+15005550007", 21210),
        ("sip:1000206@d.example", OURS, 21211),
        ("+14155550107", OURS, 21215),
    ],
)
def test_magic_numbers_and_scripted_parties_are_refused_at_create(
    client: Client, to: str, from_: str, code: int
) -> None:
    assert refused(client, to=to, from_=from_).code == code


def test_only_an_owned_number_may_call_where_that_is_checked(
    client: Client, simulator: CarrierSimulator
) -> None:
    simulator.exchange.settings.change(caller_ids="owned")
    simulator.call(lambda: simulator.exchange.add_number("+14155550198", owned=False))
    assert refused(client, from_="+14155550155").code == 21210
    for number in (OURS, "+14155550198", "+15005550006"):
        client.calls.create(to=SOMEBODY, from_=number, twiml=PAUSE)


def test_a_trial_account_only_calls_verified_numbers(
    client: Client, simulator: CarrierSimulator
) -> None:
    simulator.exchange.settings.change(trial=True)
    assert refused(client).code == 21219
    simulator.call(lambda: simulator.exchange.add_number(SOMEBODY, owned=False))
    call = client.calls.create(to=SOMEBODY, from_=OURS, twiml=PAUSE.replace("600", "9999"))
    simulator.advance(10)
    simulator.call(lambda: simulator.exchange.calls[call.sid].forget("patience"))
    simulator.advance(700)
    assert client.calls(call.sid).fetch().duration == "600"


# -- the queue ---------------------------------------------------------------------------------


def test_calls_above_the_rate_wait_their_turn(client: Client, simulator: CarrierSimulator) -> None:
    simulator.exchange.settings.change(calls_per_second=1.0)
    calls = [client.calls.create(to=SOMEBODY, from_=OURS, twiml=PAUSE) for _ in range(3)]
    assert [call.queue_time for call in calls] == ["0", "1000", "2000"]
    simulator.advance(0.9)
    statuses = [client.calls(call.sid).fetch().status for call in calls]
    assert statuses == ["ringing", "queued", "queued"]
    simulator.advance(2)
    assert client.calls(calls[2].sid).fetch().status == "ringing"


def test_more_than_a_day_of_waiting_calls_is_refused(client: Client, settings: Settings) -> None:
    settings.calls_per_second = 1 / 50_000
    client.calls.create(to=SOMEBODY, from_=OURS, twiml=PAUSE)
    client.calls.create(to=SOMEBODY, from_=OURS, twiml=PAUSE)
    error = refused(client)
    assert (error.code, error.status) == (22005, 400)


def test_the_concurrency_cap_refuses_the_next_call(
    client: Client, simulator: CarrierSimulator
) -> None:
    simulator.exchange.settings.change(concurrent_calls=2)
    for _ in range(2):
        client.calls.create(to="sip:1000208@d.example", from_=OURS, twiml=PAUSE)
    assert refused(client).code == 10004
    simulator.advance(10)
    client.calls.create(to=SOMEBODY, from_=OURS, twiml=PAUSE)


def test_numbers_and_caller_ids_are_listed(client: Client, simulator: CarrierSimulator) -> None:
    simulator.call(lambda: simulator.exchange.add_number("+442071838750", owned=False))
    owned = client.incoming_phone_numbers.list()
    verified = client.outgoing_caller_ids.list(phone_number="+442071838750")
    assert [n.phone_number for n in owned] == [OURS]
    assert [n.phone_number for n in verified] == ["+442071838750"]
    assert client.incoming_phone_numbers(owned[0].sid).fetch().capabilities["voice"] is True
    assert client.outgoing_caller_ids(verified[0].sid).fetch().phone_number == "+442071838750"
    assert client.api.accounts(ACCOUNT).fetch().status == "active"
