"""Scenarios 7 to 12 and 15: the carrier, its webhooks and Step Functions do their worst."""

import functools
import itertools
import json
import re

import pytest
from botocore.exceptions import ClientError, ConnectionClosedError

from tests.local import logs
from tests.support.play import PHASES, STEP, Play, raising
from tests.support.trouble import (
    CREATE,
    EVENTS,
    ended_with_every_event_of_b_lost,
    real_end,
    refused_connection,
    throttled,
)
from tests.template import document
from tests.template.document import of_type

RETRY_SECONDS = 2  # between two looks of the workflow whether a leg may be dialed now

every_phase = pytest.mark.parametrize("play", PHASES, indirect=True)


# -- 7: turned away ------------------------------------------------------------------------------


@pytest.mark.parametrize("leg", ["A", "B"])
def test_a_carrier_that_says_429_three_times_is_asked_again_ever_later_and_calls_once(
    play: Play, leg
):
    asked = []
    play.world.carrier_fault("429", times=3, skip=0 if leg == "A" else 1, where=CREATE)
    with play.whenever("before carrier.request", lambda: asked.append(play.now), times=99):
        callback_id = play.accepted("1000201", "1000218")
        assert play.ended(callback_id, within=60)["outcome"] == "completed"
    assert [len(play.calls(leg)) for leg in "AB"] == [1, 1]
    creates = asked[:4] if leg == "A" else asked[1:5]
    pauses = [later - earlier for earlier, later in itertools.pairwise(creates)]
    assert pauses[1] >= 2 * pauses[0] - STEP or leg == "A"  # POST's own attempt comes first
    assert pauses == sorted(pauses)
    assert pauses[-1] >= 2


@pytest.mark.parametrize(("told", "at_least"), [(4, 4), (20, 20), (3600, 20)])
@pytest.mark.parametrize("leg", ["A", "B"])
def test_a_carrier_that_says_when_to_ask_again_is_not_asked_before_and_calls_once(
    play: Play, leg, told, at_least
):
    """It is left alone for 20 s at most, and up to a quarter longer than it said."""
    asked = []
    play.world.carrier_fault(
        "429", times=1, skip=0 if leg == "A" else 1, where=CREATE, retry_after=told
    )
    with play.whenever("before carrier.request", lambda: asked.append(play.now), times=99):
        callback_id = play.accepted("1000219", "1000218")
        assert play.ended(callback_id, within=60)["outcome"] == "completed"
    first, again = asked[:2] if leg == "A" else asked[1:3]
    assert at_least <= again - first <= at_least * 1.25 + RETRY_SECONDS + STEP
    assert [len(play.calls(leg)) for leg in "AB"] == [1, 1]


@pytest.mark.parametrize("leg", ["A", "B"])
def test_a_carrier_that_says_so_three_times_is_asked_four_times(play: Play, leg):
    asked = []
    play.world.carrier_fault(
        "429", times=3, skip=0 if leg == "A" else 1, where=CREATE, retry_after=5
    )
    with play.whenever("before carrier.request", lambda: asked.append(play.now), times=99):
        callback_id = play.accepted("1000219", "1000218")
        assert play.ended(callback_id, within=60)["outcome"] == "completed"
    creates = asked[:4] if leg == "A" else asked[1:5]
    assert all(later - earlier >= 5 for earlier, later in itertools.pairwise(creates))
    assert [len(play.calls(leg)) for leg in "AB"] == [1, 1]


def test_callbacks_that_were_turned_away_together_do_not_come_back_together(play: Play):
    play.world.carrier_fault("429", times=6, where=CREATE, retry_after=20)
    ids = [play.accepted("1000202", allow_parallel=True) for _ in range(6)]
    pauses = {play.world.records()[i]["leg_a"]["M"]["not_before"]["S"] for i in ids}
    assert len(pauses) == 6


@pytest.mark.parametrize("leg", ["A", "B"])
@pytest.mark.parametrize("told", [1, 60])
def test_a_carrier_that_goes_on_saying_when_to_ask_again_fails_the_callback_in_time(
    play: Play, leg, told
):
    play.world.carrier_fault("429", skip=0 if leg == "A" else 1, where=CREATE, retry_after=told)
    callback_id = play.accepted("1000219", "1000218")
    record = play.ended(callback_id, within=35)  # A has answered, and is told why
    assert (record["outcome"], record["cause"]) == ("failed", "carrier_unavailable")
    play.world.heal()
    play.let(180, step=5)
    assert len(play.calls(leg)) == 0
    assert not any(call.live for call in play.calls())


