"""TwiML: verbs, actions, and what becomes of documents that are wrong."""

from collections.abc import Callable
from typing import Any

import pytest
from twilio.rest import Client

from tests.local.carrier import CarrierSimulator
from tests.local.carrier.recordings import wav
from tests.local.carrier.twiml import TwimlError, parse

from .conftest import OURS, Application, hears

STAYS = "sip:1000219@d.example"
NOT_OURS = ("phone rings", "picks up")

Run = Callable[..., str]


@pytest.fixture
def run(client: Client, simulator: CarrierSimulator, application: Application) -> Run:
    """Places a call that fetches /start, answered with the given verbs; returns its SID."""

    def place(verbs: Any, *, to: str = STAYS, seconds: float = 30, **values: Any) -> str:
        document = f"<Response>{verbs}</Response>" if isinstance(verbs, str) else verbs
        url = application.answer("/start", document)
        sid: str = client.calls.create(to=to, from_=OURS, url=url, **values).sid
        simulator.advance(2.5 + seconds)
        return sid

    return place


def xml(text: str) -> tuple[int, dict[str, str], str]:
    return 200, {"Content-Type": "text/xml"}, text


def heard(simulator: CarrierSimulator, sid: str) -> list[str]:
    return [line for line in hears(simulator, sid) if not line.startswith(NOT_OURS)]


def codes(simulator: CarrierSimulator) -> list[int]:
    return [line.code for line in simulator.exchange.debugger.lines]


def duration(client: Client, sid: str) -> int:
    return int(client.calls(sid).fetch().duration)


# -- speaking and waiting ----------------------------------------------------------------------


def test_say_is_heard_with_its_voice_and_ssml_is_spoken_as_text(
    run: Run, simulator: CarrierSimulator
) -> None:
    sid = run("<Say voice='alice' language='nl-NL'>Hallo <break/> <emphasis>jij</emphasis></Say>")
    assert heard(simulator, sid) == ['says (alice nl-NL): "Hallo jij"']


def test_say_takes_time_and_loops(run: Run, client: Client, simulator: CarrierSimulator) -> None:
    sid = run("<Say loop='3'>one two three four five</Say>")
    assert heard(simulator, sid) == ['says, 3 times: "one two three four five"']
    assert duration(client, sid) == 6


def test_an_empty_say_is_a_warning(run: Run, simulator: CarrierSimulator) -> None:
    run("<Say> </Say>")
    assert codes(simulator) == [13520]


def test_play_lasts_as_long_as_its_sound(
    run: Run, client: Client, simulator: CarrierSimulator, application: Application
) -> None:
    sound = (200, {"Content-Type": "audio/wav"}, b"".join(wav(3, 1)))
    application.answer("/three.wav", sound)
    sid = run("<Play loop='2'>/three.wav</Play>")
    assert duration(client, sid) == 6
    (seen,) = application.at("/three.wav")
    assert (seen.method, seen.body) == ("GET", b"")
    assert heard(simulator, sid) == [f"plays {application.url}/three.wav, 2 times"]


def test_a_sound_that_is_missing_is_skipped(
    run: Run, simulator: CarrierSimulator, application: Application
) -> None:
    application.answer("/gone.wav", (404, {}, ""))
    sid = run("<Play>/gone.wav</Play><Say>Still here.</Say>")
    assert heard(simulator, sid) == ['says: "Still here."']
    assert codes(simulator) == [11200]


def test_a_sound_elsewhere_is_heard_but_not_fetched(
    run: Run, client: Client, simulator: CarrierSimulator
) -> None:
    sid = run("<Play>http://198.51.100.7/song.mp3</Play>")
    assert heard(simulator, sid) == ["plays http://198.51.100.7/song.mp3"]
    assert duration(client, sid) == 5
    assert codes(simulator) == [11210]
    assert [d.kind for d in simulator.exchange.webhooks.log] == ["twiml"]


def test_play_sends_digits(run: Run, simulator: CarrierSimulator) -> None:
    assert heard(simulator, run("<Play digits='ww12#'/>")) == ["keys ww12#"]


