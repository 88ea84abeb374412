"""The stores of callbacks: one winner per race, and listings that contain new callbacks at once."""

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
from tests.support.build import NOON, at, callback, dialed, task
from tests.support.fields import full

A, B = LegName.A, LegName.B
ANY_ONE = {"matches": lambda _: True, "number": None, "before": None}


@pytest.fixture(autouse=True)
def noon(monkeypatch):
    monkeypatch.setattr(clock, "now", lambda: NOON)


@pytest.fixture
def store(client):
    return IntakeStore(Table(client, "callbacks"))


def listed(store, *, tenant="default", matches=lambda _: True, **filters):
    """All pages, as lists of ids."""
    filters = {"number": None, "after": None, "before": None, "limit": 20, **filters}
    pages, cursor = [], None
    while not pages or cursor:
        page = store.listings.page(tenant, matches=matches, cursor=cursor, **filters)
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
    stored = store.add(written)
    assert store.get(written.callback_id) == stored
    assert replace(stored, event_count=written.event_count) == written


def test_a_callback_older_than_triggers_came_by_the_api(store, client):
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
        store.change("cb-9", lambda c: transitions.cancel(c, at(1)))


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


def test_a_change_whose_response_was_lost_is_made_when_it_is_sent_again(store, client, monkeypatch):
    """boto3 repeats a write. The repetition fails its condition because of the first write."""
    store.add(callback())
    put = client.put_item

    def put_twice(**what):
        put(**what)
        return put(**what)

    monkeypatch.setattr(client, "put_item", put_twice)
    claimed, is_mine = store.change("cb-1", lambda c: transitions.claim(c, A, NOON))
    assert is_mine
    assert (claimed.leg_a.attempt, store.get("cb-1")) == (1, claimed)


def test_a_change_that_another_process_made_first_is_not_allowed(store, client, monkeypatch):
    """Not even the same change: one of two claims of a leg wins."""
    store.add(callback())
    put, raced = client.put_item, []

    def another_is_first(**what):
        monkeypatch.setattr(client, "put_item", put)
        raced.append(store.change("cb-1", lambda c: transitions.claim(c, A, NOON)))
        return put(**what)

    monkeypatch.setattr(client, "put_item", another_is_first)
    _, is_mine = store.change("cb-1", lambda c: transitions.claim(c, A, NOON))
    assert ([first for _, first in raced], is_mine) == ([True], False)


def test_the_same_report_twice_is_written_once(store):
    store.add(callback())
    first, _ = store.change("cb-1", lambda c: transitions.wait(c, task(Step.FIRST, "t")))
    second, taken = store.change("cb-1", lambda c: transitions.wait(c, task(Step.FIRST, "t")))
    assert taken
    assert second.revision == first.revision == 1


def test_one_of_two_concurrent_claims_of_a_leg_wins(store):
    store.add(callback())
    claims = []

    def claim_while_another_does(before):
        if not claims:
            claims.append(store.change("cb-1", lambda c: transitions.claim(c, A, at(1)))[1])
        return transitions.claim(before, A, at(1))

    _, mine = store.change("cb-1", claim_while_another_does)
    assert (claims, mine) == ([True], False)
    assert store.get("cb-1").leg_a.attempt == 1


def test_a_change_that_loses_the_race_is_applied_to_the_winners_row(store):
    store.add(dialed(callback(), A))
    interrupted = []

    def cancel_after_another_wrote(before):
        if not interrupted:
            interrupted.append(True)
            store.change("cb-1", lambda c: transitions.wait(c, task(Step.FIRST, "t")))
        return transitions.cancel(before, at(1))

    after, _ = store.change("cb-1", cancel_after_another_wrote)
    assert after.close_reason
    assert after.waiting


def test_a_change_that_loses_every_race_is_an_error(store):
    store.add(callback())

    def always_late(before):
        token = f"t{before.revision}"
        store.change("cb-1", lambda c: transitions.wait(c, task(Step.FIRST, token)))
        return transitions.cancel(before, at(1))

    with pytest.raises(StoreContended):
        store.change("cb-1", always_late)


def test_a_list_is_newest_first_and_its_pages_miss_no_callback(store):
    ids = add(store, 45)
    assert listed(store) == [ids[:20], ids[20:40], ids[40:]]


def test_a_list_that_fits_its_page_exactly_has_no_cursor(store):
    ids = add(store, 20)
    assert listed(store) == [ids]


def test_an_empty_list_is_one_empty_page(store):
    assert listed(store) == [[]]


