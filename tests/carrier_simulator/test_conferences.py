"""Rooms by TwiML and by the participants API: who hears whom, who is told what."""

from typing import Any

import pytest
from twilio.base.exceptions import TwilioRestException
from twilio.rest import Client
from twilio.twiml.voice_response import Dial, VoiceResponse

from tests.local.carrier import CarrierSimulator

from .conftest import OURS, Application, hears

STAYS = "sip:1000219@d.example"
EVENTS = "start end join leave mute hold modify announcement"


def room(name: str = "room", action: str = "", **attributes: Any) -> str:
    """A document that joins a room, written by the SDK."""
    response = VoiceResponse()
    dial = Dial(action=action) if action else Dial()
    dial.conference(name, **({"beep": "false", "wait_url": ""} | attributes))
    response.append(dial)
    return str(response)


class Hall:
    """Places calls into rooms; the callbacks arrive at /conference."""

    def __init__(self, client: Client, simulator: CarrierSimulator, application: Application):
        self.client = client
        self.simulator = simulator
        self.application = application

    def join(self, to: str = STAYS, after: str = "", **attributes: Any) -> str:
        told = {
            "status_callback": self.application.url + "/conference",
            "status_callback_event": EVENTS,
        }
        document = room(**(told | attributes)).replace("</Response>", f"{after}</Response>")
        sid: str = self.client.calls.create(to=to, from_=OURS, twiml=document).sid
        self.simulator.advance(4)
        return sid

    def status(self, sid: str) -> str:
        status: str = self.client.calls(sid).fetch().status
        return status

    def told(self) -> list[str]:
        return [seen["StatusCallbackEvent"] for seen in self.application.at("/conference")]

    def last(self, event: str) -> dict[str, str]:
        return next(
            seen.form
            for seen in reversed(self.application.at("/conference"))
            if seen["StatusCallbackEvent"] == event
        )

    def only(self) -> Any:
        (conference,) = self.simulator.exchange.conferences.values()
        return self.client.conferences(conference.sid)


@pytest.fixture
def hall(client: Client, simulator: CarrierSimulator, application: Application) -> Hall:
    return Hall(client, simulator, application)


# -- start and end -----------------------------------------------------------------------------


def test_a_room_starts_with_two_and_they_hear_each_other(hall: Hall) -> None:
    first = hall.join(participant_label="A")
    assert hall.only().fetch().status == "init"
    second = hall.join(participant_label="B")
    conference = hall.only().fetch()
    assert (conference.status, conference.friendly_name) == ("in-progress", "room")
    assert hall.told() == ["participant-join", "participant-join", "conference-start"]
    hall.simulator.advance(5)
    assert 'B: "Hello, this is 1000219."' in hears(hall.simulator, first)
    assert 'A: "Hello, this is 1000219."' in hears(hall.simulator, second)


def test_the_callbacks_count_from_one_and_carry_the_terms(hall: Hall) -> None:
    sid = hall.join(participant_label="A", end_conference_on_exit=True, muted=True)
    hall.join()
    seen = hall.application.at("/conference")
    assert [s["SequenceNumber"] for s in seen] == ["1", "2", "3"]
    first = seen[0].form
    assert first["CallSid"] == sid
    assert first["ParticipantLabel"] == "A"
    assert (first["Muted"], first["Hold"], first["Coaching"]) == ("true", "false", "false")
    assert (first["EndConferenceOnExit"], first["StartConferenceOnEnter"]) == ("true", "true")
    assert first["FriendlyName"] == "room"
    assert first["ConferenceSid"].startswith("CF")
    assert "CallStatus" not in first
    assert all(s.genuine for s in seen)


def test_nobody_starts_a_room_whose_guests_all_wait(hall: Hall) -> None:
    for _ in range(2):
        hall.join(start_conference_on_enter=False)
    assert hall.only().fetch().status == "init"
    hall.join(start_conference_on_enter=True)
    assert hall.only().fetch().status == "in-progress"