def test_pause_waits_and_a_document_that_runs_out_hangs_up(run: Run, client: Client) -> None:
    assert duration(client, run("<Pause length='7'/>")) == 7
    assert duration(client, run("<Pause/>")) == 1


def test_hangup_ends_at_once(run: Run, client: Client) -> None:
    assert duration(client, run("<Hangup/><Pause length='9'/>")) == 0


def test_redirect_goes_elsewhere_and_what_follows_is_unreachable(
    run: Run, simulator: CarrierSimulator, application: Application
) -> None:
    application.answer("/a/next", "<Response><Redirect method='GET'>last</Redirect></Response>")
    application.answer("/a/last", "<Response><Say>Here.</Say></Response>")
    sid = run("<Redirect>a/next</Redirect><Say>Never.</Say>")
    assert heard(simulator, sid) == ['says: "Here."']
    assert application.at("/a/next")[0].method == "POST"
    assert application.at("/a/last")[0].method == "GET"


def test_documents_that_redirect_without_end_are_stopped(
    run: Run, client: Client, simulator: CarrierSimulator
) -> None:
    sid = run("<Redirect/>")
    assert client.calls(sid).fetch().status == "completed"
    assert codes(simulator) == [11215]


# -- Gather ------------------------------------------------------------------------------------

GATHER = "<Gather {}><Say>{}</Say></Gather><Say>Nothing pressed.</Say>"


def pressed(application: Application) -> list[dict[str, str]]:
    return [seen.form for seen in application.at("/digits")]


def test_a_scripted_key_is_posted_at_once_with_num_digits(
    run: Run, simulator: CarrierSimulator, application: Application
) -> None:
    application.answer("/digits", "<Response><Say>Thank you.</Say></Response>")
    sid = run(
        GATHER.format("numDigits='1' action='/digits'", "Press one " * 20),
        to="sip:1000215@d.example",
        seconds=2,
    )
    (form,) = pressed(application)
    assert (form["Digits"], form["CallStatus"]) == ("1", "in-progress")
    assert heard(simulator, sid)[-1] == 'says: "Thank you."'


def test_keys_are_posted_after_the_timeout(
    run: Run, simulator: CarrierSimulator, application: Application
) -> None:
    sid = run(GATHER.format("action='/digits' timeout='4'", "Keys"), seconds=1)
    simulator.call(lambda: simulator.exchange.calls[sid].press("42"))
    simulator.advance(3.9)
    assert pressed(application) == []
    simulator.advance(0.2)
    assert pressed(application)[0]["Digits"] == "42"


def test_the_finishing_key_is_not_part_of_the_digits(
    run: Run, simulator: CarrierSimulator, application: Application
) -> None:
    sid = run(GATHER.format("action='/digits'", "Keys"), seconds=1)
    simulator.call(lambda: simulator.exchange.calls[sid].press("123#9"))
    simulator.advance(0.1)
    assert pressed(application)[0]["Digits"] == "123"


def test_without_a_finishing_key_the_hash_is_a_digit(
    run: Run, simulator: CarrierSimulator, application: Application
) -> None:
    sid = run(GATHER.format("action='/digits' finishOnKey='' numDigits='2'", "Keys"), seconds=1)
    simulator.call(lambda: simulator.exchange.calls[sid].press("1#"))
    simulator.advance(0.1)
    assert pressed(application)[0]["Digits"] == "1#"


def test_the_first_key_silences_the_prompts(
    run: Run, simulator: CarrierSimulator, application: Application
) -> None:
    prompts = "<Say>one two three four five</Say><Say>never heard</Say>"
    sid = run(f"<Gather timeout='5' action='/digits'>{prompts}</Gather>", seconds=1)
    simulator.call(lambda: simulator.exchange.calls[sid].press("4"))
    simulator.advance(4)
    simulator.call(lambda: simulator.exchange.calls[sid].press("2"))
    simulator.advance(6)
    assert heard(simulator, sid) == ['says: "one two three four five"']
    assert pressed(application)[0]["Digits"] == "42"


