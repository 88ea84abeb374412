"""Scenarios 13, 14 and 16: parties leave, do not answer, or are not who they should be."""

from xml.etree import ElementTree

import pytest

from tests.local import logs
from tests.support.play import Play

# -- 13: A leaves while B rings ------------------------------------------------------------------


def gap(play: Play) -> float:
    """Seconds from A's end to B's, as the carrier has them."""
    ends = [play.call(leg).end_time for leg in "AB"]
    return play.at(ends[1]) - play.at(ends[0])


def test_b_stops_ringing_within_two_seconds_when_a_hangs_up(play: Play):
    callback_id = play.accepted("1000219", "1000203")
    play.until(lambda: play.record(callback_id)["leg_B"]["status"] == "ringing", within=10)
    play.world.hang_up(play.calls("A")[0].sid)
    record = play.ended(callback_id, within=5)
    assert 0 <= gap(play) <= 2
    assert play.call("B").status == "canceled"
    assert (record["outcome"], record["cause"]) == (
        "first_leg_abandoned",
        "hung_up_while_other_rang",
    )


# A picks up at 1.5 s; B, called at once, picks up at 5.5 s.
A_LEAVES_AFTER = [3.5, 3.75, 3.9, 4.0, 4.1]


@pytest.mark.parametrize("step", [0.25, 1.0], ids=["quick workflow", "slow workflow"])
@pytest.mark.parametrize("after", A_LEAVES_AFTER)
def test_b_who_picks_up_in_the_very_second_in_which_a_leaves_is_not_left_alone(
    play: Play, after, step
):
    a = play.party("1000301", answer_after=1.0, hang_up_after=after, stay_at_most=9999)
    b = play.party(
        "1000302", answer_after=3.0, stay_at_most=9999, leaves_with_other=False, ring_after=0.5
    )
    callback_id = play.accepted(a, b)
    play.until(lambda: play.has_ended(callback_id), within=30, step=step)
    record = play.record(callback_id)
    assert gap(play) <= 2
    talked = "joined with A" in [what for _, what in play.heard("B")]
    assert record["outcome"] == ("completed" if talked else "first_leg_abandoned")
    assert "silence, alone in the room" not in [what for _, what in play.heard("B")]
    assert [len(play.calls(leg)) for leg in "AB"] == [1, 1]


@pytest.mark.parametrize("late", [0.0, 0.5, 1.0])
def test_b_who_picks_up_after_a_has_left_is_not_let_into_the_room(play: Play, late):
    """The cancelling has not reached B yet: it is the fence that refuses."""
    callback_id = play.accepted("1000219", "1000203")
    play.until(lambda: play.record(callback_id)["leg_B"]["status"] == "ringing", within=10)
    a, b = (play.call(leg) for leg in "AB")

    def leave_and_pick_up() -> None:
        a.hang_up()
        play.world.clock.call_later(late, b.answer)

    play.world.carrier.call(leave_and_pick_up)
    play.world.carrier.advance(late)
    record = play.ended(callback_id, within=5)
    assert play.calls("B")[0].joined_at is None
    assert record["outcome"] == "first_leg_abandoned"
    assert not any(call.live for call in play.calls())


# -- 14: B is not reached while A waits ----------------------------------------------------------

NOT_REACHED = {
    "1000202": ("busy", "is busy"),
    "1000203": ("no_answer", "did not answer"),
    "1000204": ("failed", "could not be reached"),
    "1000205": ("failed", "could not be reached"),
    "1000206": ("rejected", "could not be reached"),
    "1000207": ("rejected", "could not be reached"),
}


