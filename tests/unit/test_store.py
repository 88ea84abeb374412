"""The table: one winner per race, listings that show at once what was accepted."""

import base64
import io
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from botocore.awsrequest import AWSResponse

from callback import clock
from callback.call_control.workflow import Workflow
from callback.errors import CallbackNotFound, InvalidRequest, StoreContended
from callback.lifecycle import transitions
from callback.lifecycle.models import (
    Callback,
    CallbackStatus,
    CloseReason,
    LegName,
    LegStatus,
    Reservation,
    Source,
    Step,
    to_text,
)
from callback.requests import cancellation
from callback.storage.erasure import Holdings
from callback.storage.idempotency_keys import LIFETIME, Key
from callback.storage.intake import IntakeStore
from callback.storage.listings import forget_open, read_open
from callback.storage.table import Table
from tests.unit.build import NOON, at, callback, dialed, task
from tests.unit.fields import full

A, B = LegName.A, LegName.B
ANY_ONE = {"matches": lambda _: True, "number": None, "before": None}


@pytest.fixture(autouse=True)
def noon(monkeypatch):
    monkeypatch.setattr(clock, "now", lambda: NOON)


@pytest.fixture
def store(client):
    return IntakeStore(Table(client, "callbacks"))


def listed(store, *, tenant="default", matches=lambda _: True, **asked):
    """All pages, as lists of ids."""
    asked = {"number": None, "after": None, "before": None, "limit": 20, **asked}
    pages, cursor = [], None
    while not pages or cursor:
        page = store.listings.page(tenant, matches=matches, cursor=cursor, **asked)
        pages.append([c.callback_id for c in page.callbacks])
        cursor = page.cursor
    return pages


def add(store, count, **fields):
    for n in range(count):
        store.add(
            callback(callback_id=f"cb-{n:03d}", created_at=NOON + timedelta(seconds=n), **fields)
        )
    return [f"cb-{n:03d}" for n in reversed(range(count))]


def test_every_field_survives_the_table(store):
    written = replace(full(Callback), metadata={"ticket": "42", "note": ""})
    store.add(written)
    assert store.get(written.callback_id) == written


def test_a_callback_from_before_there_were_triggers_came_by_the_api(store, client):
    store.add(callback(source=Source.SMS))
    client.update_item(
        TableName="callbacks",
        Key={"pk": {"S": "CALLBACK#cb-1"}, "sk": {"S": "CALLBACK"}},
        UpdateExpression="REMOVE #source",
        ExpressionAttributeNames={"#source": "source"},
    )
    assert store.get("cb-1").source is Source.API


def test_an_unknown_callback_is_not_found(store):
    with pytest.raises(CallbackNotFound):
        store.get("cb-9")
    with pytest.raises(CallbackNotFound):
        store.change("cb-9", transitions.cancel)


def test_a_callback_is_added_once(store):
    store.add(callback())
    with pytest.raises(StoreContended):
        store.add(callback(max_duration_seconds=60))
    assert store.get("cb-1").max_duration_seconds == 600


def test_a_change_that_is_not_allowed_writes_nothing(store):
    store.add(dialed(callback(), A))
    before = store.get("cb-1")
    assert store.change("cb-1", lambda c: transitions.claim(c, A, at(1))) == (before, False)
    assert store.get("cb-1") == before


def test_a_change_whose_answer_was_lost_and_that_is_sent_again_was_made(store, client, monkeypatch):
    """As boto3 does by itself; the second is refused, for the first is there."""
    store.add(callback())
    put = client.put_item

    def put_twice(**what):
        put(**what)
        return put(**what)

    monkeypatch.setattr(client, "put_item", put_twice)
    claimed, is_mine = store.change("cb-1", lambda c: transitions.claim(c, A, NOON))
    assert is_mine
    assert (claimed.leg_a.attempt, store.get("cb-1")) == (1, claimed)


def test_a_change_that_another_made_first_is_not_mine(store, client, monkeypatch):
    """The same change even: of two that claim a leg, one has it."""
    store.add(callback())
    put, raced = client.put_item, []

    def another_is_first(**what):
        monkeypatch.setattr(client, "put_item", put)
        raced.append(store.change("cb-1", lambda c: transitions.claim(c, A, NOON)))
        return put(**what)

    monkeypatch.setattr(client, "put_item", another_is_first)
    _, is_mine = store.change("cb-1", lambda c: transitions.claim(c, A, NOON))
    assert ([first for _, first in raced], is_mine) == ([True], False)


