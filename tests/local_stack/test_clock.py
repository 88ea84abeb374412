"""One clock for threads, requests and timers: it waits for the work in flight.

What the simulator alone needs of it is in tests/carrier_simulator/test_clock.py.
"""

import contextlib
import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from tests.local import clock as clocks
from tests.local import demo
from tests.local.clock import Clock, ClockStalled, NotInTime, Signal, run_as, run_loop
from tests.local.events import Bus
from tests.local.functions import Function, Functions
from tests.local.receiver import Receiver, Silence
from tests.local.stack import LocalStack
from tests.local.template import Rule, RuleTarget
from tests.local_stack.conftest import definition_of

CREATE = "POST .*/Calls.json"


@pytest.fixture
def clock() -> Iterator[Clock]:
    stepped = Clock(stepped=True)
    with run_loop(stepped):
        yield stepped
        stepped.shut()


def test_virtual_time_stops_while_work_is_in_flight(clock: Clock) -> None:
    fired: list[float] = []
    clock.call_later(5, lambda: fired.append(clock.seconds()))

    def work() -> None:
        time.sleep(0.3)
        seen.append((clock.seconds(), list(fired)))

    seen: list[Any] = []
    clock.start_thread("a slow handler", work)
    clock.pause(10)
    assert seen == [(0, [])]
    assert (fired, clock.seconds()) == ([5], 10)


def test_a_paused_thread_works_again_before_more_time_passes(
    clock: Clock,
) -> None:
    seen: list[float] = []

    def pausing() -> None:
        for _ in range(3):
            clock.pause(7)
            time.sleep(0.05)
            seen.append(clock.seconds())

    clock.start_thread("a handler", pausing)
    clock.until(lambda: len(seen) == 3, within=30)
    assert seen == [7, 14, 21]


def test_a_signalled_thread_works_again_before_more_time_passes(clock: Clock) -> None:
    signal, seen = Signal(clock), list[float]()

    def wait() -> None:
        assert signal.wait(100)
        time.sleep(0.2)
        seen.append(clock.seconds())

    clock.start_thread("a waiting thread", wait)
    clock.call_later(3, signal.set)
    clock.pause(50)
    assert seen == [3]


def test_a_wait_without_a_signal_ends_after_its_virtual_timeout(clock: Clock) -> None:
    assert Signal(clock).wait(86_400) is False
    assert clock.seconds() == 86_400


def test_work_that_is_taken_over_counts_once(clock: Clock) -> None:
    """The receiver may suspend the work. The work is over only once it is ended."""
    work = clock.begin("a request")
    taken = clock.take_over(str(work.number))
    assert taken is work
    clock.call_later(4, lambda: None)
    with work.suspension():
        clock.pause(2)
    assert clock.holders() == ["a request"]
    work.end()
    assert clock.holders() == []
    assert clock.take_over(str(work.number)) is None


def test_a_bounded_call_times_out_in_virtual_time(clock: Clock) -> None:
    forever, seen = threading.Event(), list[float]()

    def hang() -> None:
        work = clocks.current_work()
        assert work is not None
        with work.suspension():  # a peer that knows the clock and does not answer
            forever.wait()

    def call() -> None:
        with pytest.raises(TimeoutError):
            clock.call_within(8, hang)
        seen.append(clock.seconds())

    clock.start_thread("a request", call)
    clock.until(lambda: seen, within=20)
    forever.set()
    assert seen == [8]


def test_a_bounded_call_ends_when_the_clock_is_shut(clock: Clock) -> None:
    hanging, forever, seen = threading.Event(), threading.Event(), list[float]()

    def hang() -> None:
        hanging.set()
        forever.wait()

    def call() -> None:
        with pytest.raises(TimeoutError):
            clock.call_within(8, hang)
        seen.append(clock.seconds())

    thread = clock.start_thread("a request", call)
    hanging.wait()
    clock.shut()
    thread.join()
    forever.set()
    assert seen == [0]


def test_a_condition_that_stays_false_fails_after_its_virtual_time(clock: Clock) -> None:
    with pytest.raises(NotInTime, match="not within 600 virtual seconds"):
        clock.until(lambda: False, within=600)
    assert clock.seconds() == 600