def test_no_key_falls_through_after_prompt_and_timeout(
    run: Run, simulator: CarrierSimulator, application: Application
) -> None:
    sid = run(GATHER.format("action='/digits' timeout='3'", "one two three four five"), seconds=4.9)
    assert heard(simulator, sid) == ['says: "one two three four five"']
    simulator.advance(0.2)
    assert heard(simulator, sid)[-1] == 'says: "Nothing pressed."'
    assert pressed(application) == []


def test_only_the_finishing_key_counts_as_nothing(
    run: Run, simulator: CarrierSimulator, application: Application
) -> None:
    sid = run(GATHER.format("action='/digits'", "Keys"), seconds=1)
    simulator.call(lambda: simulator.exchange.calls[sid].press("#"))
    simulator.advance(0.2)
    assert heard(simulator, sid)[-1] == 'says: "Nothing pressed."'
    assert pressed(application) == []


def test_an_empty_result_is_told_where_asked(run: Run, application: Application) -> None:
    run(GATHER.format("action='/digits' actionOnEmptyResult='true' timeout='1'", "Keys"))
    assert pressed(application)[0]["Digits"] == ""


def test_without_an_action_the_document_is_asked_again(run: Run, application: Application) -> None:
    run("<Gather numDigits='1'/>", to="sip:1000216@d.example", seconds=1.5)
    assert application.at("/start")[1]["Digits"] == "2"


def test_spoken_words_are_posted(
    run: Run, simulator: CarrierSimulator, application: Application
) -> None:
    simulator.exchange.scripts.set(
        "1000700", simulator.exchange.scripts.default.parse({"speech": ["yes please"]})
    )
    run(
        GATHER.format("input='speech dtmf' action='/digits'", "Well?"),
        to="sip:1000700@d.example",
        seconds=5,
    )
    assert pressed(application)[0]["SpeechResult"] == "yes please"
    assert 0 < float(pressed(application)[0]["Confidence"]) <= 1


# -- Dial --------------------------------------------------------------------------------------


def child(simulator: CarrierSimulator, sid: str) -> Any:
    return next(
        call for call in simulator.exchange.calls.values() if call.parent and call.parent.sid == sid
    )


def test_dial_connects_two_parties_and_tells_the_action(
    run: Run, client: Client, simulator: CarrierSimulator, application: Application
) -> None:
    application.answer("/after", "<Response><Say>Bye.</Say></Response>")
    sid = run(
        "<Dial action='/after'><Sip statusCallback='/leg' statusCallbackEvent='initiated ringing "
        "answered completed'>sip:1000218@d.example</Sip></Dial><Say>Never.</Say>"
    )
    leg = child(simulator, sid)
    assert client.calls(leg.sid).fetch().direction == "outbound-dial"
    assert [c.sid for c in client.calls.list(parent_call_sid=sid)] == [leg.sid]
    assert '1000218: "Hello, this is 1000218."' in hears(simulator, sid)
    assert '1000219: "Hello, this is 1000219."' in hears(simulator, leg.sid)
    (after,) = application.at("/after")
    assert after["DialCallStatus"] == "completed"
    assert (after["DialCallSid"], after["DialCallDuration"]) == (leg.sid, "5")
    assert after["DialBridged"] == "true"
    assert hears(simulator, sid)[-1] == 'says: "Bye."'
    told = application.at("/leg")
    assert [s["CallStatus"] for s in told] == ["initiated", "ringing", "in-progress", "completed"]
    assert told[0]["ParentCallSid"] == sid


@pytest.mark.parametrize(
    ("to", "status"), [("1000202", "busy"), ("1000203", "no-answer"), ("1000204", "failed")]
)
def test_dial_without_an_action_falls_through_when_nobody_answers(
    run: Run, simulator: CarrierSimulator, to: str, status: str
) -> None:
    sid = run(f"<Dial timeout='10'><Client>{to}</Client></Dial><Say>Nobody.</Say>")
    assert child(simulator, sid).status == status
    assert hears(simulator, sid)[-1] == 'says: "Nobody."'