def test_hearing_the_same_twice_writes_once(store):
    store.add(callback())
    first, _ = store.change("cb-1", lambda c: transitions.wait(c, task(Step.FIRST, "t")))
    second, taken = store.change("cb-1", lambda c: transitions.wait(c, task(Step.FIRST, "t")))
    assert taken
    assert second.revision == first.revision == 1


def test_of_two_who_claim_a_leg_at_once_one_does(store):
    store.add(callback())
    claims = []

    def claim_while_another_does(seen):
        if not claims:
            claims.append(store.change("cb-1", lambda c: transitions.claim(c, A, at(1)))[1])
        return transitions.claim(seen, A, at(1))

    _, mine = store.change("cb-1", claim_while_another_does)
    assert (claims, mine) == ([True], False)
    assert store.get("cb-1").leg_a.attempt == 1


def test_a_loser_applies_its_change_to_what_the_winner_wrote(store):
    store.add(dialed(callback(), A))
    interrupted = []

    def cancel_after_another_wrote(seen):
        if not interrupted:
            interrupted.append(True)
            store.change("cb-1", lambda c: transitions.wait(c, task(Step.FIRST, "t")))
        return transitions.cancel(seen)

    after, _ = store.change("cb-1", cancel_after_another_wrote)
    assert after.close_reason
    assert after.waiting


def test_losing_every_race_is_an_error_that_may_be_retried(store):
    store.add(callback())

    def always_late(seen):
        token = f"t{seen.revision}"
        store.change("cb-1", lambda c: transitions.wait(c, task(Step.FIRST, token)))
        return transitions.cancel(seen)

    with pytest.raises(StoreContended):
        store.change("cb-1", always_late)


def test_a_list_is_newest_first_in_pages_that_miss_nothing(store):
    ids = add(store, 45)
    assert listed(store) == [ids[:20], ids[20:40], ids[40:]]


def test_a_list_that_fits_its_page_exactly_has_no_cursor(store):
    ids = add(store, 20)
    assert listed(store) == [ids]


def test_an_empty_list_is_one_empty_page(store):
    assert listed(store) == [[]]


def test_a_rare_match_is_found_however_far_back_it_lies(store, monkeypatch):
    monkeypatch.setattr("callback.storage.listings._PAGE", 8)
    monkeypatch.setattr("callback.storage.listings._EXAMINED_AT_MOST", 20)
    ids = add(store, 30)
    store.change(ids[-1], transitions.cancel)
    pages = listed(store, matches=lambda c: c.close_reason is not None)
    assert pages == [[], [ids[-1]]], "one request looks at so many rows, then hands out a cursor"


def test_a_list_follows_the_callback_as_it_stands(store):
    add(store, 3)
    store.change("cb-001", lambda c: transitions.claim(c, A, at(9)))
    pages = listed(store, matches=lambda c: c.status is CallbackStatus.CALLING_FIRST)
    assert pages == [["cb-001"]]


def test_a_list_by_number_finds_either_party(store):
    store.add(callback(callback_id="cb-a"))
    other = replace(callback().leg_a, to="+14155550123")
    store.add(callback(callback_id="cb-b", leg_a=other, created_at=at(1)))
    assert listed(store, number="1000125") == [["cb-b", "cb-a"]]
    assert listed(store, number="+14155550123") == [["cb-b"]]
    assert listed(store, number="+14155550124") == [[]]


def test_a_list_is_bounded_by_time(store):
    ids = add(store, 9)
    assert listed(store, after=at(3), before=at(6)) == [
        [i for i in ids if "cb-003" <= i < "cb-006"]
    ]


def test_a_tenant_sees_its_own_callbacks_only(store):
    store.add(callback())
    store.add(callback(callback_id="cb-2", tenant="other"))
    assert listed(store) == [["cb-1"]]
    assert listed(store, tenant="other") == [["cb-2"]]


@pytest.mark.parametrize("cursor", ["", "!", "bm90aGluZw", "8J-YgA", "gIGC"])
def test_a_cursor_that_no_page_gave_is_refused(store, cursor):
    with pytest.raises(InvalidRequest):
        store.listings.page("default", **ANY_ONE, after=None, limit=5, cursor=cursor)