def test_a_carrier_that_refuses_the_connection_is_asked_again_and_calls_once(play: Play):
    with play.whenever("before carrier.request", refused_connection, times=3) as refused:
        callback_id = play.accepted("1000201", "1000218")
        record = play.ended(callback_id, within=60)
    assert len(refused) == 3
    assert record["outcome"] == "completed"
    assert [len(play.calls(leg)) for leg in "AB"] == [1, 1]


@pytest.mark.parametrize("leg", ["A", "B"])
def test_a_carrier_that_never_takes_the_call_fails_the_callback_and_calls_nobody_later(
    play: Play, leg
):
    play.world.carrier_fault("429", skip=0 if leg == "A" else 1, where=CREATE)
    callback_id = play.accepted("1000219", "1000218")
    record = play.ended(callback_id, within=30 + 90)
    assert record["outcome"] == "failed"
    play.world.heal()
    play.let(180, step=5)
    assert len(play.calls(leg)) == 0
    assert not any(call.live for call in play.calls())


# -- 8: answered before the create request has returned ------------------------------------------


def a_second(play: Play):
    return lambda: play.world.carrier.advance(1)


def test_a_who_answers_before_its_call_is_known_is_adopted_and_b_is_called_at_once(play: Play):
    """The answer, the TwiML request and the joining come before the create's own answer, before
    the execution exists and before its token is stored."""
    with play.whenever("after carrier.request", a_second(play)) as early:
        callback_id = play.accepted("1000201", "1000218")
    assert early
    record = play.ended(callback_id, within=60)
    assert record["outcome"] == "completed"
    assert [len(play.calls(leg)) for leg in "AB"] == [1, 1]
    answered = play.at(record["leg_A"]["answered_at"])
    assert play.at(play.calls("B")[0].created_at) - answered <= 2.5


@pytest.mark.parametrize(
    "point", ["before dynamodb.get_item", "before dynamodb.put_item", "after dynamodb.put_item"]
)
def test_a_who_answers_while_the_token_is_being_stored_wakes_the_workflow_once(play: Play, point):
    """Whichever of the two writes comes second sees both."""
    callback_id = play.party("1000301", answer_after=0.5) and play.post("1000301")
    assert callback_id
    execution = play.world.sequencer.executions[play.the_only_id()]
    execution.token, execution.due = None, play.world.clock.now()  # its task begins anew
    with play.whenever(point, lambda: play.world.carrier.advance(1.5)):
        play.world.run()
    record = play.ended(play.the_only_id(), within=60)
    assert record["outcome"] == "completed"
    answered = play.at(record["leg_A"]["answered_at"])
    assert play.at(play.calls("B")[0].created_at) - answered <= 2.5
    assert [len(play.calls(leg)) for leg in "AB"] == [1, 1]


def test_b_who_answers_before_its_call_is_known_is_connected(play: Play):
    callback_id = play.accepted("1000201", "1000218")
    with play.whenever("after carrier.request", a_second(play)):
        record = play.ended(callback_id, within=60)
    assert record["outcome"] == "completed"
    assert [len(play.calls(leg)) for leg in "AB"] == [1, 1]


def test_b_is_called_within_two_and_a_half_seconds_of_as_answer(play: Play):
    callback_id = play.accepted("1000123", "1000218")
    record = play.ended(callback_id, within=60)
    waited = play.at(play.calls("B")[0].created_at) - play.at(record["leg_A"]["answered_at"])
    assert 0 <= waited <= 2.5


# -- 9: shuffled, repeated, contradicting --------------------------------------------------------

WORDS = ("initiated", "ringing", "in-progress", "completed")
AT = {word: f"Tue, 24 Nov 2026 12:00:{second:02d} +0000" for second, word in enumerate(WORDS, 10)}


def told(play: Play, words) -> dict:
    """The record of a callback whose first leg's events come in this order, each one twice."""
    play.world.reset()
    play.world.carrier_fault("drop")
    play.post("1000203")
    (call,) = play.calls()
    for word in words:
        for _ in range(2):
            answer = play.webhook(
                f"/carrier/status/{call.callback_id}/A/1",
                CallSid=call.sid,
                CallStatus=word,
                Timestamp=AT.get(word, AT["completed"]),
                CallDuration="7" if word == "completed" else "0",
            )
            assert answer.status_code == 204
    record = play.record(call.callback_id)
    leg = record["leg_A"]
    del leg["call_sid"], leg["dialed_at"]
    play.world.carrier.call(play.world.carrier.exchange.calls[call.sid].finish, "canceled")
    play.let(1)
    return leg


