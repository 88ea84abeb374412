"""Scenarios 3 to 6: a process dies, freezes or is run twice, at every point that matters."""

import json

import pytest

from tests.support.play import PHASES, Play
from tests.support.trouble import CREATE, EVENTS, LOST, frozen_for, lose_the_answer

every_phase = pytest.mark.parametrize("play", PHASES, indirect=True)


# -- 3: accepted, but nobody started the execution -----------------------------------------------


@every_phase
def test_a_callback_that_was_only_stored_is_carried_out(play: Play):
    play.world.faults.arm("after dynamodb.transact_write_items")
    assert play.post("1000123", "1000218") is None
    assert play.ended(play.the_only_id(), within=150)["outcome"] == "completed"
    assert [len(play.calls(leg)) for leg in "AB"] == [1, 1]


def test_two_that_look_after_it_at_once_start_one_execution(play: Play):
    play.world.faults.arm("before states.start_execution")
    assert play.post("1000203") is None
    play.let(30)
    with play.whenever(
        "before states.start_execution", lambda: play.world.invoke("Reconcile", {})
    ) as raced:
        play.world.reconcile()
    assert raced
    assert list(play.world.sequencer.executions) == [play.the_only_id()]
    assert play.ended(play.the_only_id(), within=60)["outcome"] == "first_leg_no_answer"
    assert len(play.calls("A")) == 1


# -- 4: the leg is claimed, and the process never sends, or much later ----------------------------


def test_a_process_that_thaws_after_its_claim_was_given_up_does_not_send(play: Play):
    """It had the claim, and slept: on waking, before it sends, it must notice."""
    with play.whenever("after dynamodb.transact_write_items", frozen_for(play, 150)):
        play.post("1000203", key="a-key-of-a-client")
    record = play.ended(play.the_only_id(), within=60)
    assert (record["outcome"], record["leg_A"]["attempts"]) == ("first_leg_no_answer", 2)
    assert [call.attempt for call in play.calls()] == [2]


# -- 5: the carrier made the call, and its answer never came --------------------------------------


TOLD = {
    "by its webhooks": None,
    "by its TwiML request": "^status",
}


@pytest.mark.parametrize("told", TOLD)
@pytest.mark.parametrize("how", LOST)
def test_a_call_whose_creation_was_never_confirmed_is_adopted_and_not_made_again(
    play: Play, how, told
):
    if TOLD[told]:
        play.world.carrier_fault("drop", where=TOLD[told], event="queued|initiated|ringing|in-pro")
    with lose_the_answer(play, how):
        play.post("1000123", "1000218")
    record = play.ended(play.the_only_id(), within=150)
    assert record["outcome"] == "completed"
    assert [len(play.calls(leg)) for leg in "AB"] == [1, 1]
    assert record["leg_A"]["call_sid"] == play.calls("A")[0].sid
    assert record["leg_A"]["seconds"] == play.call("A").duration


@pytest.mark.parametrize("how", LOST)
def test_bs_call_whose_creation_was_never_confirmed_is_adopted(play: Play, how):
    callback_id = play.accepted("1000201", "1000218")
    with lose_the_answer(play, how):
        record = play.ended(callback_id, within=60)
    assert record["outcome"] == "completed"
    assert [len(play.calls(leg)) for leg in "AB"] == [1, 1]


def test_a_call_that_another_may_have_asked_for_is_not_adopted(play: Play):
    """Two callbacks to one agent: the first's request was never sent; the second's was carried out
    and has not come back when the carrier's list is searched for the first's."""
    play.world.faults.arm("before carrier.request")
    assert play.post("1000219") is None
    lost = play.the_only_id()
    play.let(30)
    same_agent = {"leg_A": {"to": "1000219", "from": "1000218"}, "allow_parallel": True}
    with play.whenever("after carrier.request", play.world.reconcile) as raced:
        other = play.accepted("1000219", "1000211", **same_agent)
    assert raced
    play.until(lambda: play.record(other)["status"] == "connected", within=30)
    play.world.request("DELETE", lost)
    play.let(60)
    assert play.record(lost)["leg_A"]["call_sid"] is None
    assert play.record(other)["status"] == "connected"
    assert play.ended(lost, within=120)["outcome"] == "canceled"


def test_of_two_whose_answers_were_lost_each_gets_its_own_call(play: Play):
    """They look alike in the carrier's list; whose they are, their TwiML requests tell."""
    play.party("1000219", answer_after=25)
    play.world.carrier_fault("reset-after", times=2, where=CREATE)
    play.world.carrier_fault("drop", where=EVENTS, event="queued|initiated|ringing|in-pro")
    same_agent = {"leg_A": {"to": "1000219", "from": "1000218"}, "allow_parallel": True}
    ids = [play.accepted("1000219", b, **same_agent) for b in ("1000211", "1000218")]
    play.let(20)
    play.world.reconcile()
    assert [play.record(each)["leg_A"]["call_sid"] for each in ids] == [None, None]
    records = [play.ended(each, within=200) for each in ids]
    assert [record["outcome"] for record in records] == ["completed", "completed"]
    called = {call.sid for call in play.calls("A")}
    assert {record["leg_A"]["call_sid"] for record in records} == called
    assert len(called) == 2