def test_a_rare_match_is_found_on_a_later_page(store, monkeypatch):
    monkeypatch.setattr("callback.storage.listings._PAGE", 8)
    monkeypatch.setattr("callback.storage.listings._EXAMINED_AT_MOST", 20)
    ids = add(store, 30)
    store.change(ids[-1], lambda c: transitions.cancel(c, at(1)))
    pages = listed(store, matches=lambda c: c.close_reason is not None)
    assert pages == [[], [ids[-1]]], (
        "one request reads a limited number of rows, then returns a cursor"
    )


def test_a_list_filters_by_the_current_state_of_a_callback(store):
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


def test_a_tenant_lists_only_its_own_callbacks(store):
    store.add(callback())
    store.add(callback(callback_id="cb-2", tenant="other"))
    assert listed(store) == [["cb-1"]]
    assert listed(store, tenant="other") == [["cb-2"]]


@pytest.mark.parametrize("cursor", ["", "!", "bm90aGluZw", "8J-YgA", "gIGC"])
def test_an_invalid_cursor_is_refused(store, cursor):
    with pytest.raises(InvalidRequest):
        store.listings.page("default", **ANY_ONE, after=None, limit=5, cursor=cursor)


def test_the_row_holds_the_status_as_readable_text(store, client):
    store.add(dialed(callback(), A))
    row = client.get_item(
        TableName="callbacks", Key={"pk": {"S": "CALLBACK#cb-1"}, "sk": {"S": "CALLBACK"}}
    )["Item"]
    assert row["status"] == {"S": "calling_first"}
    assert row["leg_a"]["M"]["status"] == {"S": LegStatus.QUEUED}


def test_an_expired_callback_is_hidden_while_its_row_still_exists(store, client, monkeypatch):
    store.add(callback(expires_at=NOON + timedelta(days=30)))
    monkeypatch.setattr(clock, "now", lambda: NOON + timedelta(days=30))
    with pytest.raises(CallbackNotFound):
        store.get("cb-1")
    assert listed(store) == [[]]
    assert client.scan(TableName="callbacks", Select="COUNT")["Count"] > 0


def test_every_row_has_the_time_of_its_deletion(store, client):
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
    """A store whose client rejects invalid queries like DynamoDB; moto accepts them.

    DynamoDB raises ValidationException for reversed bounds and for a starting key outside them.
    """
    query = client.query

    def checked(**request):
        values = request["ExpressionAttributeValues"]
        first, last = values[":first"]["S"], values[":last"]["S"]
        start = request.get("ExclusiveStartKey", {}).get("sk", {}).get("S", first)
        assert first <= start <= last, "ValidationException"
        assert len(start.encode()) <= 1024, "ValidationException"
        return query(**request)

    monkeypatch.setattr(client, "query", checked)
    return store


def test_a_list_whose_end_precedes_its_start_is_empty(strict):
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


def test_times_of_any_year_sort_like_their_text():
    years = [datetime(year, 1, 1, tzinfo=UTC) for year in (1, 999, 2026, 9999)]
    assert sorted(map(to_text, years)) == list(map(to_text, years))
    assert to_text(years[1]) == "0999-01-01T00:00:00.000Z"


# -- erasure ---------------------------------------------------------------------------------------


def everything(client):
    return {
        (item["pk"]["S"], item["sk"]["S"]) for item in client.scan(TableName="callbacks")["Items"]
    }


def erase(store, address=None, tenant="default"):
    """The number of deleted callbacks."""
    positions = list(store.listings.positions(tenant, address, NOON + timedelta(days=1)))
    return sum(
        Holdings(store).erase(Holdings(store).find(tenant, each, address), []) for each in positions
    )


SHOWN = "+14155550177"


def full_of_traces(**fields):
    made = callback(**fields)
    return replace(made, leg_a=replace(made.leg_a, caller_id=SHOWN))


@pytest.mark.parametrize("address", [None, "1000123", "1000125", SHOWN])
def test_no_row_of_an_erased_callback_remains(store, client, address):
    key = Key("a-key-of-a-client-1", "fingerprint")
    store.add(full_of_traces(), key, allow_parallel=False)
    store.keys.remember_response("default", key, {"statusCode": 202, "body": SHOWN})
    assert len(everything(client)) == 9
    assert erase(store, address) == 1
    assert everything(client) == set()


def test_an_erasure_of_an_unknown_party_or_by_another_tenant_deletes_nothing(store, client):
    store.add(callback(), allow_parallel=False)
    before = everything(client)
    assert erase(store, "1000199") == erase(store, tenant="another") == 0
    assert everything(client) == before


def test_an_erasure_keeps_rows_that_a_later_callback_took_over(store, client):
    """The pair row, and an idempotency key older than 24 hours."""
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