def test_events_of_a_call_in_any_order_twice_and_contradicting_make_one_record(play: Play):
    expected = told(play, WORDS)
    assert (expected["status"], expected["outcome"], expected["seconds"]) == (
        "ended",
        "completed",
        7,
    )
    for order in itertools.permutations(WORDS):
        assert told(play, order) == expected, order
    for place in range(len(WORDS) + 1):
        assert told(play, (*WORDS[:place], "busy", *WORDS[place:])) == expected, place


@pytest.mark.parametrize("skip", [0, 1, 3, 5])
@pytest.mark.parametrize("fault", ["reorder", "duplicate", "delay"])
def test_a_conversation_whose_webhooks_go_astray_has_the_record_of_any_other(
    play: Play, fault, skip
):
    play.world.carrier_fault(fault, skip=skip, where="^(status|conference)", times=3)
    record = play.ended(play.accepted("1000123", "1000218"), within=90)
    assert record["outcome"] == "completed"
    assert 4 <= record["bridged_seconds"] <= 6
    assert [record[leg]["seconds"] for leg in ("leg_A", "leg_B")] == [
        play.call(leg).duration for leg in "AB"
    ]
    assert [len(play.calls(leg)) for leg in "AB"] == [1, 1]


# -- 10: lost ------------------------------------------------------------------------------------


@every_phase
@pytest.mark.parametrize(
    ("a", "outcome"),
    [
        ("1000202", "first_leg_busy"),
        ("1000203", "first_leg_no_answer"),
        ("1000204", "first_leg_failed"),
    ],
)
def test_with_every_webhook_lost_an_unanswered_call_has_its_true_outcome(play: Play, a, outcome):
    play.world.carrier_fault("drop")
    callback_id = play.accepted(a)
    record = play.ended(callback_id, within=30 + 90)
    assert record["outcome"] == outcome
    assert play.now - real_end(play) <= 90


@every_phase
def test_with_every_webhook_lost_an_answered_party_is_not_kept(play: Play):
    """Its TwiML cannot be fetched either, so the carrier apologises and hangs up."""
    play.world.carrier_fault("drop")
    callback_id = play.accepted("1000123")
    record = play.ended(callback_id, within=60 + 90)
    assert play.now - real_end(play) <= 90
    assert record["leg_A"]["seconds"] == play.call("A").duration
    assert play.calls("B") == []


@every_phase
def test_with_every_event_lost_b_is_called_all_the_same_and_they_talk(play: Play):
    """TwiML is fetched, but nobody hears that A is in the room: the carrier is asked."""
    play.world.carrier_fault("drop", where=EVENTS)
    callback_id = play.accepted("1000219", "1000218")
    record = play.ended(callback_id, within=30 + 90 + 90)
    assert record["outcome"] == "completed"
    assert play.now - real_end(play) <= 90
    assert [len(play.calls(leg)) for leg in "AB"] == [1, 1]
    assert not any(call.live for call in play.calls())


@every_phase
@pytest.mark.parametrize(
    ("b", "outcome"),
    [
        ("1000202", "second_leg_busy"),
        ("1000203", "second_leg_no_answer"),
        ("1000204", "second_leg_failed"),
    ],
)
def test_with_every_event_of_b_lost_a_is_told_why_it_was_not_reached(play: Play, b, outcome):
    record = ended_with_every_event_of_b_lost(play, b)
    assert record["outcome"] == outcome
    assert any("The other party" in what for _, what in play.heard("A"))


@every_phase
@pytest.mark.parametrize("b", ["1000218", "1000125", "1000211"])
def test_with_every_word_of_the_end_lost_the_record_still_says_how_long_they_talked(play: Play, b):
    callback_id = play.accepted("1000219", b)
    play.until(lambda: play.record(callback_id)["status"] == "connected", within=10)
    play.world.carrier_fault("drop", where=EVENTS)
    play.until(lambda: not play.calls("B")[0].live, within=400)
    hung_up = play.now
    record = play.ended(callback_id, within=90)
    assert play.now - hung_up <= 90
    assert record["outcome"] == "completed"
    seconds = [play.call(leg).duration for leg in "AB"]
    assert [record[leg]["seconds"] for leg in ("leg_A", "leg_B")] == seconds
    assert abs(record["bridged_seconds"] - play.call("B").duration) <= 1
    assert play.world.sequencer.executions[callback_id].status == "SUCCEEDED"


# -- 11: the table does not take the event -------------------------------------------------------