def test_a_stalled_clock_names_the_work_that_holds_it(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clocks, "STALLED_SECONDS", 0.2)
    work = clock.begin("a handler that hangs")
    with pytest.raises(ClockStalled, match="the clock waits for: a handler that hangs"):
        clock.settle()
    work.end()


def test_a_fast_clock_is_no_faster_than_real_time_while_work_is_in_flight() -> None:
    clock = Clock(1000)
    with run_loop(clock):
        with clock.track_work("a slow handler"):
            began, before = time.monotonic(), clock.seconds()
            time.sleep(0.2)
            passed, real = clock.seconds() - before, time.monotonic() - began
        assert 0 < passed <= real
        clock.until(lambda: clock.seconds() > before + 100, within=200)


# -- the whole stack ---------------------------------------------------------------------------


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as listening:
        yield listening


@pytest.fixture
def stack(receiver: Receiver) -> Iterator[LocalStack]:
    with LocalStack(clock=Clock(stepped=True), environ={}, receiver=receiver) as running_stack:
        yield running_stack


def run_callback(stack: LocalStack) -> dict[str, Any]:
    """Run the demo's callback to its end. Returns its record with the virtual seconds it took."""
    api = demo.Api(stack.url, stack.key)
    began = stack.clock.now()
    status, location, _ = api.create({**demo.REQUEST, "allow_parallel": True})
    assert status == 202
    stack.until(lambda: api.read(location)["status"] == "ended")
    record = api.read(location)
    api.close()
    record["took"] = (stack.clock.now() - began).total_seconds()
    return record