def test_a_room_ends_when_the_one_who_ends_it_leaves(hall: Hall) -> None:
    guest = hall.join(after="<Say>It is over.</Say>")
    host = hall.join(end_conference_on_exit=True, participant_label="host")
    hall.client.calls(host).update(status="completed")
    hall.simulator.advance(0.2)
    assert hears(hall.simulator, guest)[-1] == 'says: "It is over."'
    hall.simulator.advance(5)
    assert hall.status(guest) == "completed"
    ended = hall.only().fetch()
    assert ended.status == "completed"
    assert ended.reason_conference_ended == "participant-with-end-conference-on-exit-left"
    assert ended.call_sid_ending_conference == host
    end = hall.last("conference-end")
    assert end["ReasonConferenceEnded"] == "participant-with-end-conference-on-exit-left"
    assert end["CallSidEndingConference"] == host
    assert end["ParticipantLabelEndingConference"] == "host"
    leaves = [
        (s["CallSid"], s["ReasonParticipantLeft"], s["ParticipantCallStatus"])
        for s in hall.application.at("/conference")
        if s["StatusCallbackEvent"] == "participant-leave"
    ]
    assert leaves == [
        (host, "participant_hung_up", "completed"),
        (guest, "moderator_ended_conference", "in-progress"),
    ]


def test_a_room_ends_with_its_last_participant(hall: Hall) -> None:
    for sid in [hall.join(), hall.join()]:
        assert hall.only().fetch().status != "completed"
        hall.client.calls(sid).update(status="completed")
    assert hall.only().fetch().reason_conference_ended == "last-participant-left"


def test_the_same_name_is_a_new_room_once_the_old_one_is_over(hall: Hall) -> None:
    sid = hall.join()
    hall.client.calls(sid).update(status="completed")
    hall.join()
    assert len(hall.simulator.exchange.conferences) == 2
    assert len(hall.client.conferences.list(friendly_name="room", status="init")) == 1


def test_a_party_that_only_stays_with_others_leaves_when_alone(hall: Hall) -> None:
    stays = hall.join(to="sip:1000201@d.example")
    other = hall.join()
    hall.client.calls(other).update(status="completed")
    hall.simulator.advance(2)
    assert hall.status(stays) == "completed"
    assert "silence, alone in the room" in hears(hall.simulator, stays)


def test_a_scripted_party_hangs_up_so_long_after_being_joined(hall: Hall) -> None:
    leaves = hall.join(to="sip:1000125@d.example")
    hall.simulator.advance(30)
    assert hall.status(leaves) == "in-progress"
    hall.join(end_conference_on_exit=True)
    hall.simulator.advance(15)
    assert hall.status(leaves) == "in-progress"
    hall.simulator.advance(10)
    assert hall.status(leaves) == "completed"


# -- attributes --------------------------------------------------------------------------------


def test_a_full_room_lets_nobody_in(hall: Hall) -> None:
    for _ in range(2):
        hall.join(max_participants=2)
    third = hall.join(max_participants=2, after="<Say>It is full.</Say>")
    hall.simulator.advance(3)
    assert hall.status(third) == "completed"
    assert hears(hall.simulator, third)[-1] == 'says: "It is full."'
    assert 16020 in [line.code for line in hall.simulator.exchange.debugger.lines]


@pytest.mark.parametrize(("label", "code"), [("A", 16025), ("a/b", 16023), ("x" * 129, 16023)])
def test_a_label_that_cannot_be_used_lets_the_call_fall_through(
    hall: Hall, label: str, code: int
) -> None:
    hall.join(participant_label="A")
    second = hall.join(participant_label=label, after="<Say>Not you.</Say>")
    assert hears(hall.simulator, second)[-1] == 'says: "Not you."'
    assert code in [line.code for line in hall.simulator.exchange.debugger.lines]


def test_only_the_first_participant_s_callback_counts(hall: Hall) -> None:
    hall.join(status_callback="", status_callback_event="")
    hall.join()
    hall.simulator.advance(3)
    assert hall.told() == []


def test_only_the_events_asked_for_are_told(hall: Hall) -> None:
    hall.join(status_callback_event="join")
    hall.join()
    assert hall.told() == ["participant-join", "participant-join"]


def test_who_waits_hears_the_wait_document(hall: Hall) -> None:
    wait = hall.application.answer(
        "/wait",
        "<Response><Say>One moment.</Say><Play loop='0'>/tone.wav</Play></Response>",
    )
    sid = hall.join(wait_url=wait, wait_method="POST")
    (seen,) = hall.application.at("/wait")
    assert (seen.method, seen["CallSid"], seen["FriendlyName"]) == ("POST", sid, "room")
    heard = hears(hall.simulator, sid)
    assert 'says: "One moment."' in heard
    assert heard[-1] == f"plays {hall.application.url}/tone.wav, over and over"
    hall.join()
    assert hears(hall.simulator, sid)[-2].startswith("joined with")


