"""Scenario 22: strangers ring once, text, and let our own services call each other.

Who calls is whatever the caller's network says, and a ring costs the caller nothing.
"""

import itertools
import json
import secrets
from concurrent.futures import ThreadPoolExecutor

import pytest

from callback.carrier.twilio.events import WITHHELD
from callback.storage.departures import Departures
from callback.storage.table import Table
from callback.triggers import sms_grammar
from tests.local.carrier import twiml
from tests.support.play import Play
from tests.support.world import TABLE

OURS, THEIRS = "+14155550100", "+14155550109"
DESK = "1000218"
CALLER = "+14155550118"
ANOTHER = "+14155550101"
DAY = 24 * 3600
HELP = sms_grammar.HELP[True, True]


@pytest.fixture
def ours(play: Play) -> Play:
    """Our number takes texts and calls; so does another tenant's."""
    for number, tenant in ((OURS, "tenant-of-the-histories"), (THEIRS, "another-tenant")):
        takes = {"sms_to": DESK, "sms_to_anyone": True, "missed_call_to": DESK}
        play.world.make_number(number, tenant, **takes)
    return play


def ring(play: Play, caller: str, to: str = OURS, **fields: str) -> None:
    """One ring: the call is always turned away, whatever comes of it."""
    form = {"CallSid": f"CA{secrets.token_hex(16)}", "CallStatus": "ringing", **fields}
    answer = play.webhook("/carrier/trigger/call", From=caller, To=to, **form)
    assert answer.status_code == 200
    (verb,) = twiml.parse(answer.content).verbs
    assert (verb.name, verb.get("reason")) == ("Reject", "busy")


def text(play: Play, body: str, sender: str = CALLER, to: str = OURS, **fields: str) -> str | None:
    """What is texted back."""
    form = {"MessageSid": f"SM{secrets.token_hex(16)}", "Body": body, **fields}
    answer = play.webhook("/carrier/trigger/sms", From=sender, To=to, **form)
    assert answer.status_code == 200
    messages = [verb.text for verb in twiml.parse(answer.content).verbs]
    assert len(messages) <= 1
    return messages[0] if messages else None


def rows(play: Play) -> list[str]:
    return sorted(row["pk"]["S"] for row in play.world._dynamodb.scan(TableName=TABLE)["Items"])


FORMS = (
    "+1900555{:04}",  # premium, United States
    "+1800555{:04}",  # freephone
    "+1809555{:04}",  # Dominican Republic, dialed as if it were next door
    "+1876555{:04}",  # Jamaica
    "+1284555{:04}",  # British Virgin Islands
    "+1473555{:04}",  # Grenada
    "+4490934{:05}",  # premium, United Kingdom
    "+447012{:06}",  # personal, United Kingdom
    "+447400{:06}",  # mobile, United Kingdom
    "+23222{:06}",  # Sierra Leone
    "+67577{:06}",  # Papua New Guinea
    "+8816123{:05}",  # satellite
    "+8708{:07}",  # satellite
    "+88213{:06}",  # international networks
    "+97912{:07}",  # international premium
    "+141555501{:02}9",  # one digit too many
    "+9999{:06}",  # nobody's
)


def callers() -> list[str]:
    """500: withheld, premium, foreign, and no numbers at all."""
    withheld = [*WITHHELD, "", "anonymous", "Anonymous", "unavailable", "Restricted", "unknown"]
    odd = ["911", "12345", "sip:+14155550118@evil.example", "client:alice", "+1 415 555 0118"]
    made = (form.format(n) for n in itertools.count(1) for form in FORMS)
    return list(itertools.islice(itertools.chain(withheld, odd, made), 500))


def test_500_one_ring_calls_from_premium_foreign_and_withheld_numbers_call_nobody(ours: Play):
    before = rows(ours)
    for caller in callers():
        ring(ours, caller)
    assert ours.world.triggers.waiting == []
    ours.let(30)
    assert ours.calls() == []
    assert rows(ours) == before, "not even remembered"


