"""What nobody told us is found out in time, and what nobody believes is not believed."""

import json
from urllib.parse import urlencode

import pytest
import requests

from callback import http
from callback.call_control.reconcile import Reconciliation
from callback.errors import StoreContended
from tests.scenarios.test_doors import rows, signature_of
from tests.support.faults import Killed
from tests.support.play import PHASES, Play, raising
from tests.support.trouble import (
    EVENTS,
    ended_with_every_event_of_b_lost,
    frozen_for,
    lose_the_answer,
    throttled,
)

KEY = "a-key-of-a-client"
every_phase = pytest.mark.parametrize("play", PHASES, indirect=True)


# -- 2 -----


def test_an_identical_post_that_comes_second_by_a_hair_is_told_that_the_first_is_running(
    play: Play,
):
    """The second has looked for the key, and not yet for the pair, when the first is stored."""
    first = []
    with play.whenever(
        "after dynamodb.get_item", lambda: first.append(play.post("1000201", key=KEY))
    ):
        second = play.post("1000201", key=KEY)
    assert first[0]["statusCode"] == 202
    if second["statusCode"] == 202:
        assert second["body"] == first[0]["body"]
    else:
        assert json.loads(second["body"])["code"] == "request_in_progress"
        assert second["headers"]["Retry-After"] == "1"


# -- 3 -----


@every_phase
def test_a_callback_left_without_an_execution_gets_one_within_a_minute(play: Play):
    play.world.faults.arm("before states.start_execution")
    assert play.post("1000123", "1000218") is None
    play.until(lambda: play.the_only_id() in play.world.sequencer.executions, within=60)
    assert play.ended(play.the_only_id(), within=120)["outcome"] == "completed"
    assert [len(play.calls(leg)) for leg in "AB"] == [1, 1]


# -- 4 -----


@every_phase
def test_a_first_leg_whose_process_died_before_sending_is_dialed_once_more(play: Play):
    """As soon as the carrier has certainly no such call."""
    play.world.faults.arm("before carrier.request")
    assert play.post("1000201") is None
    record = play.ended(play.the_only_id(), within=30 + 90)
    assert (record["outcome"], record["leg_A"]["attempts"]) == ("completed", 2)
    assert [len(play.calls(leg)) for leg in "AB"] == [1, 1]


@every_phase
def test_a_first_leg_whose_processes_died_twice_before_sending_ends(play: Play):
    died: list[str] = []

    def die_before_sending() -> None:
        for record in play.world.records().values():
            leg = record["leg_a"]["M"]
            if leg["status"]["S"] == "dialing" and leg["attempt"]["N"] not in died:
                died.append(leg["attempt"]["N"])
                raise Killed("before sending")

    with play.whenever("before carrier.request", die_before_sending, times=99):
        assert play.post("1000201") is None
        record = play.ended(play.the_only_id(), within=30 + 90 + 60)
    assert died == ["1", "2"]
    assert record["outcome"] == "first_leg_dial_outcome_unknown"
    assert record["leg_A"]["attempts"] == 2
    assert play.calls() == []


@every_phase
@pytest.mark.parametrize("how", ["died before sending", "500, and not placed"])
def test_a_call_to_b_that_was_never_made_tells_a_and_releases_it(play: Play, how):
    """A would wait for ever; nothing will ever be heard of B's call."""
    callback_id = play.accepted("1000219", "1000218" if how.startswith("died") else "1000222")
    if how.startswith("died"):
        play.world.faults.arm("before carrier.request")
    record = play.ended(callback_id, within=30 + 90)
    assert record["outcome"] == "second_leg_dial_outcome_unknown"
    assert play.calls("B") == []
    assert any("We could not connect your call" in what for _, what in play.heard("A"))


@pytest.mark.parametrize("party", ["1000201", "1000203"], ids=["answers", "lets it ring"])
def test_a_call_sent_after_its_claim_was_given_up_joins_nobody_and_stops_ringing(play: Play, party):
    """Frozen at the last moment, where nobody can check any more."""
    with play.whenever("before carrier.request", frozen_for(play, 150)):
        play.post(party, key="a-key-of-a-client")
    ended = play.record(play.the_only_id())
    assert ended["outcome"] == ("completed" if party == "1000201" else "first_leg_no_answer")
    (late,) = [call for call in play.calls("A") if call.attempt == 1]
    play.until(lambda: not any(call.live for call in play.calls("A")), within=5)
    assert late.created_at == max(call.created_at for call in play.calls())
    assert [call.attempt for call in play.calls("A") if call.joined_at] == (
        [2] if party == "1000201" else []
    )
    after = play.record(play.the_only_id())
    assert (after["outcome"], after["ended_at"]) == (ended["outcome"], ended["ended_at"])


# -- 5 -----


@every_phase
@pytest.mark.parametrize("how", ["reset", "killed"])
def test_a_call_never_confirmed_and_never_heard_of_is_found_at_the_carrier(play: Play, how):
    play.world.carrier_fault("drop", where="^(status|conference)")
    with lose_the_answer(play, how):
        play.post("1000203")
    record = play.ended(play.the_only_id(), within=30 + 90)
    (call,) = play.calls()
    assert record["leg_A"]["call_sid"] == call.sid
    assert record["outcome"] == "first_leg_no_answer"