def test_without_a_wait_url_there_is_music_and_with_an_empty_one_silence(hall: Hall) -> None:
    sid = hall.client.calls.create(
        to=STAYS,
        from_=OURS,
        twiml="<Response><Dial><Conference>r</Conference></Dial></Response>",
    ).sid
    silent = hall.join(name="other")
    assert hears(hall.simulator, sid)[-1] == "music on hold"
    assert hears(hall.simulator, silent)[-1] == "silence, waiting"


def test_twilio_s_own_playlist_is_music_and_nothing_is_fetched(hall: Hall) -> None:
    sid = hall.join(wait_url="http://twimlets.com/holdmusic?Bucket=com.twilio.music.classical")
    assert hears(hall.simulator, sid)[-1] == "music on hold"
    assert [d.kind for d in hall.simulator.exchange.webhooks.log if d.kind == "wait"] == []


def test_a_wait_document_that_fails_keeps_the_call_out(hall: Hall) -> None:
    hall.application.answer("/wait", (404, {}, ""))
    sid = hall.join(wait_url=hall.application.url + "/wait", after="<Say>No room.</Say>")
    assert hears(hall.simulator, sid)[-1] == 'says: "No room."'


def test_a_wait_document_may_not_gather(hall: Hall) -> None:
    wait = hall.application.answer("/wait", "<Response><Gather/></Response>")
    hall.join(wait_url=wait)
    assert 13238 in [line.code for line in hall.simulator.exchange.debugger.lines]


def test_beeps_are_heard_by_those_inside(hall: Hall) -> None:
    first = hall.join(beep="true")
    hall.join(beep="false")
    assert "beep" not in hears(hall.simulator, first)
    hall.join(beep="onEnter")
    assert hears(hall.simulator, first).count("beep") == 1


def test_a_muted_party_is_not_heard(hall: Hall) -> None:
    listener = hall.join()
    hall.join(muted=True, participant_label="M")
    hall.simulator.advance(5)
    assert not any(line.startswith("M:") for line in hears(hall.simulator, listener))


def test_a_coach_is_heard_by_one_alone(hall: Hall) -> None:
    agent, customer = hall.join(), hall.join()
    hall.join(coach=agent, participant_label="C")
    hall.simulator.advance(5)
    assert any(line.startswith("C:") for line in hears(hall.simulator, agent))
    assert not any(line.startswith("C:") for line in hears(hall.simulator, customer))


def test_the_action_is_told_that_a_conference_was_answered(hall: Hall) -> None:
    hall.application.answer("/after", "<Response/>")
    hall.join(action=hall.application.url + "/after")
    hall.only().update(status="completed")
    hall.simulator.advance(1)
    (seen,) = hall.application.at("/after")
    assert seen["DialCallStatus"] == "answered"
    assert "DialCallSid" not in seen.form


def test_a_room_is_recorded_from_its_start(hall: Hall) -> None:
    hall.join(record="record-from-start", recording_status_callback=hall.application.url + "/rec")
    hall.simulator.advance(10)
    hall.join()
    hall.simulator.advance(20)
    hall.only().update(status="completed")
    hall.simulator.advance(1)
    (seen,) = hall.application.at("/rec")
    assert (seen["RecordingStatus"], seen["RecordingSource"]) == ("completed", "Conference")
    assert abs(int(seen["RecordingDuration"]) - 22) <= 2
    conference_sid = seen["ConferenceSid"]
    assert len(hall.client.conferences(conference_sid).recordings.list()) == 1


# -- redirecting -------------------------------------------------------------------------------


def test_a_redirected_call_leaves_its_room_and_ends_it_where_it_must(hall: Hall) -> None:
    stays = hall.join()
    moved = hall.join(end_conference_on_exit=True)
    hall.client.calls(moved).update(twiml="<Response><Say>Sorry.</Say><Hangup/></Response>")
    hall.simulator.advance(3)
    leave = next(
        s.form
        for s in hall.application.at("/conference")
        if s["StatusCallbackEvent"] == "participant-leave"
    )
    assert leave["CallSid"] == moved
    assert leave["ReasonParticipantLeft"] == "participant_updated_via_api"
    assert leave["ParticipantCallStatus"] == "in-progress"
    assert hears(hall.simulator, moved)[-1] == 'says: "Sorry."'
    assert hall.status(stays) == "completed"