def test_a_plain_caller_of_our_own_country_is_called_back_after_the_line_is_free(ours: Play):
    ring(ours, CALLER, StirVerstat="TN-Validation-Passed-A")
    ours.let(3)
    assert ours.calls() == [], "the caller's line may still be busy with us"
    ours.let(5)
    assert len(ours.calls("A")) == 1
    record = ours.ended(ours.the_only_id(), within=120)
    assert (record["source"], record["outcome"]) == ("missed_call", "completed")
    assert (record["leg_A"]["to"], record["leg_B"]["to"]) == (CALLER, DESK)
    assert {record["leg_A"]["from"], record["leg_B"]["from"]} == {OURS}, "never the caller's"


@pytest.mark.parametrize("sender", ["+19005550123", "+870773111632", "+33612345678"])
def test_a_sender_that_is_never_called_gets_no_reply_and_may_still_stop(ours: Play, sender: str):
    """Premium, satellite, foreign: an answer is paid for, and earns them money."""
    before = rows(ours)
    for body in ("HELP", "hello", "STATUS", "CALL ME", "CALL (415) 555-0123"):
        assert text(ours, body, sender=sender) is None
    assert rows(ours) == before
    assert text(ours, "STOP", sender=sender) is None
    assert len(rows(ours)) == len(before) + 1
    assert text(ours, "START", sender=sender) is None
    assert rows(ours) == before


@pytest.mark.parametrize("verstat", ["TN-Validation-Failed", "TN-Validation-Failed-A"])
def test_a_number_that_its_own_network_says_is_false_is_not_called(ours: Play, verstat):
    ring(ours, CALLER, StirVerstat=verstat)
    ours.let(30)
    assert ours.calls() == []


def test_one_number_is_called_back_once_in_24_hours_however_often_it_rings(ours: Play):
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: ring(ours, CALLER), range(40)))
    ring(ours, ANOTHER)
    ours.let(150)
    for _ in range(5):
        ring(ours, CALLER)
        ours.let(10)
    called = [row["leg_a"]["M"]["to"]["S"] for row in ours.world.records().values()]
    assert sorted(called) == sorted([CALLER, ANOTHER])

    ours.world.carrier.advance(DAY)
    ring(ours, CALLER)
    ours.let(10)
    called = [row["leg_a"]["M"]["to"]["S"] for row in ours.world.records().values()]
    assert called.count(CALLER) == 2


def test_the_carriers_second_try_of_one_call_is_one_callback(ours: Play):
    sid = f"CA{secrets.token_hex(16)}"
    for _ in range(3):
        ring(ours, CALLER, CallSid=sid)
    ours.let(10)
    ring(ours, CALLER, CallSid=sid)
    ours.let(10)
    assert len(ours.world.records()) == 1
    assert len(ours.calls("A")) == 1


def test_two_of_our_services_calling_and_texting_each_other_stop_at_the_first_hop(ours: Play):
    before = rows(ours)
    for caller, called in ((OURS, THEIRS), (THEIRS, OURS), (OURS, OURS)):
        ring(ours, caller, to=called)
        for body in ("CALL ME", f"CALL {CALLER}", "HELP", "hello", HELP):
            assert text(ours, body, sender=caller, to=called) is None
    ours.let(30)
    assert ours.calls() == []
    assert rows(ours) == before


def test_a_machine_that_answers_every_text_is_answered_once(ours: Play):
    answers = [text(ours, "I am out of the office") for _ in range(10)]
    assert answers == [HELP] + [None] * 9


def test_a_sender_gets_at_most_twenty_replies_an_hour_and_may_still_stop(ours: Play):
    assert [text(ours, "STATUS") for _ in range(25)] == [sms_grammar.NO_CALL] * 20 + [None] * 5
    assert text(ours, "CALL ME") is None
    assert text(ours, "STATUS", sender=ANOTHER) == sms_grammar.NO_CALL
    assert text(ours, "STOP") is None
    ring(ours, CALLER)
    assert (ours.world.triggers.waiting, ours.calls()) == ([], []), "who said STOP is not called"
    ours.let(3600)
    assert text(ours, "START") == sms_grammar.STARTED
    assert text(ours, "STATUS") == sms_grammar.NO_CALL