def test_the_first_to_answer_wins_and_the_others_stop_ringing(
    run: Run, simulator: CarrierSimulator
) -> None:
    sid = run("<Dial><Client>1000123</Client><Client>1000201</Client></Dial>", seconds=10)
    legs = {c.to: c.status for c in simulator.exchange.calls.values() if c.parent}
    assert legs == {"client:1000123": "canceled", "client:1000201": "in-progress"}
    assert simulator.exchange.calls[sid].bridge is not None


def test_sequential_dialing_rings_one_after_the_other(
    run: Run, simulator: CarrierSimulator
) -> None:
    run(
        "<Dial sequential='true'><Client>1000202</Client><Client>1000201</Client></Dial>",
        seconds=10,
    )
    legs = {c.to: c.status for c in simulator.exchange.calls.values() if c.parent}
    assert legs == {"client:1000202": "busy", "client:1000201": "in-progress"}


def test_a_whisper_is_heard_before_the_parties_are_joined(
    run: Run, simulator: CarrierSimulator, application: Application
) -> None:
    application.answer("/whisper", "<Response><Say>A call for you.</Say></Response>")
    sid = run("<Dial><Number url='/whisper'>+14155552672</Number></Dial>", seconds=20)
    leg = child(simulator, sid)
    lines = hears(simulator, leg.sid)
    assert lines.index('says: "A call for you."') < lines.index("joined with 1000219")


def test_a_whisper_may_not_dial_and_may_hang_up(
    run: Run, simulator: CarrierSimulator, application: Application
) -> None:
    application.answer("/whisper", "<Response><Dial>+14155552673</Dial><Hangup/></Response>")
    sid = run("<Dial><Number url='/whisper'>+14155552672</Number></Dial><Say>No.</Say>")
    assert codes(simulator) == [13201]
    assert hears(simulator, sid)[-1] == 'says: "No."'


def test_star_hangs_up_the_other_side_where_asked(run: Run, simulator: CarrierSimulator) -> None:
    sid = run(
        "<Dial hangupOnStar='true'><Client>1000219</Client></Dial><Say>Star.</Say>", seconds=10
    )
    simulator.call(lambda: simulator.exchange.calls[sid].press("1*"))
    simulator.advance(0.1)
    assert hears(simulator, sid)[-1] == 'says: "Star."'
    assert child(simulator, sid).status == "completed"


def test_the_dial_s_time_limit_ends_it(run: Run, simulator: CarrierSimulator) -> None:
    sid = run("<Dial timeLimit='9'><Client>1000219</Client></Dial><Say>Time.</Say>", seconds=20)
    assert child(simulator, sid).duration == 9
    assert 'says: "Time."' in hears(simulator, sid)


def test_hanging_up_while_dialing_ends_the_other_leg_and_tells_the_action(
    run: Run, client: Client, simulator: CarrierSimulator, application: Application
) -> None:
    sid = run("<Dial action='/after'><Client>1000203</Client></Dial>", seconds=5)
    client.calls(sid).update(status="completed")
    simulator.advance(1)
    assert child(simulator, sid).status == "canceled"
    assert application.at("/after")[0]["CallStatus"] == "completed"


def test_a_dialed_call_is_recorded(run: Run, client: Client, application: Application) -> None:
    sid = run(
        "<Dial record='record-from-answer-dual' recordingStatusCallback='/rec' action='/after'>"
        "<Client>1000218</Client></Dial>"
    )
    (recording,) = client.calls(sid).recordings.list()
    assert (recording.source, recording.channels, recording.duration) == ("DialVerb", 2, "5")
    assert application.at("/rec")[0]["RecordingSource"] == "DialVerb"
    assert application.at("/after")[0]["RecordingUrl"].endswith(recording.sid)