# -- 6: the workflow runs a task again that had already run ---------------------------------------


@pytest.mark.parametrize("error", ["Lambda.ServiceException", "Lambda.SdkClientException"])
@pytest.mark.parametrize("step", ["first", "second"])
def test_a_dial_task_run_again_after_it_had_run_dials_nobody_again(play: Play, step, error):
    sequencer, invoke, told = play.world.sequencer, play.world.sequencer._invoke, []

    def failing_once(name, payload):
        answer = invoke(name, payload)
        if payload.get("step") == step and not told:
            told.append(step)
            return None, error
        return answer

    sequencer._invoke = failing_once
    callback_id = play.accepted("1000123", "1000218")
    assert play.ended(callback_id, within=60)["outcome"] == "completed"
    assert told
    assert [len(play.calls(leg)) for leg in "AB"] == [1, 1]


@pytest.mark.parametrize(
    "point",
    [
        "before dynamodb.get_item",
        "before dynamodb.put_item",
        "after dynamodb.put_item",
        "after carrier.request",
    ],
)
def test_a_dial_task_that_died_on_its_way_is_run_again_and_dials_once(play: Play, point):
    """The second step's, so that what the task writes is all its own."""
    callback_id = play.accepted("1000201", "1000218")
    play.until(lambda: bool(play.world.sequencer.executions[callback_id].state), within=1)
    while play.world.sequencer.executions[callback_id].state == "CallFirstParty":
        play.world.carrier.advance(0.25)
    play.world.faults.arm(point)
    play.world.run()
    assert play.world.faults.killed == [point]
    assert play.ended(callback_id, within=60)["outcome"] == "completed"
    assert [len(play.calls(leg)) for leg in "AB"] == [1, 1]


def test_a_dial_task_of_a_callback_that_was_posted_is_not_the_first_to_dial(play: Play):
    """POST dials the first leg itself, so the workflow's first task only waits."""
    answer = play.post("1000203")
    assert json.loads(answer["body"])["leg_A"]["status"] == "queued"
    play.let(5)
    assert len(play.calls("A")) == 1


@pytest.mark.parametrize(("step", "skip"), [("first", 0), ("second", 1)])
def test_a_claim_that_is_given_back_while_the_next_task_waits_for_it_is_taken_again(
    play: Play, step: str, skip: int
):
    """The next task found it taken, so that it waits for a call that the carrier does not make."""
    play.world.carrier_fault("429", times=2 - skip, skip=skip, where=CREATE)
    with play.whenever("after carrier.request", play.world.sequencer.try_again, skip=1) as raced:
        callback_id = play.accepted("1000219", "1000218")
        record = play.ended(callback_id, within=100)
    assert raced
    assert record["outcome"] == "completed", step
    assert [len(play.calls(leg)) for leg in "AB"] == [1, 1]


def test_a_posts_claim_that_is_given_back_once_the_workflow_waits_is_taken_again(play: Play):
    """`reconcile` comes by while POST's request is under way, and starts the execution."""
    play.world.carrier_fault("429", times=1, where=CREATE)
    with play.whenever("after carrier.request", play.world.reconcile) as raced:
        callback_id = play.accepted("1000201", "1000218")
    assert raced
    play.until(lambda: len(play.calls("A")) == 1, within=3)
    assert play.ended(callback_id, within=100)["outcome"] == "completed"


def test_a_claim_given_back_by_a_process_that_died_then_is_taken_again(play: Play):
    play.world.carrier_fault("429", times=1, where=CREATE)
    play.world.faults.arm("before states.send_task_failure")
    with play.whenever("after carrier.request", play.world.reconcile):
        assert play.post("1000201", "1000218") is None
    assert play.world.faults.killed == ["before states.send_task_failure"]
    play.until(lambda: len(play.calls("A")) == 1, within=80)
    assert play.ended(play.the_only_id(), within=100)["outcome"] == "completed"


def test_a_task_that_thaws_after_the_next_was_begun_does_not_take_its_place(play: Play):
    """Nobody would hear the token that it brings."""
    callback_id = play.accepted("1000219", "1000218")
    sequencer = play.world.sequencer
    execution = sequencer.executions[callback_id]
    execution.token, execution.due = None, play.world.clock.now()  # a task that begins now
    with play.whenever("before dynamodb.get_item", sequencer.try_again) as raced:
        sequencer.run()
    assert raced
    assert play.ended(callback_id, within=100)["outcome"] == "completed"