def test_the_row_says_what_the_status_is_to_whoever_looks_into_the_table(store, client):
    store.add(dialed(callback(), A))
    row = client.get_item(
        TableName="callbacks", Key={"pk": {"S": "CALLBACK#cb-1"}, "sk": {"S": "CALLBACK"}}
    )["Item"]
    assert row["status"] == {"S": "calling_first"}
    assert row["leg_a"]["M"]["status"] == {"S": LegStatus.QUEUED}


def test_an_expired_callback_is_not_seen_though_its_row_is_still_there(store, client, monkeypatch):
    store.add(callback(expires_at=NOON + timedelta(days=30)))
    monkeypatch.setattr(clock, "now", lambda: NOON + timedelta(days=30))
    with pytest.raises(CallbackNotFound):
        store.get("cb-1")
    assert listed(store) == [[]]
    assert client.scan(TableName="callbacks", Select="COUNT")["Count"] > 0


def test_every_row_tells_dynamodb_when_to_delete_it(store, client):
    key = Key("key-of-the-client-0001", "fingerprint")
    month = NOON + timedelta(days=30)
    store.add(callback(expires_at=month), key, allow_parallel=False)
    rows = client.scan(TableName="callbacks")["Items"]
    day = str(int((NOON + timedelta(hours=24)).timestamp()))
    by_kind = {row["pk"]["S"].partition("#")[0]: row["ttl"]["N"] for row in rows}
    assert by_kind.pop("IDEMPOTENCY") == day
    assert by_kind == dict.fromkeys(
        ["CALLBACK", "OPEN", "PAIR", "TENANT"], str(int(month.timestamp()))
    )


@pytest.fixture
def strict(store, client, monkeypatch):
    """A store whose client refuses what DynamoDB does and moto does not (DynamoDB's
    ValidationException: bounds the wrong way round, a starting key outside of them)."""
    query = client.query

    def checked(**asked):
        values = asked["ExpressionAttributeValues"]
        first, last = values[":first"]["S"], values[":last"]["S"]
        start = asked.get("ExclusiveStartKey", {}).get("sk", {}).get("S", first)
        assert first <= start <= last, "ValidationException"
        assert len(start.encode()) <= 1024, "ValidationException"
        return query(**asked)

    monkeypatch.setattr(client, "query", checked)
    return store


def test_nothing_was_created_after_the_end_and_before_the_start(strict):
    strict.add(callback())
    assert listed(strict, after=at(1), before=at(0)) == [[]]


def test_a_cursor_of_another_list_is_refused(strict):
    for number in range(2):
        strict.add(replace(callback(), callback_id=str(number), created_at=at(number)))
    cursor = strict.listings.page("default", **ANY_ONE, after=None, limit=1, cursor=None).cursor
    assert strict.listings.page("default", **ANY_ONE, after=None, limit=1, cursor=cursor).callbacks
    with pytest.raises(InvalidRequest):
        strict.listings.page("default", **ANY_ONE, after=at(2), limit=1, cursor=cursor)


def test_a_cursor_longer_than_any_key_is_refused(strict):
    cursor = base64.urlsafe_b64encode(b"2026#" + b"1" * 1024).decode()
    with pytest.raises(InvalidRequest):
        strict.listings.page("default", **ANY_ONE, after=None, limit=1, cursor=cursor)


def test_times_of_any_year_are_in_the_order_of_their_text():
    years = [datetime(year, 1, 1, tzinfo=UTC) for year in (1, 999, 2026, 9999)]
    assert sorted(map(to_text, years)) == list(map(to_text, years))
    assert to_text(years[1]) == "0999-01-01T00:00:00.000Z"


# -- what is forgotten -----------------------------------------------------------------------------


def everything(client):
    return {
        (item["pk"]["S"], item["sk"]["S"]) for item in client.scan(TableName="callbacks")["Items"]
    }


def erase(store, address=None, tenant="default"):
    """How many callbacks were deleted."""
    positions = list(store.listings.positions(tenant, address, NOON + timedelta(days=1)))
    return sum(
        Holdings(store).erase(Holdings(store).find(tenant, each, address), []) for each in positions
    )


