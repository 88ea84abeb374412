"""The stack as one thing: it starts, carries callbacks to their end, stops, and leaves nothing."""

import contextlib
import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import requests

from tests.local import arguments, demo, loopback
from tests.local.__main__ import main
from tests.local.carrier import Settings
from tests.local.clock import Clock
from tests.local.stack import PROJECT, CarrierNotRedirected, LocalStack

NEVER_ANSWERS = {"leg_A": {"to": "1000203"}, "leg_B": {"to": "1000201"}}


@pytest.fixture
def api() -> Iterator[Any]:
    with contextlib.ExitStack() as stack:

        def of(url: str, key: str) -> demo.Api:
            return stack.enter_context(contextlib.closing(demo.Api(url, key)))

        yield of


def test_the_demo_tells_a_callbacks_whole_life_and_succeeds(capsys):
    assert demo.run(speed=50) == 0
    told = capsys.readouterr().out
    assert json.dumps(demo.REQUEST) in told
    assert "HTTP 202" in told
    lines = re.findall(r"^ +([\d.]+) s  (.+?)  +(.+)$", told, re.MULTILINE)
    events = [f"{who}: {what}" for _, who, what in lines]
    assert [float(at) for at, _, _ in lines] == sorted(float(at) for at, _, _ in lines)
    for leg, to in (("A", "1000123"), ("B", "1000125")):
        assert [e for e in events if e.startswith(f"leg {leg}") and "hears" not in e][:4] == [
            f"leg {leg}: dialed (sip:{to}@pbx.example)",
            f"leg {leg}: ringing",
            f"leg {leg}: answered",
            f"leg {leg}: joined the room",
        ]
    assert any("leg A: hears plays" in event and "ringback.wav" in event for event in events)
    assert "A and B: connected: they hear each other" in events
    assert events[-1] == "service: callback is ended"
    assert '"outcome": "completed"' in told
    assert re.search(
        r"Lambda invocations +\d+ \(Authorizer 1, CallbackApi 1, CarrierWebhook \d+", told
    )
    assert re.search(r"billed transitions +2\n", told)


def test_the_demo_tells_in_its_order_what_it_learns_late(capsys):
    start = datetime(2026, 11, 24, 12, tzinfo=UTC)
    timeline = demo.Timeline(start)

    def at(seconds: float) -> datetime:
        return start + timedelta(seconds=seconds)

    timeline.line(at(5.63), "service", "callback is calling_second")
    timeline.line(at(5.47), "leg B", "dialed")
    timeline.show(until=at(5.5))
    assert capsys.readouterr().out == "    5.47 s  leg B    dialed\n"
    timeline.line(at(5.97), "leg B", "hears music")
    timeline.line(at(6.97), "leg B", "hears music")
    timeline.show()
    assert capsys.readouterr().out.splitlines() == [
        "    5.63 s  service  callback is calling_second",
        "    5.97 s  leg B    hears music",
    ]


def test_twenty_callbacks_at_once_are_carried_to_their_end():
    settings = Settings(calls_per_second=1000)
    with LocalStack(clock=Clock(stepped=True), carrier_settings=settings) as stack:

        def carry(_: int) -> str:
            with contextlib.closing(demo.Api(stack.url, stack.key)) as api:
                body = {
                    "leg_A": {"to": "+14155550118"},
                    "leg_B": {"to": "+14155550101"},
                    "allow_parallel": True,
                }
                status, location, _ = api.create(body)
                assert status == 202

                def ended() -> dict[str, Any] | None:
                    record = api.read(location)
                    return record if record["status"] == "ended" else None

                return stack.until(ended)["outcome"]

        with ThreadPoolExecutor(20) as pool:
            assert set(pool.map(carry, range(20))) == {"completed"}
        assert "CloseCallback" not in stack.invocations()


def test_a_stopped_execution_has_its_callback_closed_by_the_rule(api):
    with LocalStack(clock=Clock(stepped=True)) as stack:
        client = api(stack.url, stack.key)
        _, location, answer = client.create(NEVER_ANSWERS)
        (workflow,) = stack.template.workflows
        stack.clock.settle()
        assert stack.invocations()["PlaceLeg"] == 1
        arn = workflow.arn.replace(":stateMachine:", ":execution:")
        stack.aws.stepfunctions.stop_execution(executionArn=f"{arn}:{answer['callback_id']}")
        stack.until(lambda: client.read(location)["status"] == "ended")
        assert stack.bus.dead_letters == []


def test_every_function_of_the_template_is_told_where_it_is():
    with LocalStack(10, environ={"PUBLIC_URL": "https://elsewhere.example"}) as stack:
        for function in stack.template.functions:
            environment = function.environment
            assert environment.get("CARRIER_API_URL", stack.carrier_url) == stack.carrier_url
            assert environment.get("PUBLIC_URL", "https://elsewhere.example") == (
                "https://elsewhere.example"
            )
        assert loopback.is_loopback_url(stack.carrier_url)