# -- the API -----------------------------------------------------------------------------------


def test_a_conference_is_ended_by_the_api(hall: Hall) -> None:
    first, second = hall.join(), hall.join()
    ended = hall.only().update(status="completed")
    assert (ended.status, ended.reason_conference_ended) == (
        "completed",
        "conference-ended-via-api",
    )
    assert ended.call_sid_ending_conference is None
    hall.simulator.advance(1)
    assert {hall.status(first), hall.status(second)} == {"completed"}
    assert hall.last("participant-leave")["ReasonParticipantLeft"] == "conference_ended_via_api"
    assert hall.only().participants.list() == []


def test_conferences_are_listed_by_status_and_in_progress_by_default(hall: Hall) -> None:
    hall.join()
    hall.join()
    hall.join(name="lonely")
    assert [c.friendly_name for c in hall.client.conferences.list()] == ["room"]
    assert [c.friendly_name for c in hall.client.conferences.list(status="init")] == ["lonely"]
    assert hall.client.conferences.list(status="completed") == []
    assert hall.client.conferences.list(friendly_name="none", status="init") == []


def test_an_announcement_is_heard_by_all_and_told(hall: Hall) -> None:
    news = hall.application.answer("/news", "<Response><Say>News.</Say></Response>")
    sids = [hall.join(), hall.join()]
    hall.only().update(announce_url=news)
    hall.simulator.advance(2)
    assert all('says: "News."' in hears(hall.simulator, sid) for sid in sids)
    assert hall.last("announcement-end")["AnnounceUrl"] == news
    hall.only().update(announce_url=hall.application.url + "/missing")
    hall.simulator.advance(2)
    assert hall.told()[-1] == "announcement-end"
    hall.application.answer("/missing", (500, {}, ""))
    hall.only().update(announce_url=hall.application.url + "/missing")
    hall.simulator.advance(2)
    assert hall.told()[-1] == "announcement-fail"


def test_a_participant_is_muted_held_and_kicked_by_sid_or_label(hall: Hall) -> None:
    hall.join()
    sid = hall.join(participant_label="B")
    by_label, by_sid = hall.only().participants("B"), hall.only().participants(sid)
    assert by_label.fetch().call_sid == by_sid.fetch().call_sid == sid
    assert by_label.update(muted=True).muted is True
    held = hall.application.answer("/hold", "<Response><Say>Please hold.</Say></Response>")
    assert by_sid.update(hold=True, hold_url=held).hold is True
    hall.simulator.advance(1)
    assert hall.application.at("/hold")[0].method == "GET"
    assert hears(hall.simulator, sid)[-1] == 'says: "Please hold."'
    assert [p.label for p in hall.only().participants.list(hold=True)] == ["B"]
    assert [p.label for p in hall.only().participants.list(muted=False)] == [None]
    assert by_sid.update(hold=False).hold is False
    assert by_label.delete()
    hall.simulator.advance(1)
    assert hall.status(sid) == "completed"
    with pytest.raises(TwilioRestException) as caught:
        by_label.fetch()
    assert caught.value.code == 20404
    assert [e for e in hall.told() if e not in ("participant-join", "conference-start")] == [
        "participant-mute",
        "participant-hold",
        "participant-unhold",
        "participant-leave",
    ]


def test_kicking_the_one_who_ends_the_room_says_kicked(hall: Hall) -> None:
    hall.join()
    sid = hall.join(end_conference_on_exit=True)
    hall.only().participants(sid).delete()
    reason = hall.only().fetch().reason_conference_ended
    assert reason == "participant-with-end-conference-on-exit-kicked"


def create(hall: Hall, name: str = "room", to: str = STAYS, **values: Any) -> Any:
    return hall.client.conferences(name).participants.create(from_=OURS, to=to, **values)