def test_an_event_that_cannot_be_stored_is_not_taken_and_counts_when_it_comes_again(play: Play):
    play.world.carrier_fault("drop", where="^status")
    callback_id = play.accepted("1000203")
    (call,) = play.calls()
    before = play.record(callback_id)
    event = {"CallSid": call.sid, "CallStatus": "busy", "Timestamp": AT["completed"]}
    path = f"/carrier/status/{callback_id}/A/1"
    with play.whenever(
        "before dynamodb.put_item", raising(throttled("ProvisionedThroughputExceededException"))
    ):
        assert play.webhook(path, **event).status_code >= 500
    assert play.record(callback_id) == before
    assert play.webhook(path, **event).status_code == 204
    assert play.record(callback_id)["leg_A"]["outcome"] == "busy"


# -- 12: tokens ----------------------------------------------------------------------------------


def test_settling_with_a_token_that_is_closed_already_is_fine(play: Play):
    callback_id = play.accepted("1000201", "1000211")
    play.until(lambda: play.record(callback_id)["status"] == "connected", within=20)
    sids = {name: play.calls(name)[0].sid for name in "AB"}
    play.webhook(
        f"/carrier/status/{callback_id}/B/1",
        CallSid=sids["B"],
        CallStatus="completed",
        CallDuration="9",
    )
    path, sid = f"/carrier/status/{callback_id}/A/1", sids["A"]
    for code in ("InvalidToken", "TaskTimedOut", "TaskDoesNotExist"):
        point = "before states.send_task_success"
        with play.whenever(point, raising(throttled(code))) as tried:
            answer = play.webhook(path, CallSid=sid, CallStatus="completed", CallDuration="9")
        assert tried
        assert answer.status_code == 204
        assert not play.world.queue.waiting
    assert play.record(callback_id)["leg_A"]["outcome"] == "completed"


@pytest.mark.parametrize("times", [1, 3])
def test_a_throttled_settling_waits_in_the_queue_and_loses_nothing(play: Play, times):
    callback_id = play.accepted("1000123", "1000218")
    with play.whenever(
        "before states.send_task_success", raising(throttled()), times=times
    ) as tried:
        record = play.ended(callback_id, within=60)
    assert len(tried) == times
    assert record["outcome"] == "completed"
    answered = play.at(record["leg_A"]["answered_at"])
    assert play.at(play.calls("B")[0].created_at) - answered <= 2.5
    assert [len(play.calls(leg)) for leg in "AB"] == [1, 1]


def test_a_settling_whose_answer_was_lost_is_sent_again_and_wakes_once(play: Play):
    callback_id = play.accepted("1000123", "1000218")
    lost = ConnectionClosedError(endpoint_url="https://states")
    with play.whenever("after states.send_task_success", raising(lost)) as tried:
        assert play.ended(callback_id, within=60)["outcome"] == "completed"
    assert tried
    assert [len(play.calls(leg)) for leg in "AB"] == [1, 1]


@pytest.mark.parametrize("state", ["CallFirstParty", "CallSecondParty"])
def test_calls_of_an_execution_that_is_gone_are_ended(play: Play, state):
    callback_id = play.accepted("1000219" if state == "CallSecondParty" else "1000203", "1000210")
    execution = play.world.sequencer.executions[callback_id]
    play.until(lambda: execution.state == state, within=10)
    play.let(2)
    play.world.sequencer.stop(callback_id)
    play.ended(callback_id, within=15)
    assert not any(call.live for call in play.calls())


def test_a_step_entered_again_is_settled_by_its_new_token_only(play: Play):
    """The task that stored the first token died after it: another token replaces that one."""
    callback_id = play.accepted("1000123", "1000218")
    play.let(1)
    execution = play.world.sequencer.executions[callback_id]
    first = execution.token
    execution.due = play.world.clock.now()
    play.world.run()
    assert execution.token not in (None, first)
    with pytest.raises(ClientError, match="TaskTimedOut"):
        play.world.sequencer.send_task_success(taskToken=first, output="{}")
    assert play.ended(callback_id, within=60)["outcome"] == "completed"
    assert [len(play.calls(leg)) for leg in "AB"] == [1, 1]


# -- 15: the carrier's queue ---------------------------------------------------------------------

FORTY_MINUTES = 2400.0


@pytest.fixture
def busy_carrier(play: Play):
    """Calls made from now on wait for forty minutes before they ring."""
    exchange = play.world.carrier.exchange
    play.world.carrier.call(
        setattr, exchange, "_next_slot", play.world.clock.seconds() + FORTY_MINUTES
    )
    yield play
    # Until it has let the last one go it holds whatever comes after.
    play.world.carrier.advance(FORTY_MINUTES)