def test_the_carriers_credentials_are_the_environments_and_kept_as_a_secret():
    environ = {"TWILIO_ACCOUNT_SID": "AC" + "1" * 32, "TWILIO_AUTH_TOKEN": "t0ken"}
    with LocalStack(10, environ=environ) as stack:
        (api,) = (each for each in stack.template.functions if each.logical_id == "CallbackApi")
        name = api.environment["CARRIER_SECRET_NAME"]
        parameter = stack.aws.ssm.get_parameter(Name=name, WithDecryption=True)["Parameter"]
        assert json.loads(parameter["Value"]) == {
            "account_sid": "AC" + "1" * 32,
            "auth_token": "t0ken",
        }
        assert parameter["Type"] == "SecureString"


def test_a_carrier_elsewhere_is_used_only_when_asked_for_and_in_real_time():
    environ = {"CARRIER_API_URL": "https://carrier.example"}
    with LocalStack(environ=environ) as stack:
        assert stack.carrier is None
        told = {f.environment.get("CARRIER_API_URL") for f in stack.template.functions}
        assert told == {"https://carrier.example", None}
    with pytest.raises(ValueError, match="keeps its own time"):
        LocalStack(10, environ=environ)


def test_nothing_but_this_machine_can_be_reached_from_inside():
    with LocalStack(10), pytest.raises(loopback.NotLoopback, match=r"api\.twilio\.com"):
        socket.create_connection(("api.twilio.com", 443))


def test_a_function_that_would_dial_through_another_carrier_keeps_the_stack_from_starting(
    tmp_path,
):
    """Once with Twilio's own address in one function, once with no function told any."""
    for folder in ("functions", "layers"):
        (tmp_path / folder).symlink_to(PROJECT / folder)
    source = (PROJECT / "template.yaml").read_text()
    for changed in (
        source.replace("CARRIER_API_URL: !Ref CarrierApiUrl", "CARRIER_API_URL: ''", 1),
        source.replace("CARRIER_API_URL: !Ref CarrierApiUrl", "ELSE: !Ref CarrierApiUrl"),
    ):
        (tmp_path / "template.yaml").write_text(changed)
        with pytest.raises(CarrierNotRedirected), LocalStack(10, project=tmp_path):
            pass


def test_one_stack_at_a_time_and_the_next_starts_empty(api):
    with LocalStack(10) as stack:
        with pytest.raises(RuntimeError, match="already running"), LocalStack(10):
            pass
        assert api(stack.url, stack.key).create(NEVER_ANSWERS)[0] == 202
    with LocalStack(10) as stack:
        assert api(stack.url, stack.key).read(demo.PATH)["callbacks"] == []


def test_nothing_is_left_behind():
    before = dict(os.environ)
    threads = set(threading.enumerate())
    with LocalStack(10) as stack:
        port = int(stack.url.rpartition(":")[2])
    assert dict(os.environ) == before
    while not set(threading.enumerate()) <= threads:
        time.sleep(0.01)
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0


@contextlib.contextmanager
def run(*command: str, **environment: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        command,
        cwd=PROJECT,
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def command(
    *arguments: str, module: str = "tests.local", **environment: str
) -> contextlib.AbstractContextManager[subprocess.Popen[str]]:
    return run(sys.executable, "-m", module, *arguments, **environment)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_command_serves_until_interrupted_and_ends_well(number, api):
    port = free_port()
    with command("--port", str(port), "--speed", "10") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "starting...\n"
        introduction = [process.stdout.readline() for _ in range(6)]
        assert introduction[0] == f"API        http://127.0.0.1:{port}/voice/call/callback\n"
        assert re.match(r"account    AC[0-9a-f]{32}\n", introduction[2])
        key = re.fullmatch(r"API key    (key_[0-9a-f]{20}\.[\w-]{43})\n", introduction[4])
        assert key is not None
        status, _, _ = api(f"http://127.0.0.1:{port}", key[1]).create(demo.REQUEST)
        assert status == 202
        process.send_signal(number)
        out, err = process.communicate()
    assert (process.returncode, err) == (0, "")
    assert out.endswith("stopping\n")


def read_until(process: subprocess.Popen[str], last: str) -> None:
    assert process.stdout is not None
    assert any(line == last for line in process.stdout), process.communicate()


def test_signals_in_quick_succession_stop_it_once_and_well():
    """As a terminal, a timeout and an impatient hand send them together."""
    with command("--speed", "10") as process:
        read_until(process, "Ctrl-C stops it.\n")
        while process.poll() is None:
            process.send_signal(signal.SIGINT)
            process.send_signal(signal.SIGTERM)
        out, err = process.communicate()
    assert (process.returncode, out, err) == (0, "stopping\n", "")


@pytest.mark.parametrize(("module", "status"), [("tests.local", 0), ("tests.local.demo", 1)])
def test_interrupted_while_it_starts_it_ends_at_once_without_a_trace(module, status):
    with command(module=module) as process:
        read_until(process, "starting...\n")
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGINT):
            process.send_signal(number)
        out, err = process.communicate()
    assert (process.returncode, out, err) == (status, "", "")