def test_stop_then_a_call_calls_nobody_until_start(ours: Play):
    assert text(ours, "STOP") is None
    ring(ours, CALLER)
    assert ours.world.triggers.waiting == []
    assert text(ours, f"CALL {ANOTHER}") is None
    assert text(ours, "CALL ME") is None
    ours.let(30)
    assert ours.calls() == []

    assert text(ours, "CALL ME", to=THEIRS) == sms_grammar.CALLING, "another tenant's list"
    ours.let(60)
    assert text(ours, "START") == sms_grammar.STARTED
    assert text(ours, "CALL ME") == sms_grammar.CALLING
    ours.let(1)
    assert len(ours.world.records()) == 2


@pytest.mark.parametrize(
    "to",
    [
        CALLER,
        CALLER[1:],
        CALLER[2:],
        "9011" + CALLER[1:],
        f"sip:{CALLER}@pbx.example",
        f"sip:{CALLER[1:]}@pbx.example",
    ],
)
def test_stop_keeps_a_pbx_from_calling_them_until_start(ours: Play, to: str):
    body = {"leg_A": {"to": "1000201", "from": OURS}, "leg_B": {"to": to, "from": OURS}}
    assert text(ours, "STOP") is None
    answer = ours.world.request("POST", body=body)
    assert answer is not None
    assert (answer["statusCode"], json.loads(answer["body"])["code"]) == (403, "suppressed")
    assert text(ours, "START") == sms_grammar.STARTED
    answer = ours.world.request("POST", body=body)
    assert answer is not None
    assert answer["statusCode"] == 202


def test_stop_wins_over_what_others_asked_for_however_many(ours: Play):
    """Who says it has not been rung yet, and is the second party of each."""
    for a in ("1000203", "1000213"):
        ours.party(a, answer_after=20)
        body = {"leg_A": {"to": a, "from": "1000125"}, "leg_B": {"to": CALLER, "from": OURS}}
        answer = ours.world.request("POST", body=body)
        assert answer is not None
        assert answer["statusCode"] == 202, answer
    ours.let(5)
    assert text(ours, "STOP") is None
    ours.let(60)
    assert [row["outcome"]["S"] for row in ours.world.records().values()] == ["canceled"] * 2
    assert ours.calls("B") == []


def test_stop_ends_what_is_left_where_a_callback_is_erased_meanwhile(ours: Play):
    ids = []
    for b in ("1000203", "1000213"):
        body = {"leg_A": {"to": CALLER, "from": OURS}, "leg_B": {"to": b, "from": "1000125"}}
        answer = ours.world.request("POST", body=body)
        assert answer is not None
        ids.append(json.loads(answer["body"])["callback_id"])

    def erase_the_newest() -> None:
        key = {"pk": {"S": f"CALLBACK#{ids[-1]}"}, "sk": {"S": "CALLBACK"}}
        ours.world._dynamodb.delete_item(TableName=TABLE, Key=key)

    with ours.whenever("after dynamodb.batch_get_item", erase_the_newest):
        assert text(ours, "STOP") is None
    assert ours.ended(ids[0], within=30)["outcome"] == "canceled"


def test_stop_ends_what_waits_to_be_started(ours: Play):
    ours.world.set_rate(1)
    for _ in range(20):
        Departures(Table(ours.world._dynamodb, TABLE), 1).book(ours.world.clock.now())
    body = {"leg_A": {"to": CALLER, "from": OURS}, "leg_B": {"to": "1000203", "from": "1000125"}}
    answer = ours.world.request("POST", body=body)
    assert answer is not None
    assert json.loads(answer["body"])["status"] == "waiting"
    assert text(ours, "STOP") is None
    assert [row["outcome"]["S"] for row in ours.world.records().values()] == ["canceled"]
    ours.let(90)
    assert ours.calls() == []


def test_stop_wins_over_what_was_asked_for_already(ours: Play):
    ring(ours, CALLER)
    assert text(ours, "stop calling me!") is None
    ours.let(30)
    assert ours.calls() == [], "not even what waited to be dialed"

    ring(ours, ANOTHER)
    ours.party(ANOTHER, answer_after=20)
    ours.until(lambda: len(ours.calls()) == 1, within=10)
    ours.let(2)
    assert text(ours, "QUIT", sender=ANOTHER) is None
    record = ours.ended(ours.the_only_id(), within=10)
    assert record["outcome"] == "canceled"
    assert ours.calls("B") == []