@pytest.mark.parametrize(
    ("nouns", "codes_logged"),
    [
        ("", [13223]),
        ("<Number>twelve</Number>", [13223, 13223]),
        ("<Sip>nowhere</Sip>", [13243, 13223]),
        ("<Queue>support</Queue>", [12400, 13223]),
        ("<Client>1000206</Client>", [13224, 13223]),
    ],
)
def test_a_dial_to_nobody_is_an_error_and_failed(
    run: Run,
    simulator: CarrierSimulator,
    application: Application,
    nouns: str,
    codes_logged: list[int],
) -> None:
    application.answer("/after", "<Response/>")
    run(f"<Dial action='/after'>{nouns}</Dial>")
    assert codes(simulator) == codes_logged
    assert application.at("/after")[0]["DialCallStatus"] == "failed"


def test_a_dialed_number_is_brought_into_its_form_and_a_client_may_be_nested(
    run: Run, simulator: CarrierSimulator
) -> None:
    run("<Dial>(415) 555-2672</Dial>", seconds=5)
    run("<Dial><Client><Identity>anna</Identity></Client></Dial>", seconds=5)
    legs = [c.to for c in simulator.exchange.calls.values() if c.parent]
    assert legs == ["+14155552672", "client:anna"]


# -- Record ------------------------------------------------------------------------------------


def test_what_is_said_is_recorded_and_posted(
    run: Run, client: Client, simulator: CarrierSimulator, application: Application
) -> None:
    application.answer("/message", "<Response><Hangup/></Response>")
    sid = run("<Record action='/message' recordingStatusCallback='/rec' timeout='2'/>", seconds=20)
    (seen,) = application.at("/message")
    assert seen["RecordingDuration"] == "6"
    assert seen["RecordingUrl"].startswith(simulator.url)
    assert application.at("/rec")[0]["RecordingStatus"] == "completed"
    assert [r.source for r in client.calls(sid).recordings.list()] == ["RecordVerb"]


def test_a_key_finishes_the_recording(
    run: Run, simulator: CarrierSimulator, application: Application
) -> None:
    sid = run("<Record action='/message' playBeep='false' finishOnKey='*'/>", seconds=2)
    simulator.call(lambda: simulator.exchange.calls[sid].press("*"))
    simulator.advance(1)
    (seen,) = application.at("/message")
    assert (seen["Digits"], seen["RecordingDuration"]) == ("*", "2")


def test_hanging_up_while_recording_still_posts_it(
    run: Run, client: Client, simulator: CarrierSimulator, application: Application
) -> None:
    sid = run("<Record action='/message'/>", seconds=2)
    client.calls(sid).update(status="completed")
    simulator.advance(1)
    (seen,) = application.at("/message")
    assert (seen["Digits"], seen["CallStatus"]) == ("hangup", "completed")


# -- what is wrong -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        ((500, {}, ""), 11200),
        ((404, {}, ""), 11200),
        (xml("<Response><Say>"), 12100),
        (xml("\n<?xml version='1.0'?><Response/>"), 12100),
        (xml("<!DOCTYPE x [<!ENTITY a 'b'>]><Response/>"), 12100),
        (xml("<Answer/>"), 12102),
        ((200, {"Content-Type": "application/json"}, "{}"), 12300),
        ((200, {}, "<Response/>"), 12300),
        (xml("<Response>" + " " * 65_536 + "</Response>"), 11750),
    ],
)
def test_a_document_that_cannot_be_played_is_an_application_error(
    run: Run, client: Client, simulator: CarrierSimulator, answer: Any, code: int
) -> None:
    sid = run(answer)
    assert codes(simulator) == [code]
    assert "application error" in hears(simulator, sid)[-1]
    assert client.calls(sid).fetch().status == "completed"


def test_the_fallback_is_asked_and_told_what_went_wrong(
    run: Run, simulator: CarrierSimulator, application: Application
) -> None:
    fallback = application.answer("/fallback", "<Response><Say>Plan B.</Say></Response>")
    sid = run((500, {}, ""), fallback_url=fallback, fallback_method="GET")
    (seen,) = application.at("/fallback")
    assert seen.query["ErrorCode"] == ["11200"]
    assert seen.query["ErrorUrl"] == [application.url + "/start"]
    assert seen.genuine
    assert heard(simulator, sid) == ['says: "Plan B."']