def test_a_stack_that_does_not_stop_is_killed():
    hangs = """
import os, signal, threading
from tests.local import interruption
interruption.STOPPING_SECONDS = 1
interruption.time.sleep = lambda _: os.kill(os.getpid(), signal.SIGTERM)
asked = interruption.Interruption(0)
asked.defer()
asked.wait()
print("stopping", flush=True)
threading.Event().wait()
"""
    with run(sys.executable, "-c", hangs) as process:
        out, err = process.communicate()
    assert (process.returncode, out, err) == (-signal.SIGALRM, "stopping\n", "")


def pastable(printed: str, beginning: str) -> list[str]:
    """The words of a printed command, which may go on in the next line."""
    _, _, rest = printed.replace("\\\n", " ").partition(f"\n  {beginning}")
    return shlex.split(beginning + rest.partition("\n")[0])


def test_the_printed_commands_work_and_an_undelivered_webhook_is_reported():
    with command("--speed", "10") as process:
        assert process.stdout is not None
        printed = "".join(iter(process.stdout.readline, "Ctrl-C stops it.\n"))
        pasted = pastable(printed, "AWS_ENDPOINT_URL=")
        assert pasted[-3:-1] == ["make", "admin"]
        ran = subprocess.run(
            [sys.executable, "-m", "callback.admin", *pasted[-1].removeprefix("ARGS=").split()],
            env={
                "PATH": os.environ["PATH"],
                "PYTHONPATH": str(PROJECT / "layers" / "shared"),
                **dict(each.split("=", 1) for each in pasted[:-3]),
            },
            capture_output=True,
            text=True,
            check=False,
        )
        assert (ran.returncode, ran.stderr) == (0, "")
        assert "any_caller_id_extension=true\n" in ran.stdout

        put = pastable(printed, "curl -X PUT")
        url, authorization, body = put[3], put[5], put[-1]
        own = json.loads(body)["url"]
        name, key = authorization.split(": ")
        elsewhere = {"url": "https://client.example/told", "events": ["callback.accepted"]}
        answer = requests.put(url, json=elsewhere, headers={name: key})
        assert answer.status_code == 201
        accepted = f"{url.partition('/voice')[0]}{demo.PATH}"
        answer = requests.post(accepted, json=demo.REQUEST, headers={name: key})
        assert answer.status_code == 202
        line = process.stdout.readline()
        assert re.fullmatch(
            r"not delivered: \S+ to https://client\.example/told \(connection_failed\):"
            rf" here, webhooks go to {own} and nowhere else\n",
            line,
        )
        answer = requests.put(url, data=body, headers={name: key})
        assert answer.status_code == 200
        # It is retried within seconds, and not reported again.
        arrived = f"webhook {line.split()[2]}: "
        while not (line := process.stdout.readline()).startswith(arrived):
            assert line.startswith("webhook ")


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        yield taken.getsockname()[1]


@pytest.mark.parametrize("option", ["--port", "--carrier-port"])
def test_a_port_that_is_taken_is_one_line_and_a_failure(option, taken_port):
    with command(option, str(taken_port)) as process:
        out, err = process.communicate()
    said = f"tests.local: port {taken_port} of 127.0.0.1: Address already in use\n"
    assert (process.returncode, out, err) == (1, "starting...\n", said)


def test_a_carrier_port_that_is_taken_keeps_the_stack_from_starting(taken_port):
    with pytest.raises(OSError, match="ddress already in use"), LocalStack(carrier_port=taken_port):
        pass
    with LocalStack(10) as stack:
        assert stack.url


@pytest.mark.parametrize("variable", ["CARRIER_API_URL", "PUBLIC_URL"])
@pytest.mark.parametrize(
    "url",
    [
        "zzz",
        "ftp://a.example",
        "http://",
        "https://a.example/",
        "https://a.example?b",
        "https://a b",
    ],
)
def test_an_address_that_is_none_keeps_the_stack_from_starting(variable, url):
    with pytest.raises(ValueError, match=f"^{variable} is '{re.escape(url)}': give the beginning"):
        LocalStack(environ={variable: url})


@pytest.mark.parametrize(
    ("start", "option", "value", "said"),
    [
        (main, "--port", "70000", "70000 is not a port: give 0 to 65535"),
        (main, "--carrier-port", "abc", "abc is not a port: give 0 to 65535"),
        (main, "--speed", "0", "0 is not a speed: give more than 0 and at most 1000"),
        (demo.main, "--speed", "x", "x is not a speed: give more than 0 and at most 1000"),
        (demo.main, "--speed", "nan", "nan is not a speed: give more than 0 and at most 1000"),
    ],
)
def test_an_invalid_argument_is_refused_with_a_plain_message(start, option, value, said, capsys):
    with pytest.raises(SystemExit) as refused:
        start([option, value])
    assert refused.value.code == 2
    assert capsys.readouterr().err.endswith(f"error: argument {option}: {said}\n")


def test_the_pace_is_told_in_english():
    assert [arguments.pace(speed) for speed in (1, 2.5)] == [
        "1 virtual second in a real one",
        "2.5 virtual seconds in a real one",
    ]