@pytest.mark.parametrize("b", NOT_REACHED)
def test_a_who_waits_hears_within_two_seconds_why_b_is_not_reached_and_is_released(play: Play, b):
    outcome, sentence = NOT_REACHED[b]
    callback_id = play.accepted("1000219", b)
    record = play.ended(callback_id, within=60)
    assert record["outcome"] == f"second_leg_{outcome}"
    failed = play.at(record["leg_B"]["ended_at"])
    (heard,) = [second for second, what in play.heard("A") if sentence in what]
    assert 0 <= heard - failed <= 2
    assert play.at(play.call("A").end_time) - failed <= 10
    assert record["leg_A"]["outcome"] == "completed"


@pytest.mark.parametrize("play", range(1, 7), indirect=True)
def test_a_who_waits_hears_it_once_though_the_minutes_look_comes_as_it_is_said(play: Play):
    record = play.ended(play.accepted("1000219", "1000202"), within=60)
    outcome, sentence = NOT_REACHED["1000202"]
    assert record["outcome"] == f"second_leg_{outcome}"
    assert len([what for _, what in play.heard("A") if sentence in what]) == 1


@pytest.mark.parametrize(
    "b", ["1000212", "1000214", "1000217"], ids=["machine", "unknown", "mailbox"]
)
def test_anyone_who_picks_up_for_b_counts_as_a_human(play: Play, b):
    record = play.ended(play.accepted("1000201", b), within=120)
    assert record["outcome"] == "completed"
    assert record["bridged_seconds"] > 0


# -- 16: somebody else comes to the room ---------------------------------------------------------


@pytest.fixture
def talking(play: Play) -> tuple[Play, str]:
    callback_id = play.accepted("1000219", "1000211")
    play.until(lambda: play.record(callback_id)["status"] == "connected", within=10)
    return play, callback_id


@pytest.mark.parametrize(
    "place",
    ["{id}/A/1", "{id}/B/1", "{id}/A/2", "{id}/B/0", "another/A/1"],
    ids=["A again", "B again", "another attempt", "no attempt", "another callback"],
)
def test_a_call_that_is_not_the_legs_own_is_hung_up_and_logged(talking, place):
    play, callback_id = talking
    before = play.record(callback_id)
    with logs.collected() as lines:
        answer = play.webhook(
            f"/carrier/twiml/{place.format(id=callback_id)}",
            CallSid="CA" + "9" * 32,
            CallStatus="in-progress",
        )
    assert answer.status_code == 200
    assert "<Hangup" in answer.text
    assert "<Dial" not in answer.text
    assert any("call not admitted" in text or "belongs to no callback" in text for _, text in lines)
    assert play.record(callback_id) == before


def test_a_second_call_of_a_leg_that_the_carrier_really_made_never_joins(play: Play):
    """Made by nobody we know, to the same party, with the same URL."""
    callback_id = play.accepted("1000219", "1000203")
    play.until(lambda: bool(play.calls("B")), within=10)
    exchange = play.world.carrier.exchange
    first = play.call("A")
    play.world.carrier.call(exchange.place, first.to, first.from_, first.options)
    play.let(10)
    own, other = play.calls("A")
    assert (own.live, other.live) == (True, False)
    assert other.joined_at is None
    assert play.record(callback_id)["leg_A"]["call_sid"] == own.sid


def test_a_room_holds_two_by_their_labels_and_its_name_cannot_be_guessed(play: Play):
    rooms = []
    for a, b in (("1000219", "1000211"), ("1000201", "1000125")):
        answer = play.post(a, b)
        (call,) = [call for call in play.calls("A") if not call.joined_at]
        fetched = play.webhook(
            f"/carrier/twiml/{call.callback_id}/A/1", CallSid=call.sid, CallStatus="in-progress"
        )
        (conference,) = ElementTree.fromstring(fetched.text).iter("Conference")  # noqa: S314 (our own)
        assert conference.get("maxParticipants") == "2"
        assert conference.get("participantLabel") == "A"
        assert conference.text not in answer["body"]
        assert len(conference.text) >= 32
        rooms.append(conference.text)
        play.let(5)
    assert rooms[0] != rooms[1]