def test_a_handler_that_sleeps_in_real_time_changes_no_result(
    stack: LocalStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick = run_callback(stack)
    for name in ("local-place-leg", "local-carrier-webhook"):
        function = stack.functions.find(name)
        handler = function._handler

        def slow(event: Any, context: Any, handler: Any = handler) -> Any:
            time.sleep(0.3)
            return handler(event, context)

        monkeypatch.setattr(function, "_handler", slow)
    late = run_callback(stack)
    for of_both in ("outcome", "cause", "bridged_seconds"):
        assert late[of_both] == quick[of_both]
    for leg in ("leg_A", "leg_B"):
        assert late[leg]["seconds"] == quick[leg]["seconds"]
    # One callback starts at another fraction of the carrier's second.
    assert late["took"] == pytest.approx(quick["took"], abs=1)


def test_a_request_to_a_silent_carrier_times_out_in_virtual_time(
    stack: LocalStack,
) -> None:
    """The carrier still places the call, and its first webhook identifies it."""
    assert stack.carrier is not None
    fault = {"fault": "slow", "seconds": 30, "times": 1, "where": CREATE}
    requests.post(f"{stack.carrier_url}/sim/faults", json=fault).raise_for_status()
    began = stack.clock.seconds()
    record = run_callback(stack)
    assert (record["outcome"], record["leg_A"]["attempts"]) == ("completed", 1)
    assert stack.carrier.exchange.placed == 2
    assert stack.clock.seconds() - began < 60


def test_a_webhook_to_a_silent_endpoint_times_out_in_virtual_time_and_is_retried(
    stack: LocalStack, receiver: Receiver
) -> None:
    body = {"url": receiver.url + "/hook", "events": ["callback.accepted"]}
    headers = {"Authorization": f"Bearer {stack.key}"}
    requests.put(f"{stack.url}/voice/webhook/endpoint", json=body, headers=headers)
    silence = Silence(stack.clock)
    receiver.answers["/hook"] = silence
    began = stack.clock.seconds()
    api = demo.Api(stack.url, stack.key)
    assert api.create(demo.REQUEST)[0] == 202
    api.close()
    stack.clock.until(lambda: len(receiver.at("/hook")) == 2, within=120)
    silence.is_over.set()
    first, second = receiver.at("/hook")
    assert json.loads(first.body) == json.loads(second.body)
    assert 15 <= stack.clock.seconds() - began < 60


def test_a_request_takes_as_much_virtual_time_as_its_function(stack: LocalStack) -> None:
    function = stack.functions.find("local-callback-api")
    handler = function._handler

    def pausing(event: Any, context: Any) -> Any:
        stack.clock.pause(5)
        return handler(event, context)

    function._handler = pausing
    began = stack.clock.seconds()
    api = demo.Api(stack.url, stack.key)
    assert api.read(demo.PATH)["callbacks"] == []
    api.close()
    function._handler = handler
    assert stack.clock.seconds() - began == 5
    with run_as(None):
        stack.clock.pause(1)
    assert stack.clock.seconds() - began == 6


# -- regressions -------------------------------------------------------------------------------


def test_a_change_during_the_check_of_a_condition_is_not_missed(clock: Clock) -> None:
    """As if another thread wrote: the condition is false at its check and true right after."""
    changes, looks = [0], [0]

    def condition() -> bool:
        looks[0] += 1
        if looks[0] == 1:
            changes[0] += 1
            return False
        return True

    clock.until(condition, within=600, sign=lambda: changes[0])
    assert clock.seconds() == 0


def test_an_error_in_a_timer_does_not_stop_the_clock(capsys: pytest.CaptureFixture[str]) -> None:
    for made in (Clock(1000), Clock(stepped=True)):
        with run_loop(made):
            made.call_later(1, lambda: 1 / 0)
            with contextlib.suppress(ZeroDivisionError):
                made.pause(5)
            made.pause(5)
            assert made.seconds() >= 5
            made.shut()
    assert "ZeroDivisionError" in capsys.readouterr().err


def test_a_paused_thread_wakes_up_on_a_clock_that_became_stepped() -> None:
    clock = Clock(1)
    with run_loop(clock):
        thread = threading.Thread(target=clock.pause, args=(3600,), daemon=True)
        thread.start()
        while not clock.quiet() < 3600:
            time.sleep(0.01)
        clock.set_speed(0)
        thread.join()
        assert clock.seconds() >= 3600
        clock.shut()


def test_failing_events_wait_for_their_retries_in_parallel(capfd: pytest.CaptureFixture[str]):
    clock = Clock(stepped=True)

    def fail(_event: Any, _context: Any) -> None:
        raise OSError

    functions = Functions([Function(definition_of("f"), fail)])
    bus = Bus((Rule("All", {"source": ["here"]}, (RuleTarget("f"),)),), functions, clock)
    with run_loop(clock):
        for _ in range(40):
            bus.publish({"source": "here"})
        clock.until(lambda: len(bus.dead_letters) == 40, within=600)
        bus.close()
        clock.shut()
    assert "f failed on an event to the last" in capfd.readouterr().err


def test_a_handler_remains_work_after_its_caller_has_timed_out(stack: LocalStack) -> None:
    function = stack.functions.find("local-callback-api")
    seen: list[float] = []

    def slow(_event: Any, _context: Any) -> dict[str, Any]:
        stack.clock.pause(20)  # the caller waits for less
        began = stack.clock.seconds()
        time.sleep(0.3)
        seen.append(stack.clock.seconds() - began)
        return {"statusCode": 204}

    function._handler = slow
    headers = {"Authorization": f"Bearer {stack.key}"}

    def call() -> None:
        work = clocks.current_work()
        assert work is not None
        headers[clocks.WORK_HEADER] = str(work.number)
        with pytest.raises(TimeoutError):
            stack.clock.call_within(5, lambda: requests.get(stack.url + demo.PATH, headers=headers))

    stack.clock.start_thread("a caller", call)
    stack.clock.until(lambda: seen, within=120)
    assert seen == [0]


@pytest.mark.parametrize("paused", ["local-callback-api", "local-publish-events"])
def test_a_stack_closes_while_a_function_pauses_or_fails(paused: str) -> None:
    calls: list[float] = []
    with LocalStack(clock=Clock(stepped=True), environ={}) as stack:
        function = stack.functions.find(paused)

        def busy(_event: Any, _context: Any) -> None:
            calls.append(stack.clock.seconds())
            stack.clock.pause(86_400)
            raise OSError

        function._handler = busy
        url, headers = stack.url + demo.PATH, {"Authorization": f"Bearer {stack.key}"}

        def ask() -> None:
            with contextlib.suppress(requests.ConnectionError):  # the stack closes meanwhile
                requests.post(url, json=demo.REQUEST, headers=headers)

        asking = threading.Thread(target=ask, daemon=True)
        asking.start()
        with stack.clock.let_time_pass():
            while not calls:
                time.sleep(0.01)
    asking.join()
    before = len(calls)
    time.sleep(0.3)
    assert len(calls) == before, "the function ran after the stack closed"