SHOWN = "+14155550177"


def full_of_traces(**fields):
    made = callback(**fields)
    return replace(made, leg_a=replace(made.leg_a, caller_id=SHOWN))


@pytest.mark.parametrize("address", [None, "1000123", "1000125", SHOWN])
def test_nothing_is_left_of_a_callback_that_is_erased(store, client, address):
    key = Key("a-key-of-a-client-1", "fingerprint")
    store.add(full_of_traces(), key, allow_parallel=False)
    store.keys.remember_response("default", key, {"statusCode": 202, "body": SHOWN})
    assert len(everything(client)) == 9
    assert erase(store, address) == 1
    assert everything(client) == set()


def test_a_party_nobody_knows_and_another_tenant_lose_nothing(store, client):
    store.add(callback(), allow_parallel=False)
    before = everything(client)
    assert erase(store, "1000199") == erase(store, tenant="another") == 0
    assert everything(client) == before


def test_what_a_later_callback_took_over_is_left_to_it(store, client):
    """The pair, and a key that had outlived its day."""
    key = Key("a-key-of-a-client-1", "fingerprint")
    old = callback(callback_id="old", status=CallbackStatus.ENDED, created_at=NOON)
    store.add(old, key, allow_parallel=False)
    new = callback(callback_id="new", created_at=NOON + LIFETIME + timedelta(seconds=1))
    store.add(new, key, allow_parallel=False)
    before = everything(client)
    (_, position) = sorted(
        store.listings.positions("default", None, NOON + timedelta(days=2)), reverse=True
    )
    assert position.endswith("#old")
    assert Holdings(store).erase(Holdings(store).find("default", position), [])
    gone = before - everything(client)
    assert not any("PAIR" in pk or "IDEMPOTENCY" in pk for pk, _ in gone)
    assert store.get("new") == new


def test_a_callback_that_somebody_wrote_meanwhile_is_not_erased(store, client):
    store.add(callback())
    (position,) = store.listings.positions("default", None, NOON)
    held = Holdings(store).find("default", position)
    store.change("cb-1", transitions.cancel)
    before = everything(client)
    assert not Holdings(store).erase(held, [])
    assert everything(client) == before


def test_no_late_write_brings_an_erased_callback_back(store, client):
    key = Key("a-key-of-a-client-1", "fingerprint")
    store.add(callback(), key)

    def cancel_while_it_is_erased(seen):
        assert erase(store) == 1
        return transitions.cancel(seen)

    with pytest.raises(CallbackNotFound):
        store.change("cb-1", cancel_while_it_is_erased)
    store.keys.remember_response("default", key, {"statusCode": 202})
    forget_open(store, callback())
    assert everything(client) == set()


def test_what_has_expired_is_erased_like_the_rest(store, client, monkeypatch):
    """DynamoDB may take days to delete it, each row in its own time."""
    store.add(callback(expires_at=NOON + timedelta(days=1)), allow_parallel=False)
    monkeypatch.setattr(clock, "now", lambda: NOON + timedelta(days=2))
    assert erase(store, "1000123") == 1
    assert everything(client) == set()
    store.add(callback(callback_id="cb-2"))
    client.delete_item(
        TableName="callbacks", Key={"pk": {"S": "CALLBACK#cb-2"}, "sk": {"S": "CALLBACK"}}
    )
    assert erase(store, "1000123") == 1
    assert everything(client) == {
        ("TENANT#default#NUMBER#sip:1000125@", "2026-11-24T12:00:00.000Z#cb-2")
    }


def test_a_callback_with_more_rows_than_a_transaction_takes_is_erased(store, client):
    store.add(callback())
    for n in range(120):
        client.put_item(
            TableName="callbacks",
            Item={"pk": {"S": "CALLBACK#cb-1"}, "sk": {"S": f"EVENT#{n:03d}"}},
        )
    assert erase(store) == 1
    assert everything(client) == set()


# -- what has expired ------------------------------------------------------------------------------