def late(play: Play, callback_id: str, record: dict) -> None:
    """The phone is answered after all: nobody is joined and nothing changes."""
    (call,) = play.calls("A")
    answer = play.webhook(
        f"/carrier/twiml/{callback_id}/A/1", CallSid=call.sid, CallStatus="in-progress"
    )
    assert "<Hangup" in answer.text
    assert "<Dial" not in answer.text
    assert play.record(callback_id) == record
    play.let(FORTY_MINUTES, step=60)
    assert play.calls() == [call]
    assert call.joined_at is None


@functools.cache
def counted_lines() -> set[tuple[str, str]]:
    """(function, message) of what the metric filters of template.yaml count."""
    return {
        (filter_["LogGroupName"]["Ref"].removesuffix("Logs"), message)
        for filter_ in of_type(document.source(), "AWS::Logs::MetricFilter").values()
        for message in re.findall(r'^{ \$\.message = "(.+)" }$', filter_["FilterPattern"])
    }


def told_of_the_queue(play: Play, lines, callback_id: str) -> list[float]:
    """Seconds that each line tells of which raises the alarm."""
    names = {f.name: f.logical_id for f in play.world.template.functions}
    parsed = [(names[line.function], json.loads(line.text)) for line in lines]
    held = [line for function, line in parsed if (function, line["message"]) in counted_lines()]
    assert {line["callback_id"] for line in held} <= {callback_id}
    return [line["seconds"] for line in held]


@pytest.mark.parametrize(("seconds", "alarms"), [(1, []), (3, [3]), (8, [8])])
def test_a_call_that_left_the_carriers_queue_after_more_than_two_seconds_raises_the_alarm(
    play: Play, seconds, alarms
):
    play.world.carrier.call(
        setattr, play.world.carrier.exchange, "_next_slot", play.world.clock.seconds() + seconds
    )
    with logs.collected() as lines:
        callback_id = play.accepted("1000203")
        play.until(lambda: play.record(callback_id)["leg_A"]["status"] == "ringing", within=12)
    assert told_of_the_queue(play, lines, callback_id) == alarms


@every_phase
def test_a_call_that_the_carrier_holds_in_its_queue_raises_the_alarm_within_75_seconds(
    busy_carrier: Play,
):
    """Nobody tells of it, so it is the minute's look that finds it."""
    play = busy_carrier
    with logs.collected() as lines:
        callback_id = play.accepted("1000203")
        play.until(lambda: bool(told_of_the_queue(play, lines, callback_id)), within=75)
    assert min(told_of_the_queue(play, lines, callback_id)) > 5


@every_phase
def test_a_call_that_rings_for_long_raises_no_alarm(play: Play):
    with logs.collected() as lines:
        leg = {"to": "1000210", "ring_timeout_seconds": 60}
        callback_id = play.accepted("1000210", leg_A=leg)
        play.until(lambda: play.record(callback_id)["leg_A"]["status"] == "joined", within=75)
    assert told_of_the_queue(play, lines, callback_id) == []


@every_phase
def test_a_call_that_the_carrier_holds_in_its_queue_is_cancelled_at_its_deadline(
    busy_carrier: Play,
):
    play = busy_carrier
    callback_id = play.accepted("1000201")
    record = play.ended(callback_id, within=30 + 90)
    assert play.calls("A")[0].status == "canceled"
    late(play, callback_id, record)


def test_a_queued_call_of_a_cancelled_callback_never_rings(busy_carrier: Play):
    play = busy_carrier
    callback_id = play.accepted("1000201")
    play.let(5)
    assert play.calls("A")[0].status == "queued"
    assert play.world.request("DELETE", callback_id)["statusCode"] == 202
    record = play.ended(callback_id, within=2)
    assert record["outcome"] == "canceled"
    late(play, callback_id, record)


def test_a_call_that_could_not_be_cancelled_and_rings_forty_minutes_late_is_hung_up(
    busy_carrier: Play,
):
    """The carrier takes no update all that time."""
    play = busy_carrier
    play.world.carrier_fault("500-before", where="POST .*/Calls/CA")
    callback_id = play.accepted("1000219")
    play.let(FORTY_MINUTES + 5, step=30)
    (call,) = play.calls()
    assert not call.live
    assert call.joined_at is None
    play.world.heal()
    assert play.ended(callback_id, within=90)["outcome"] == "timed_out"
