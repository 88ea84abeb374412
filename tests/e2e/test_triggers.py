"""Texts, calls, packets and events end in callbacks, each with its source on the record."""

import json
import re
import secrets
import subprocess
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests
from twilio.request_validator import RequestValidator

from callback.triggers import sms_grammar
from tests.local.stack import LocalStack
from tests.support.client import Client, has_ended, leg_is
from tests.support.commands import admin, done, name

PACKET = "/voice/trigger/packet"
SMS, CALL = "/carrier/trigger/sms", "/carrier/trigger/call"
# By what they do in the simulator: rings and never answers; answers and stays; hangs up 5 s after.
SILENT, PATIENT, BRIEF = "+14155550103", "+14155550101", "+14155550118"


class Line:
    """A number of a tenant of its own, so that nobody else's callbacks are in the way."""

    def __init__(self, stack: LocalStack, **takes: str | bool) -> None:
        self.tenant = name()
        self.client = Client(stack, stack.make_tenant(self.tenant))
        # Numbers of the range that is kept for fiction, and not one of a party above.
        self.number = next(_numbers)
        stack.make_number(self.number, self.tenant, **takes)
        self._stack = stack
        self._url = stack.url

    def texted(self, body: str, sender: str = PATIENT, **fields: str) -> str | None:
        """What is texted back to a text that the carrier brings; None: nothing."""
        form = {"MessageSid": f"SM{secrets.token_hex(16)}", "Body": body, "From": sender, **fields}
        answer = self.signed(SMS, form)
        assert answer.status_code == 200, answer.text
        assert answer.headers["Content-Type"] == "text/xml; charset=utf-8"
        said = re.findall("<Message>(.*?)</Message>", answer.text)
        assert answer.text.count("<Message") == len(said) <= 1
        return said[0] if said else None

    def signed(self, path: str, form: dict[str, str], **more: Any) -> requests.Response:
        fields = {"AccountSid": self._stack.account_sid, "To": self.number, **form}
        url = self._url + path
        signature = more.pop("signature", None)
        if signature is None:
            token = more.pop("token", self._stack.auth_token)
            signed_url = self._url + more.pop("signed_path", path)
            signature = RequestValidator(token).compute_signature(signed_url, fields)
        headers = {"X-Twilio-Signature": signature} if signature else {}
        return requests.post(url, data=more.pop("data", fields), headers=headers)

    def callbacks(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.client.list(limit=100).json()["callbacks"]
        return found

    def callback_when(self, condition: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """The newest callback, once there is one of which the condition holds."""
        found: list[dict[str, Any]] = []

        def holds() -> bool:
            found[:] = self.callbacks()
            return bool(found) and condition(found[0])

        self._stack.until(holds)
        return found[0]


_numbers = (f"+1{area}55501{n:02}" for area in ("212", "303", "512", "617") for n in range(100))


@pytest.fixture
def line(running: LocalStack) -> Iterator[Line]:
    line = Line(running, sms_to="1000218", sms_to_anyone=True, missed_call_to="1000218")
    yield line
    line.client.close()


# -- texts ---------------------------------------------------------------------------------------


def test_a_text_that_somebody_sends_is_answered_and_its_sender_connected(running, line):
    """All the way: the carrier brings the text, and sends the reply."""
    url = f"{running.carrier_url}/sim"
    requests.post(
        f"{url}/inbound-sms", json={"to": line.number, "from": BRIEF, "body": "Call me"}
    ).raise_for_status()
    record = line.callback_when(has_ended)
    assert (record["source"], record["outcome"]) == ("sms", "completed")
    assert (record["leg_A"]["to"], record["leg_B"]["to"]) == (BRIEF, "1000218")
    assert {record["leg_A"]["from"], record["leg_B"]["from"]} == {line.number}
    replies = [
        message["body"]
        for message in requests.get(f"{url}/messages").json()
        if message["from"] == line.number
    ]
    assert replies == [sms_grammar.CALLING]


@pytest.mark.parametrize(
    "written", ["{}", "({0:.3}) {1}", "+1 {}", "1-{}"], ids=["plain", "local", "abroad", "dashes"]
)
def test_a_number_is_understood_as_it_is_written_where_the_number_texted_is(line, written):
    body = "call " + written.format("4155550118", "555-0118").replace("(415)", "(415)")
    assert line.texted(body, SILENT) == sms_grammar.CALLING
    (record,) = line.callbacks()
    assert (record["leg_A"]["to"], record["leg_B"]["to"]) == (SILENT, "+14155550118")


@pytest.mark.parametrize(
    ("body", "reply"),
    [
        ("CALL 911", sms_grammar.refusal("emergency_number")),
        ("CALL 9-1-1", sms_grammar.refusal("emergency_number")),
        ("CALL 112", sms_grammar.refusal("emergency_number")),
        ("CALL +1 911", sms_grammar.refusal("emergency_number")),
        ("CALL 12", sms_grammar.NO_NUMBER),
        ("CALL mum", sms_grammar.NO_NUMBER),
        (f"CALL {SILENT}", sms_grammar.refusal("same_party")),
        ("CANCEL", sms_grammar.NOTHING_TO_CANCEL),
        ("STATUS", sms_grammar.NO_CALL),
        ("HELP", sms_grammar.HELP[True, True]),
        ("<Message>hello</Message>", sms_grammar.HELP[True, True]),
    ],
)
def test_what_cannot_be_done_is_said_in_plain_words_and_never_repeats_the_text(line, body, reply):
    assert line.texted(body, SILENT) == reply
    assert line.callbacks() == []


@pytest.mark.parametrize(
    ("takes", "body"),
    [
        ({}, "CALL ME"),
        ({}, "CALL (415) 555-0118"),
        ({"sms_to": "1000218"}, "CALL (415) 555-0118"),
        ({"sms_to": "1000218"}, "CALL mum"),
        ({"sms_to_anyone": True}, "CALL ME"),
    ],
)
def test_what_a_number_does_not_take_calls_nobody_and_is_told_what_it_takes(running, takes, body):
    line = Line(running, **takes)
    can = sms_grammar.HELP["sms_to_anyone" in takes, "sms_to" in takes]
    assert line.texted("HELP", SILENT) == can
    assert line.texted(body, SILENT) == can
    assert line.texted("CALL 911", SILENT) == sms_grammar.refusal("emergency_number")
    assert line.callbacks() == []


def test_a_text_that_the_carrier_brings_again_is_one_callback_with_one_reply(line):
    sid = f"SM{secrets.token_hex(16)}"

    def send(_: int) -> str | None:
        return line.texted("CALL ME", SILENT, MessageSid=sid)

    with ThreadPoolExecutor(6) as pool:
        said = list(pool.map(send, range(6)))
    working = sms_grammar.refusal("request_in_progress")
    assert set(said) <= {sms_grammar.CALLING, working}
    assert send(7) == sms_grammar.CALLING
    assert len(line.callbacks()) == 1


def test_two_texts_are_two_requests_and_the_second_meets_the_first(line):
    assert line.texted("CALL ME", SILENT) == sms_grammar.CALLING
    assert line.texted("CALL ME", SILENT) == sms_grammar.refusal("callback_in_progress")
    assert len(line.callbacks()) == 1


def test_a_number_that_the_carrier_refuses_is_said_and_said_again(line):
    sid = f"SM{secrets.token_hex(16)}"
    refused = "+14155550106"
    for _ in range(2):
        reply = line.texted("CALL ME", refused, MessageSid=sid)
        assert reply == sms_grammar.refusal("carrier_rejected")
    (record,) = line.callbacks()
    assert record["outcome"] == "first_leg_rejected"


def test_status_and_cancel_are_about_the_senders_own_call(line):
    assert line.texted("CALL ME", SILENT) == sms_grammar.CALLING
    assert line.texted("STATUS", SILENT) == sms_grammar.STATUS["calling_first"]
    assert line.texted("STATUS", PATIENT) == sms_grammar.NO_CALL
    assert line.texted("CANCEL", PATIENT) == sms_grammar.NOTHING_TO_CANCEL
    assert line.texted("CANCEL", SILENT) == sms_grammar.CANCELED
    assert line.callback_when(has_ended)["outcome"] == "canceled"
    assert line.texted("STATUS", SILENT) == sms_grammar.STATUS["ended"]
    assert line.texted("CANCEL", SILENT) == sms_grammar.NOTHING_TO_CANCEL


def test_who_is_called_by_somebody_else_cannot_cancel_it_by_a_text(line):
    assert line.texted(f"CALL {PATIENT}", SILENT) == sms_grammar.CALLING
    assert line.texted("CANCEL", PATIENT) == sms_grammar.NOTHING_TO_CANCEL
    assert line.callbacks()[0]["status"] == "calling_first"


def test_stop_silences_everything_until_start(line):
    assert line.texted("CALL ME", SILENT) == sms_grammar.CALLING
    assert line.texted("Stop", SILENT) is None
    assert line.callback_when(has_ended)["outcome"] == "canceled"
    for body in ("CALL ME", "HELP", "STATUS", "CANCEL", "hello"):
        assert line.texted(body, SILENT) is None
    assert len(line.callbacks()) == 1
    assert line.texted("START", SILENT) == sms_grammar.STARTED
    assert line.texted("CALL ME", SILENT) == sms_grammar.CALLING


def test_what_the_carrier_has_answered_itself_is_not_answered_twice(line):
    assert line.texted("ARRET", SILENT, OptOutType="STOP") is None
    assert line.texted("CALL ME", SILENT) is None
    assert line.texted("REPRENDRE", SILENT, OptOutType="START") is None
    assert line.texted("AIDE", SILENT, OptOutType="HELP") is None
    assert line.texted("CALL ME", SILENT) == sms_grammar.CALLING


def test_stop_does_not_cut_off_a_conversation(running, line):
    assert line.texted(f"CALL {PATIENT}", "+14155550111") == sms_grammar.CALLING
    record = line.callback_when(lambda record: record["status"] == "connected")
    line.texted("STOP", "+14155550111")
    row = running.aws.dynamodb.get_item(
        TableName=running.table_name,
        Key={"pk": {"S": f"CALLBACK#{record['callback_id']}"}, "sk": {"S": "CALLBACK"}},
    )["Item"]
    assert (row["status"]["S"], "close_reason" in row) == ("connected", False)
    line.client.delete(record["callback_id"])


def test_who_has_their_number_verified_as_a_caller_id_may_text(running, line):
    done(running, "put-number", line.tenant, "+12065550103", "--verified")
    assert line.texted("CALL ME", "+12065550103") == sms_grammar.CALLING
    done(running, "remove-number", line.tenant, "+12065550103")


@pytest.mark.parametrize("sender", ["12345", "SOMEBODY", "", "whatsapp:+14155550118"])
def test_who_cannot_be_called_is_not_answered(line, sender):
    assert line.texted("CALL ME", sender) is None
    assert line.callbacks() == []


# -- both of the carrier's doors -------------------------------------------------------------------


def call_form(caller: str = SILENT, **fields: str) -> dict[str, str]:
    sid = f"CA{secrets.token_hex(16)}"
    return {"CallSid": sid, "CallStatus": "ringing", "From": caller, "FromZip": "", **fields}


def text_form(sender: str = SILENT, **fields: str) -> dict[str, str]:
    sid = f"SM{secrets.token_hex(16)}"
    return {"MessageSid": sid, "From": sender, "Body": "CALL ME", "FromZip": "", **fields}


DOORS = {SMS: text_form, CALL: call_form}


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize(
    "forgery",
    [
        {"signature": ""},
        {"signature": "AAAAAAAAAAAAAAAAAAAAAAAAAAA="},
        {"token": "somebody else's"},
        {"signed_path": "/carrier/status/another/A/1"},
        {"data": "Body=CALL+ME"},
        {"data": b"\xff\xfe\x00"},
        {"data": b""},
        {"data": b'{"Body": "CALL ME"}'},
        {"data": b"a" * 100_000},
    ],
    ids=["missing", "wrong", "token", "replayed", "changed", "not text", "empty", "JSON", "huge"],
)
def test_a_forged_text_or_call_is_403_and_leaves_no_trace(stack, line, door, forgery):
    stored, calls = stack.rows(), len(stack.calls())
    answer = line.signed(door, DOORS[door](), **forgery)
    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
    assert "<Response" not in answer.text
    # Meanwhile others' callbacks may end, and be taken off a list.
    assert stack.rows() <= stored
    assert len(stack.calls()) == calls


@pytest.mark.parametrize(
    ("door", "field", "status"),
    [
        (SMS, "MessageSid", 403),
        (CALL, "CallSid", 403),
        *((door, "AccountSid", 403) for door in DOORS),
        *((door, field, 200) for door in DOORS for field in ("From", "To")),
    ],
)
def test_a_genuine_request_that_lacks_a_field_is_no_fault_of_ours(stack, line, door, field, status):
    form = {"AccountSid": stack.account_sid, "To": line.number, **DOORS[door]()}
    del form[field]
    signature = RequestValidator(stack.auth_token).compute_signature(stack.url + door, form)
    answer = line.signed(door, {}, signature=signature, data=form)
    assert answer.status_code == status
    assert "<Message" not in answer.text
    assert line.callbacks() == []


@pytest.mark.parametrize("door", DOORS)
def test_a_number_into_which_the_next_name_was_moved_is_nobodys(stack, line, door):
    """What is signed runs names and values together, so the signature is right."""
    stored = stack.rows()
    genuine = {"AccountSid": stack.account_sid, "To": line.number, **DOORS[door]()}
    signature = RequestValidator(stack.auth_token).compute_signature(stack.url + door, genuine)
    moved = {**genuine, "From": f"{SILENT}FromZip"}
    del moved["FromZip"]
    assert RequestValidator(stack.auth_token).validate(stack.url + door, moved, signature)
    answer = line.signed(door, {}, signature=signature, data=moved)
    assert (answer.status_code, "<Message" in answer.text) == (200, False)
    assert line.callbacks() == []
    assert stack.rows() <= stored


@pytest.mark.parametrize("door", DOORS)
def test_a_number_that_nobody_has_is_answered_politely_and_starts_nothing(stack, line, door):
    stored = stack.rows()
    answer = line.signed(door, DOORS[door](To="+14155550190"))
    assert answer.status_code == 200
    assert ("<Reject" in answer.text) == (door == CALL)
    assert "<Message" not in answer.text
    assert stack.rows() <= stored


# -- missed calls ----------------------------------------------------------------------------------


def test_a_call_is_turned_away_unanswered_and_called_back_when_it_is_over(running, line):
    url = f"{running.carrier_url}/sim"
    call = requests.post(f"{url}/inbound-call", json={"to": line.number, "from": BRIEF}).json()
    record = line.callback_when(has_ended)
    ended = requests.get(f"{url}/calls/{call['sid']}").json()
    assert ended["status"] == "busy"
    assert (record["source"], record["outcome"]) == ("missed_call", "completed")
    assert (record["leg_A"]["to"], record["leg_B"]["to"]) == (BRIEF, "1000218")
    assert {record["leg_A"]["from"], record["leg_B"]["from"]} == {line.number}


def test_a_call_that_the_callers_network_says_is_false_is_not_called_back(running, stack, line):
    requests.post(
        f"{running.carrier_url}/sim/inbound-call",
        json={"to": line.number, "from": SILENT, "verstat": "TN-Validation-Failed-C"},
    ).raise_for_status()
    running.clock.until(
        lambda: any(
            "not_verified" in said.text and line.tenant in said.text for said in stack.lines()
        ),
        within=600,
    )
    assert line.callbacks() == []


# -- packets ---------------------------------------------------------------------------------------


def packet(line: Line, data: Any, **headers: str) -> requests.Response:
    headers = {"Authorization": f"Bearer {line.client.key}", **headers}
    return requests.post(line.client.url + PACKET, data=data, headers=headers)


@pytest.mark.parametrize(
    "data",
    [
        {"a": SILENT, "b": "+14155550118", "order": "reverse"},
        f"a={SILENT}&b=+14155550118&order=reverse",
        json.dumps({"a": SILENT, "b": "+14155550118", "order": "reverse"}),
        json.dumps({"a": SILENT, "b": "+14155550118", "order": "reverse"}).encode(),
    ],
    ids=["form", "form with a bare +", "JSON", "bytes"],
)
def test_a_packet_is_answered_with_an_id_and_nothing_else(line, data):
    answer = packet(line, data)
    assert answer.status_code == 202, answer.text
    callback_id = answer.json()["callback_id"]
    assert answer.json() == {"callback_id": callback_id}
    assert answer.headers["Location"] == f"/voice/call/callback/{callback_id}"
    record = line.client.get(callback_id).json()
    assert (record["source"], record["order"]) == ("packet", "reverse")
    assert (record["leg_A"]["to"], record["leg_B"]["to"]) == (SILENT, "+14155550118")
    line.client.delete(callback_id)


def test_a_packet_sent_again_is_the_same_callback(line):
    data = {"a": "1000203", "b": "1000218", "id": str(uuid.uuid4())}
    first, again = packet(line, data), packet(line, data)
    assert again.headers["Idempotent-Replayed"] == "true"
    assert (again.status_code, again.json()) == (202, first.json())
    other = packet(line, {**data, "b": "1000125"})
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")
    assert len(line.callbacks()) == 1


@pytest.mark.parametrize(
    ("data", "code", "fields"),
    [
        ("", "invalid_request", {"a", "b"}),
        ("a=1000203&a=1000201&b=1000218", "invalid_request", {"a"}),
        (b"\xff\xfe", "body_not_utf8", None),
        ("{", "body_not_json", None),
        ("[]", "body_not_json", None),
        ("a=1000203", "invalid_request", {"b"}),
        ("a=1000203&b=1000218&c=1", "invalid_request", {"c"}),
        ("a=911&b=x", "invalid_request", {"a", "b"}),
        ("a=1000203&b=1000203", "invalid_request", {""}),
        ("a=1000203&b=1000218&order=sideways", "invalid_request", {"order"}),
        ("a=1000203&b=1000218&id=42", "invalid_request", {"id"}),
        ('{"a": 1000203, "b": "1000218"}', "invalid_request", {"a"}),
    ],
)
def test_a_packet_that_is_wrong_is_refused_by_name(line, data, code, fields):
    answer = packet(line, data)
    assert (answer.status_code, answer.json()["code"]) == (400, code), answer.text
    if fields is not None:
        assert {error["field"] for error in answer.json()["errors"]} == fields
    assert line.callbacks() == []


def test_a_packet_that_is_too_large_is_refused(line):
    assert packet(line, "a=" + "1" * 20_000).json()["code"] == "body_too_large"


def test_a_packet_wants_a_key_that_may_write(running, line):
    data = {"a": "1000203", "b": "1000218"}
    assert requests.post(line.client.url + PACKET, data=data).status_code == 401
    assert packet(line, data, Authorization="Bearer key_x.y").status_code == 403
    reader = running.make_key(line.tenant, "callbacks:read")
    answer = packet(line, data, Authorization=f"Bearer {reader}")
    assert (answer.status_code, answer.json()["code"]) == (403, "scope_missing")
    assert line.callbacks() == []


# -- events ----------------------------------------------------------------------------------------


def event(detail: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {
        "version": "0",
        "id": str(uuid.uuid4()),
        "detail-type": "Callback Requested",
        "source": "voice-callback.client",
        "account": "123456789012",
        "time": "2026-11-01T12:00:00Z",
        "region": "us-east-1",
        "resources": [],
        "detail": detail,
        **fields,
    }


def test_an_event_asks_for_a_callback_in_its_tenants_name_once(running, line):
    asked = event(
        {
            "tenant": line.tenant,
            "leg_A": {"to": "1000201"},
            "leg_B": {"to": "1000218"},
            "metadata": {"ticket": "42"},
        }
    )
    for _ in range(3):  # EventBridge delivers at least once
        running.bus.publish(asked)
    record = line.callback_when(has_ended)
    assert (record["source"], record["outcome"]) == ("event", "completed")
    assert record["metadata"] == {"ticket": "42"}
    running.bus.publish(asked)
    # Taken after the last of them, so all of them have been.
    later = event({"tenant": line.tenant, "leg_A": {"to": "1000203"}, "leg_B": {"to": "1000218"}})
    running.bus.publish(later)
    line.callback_when(leg_is("A", "ringing"))
    assert len(line.callbacks()) == 2


def test_an_event_that_is_refused_is_dropped_and_one_that_is_wrong_is_kept_by_its_id(
    running, stack, line
):
    legs = {"leg_A": {"to": SILENT}, "leg_B": {"to": "+14155550118"}}
    first = event({"tenant": line.tenant, **legs})
    running.bus.publish(first)
    line.callback_when(lambda _: True)
    refused = event({"tenant": line.tenant, **legs})
    wrong = event({"tenant": line.tenant, **legs, "surprise": "+14155550177"})
    other = event({"tenant": line.tenant, **legs}, source="somebody.else")
    for each in (refused, wrong, other):
        running.bus.publish(each)
    running.clock.until(
        lambda: "trigger refused" in stack.logged() and "trigger is not valid" in stack.logged(),
        within=600,
    )

    def kept(asked: dict[str, Any]) -> bool:
        key = f"TRIGGER#event_{asked['id']}"
        row = running.aws.dynamodb.get_item(
            TableName=running.table_name, Key={"pk": {"S": key}, "sk": {"S": "TRIGGER"}}
        )
        return "Item" in row

    running.until(lambda: not kept(refused))
    assert kept(wrong), "its message goes round until it is a dead letter"
    assert not kept(other)
    assert len(line.callbacks()) == 1
    logged = stack.logged()
    assert "callback_in_progress" in logged
    for number in (SILENT, "4155550118", "4155550177"):
        assert number not in logged


# -- numbers ---------------------------------------------------------------------------------------


def test_a_number_is_given_listed_and_taken_back_by_the_operators_command(running, line):
    number = "+13105550147"
    said = done(running, "put-number", line.tenant, number, "--sms-to", "1000125")
    assert (
        said
        == f"{number}  owned  CALL ME to 1000125  CALL <number> to nobody  missed call to nobody\n"
    )
    done(running, "put-number", line.tenant, "+13105550148", "--verified")
    listed = done(running, "list-numbers", line.tenant).splitlines()
    assert [row.split()[:2] for row in listed] == sorted(
        [[number, "owned"], ["+13105550148", "verified"], [line.number, "owned"]]
    )
    other = name()
    done(running, "create-tenant", other)
    assert refusal(admin(running, "put-number", other, number)) == "Another tenant has this number."
    assert done(running, "remove-number", line.tenant, number) == f"removed  {number}\n"
    done(running, "put-number", other, number)
    gone = refusal(admin(running, "remove-number", line.tenant, number))
    assert gone == "The tenant does not have this number."
    assert "E.164" in admin(running, "put-number", other, "4155550100").stderr
    assert "sip:" in admin(running, "put-number", other, number, "--sms-to", "x").stderr


def refusal(ran: "subprocess.CompletedProcess[str]") -> str:
    assert (ran.returncode, ran.stdout) == (1, "")
    return ran.stderr.strip()