def test_nobody_sees_a_callback_that_has_expired_though_its_rows_are_there(
    store, client, monkeypatch
):
    store.add(callback(expires_at=NOON + timedelta(days=30)), allow_parallel=False)
    monkeypatch.setattr(clock, "now", lambda: NOON + timedelta(days=30))
    rows = everything(client)
    with pytest.raises(CallbackNotFound):
        store.get("cb-1")
    with pytest.raises(CallbackNotFound):
        store.change("cb-1", transitions.cancel)
    assert listed(store) == listed(store, number="1000123") == [[]]
    assert list(read_open(store)) == []
    store.add(
        callback(callback_id="cb-2", created_at=NOON + timedelta(days=30)), allow_parallel=False
    )
    assert store.get("cb-2").callback_id == "cb-2", "an expired one does not hold the pair"
    assert rows <= everything(client)


def test_every_row_of_a_callback_says_when_it_may_be_deleted(store, client):
    key = Key("a-key-of-a-client-1", "fingerprint")
    store.add(full_of_traces(expires_at=NOON + timedelta(days=30)), key, allow_parallel=False)
    items = client.scan(TableName="callbacks")["Items"]
    ttls = {item["pk"]["S"].partition("#")[0]: int(item["ttl"]["N"]) for item in items}
    a_month = int((NOON + timedelta(days=30)).timestamp())
    a_day = int((NOON + LIFETIME).timestamp())
    assert ttls == {
        "CALLBACK": a_month,
        "OPEN": a_month,
        "TENANT": a_month,
        "PAIR": a_month,
        "IDEMPOTENCY": a_day,
    }
    assert all("ttl" in item for item in items)


@pytest.mark.parametrize("asked", ["1000123", "sip:1000123@pbx.example", "sip:1000123@PBX.Example"])
def test_a_number_is_listed_however_it_is_spelled(client, asked):
    store = IntakeStore(Table(client, "callbacks"), sip_domain="pbx.example")
    store.add(callback())
    spelled = replace(callback().leg_a, to="sip:1000123@Pbx.example")
    store.add(callback(callback_id="cb-2", created_at=at(1), leg_a=spelled))
    assert listed(store, number=asked) == [["cb-2", "cb-1"]]
    assert listed(store, number="sip:1000123@elsewhere.example") == [[]]


def test_cancelling_reads_the_row_once_and_is_for_its_own_tenant(client, store):
    reads = []
    client.meta.events.register("before-call.dynamodb.GetItem", lambda **_: reads.append(1))
    store.add(callback())
    with pytest.raises(CallbackNotFound):
        cancellation.cancel(store, Workflow(None), tenant="other", callback_id="cb-1")
    assert store.get("cb-1") == callback()
    del reads[:]
    canceled = cancellation.cancel(store, Workflow(None), tenant="default", callback_id="cb-1")
    assert canceled.close_reason is CloseReason.CANCELED
    assert len(reads) == 1


class Body(io.BytesIO):
    def stream(self, **_):
        yield self.getvalue()


def test_a_creation_whose_answer_was_lost_is_sent_again_as_the_same_request(
    client, store, monkeypatch
):
    """DynamoDB carries out a ClientRequestToken once in ten minutes; moto knows none, so what
    DynamoDB answers is played here."""
    monkeypatch.setattr("botocore.endpoint.time.sleep", lambda _: None)
    sent = []

    def answered(request, **_):
        again = [before["ClientRequestToken"] for before in sent]
        sent.append(json.loads(request.body))
        if not again:
            return AWSResponse(request.url, 500, {}, Body(b"{}"))  # moto has carried it out
        if sent[-1]["ClientRequestToken"] in again:
            return AWSResponse(request.url, 200, {}, Body(b"{}"))
        return None

    client.meta.events.register_first("before-send.dynamodb.TransactWriteItems", answered)
    store.add(callback(), allow_parallel=False)
    assert len(sent) == 2
    assert sent[0] == sent[1]
    assert store.get("cb-1") == callback()
    store.add(callback(callback_id="cb-2"))
    assert sent[2]["ClientRequestToken"] != sent[0]["ClientRequestToken"]


def test_a_callback_that_was_erased_meanwhile_has_nothing_left_to_give_back(store):
    held = Reservation("2026-11-24", "USD", 1_000_000, 10_000, 10_000)
    over = callback(status=CallbackStatus.ENDED, reservation=held)
    store.add(over)
    (position,) = store.listings.positions("default", None, NOON)
    assert Holdings(store).erase(Holdings(store).find("default", position), [])
    assert store.release(over)