def test_a_participant_is_created_by_room_name_and_joins_on_answer(hall: Hall) -> None:
    hall.join(participant_label="A")
    created = create(
        hall,
        label="B",
        status_callback=hall.application.url + "/leg",
        status_callback_event=["ringing", "answered", "completed"],
    )
    assert (created.status, created.label, created.queue_time) == ("queued", "B", "0")
    participant = hall.only().participants("B")
    assert participant.fetch().queue_time is None
    hall.simulator.advance(1)
    assert participant.fetch().status == "ringing"
    hall.simulator.advance(3)
    assert participant.fetch().status == "connected"
    assert hall.only().fetch().status == "in-progress"
    hall.client.calls(created.call_sid).update(status="completed")
    hall.simulator.advance(1)
    told = [seen["CallStatus"] for seen in hall.application.at("/leg")]
    assert told == ["ringing", "in-progress", "completed"]


def test_two_created_participants_make_the_room_themselves(hall: Hall) -> None:
    callback = hall.application.url + "/conference"
    create(hall, conference_status_callback=callback)
    create(hall, to="sip:1000125@d.example", end_conference_on_exit=True)
    hall.simulator.advance(40)
    assert hall.told() == ["conference-start", "conference-end"]


def test_a_participant_who_does_not_answer_was_never_added(hall: Hall) -> None:
    create(
        hall,
        to="sip:1000202@d.example",
        conference_status_callback=hall.application.url + "/conference",
        conference_status_callback_event=["join", "leave", "end"],
    )
    hall.simulator.advance(5)
    leave = hall.last("participant-leave")
    assert leave["ReasonParticipantLeft"] == "participant_add_failed"
    assert leave["ParticipantCallStatus"] == "busy"
    assert hall.only().fetch().status == "completed"


@pytest.mark.parametrize(
    ("values", "code"),
    [
        ({"label": "A"}, 16026),
        ({"label": "a/b"}, 16024),
        ({"timeout": 4}, 21208),
        ({"max_participants": 1}, 21200),
        ({"beep": "loud"}, 21200),
        ({"coaching": True, "call_sid_to_coach": "CA" + "0" * 32}, 13240),
        ({"to": "12"}, 21211),
        ({"conference_status_callback_event": ["begin"]}, 21626),
        ({"region": "mars"}, 21200),
    ],
)
def test_a_bad_participant_is_refused(hall: Hall, values: dict[str, Any], code: int) -> None:
    hall.join(participant_label="A")
    with pytest.raises(TwilioRestException) as caught:
        create(hall, **values)
    assert caught.value.code == code


def test_a_scripted_destination_breaks_a_participant_s_create_too(hall: Hall) -> None:
    with pytest.raises(TwilioRestException) as caught:
        create(hall, to="sip:1000223@d.example")
    assert caught.value.status == 500
    hall.simulator.advance(5)
    assert len(hall.only().participants.list()) == 1


def test_who_is_held_before_the_start_waits_on_hold_and_then_again_in_the_room(
    hall: Hall,
) -> None:
    wait = hall.application.answer("/wait", "<Response><Say>Soon.</Say></Response>")
    sid = hall.join(wait_url=wait)
    participant = hall.only().participants(sid)
    participant.update(hold=True)
    hall.simulator.advance(1)
    assert hears(hall.simulator, sid)[-1] == "music on hold"
    assert len(hall.application.at("/wait")) == 1
    participant.update(hold=False)
    hall.simulator.advance(0.1)
    assert hears(hall.simulator, sid)[-1] == 'says: "Soon."'


def test_nobody_is_added_to_a_full_or_finished_room(hall: Hall) -> None:
    hall.join()
    hall.join()
    with pytest.raises(TwilioRestException) as caught:
        create(hall, max_participants=2)
    assert caught.value.code == 16020
    sid = hall.only().fetch().sid
    hall.only().update(status="completed")
    with pytest.raises(TwilioRestException) as caught:
        create(hall, name=sid)
    assert (caught.value.status, caught.value.code) == (404, 16022)
    with pytest.raises(TwilioRestException) as caught:
        create(hall, name="CF" + "0" * 32)
    assert caught.value.code == 16003


def test_a_participant_s_exit_terms_and_wait_are_changed(hall: Hall) -> None:
    sid = hall.join()
    wait = hall.application.answer("/wait", "<Response><Say>Soon.</Say></Response>")
    updated = hall.only().participants(sid).update(end_conference_on_exit=True, wait_url=wait)
    assert updated.end_conference_on_exit is True
    hall.simulator.advance(1)
    assert 'says: "Soon."' in hears(hall.simulator, sid)
    hall.join()
    hall.client.calls(sid).update(status="completed")
    assert hall.only().fetch().status == "completed"