@pytest.mark.parametrize(
    "spelled", ["1000203", "sip:1000203@pbx.example", "sip:1000203@PBX.example"]
)
def test_a_call_of_another_callback_is_not_taken_for_one_never_confirmed(play: Play, spelled):
    """Both ring the same telephone for the same other party."""
    play.world.faults.arm("before carrier.request")
    assert play.post("1000203") is None
    lost = play.the_only_id()
    other = play.accepted(spelled, allow_parallel=True)
    assert play.ended(lost, within=30 + 90 + 30)["outcome"] == "first_leg_no_answer"
    assert play.ended(other, within=90)["outcome"] == "first_leg_no_answer"
    assert [call.callback_id for call in play.calls()] == [other, lost]
    assert [play.record(each)["leg_A"]["call_sid"] for each in (other, lost)] == [
        call.sid for call in play.calls()
    ]


@every_phase
@pytest.mark.parametrize("a", ["1000202", "1000203"], ids=["ended long ago", "rings still"])
def test_a_call_of_another_tenant_is_not_taken_for_one_never_confirmed(play: Play, monkeypatch, a):
    """All tenants' calls are the calls of one carrier account."""
    play.world.faults.arm("before carrier.request")
    assert play.post(a) is None
    lost = play.the_only_id()
    play.world.make_tenant("other")
    monkeypatch.setattr(http, "tenant", lambda _: "other")
    other = play.accepted(a)
    play.until(lambda: play.has_ended(lost), within=30 + 90 + 30)
    outcomes = ("first_leg_busy", "first_leg_no_answer")
    assert play.world.records()[lost]["outcome"]["S"] in outcomes
    assert play.ended(other, within=90)["outcome"] in outcomes
    assert [call.callback_id for call in play.calls()] == [other, lost]
    assert play.world.records()[lost]["leg_a"]["M"]["call_sid"]["S"] == play.calls()[1].sid


# -- 10 -----


@every_phase
@pytest.mark.parametrize("b", ["1000218", "1000125"])
def test_with_every_event_of_b_lost_a_conversation_is_still_on_record(play: Play, b):
    record = ended_with_every_event_of_b_lost(play, b)
    assert record["leg_B"]["seconds"] == play.call("B").duration
    assert record["outcome"] == "completed"
    assert abs(record["bridged_seconds"] - play.call("B").duration) <= 1


@every_phase
def test_two_who_were_rung_at_once_talk_undisturbed_though_every_event_is_lost(play: Play):
    play.world.carrier_fault("drop", where=EVENTS)
    callback_id = play.accepted("1000219", "1000211", order="simultaneous")
    play.until(lambda: not play.calls("B")[0].live, within=400)
    assert play.call("B").duration >= 295, "they talked for five minutes"
    assert play.ended(callback_id, within=90)["outcome"] == "completed"


def test_a_callback_that_others_keep_writing_does_not_keep_the_rest_open(play: Play, monkeypatch):
    mend = Reconciliation._mend
    play.world.carrier_fault("drop", where=EVENTS)
    other = play.accepted("1000202", "1000125")
    play.let(2)  # the newest is looked at first
    contended = play.accepted("1000202", "1000218", allow_parallel=True)

    def refused_for_one(run, callback):
        if callback.callback_id == contended:
            raise StoreContended("Others were first.")
        mend(run, callback)

    monkeypatch.setattr(Reconciliation, "_mend", refused_for_one)
    play.until(lambda: play.has_ended(other), within=75)
    assert not play.has_ended(contended)
    monkeypatch.setattr(Reconciliation, "_mend", mend)
    play.until(lambda: play.has_ended(contended), within=90)


# -- 11 -----


@pytest.mark.parametrize("skip", range(0, 12, 2))
def test_a_table_that_is_throttled_for_two_requests_changes_nothing(play: Play, skip):
    """The carrier repeats what was not taken: its callback URLs ask it to (#rp=all)."""
    callback_id = play.accepted("1000123", "1000218")
    with play.whenever(
        "before dynamodb.put_item", raising(throttled()), times=2, skip=skip
    ) as refused:
        record = play.ended(callback_id, within=90)
    assert refused
    assert record["outcome"] == "completed"
    assert [len(play.calls(leg)) for leg in "AB"] == [1, 1]


# -- 17 -----


def shifted(fields: dict[str, str], name: str, by: int) -> dict[str, str]:
    """The boundary between a field's name and its value moved: the same text is signed."""
    text = name + fields[name]
    there = len(name) + by
    moved = {**fields, text[:there]: text[there:]}
    del moved[name]
    return moved


@pytest.mark.parametrize("door", ["status", "twiml"])
@pytest.mark.parametrize(("name", "by"), [("CallStatus", -1), ("CallStatus", 1), ("CallSid", -1)])
def test_a_webhook_whose_names_run_into_their_values_is_refused_and_writes_nothing(
    ringing, name, by, door
):
    """What is signed does not tell where a name ends, so the signature is right."""
    play, callback_id, genuine = ringing
    url = f"{play.world.url}/carrier/{door}/{callback_id}/A/1"
    before = rows(play)
    answer = requests.post(
        url,
        data=urlencode(shifted(genuine, name, by)),
        headers={
            "Content-Type": "application/x-www-form-urlencoded",
            "X-Twilio-Signature": signature_of(url, genuine),
        },
    )
    assert rows(play) == before
    assert answer.status_code == 403
    assert "<Response" not in answer.text