def test_a_fallback_that_fails_too_is_an_application_error(
    run: Run, simulator: CarrierSimulator, application: Application
) -> None:
    application.answer("/fallback", (500, {}, ""))
    sid = run(xml("<Response"), fallback_url=application.url + "/fallback")
    assert "application error" in hears(simulator, sid)[-1]
    assert codes(simulator) == [12100, 11200]


def test_an_action_that_fails_goes_to_the_fallback(
    run: Run, simulator: CarrierSimulator, application: Application
) -> None:
    application.answer("/digits", (500, {}, ""))
    fallback = application.answer("/fallback", "<Response><Say>Plan B.</Say></Response>")
    sid = run(
        "<Gather numDigits='1' action='/digits'/>",
        to="sip:1000215@d.example",
        fallback_url=fallback,
    )
    assert heard(simulator, sid)[-1] == 'says: "Plan B."'


def test_plain_text_is_read_aloud_and_xml_in_it_is_obeyed(
    run: Run, simulator: CarrierSimulator
) -> None:
    plain = {"Content-Type": "text/plain"}
    assert heard(simulator, run((200, plain, "Read me."))) == ['says: "Read me."']
    document = "<Response><Say>Obey.</Say></Response>"
    assert heard(simulator, run((200, plain, document))) == ['says: "Obey."']


def test_a_sound_as_answer_is_played(
    run: Run, simulator: CarrierSimulator, application: Application
) -> None:
    sid = run((200, {"Content-Type": "audio/wav"}, b"".join(wav(2, 1))))
    assert heard(simulator, sid) == [f"plays {application.url}/start"]


@pytest.mark.parametrize("verb", ["Enqueue", "Connect", "Start", "Pay", "Refer"])
def test_a_verb_that_is_not_simulated_says_so_and_the_next_is_played(
    run: Run, simulator: CarrierSimulator, verb: str
) -> None:
    sid = run(f"<{verb}>x</{verb}><Say>After.</Say>")
    (line,) = simulator.exchange.debugger.lines
    assert line.level == "error"
    assert f"<{verb}>" in line.message
    assert "not simulate" in line.message
    assert heard(simulator, sid) == ['says: "After."']


@pytest.mark.parametrize(
    ("verbs", "code"),
    [
        ("<Sing/>", 12200),
        ("<Say mood='good'>x</Say>", 12200),
        ("<Pause length='long'/>", 13910),
        ("<Gather timeout='1' numDigits='none'/>", 13314),
        ("<Gather timeout='1'><Dial/></Gather>", 13320),
        ("<Play loop='-1'>/x</Play>", 13410),
        ("<Pause length='2'/><Redirect method='PUT'>/start</Redirect>", 13710),
        ("<Dial timeout='soon'><Client>1000201</Client></Dial>", 13212),
        ("<Dial><Conference muted='maybe'>r</Conference></Dial>", 13230),
        ("<Dial><Conference beep='loud'>r</Conference></Dial>", 13235),
        ("<Dial><Conference endConferenceOnExit='yes'>r</Conference></Dial>", 13231),
        ("<Dial><Conference startConferenceOnEnter='1'>r</Conference></Dial>", 13232),
        ("<Dial><Conference/></Dial>", 13237),
        ("<Say>first</Say><Reject/>", 12200),
    ],
)
def test_what_is_not_understood_is_a_warning_and_ignored(
    run: Run, client: Client, simulator: CarrierSimulator, verbs: str, code: int
) -> None:
    sid = run(verbs, seconds=1)
    assert codes(simulator) == [code]
    client.calls(sid)


def test_relative_links_in_an_inline_document_lead_nowhere(
    client: Client, simulator: CarrierSimulator
) -> None:
    client.calls.create(to=STAYS, from_=OURS, twiml="<Response><Redirect>/x</Redirect></Response>")
    simulator.advance(5)
    assert codes(simulator) == [11100]


def test_names_are_case_sensitive() -> None:
    with pytest.raises(TwimlError):
        parse("<response/>")
    assert [code for code, _ in parse("<Response><say>x</say></Response>").warnings] == [12200]