def test_a_callback_written_in_between_is_not_erased(store, client):
    store.add(callback())
    (position,) = store.listings.positions("default", None, NOON)
    holding = Holdings(store).find("default", position)
    store.change("cb-1", lambda c: transitions.cancel(c, at(1)))
    before = everything(client)
    assert not Holdings(store).erase(holding, [])
    assert everything(client) == before


def test_no_late_write_restores_an_erased_callback(store, client):
    key = Key("a-key-of-a-client-1", "fingerprint")
    store.add(callback(), key)

    def cancel_while_it_is_erased(before):
        assert erase(store) == 1
        return transitions.cancel(before, at(1))

    with pytest.raises(CallbackNotFound):
        store.change("cb-1", cancel_while_it_is_erased)
    store.keys.remember_response("default", key, {"statusCode": 202})
    forget_open(store, callback())
    assert everything(client) == set()


def test_an_expired_callback_is_erased_like_any_other(store, client, monkeypatch):
    """DynamoDB may take days to delete its rows, each at its own time."""
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


def test_a_callback_with_more_rows_than_one_transaction_allows_is_erased(store, client):
    store.add(callback())
    for n in range(120):
        client.put_item(
            TableName="callbacks",
            Item={"pk": {"S": "CALLBACK#cb-1"}, "sk": {"S": f"EVENT#{n:03d}"}},
        )
    assert erase(store) == 1
    assert everything(client) == set()


# -- expiry ---------------------------------------------------------------------------------------


def test_an_expired_callback_is_neither_read_nor_changed_nor_listed_while_its_rows_exist(
    store, client, monkeypatch
):
    store.add(callback(expires_at=NOON + timedelta(days=30)), allow_parallel=False)
    monkeypatch.setattr(clock, "now", lambda: NOON + timedelta(days=30))
    rows = everything(client)
    with pytest.raises(CallbackNotFound):
        store.get("cb-1")
    with pytest.raises(CallbackNotFound):
        store.change("cb-1", lambda c: transitions.cancel(c, at(1)))
    assert listed(store) == listed(store, number="1000123") == [[]]
    assert list(read_open(store)) == []
    store.add(
        callback(callback_id="cb-2", created_at=NOON + timedelta(days=30)), allow_parallel=False
    )
    assert store.get("cb-2").callback_id == "cb-2", "an expired one does not hold the pair"
    assert rows <= everything(client)


def test_every_row_of_a_callback_has_its_time_to_live(store, client):
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


@pytest.mark.parametrize(
    "spelling", ["1000123", "sip:1000123@pbx.example", "sip:1000123@PBX.Example"]
)
def test_a_number_is_listed_in_every_spelling(client, spelling):
    store = IntakeStore(Table(client, "callbacks"), sip_domain="pbx.example")
    store.add(callback())
    leg = replace(callback().leg_a, to="sip:1000123@Pbx.example")
    store.add(callback(callback_id="cb-2", created_at=at(1), leg_a=leg))
    assert listed(store, number=spelling) == [["cb-2", "cb-1"]]
    assert listed(store, number="sip:1000123@elsewhere.example") == [[]]


def test_a_cancellation_reads_the_row_once_and_is_refused_to_another_tenant(client, store):
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


def test_a_creation_whose_response_was_lost_is_sent_again_as_the_same_request(
    client_over_http, monkeypatch
):
    """DynamoDB executes a ClientRequestToken once in ten minutes. moto ignores the token, so the
    test makes DynamoDB's responses."""
    monkeypatch.setattr("botocore.endpoint.time.sleep", lambda _: None)
    sent = []

    def respond(request, **_):
        again = [before["ClientRequestToken"] for before in sent]
        sent.append(json.loads(request.body))
        if not again:
            return AWSResponse(request.url, 500, {}, Body(b"{}"))  # moto has executed it
        if sent[-1]["ClientRequestToken"] in again:
            return AWSResponse(request.url, 200, {}, Body(b"{}"))
        return None

    events = client_over_http.meta.events
    events.register_first("before-send.dynamodb.TransactWriteItems", respond)
    store = IntakeStore(Table(client_over_http, "callbacks"))
    store.add(callback(), allow_parallel=False)
    assert len(sent) == 2
    assert sent[0] == sent[1]
    assert store.get("cb-1") == callback()
    store.add(callback(callback_id="cb-2"))
    assert sent[2]["ClientRequestToken"] != sent[0]["ClientRequestToken"]


def test_the_release_of_an_erased_callback_has_nothing_to_do(store):
    reservation = Reservation("2026-11-24", "USD", 1_000_000, 10_000, 10_000)
    over = callback(status=CallbackStatus.ENDED, reservation=reservation)
    store.add(over)
    (position,) = store.listings.positions("default", None, NOON)
    assert Holdings(store).erase(Holdings(store).find("default", position), [])
    assert store.release(over)
