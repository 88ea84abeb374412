"""The simulator as a whole: starting, stopping, its own API, its command, its load, its page."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
import requests
from twilio.rest import Client

from tests.local.carrier import Behaviour, CarrierSimulator, Clock, Scripts, Settings
from tests.local.carrier.load import faults, measure
from tests.local.carrier.scripts import user_part
from tests.support.browser import rendered

from .conftest import ACCOUNT, OURS, TOKEN, Application, hears

ROOT = Path(__file__).parents[2]
PAUSE = "<Response><Pause length='600'/></Response>"


# -- starting and stopping ---------------------------------------------------------------------


def test_it_stops_at_once_in_the_middle_of_everything(application: Application) -> None:
    release = threading.Event()
    application.answer("/slow", lambda _: (release.wait(), PAUSE)[1])
    threads = set(threading.enumerate())
    simulator = CarrierSimulator(
        ACCOUNT, TOKEN, clock=Clock(50), settings=Settings(calls_per_second=100)
    )
    simulator.start()
    client = Client(ACCOUNT, TOKEN)
    client.api.base_url = simulator.url
    for number in range(10):
        client.calls.create(
            to=f"+1415555{2000 + number}", from_=OURS, url=application.url + "/slow"
        )
    simulator.clock.until(lambda: application.at("/slow"), within=600)
    # Nothing that is in flight is answered before it has stopped.
    simulator.stop()
    simulator.stop()
    release.set()
    client.http_client.session.close()
    assert simulator.exchange.crashes == []
    for thread in set(threading.enumerate()) - threads:
        thread.join()
    with pytest.raises(requests.exceptions.ConnectionError):
        requests.get(simulator.url)


def test_a_port_that_is_taken_is_told(simulator: CarrierSimulator) -> None:
    with pytest.raises(OSError, match="in use"):
        CarrierSimulator(ACCOUNT, TOKEN, port=simulator.port).start()


def test_everything_is_told_to_who_listens(application: Application) -> None:
    events: list[dict[str, Any]] = []
    simulator = CarrierSimulator(ACCOUNT, TOKEN, clock=Clock(stepped=True))
    simulator.subscribe(events.append)
    with simulator:
        client = Client(ACCOUNT, TOKEN)
        client.api.base_url = simulator.url
        client.calls.create(
            to="sip:1000208@d.example", from_=OURS, url=application.answer("/start", PAUSE)
        )
        simulator.advance(10)
        client.http_client.session.close()
    kinds = [event["kind"] for event in events]
    assert [kind for kind in kinds if kind.startswith("call.")] == [
        "call.queued",
        "call.initiated",
        "call.ringing",
        "call.in-progress",
        "call.completed",
    ]
    assert "webhook" in kinds
    assert "hears" in kinds
    assert all(event["at"].tzinfo for event in events)


def test_what_is_kept_of_the_past_is_bounded(application: Application) -> None:
    settings = Settings(calls_per_second=1_000, keep_ended=5, keep_lines=3, keep_log=2)
    with CarrierSimulator(
        ACCOUNT, TOKEN, clock=Clock(stepped=True), settings=settings
    ) as simulator:
        client = Client(ACCOUNT, TOKEN)
        client.api.base_url = simulator.url
        say = "<Response>" + "<Say>x</Say>" * 9 + "<Sing/></Response>"
        for number in range(12):
            client.calls.create(to=f"+1415555{2000 + number}", from_=OURS, twiml=say, record=True)
            client.messages.create(to=OURS, from_="+14155552671", body="x")
        simulator.advance(60)
        client.http_client.session.close()
        exchange = simulator.exchange
        assert len(exchange.calls) == len(exchange.messages) == 5
        assert len(exchange.recordings.by_sid) == 5
        assert len(exchange.debugger.lines) == 2
        assert all(len(call.lines) == 3 for call in exchange.calls.values())
        assert exchange.placed == 12
    assert application.seen == []


# -- scripts and the own API -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("address", "user"),
    [
        ("sip:1000123@demo.example", "1000123"),
        ("sips:1000123@demo.example;transport=tls?x=1", "1000123"),
        ("client:1000123", "1000123"),
        ("1000123", "1000123"),
        ("+14155550123", "14155550123"),
    ],
)
def test_the_user_part_of_any_address_is_matched(address: str, user: str) -> None:
    assert user_part(address) == user


def test_an_exact_rule_beats_a_suffix_and_a_longer_one_a_shorter() -> None:
    scripts = Scripts({})
    for match in ("*", "*9", "*99", "1099"):
        scripts.set(match, Behaviour(note=match))
    found = [scripts.behaviour(a).note for a in ("sip:1099@x.example", "+199", "29", "28")]
    assert found == ["1099", "*99", "*9", "*"]
    for bad in ("", "a*", "* 1"):
        with pytest.raises(ValueError, match="rule"):
            scripts.set(bad, Behaviour())


def test_the_documented_parties_exist_in_each_form() -> None:
    scripts = Scripts()
    assert scripts.behaviour("sip:1000125@d.example").hang_up_after_joined == 20.0
    assert scripts.behaviour("sip:1000123@d.example").answer_after == 3.0
    for address in ("sip:1000202@d.example", "client:1000202", "+11000202", "+14155550102"):
        assert scripts.behaviour(address).outcome == "busy"


def test_a_scenario_sets_everything_and_a_wrong_one_nothing(simulator: CarrierSimulator) -> None:
    def post(scenario: Any) -> int:
        return requests.post(simulator.url + "/sim/scenario", json=scenario).status_code

    good = {
        "settings": {"calls_per_second": 5},
        "behaviours": {"1000300": {"outcome": "busy"}, "*77": {"answer_after": 1}},
        "faults": [{"fault": "drop", "event": "ringing", "chance": 0.5}],
        "numbers": {"+14155550177": {"owned": False}},
        "applications": {"AP" + "a" * 32: {"voice_url": "http://127.0.0.1/"}},
    }
    assert post(good) == 200
    exchange = simulator.exchange
    assert exchange.settings.calls_per_second == 5
    assert exchange.scripts.behaviour("+1999977").answer_after == 1
    assert exchange.scripts.behaviour("sip:1000300@d.example").outcome == "busy"
    assert len(exchange.faults.items()) == 1
    assert exchange.numbers["+14155550177"].owned is False
    for bad in (
        {"rooms": {}},
        {"settings": {"calls_per_second": 9, "speed": 1}},
        {"behaviours": {"1": {"outcome": "sings"}}},
        {"behaviours": {"1": {"mood": "good"}}},
        {"behaviours": {"1": {"answer_after": "soon"}}},
        {"behaviours": {"1": {"answer_after": -1}}},
        {"behaviours": {"1": {"digits": [1]}}},
        {"behaviours": {"1": {"leaves_with_other": 1}}},
        {"faults": [{"fault": "drop", "times": 1.5}]},
        {"faults": [{"fault": "drop", "seen": 1}]},
        {"settings": {"trial": None}},
        {"faults": [{"fault": "fire"}]},
        {"numbers": {"+14155550178": {"colour": "red"}}},
        {"applications": {"AP1": {"voice_url": "x"}}},
        {"api_keys": {"SK1": "secret"}},
        {"api_keys": {"SK" + "a" * 32: 1}},
        {"behaviours": [1]},
        {"behaviours": {"1": "x"}},
        {"settings": "fast"},
        {"faults": {"fault": "drop"}},
        {"faults": ["drop"]},
        {"faults": [{"fault": "drop", "chance": 7}]},
        {"numbers": {"+14155550178": "mine"}},
        {"applications": {"AP" + "a" * 32: "x"}},
        ["list"],
    ):
        assert post(bad) == 400, bad
    assert exchange.settings.calls_per_second == 5
    assert requests.post(simulator.url + "/sim/scenario", data="{").status_code == 400


def test_state_is_read_over_http(
    client: Client, simulator: CarrierSimulator, application: Application
) -> None:
    url = application.answer("/start", "<Response><Say>Hello.</Say></Response>")
    call = client.calls.create(to="sip:1000219@d.example", from_=OURS, url=url)
    simulator.advance(10)

    def get(path: str) -> Any:
        return requests.get(simulator.url + "/sim/" + path).json()

    assert get(f"calls/{call.sid}")["hears"][-1]["hears"] == 'says: "Hello."'
    assert [c["sid"] for c in get("calls?to=1000219")] == [call.sid]
    (fetch,) = get("webhooks?kind=twiml")
    assert (fetch["status"], fetch["subject"], fetch["params"]["CallSid"]) == (
        200,
        call.sid,
        call.sid,
    )
    state = get("state")
    assert (state["placed"], state["live"], state["crashes"]) == (1, 0, [])
    assert get("rooms") == get("messages") == get("debugger") == []
    assert get("behaviours")["1000125"]["hang_up_after_joined"] == 20.0


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "error"),
    [
        ("GET", "calls/CA0", None, 404, "no such call"),
        ("POST", "calls/CA0/say", {"text": "hello"}, 404, "no such call"),
        ("DELETE", "behaviours/1999", None, 404, "no such rule"),
        ("GET", "nothing", None, 404, "there is no GET /sim/nothing"),
        ("DELETE", "state", None, 404, "there is no DELETE /sim/state"),
        ("POST", "inbound-call", {"to": OURS}, 400, "from is missing"),
        ("POST", "inbound-call", {"behaviour": "x"}, 400, "Behaviour must be an object, not 'x'"),
        ("POST", "inbound-call", {"url": "zzz"}, 400, "url must be"),
        ("POST", "inbound-call", {"verstat": 1}, 400, "verstat must be"),
        ("POST", "inbound-call", {"to": "+14155550178"}, 400, "+14155550178 is no number of"),
        ("POST", "inbound-sms", {"to": "+14155550178"}, 400, "+14155550178 is no number of"),
        ("POST", "inbound-sms", {"from": "zzz"}, 400, "zzz cannot text"),
        ("POST", "inbound-sms", {"body": 1}, 400, "body must be a text"),
        ("PUT", "behaviours/1", '{"answer_after": Infinity}', 400, "answer_after cannot be inf"),
        ("PUT", "clock", {"speed": True}, 400, "speed must be a number from 0 to 1,000,000"),
        ("POST", "clock/advance", {"seconds": 1e300}, 400, "seconds must be a number from 0"),
        ("POST", "scenario", "[" * 100_000, 400, "the body is not JSON"),
        ("POST", "scenario", "no gzip", 400, "the body is not JSON"),
        ("POST", "scenario", " " * 2_000_000, 413, "Request Entity Too Large"),
    ],
)
def test_an_impossible_request_is_refused_with_a_reason(
    simulator: CarrierSimulator, method: str, path: str, body: Any, status: int, error: str
) -> None:
    if path.startswith("inbound"):
        voice = {"url": "http://127.0.0.1:1/"} if path == "inbound-call" else {}
        whole = {"to": OURS, "from": "+14155552671", "body": "", **voice}
        body = body if "from is" in error else whole | body
    text = body if isinstance(body, str | None) else json.dumps(body)
    headers = {"Content-Encoding": "gzip"} if text == "no gzip" else {}
    answer = requests.request(method, f"{simulator.url}/sim/{path}", data=text, headers=headers)
    assert (answer.status_code, answer.json()["error"][: len(error)]) == (status, error)
    assert simulator.exchange.placed == len(simulator.exchange.messages) == 0


def test_behaviours_are_set_and_dropped_by_api(client: Client, simulator: CarrierSimulator) -> None:
    url = simulator.url + "/sim/behaviours/1000555"
    said = {"says": ["One.", "Two."], "answer_after": 0}
    assert requests.put(url, json=said).status_code == 200
    room = "<Response><Dial><Conference>r</Conference></Dial></Response>"
    client.calls.create(to="sip:1000555@d.example", from_=OURS, twiml=room)
    other = client.calls.create(to="sip:1000219@d.example", from_=OURS, twiml=room)
    simulator.advance(9)
    heard = [line for line in hears(simulator, other.sid) if line.startswith("1000555")]
    assert heard == ['1000555: "One."', '1000555: "Two."']
    assert requests.delete(url).status_code == 204
    assert requests.delete(url).status_code == 404
    assert requests.put(url, json={"outcome": "sings"}).status_code == 400


# -- the command -------------------------------------------------------------------------------


def test_the_command_starts_it_alone_and_ctrl_c_ends_it(tmp_path: Path) -> None:
    scenario = tmp_path / "scenario.json"
    scenario.write_text(json.dumps({"settings": {"calls_per_second": 7}}), "utf-8")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "tests.local.carrier", "--port", str(port)),
            *("--scenario", str(scenario), "--number", f"{OURS}=http://127.0.0.1:1/voice"),
        ],
        cwd=ROOT,
        env=os.environ | {"TWILIO_ACCOUNT_SID": ACCOUNT, "TWILIO_AUTH_TOKEN": TOKEN},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        assert process.stdout is not None
        printed = []
        for line in process.stdout:
            printed.append(line)
            if "Ctrl-C" in line:
                break
        text = "".join(printed)
        assert f"http://127.0.0.1:{port}" in text
        assert ACCOUNT in text
        assert re.search(r"1000202 +is busy", text)
        client = Client(ACCOUNT, TOKEN)
        client.api.base_url = f"http://127.0.0.1:{port}"
        assert [n.voice_url for n in client.incoming_phone_numbers.list()] == [
            "http://127.0.0.1:1/voice"
        ]
        settings = requests.get(f"http://127.0.0.1:{port}/sim/settings").json()
        assert settings["calls_per_second"] == 7
        client.http_client.session.close()
        process.send_signal(signal.SIGINT)
        assert process.wait() == 0
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--port", "{taken}", "port {taken} of 127.0.0.1: Address already in use"),
        ("--cps", "0", "calls_per_second must be positive"),
        ("--number", "zzz", "--number zzz: give it as E.164, such as +14155550100"),
        ("--scenario", "/nowhere", "--scenario /nowhere: No such file or directory"),
    ],
)
def test_the_command_says_in_a_line_what_is_wrong(
    simulator: CarrierSimulator, option: str, value: str, said: str
) -> None:
    taken = str(simulator.port)
    ran = subprocess.run(
        [sys.executable, "-m", "tests.local.carrier", option, value.format(taken=taken)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    told = f"tests.local.carrier: {said.format(taken=taken)}\n"
    assert (ran.returncode, ran.stdout, ran.stderr) == (1, "", told)


# -- the load ----------------------------------------------------------------------------------


@pytest.mark.parametrize("rooms", [False, True])
def test_hundreds_of_five_minute_calls_all_end_as_they_should(rooms: bool) -> None:
    figures = measure(400, 300, rooms=rooms, keep=100, speed=1_000)
    assert faults(figures) == []
    assert figures["memory_peak_mb"] - figures["memory_start_mb"] < 100


def test_a_load_run_that_went_wrong_is_noticed() -> None:
    words = dict.fromkeys(("initiated", "ringing", "in-progress", "completed"), 2)
    good = {
        "calls": 2,
        "call_seconds": 300,
        "rooms": 0,
        "events": words,
        "durations": {"300": 2},
        "crashes": [],
    }
    assert faults(good) == []
    assert faults(good | {"durations": {"299": 2}})
    assert faults(good | {"events": words | {"ringing": 1}})
    assert faults(good | {"crashes": ["boom"]})


# -- the page ----------------------------------------------------------------------------------


def test_the_page_shows_calls_rooms_and_webhooks_live(
    client: Client, simulator: CarrierSimulator, application: Application, tmp_path: Path
) -> None:
    room = (
        "<Response><Say>&lt;img src=x onerror=alert(1)&gt;</Say><Dial>"
        "<Conference participantLabel='{}' waitUrl=''>the-room</Conference></Dial></Response>"
    )
    for label, to in (("Anna", "1000219"), ("Bert", "1000125")):
        client.calls.create(
            to=f"sip:{to}@d.example",
            from_=OURS,
            url=application.answer(f"/{label}", room.format(label)),
            status_callback=application.url + "/status",
            status_callback_event=["ringing"],
        )
    simulator.advance(12)
    application.answer("/broken", (500, {}, ""))
    client.calls.create(to="sip:1000219@d.example", from_=OURS, url=application.url + "/broken")
    simulator.advance(8)
    page = rendered(simulator.url, tmp_path)
    text = re.sub(r"<script>.*</script>", "", page, flags=re.DOTALL)
    assert "3 calls placed, 2 live, 0 queued" in text
    assert re.search(
        r'class="room"><strong>the-room</strong> <span class="quiet">in-progress', text
    )
    assert '<div class="talking">Anna (connected)</div>' in text
    assert '<div class="talking">Bert (connected)</div>' in text
    assert "Hello, this is 1000125." in text
    assert f"{application.url}/status" in text
    assert re.search(r'<span class="good">204</span></td><td>\d+</td>', text)
    assert re.search(r'<span class="bad">500</span>', text)
    assert "answered 500" in text
    assert "<img" not in text
    assert "&lt;img src=x onerror=alert(1)&gt;" in text
    assert "stepped" in text


# -- other people's applications ---------------------------------------------------------------


def test_a_program_written_for_twilio_runs_untouched(
    simulator: CarrierSimulator, tmp_path: Path
) -> None:
    program = tmp_path / "program.py"
    (tmp_path / "calls.py").write_text("NAME = 'the program has its own calls.py'\n", "utf-8")
    program.write_text(
        "import sys\n"
        "import calls\n"
        "from twilio.rest import Client\n"
        f"client = Client('{ACCOUNT}', '{TOKEN}')\n"
        f"call = client.calls.create(to=sys.argv[1], from_='{OURS}', twiml='<Response/>')\n"
        "print(call.sid, calls.NAME)\n",
        "utf-8",
    )
    pointer = ROOT / "tests" / "local" / "carrier" / "point.py"
    result = subprocess.run(
        [sys.executable, str(pointer), simulator.url, str(program), "+14155552671"],
        capture_output=True,
        text=True,
        check=True,
    )
    (call,) = simulator.exchange.calls.values()
    assert result.stdout.strip() == f"{call.sid} the program has its own calls.py"
    assert call.to == "+14155552671"
