"""Scenario 24: a key opens its own tenant's callbacks and nobody else's, until it is revoked."""

import base64
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from callback.storage.table import Table
from callback.tenancy.api_keys import ApiKeyStore
from tests.local.stack import LocalStack
from tests.support.client import PATH, SEED, Client, between, has_ended
from tests.support.commands import admin, admin_process, done, name

ROUTES = [
    ("POST", PATH),
    ("GET", PATH),
    ("GET", f"{PATH}/6f1c0000-0000-4000-8000-000000000000"),
    ("DELETE", f"{PATH}/6f1c0000-0000-4000-8000-000000000000"),
    ("POST", "/voice/erasure"),
    ("GET", "/voice/erasure"),
    ("GET", "/voice/erasure/6f1c0000-0000-4000-8000-000000000000"),
    ("PUT", "/voice/webhook/endpoint"),
    ("GET", "/voice/webhook/endpoint"),
    ("DELETE", "/voice/webhook/endpoint"),
    ("POST", "/voice/webhook/endpoint/rotate"),
    ("POST", "/voice/webhook/endpoint/test"),
    ("GET", "/voice/webhook/failed"),
    ("POST", "/voice/webhook/failed/msg_1/replay"),
]
NUMBER = "1000203"  # rings and never answers


@pytest.fixture
def other(running: LocalStack) -> Iterator[Client]:
    client = Client(running, running.make_tenant(name()))
    yield client
    client.close()


def ask(
    stack: LocalStack, method: str, path: str, authorization: str | None = None
) -> requests.Response:
    headers = {} if authorization is None else {"Authorization": authorization}
    body = SEED if method == "POST" else None
    return requests.request(method, stack.url + path, json=body, headers=headers)


# -- who gets in ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_without_a_key_every_route_is_401_and_leaves_no_trace(running, stack, method, path):
    calls, stored = len(stack.calls()), stack.rows()
    for authorization in (None, ""):
        answer = ask(running, method, path, authorization)
        assert (answer.status_code, answer.json()) == (401, {"message": "Unauthorized"})
    assert len(stack.calls()) == calls
    assert stack.rows() <= stored


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_every_wrong_key_is_refused_alike_and_leaves_no_trace(running, stack, tenant, method, path):
    """No answer tells whether an id exists, or what is wrong with the secret."""
    right = running.make_key(tenant)
    key_id, _, secret = right.partition(".")
    others_secret = running.make_key(tenant).partition(".")[2]
    calls, stored = len(stack.calls()), stack.rows()
    answers = [
        ask(running, method, path, authorization)
        for authorization in (
            f"Bearer {key_id}.{others_secret}",
            f"Bearer {key_id}.{secret[:-1]}",
            f"Bearer key_00000000000000000000.{secret}",
            f"Bearer {key_id}",
            f"Bearer {key_id}.",
            f"Token {right}",
            right,
            "Basic " + base64.b64encode(f"{key_id}:{others_secret}".encode()).decode(),
            "Basic no-base64",
            f"Bearer {right}, Bearer {right}",
        )
    ]
    assert {answer.status_code for answer in answers} == {403}
    assert {answer.text for answer in answers} == {'{"message": "Forbidden"}'}
    assert len({tuple(sorted(answer.headers)) for answer in answers}) == 1
    assert len(stack.calls()) == calls
    assert stack.rows() <= stored


def test_bearer_and_basic_are_the_same_tenant(running, one):
    callback_id = one.accepted(between(NUMBER, "1000125"))
    key_id, _, secret = one.key.partition(".")
    basic = base64.b64encode(f"{key_id}:{secret}".encode()).decode()
    for authorization in (f"Bearer {one.key}", f"bearer {one.key}", f"Basic {basic}"):
        answer = ask(running, "GET", f"{PATH}/{callback_id}", authorization)
        assert (answer.status_code, answer.json()["callback_id"]) == (200, callback_id)
    one.delete(callback_id)


def test_the_carriers_door_asks_for_no_key_and_takes_none(running, one):
    url = f"{running.url}/carrier/status/x/A/1"
    answer = requests.post(url, headers={"Authorization": f"Bearer {one.key}"})
    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")


def test_a_tenant_named_by_the_client_itself_is_not_believed(running, one, other):
    callback_id = one.accepted(between(NUMBER, "1000125"))
    tenant = running.aws.dynamodb.get_item(
        TableName=running.table_name,
        Key={"pk": {"S": f"CALLBACK#{callback_id}"}, "sk": {"S": "CALLBACK"}},
    )["Item"]["tenant"]["S"]
    answer = requests.get(
        f"{running.url}{PATH}/{callback_id}",
        headers={"Authorization": f"Bearer {other.key}", "tenant": tenant, "X-Tenant": tenant},
    )
    assert answer.status_code == 404
    one.delete(callback_id)


# -- what a key may do ---------------------------------------------------------------------------


def test_a_key_that_only_reads_dials_nobody_and_cancels_nothing(running, stack, one, tenant):
    callback_id = one.accepted(between(NUMBER, "1000125"))
    reader = Client(running, running.make_key(tenant, "callbacks:read"))
    assert reader.get(callback_id).status_code == 200
    assert reader.list(limit=1).status_code == 200
    calls, stored = len(stack.calls()), stack.rows()
    # The gateway remembers the reader by now; a body that is wrong is not looked at.
    for answer in (
        reader.post(between(NUMBER, "1000125")),
        reader.post({}),
        reader.delete(callback_id),
    ):
        assert answer.status_code == 403
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert (answer.json()["code"], answer.json()["scope"]) == (
            "scope_missing",
            "callbacks:write",
        )
    assert len(stack.calls()) == calls
    assert stack.rows() <= stored
    assert one.get(callback_id).json()["status"] == "calling_first"
    one.delete(callback_id)
    reader.close()


def test_a_key_that_only_writes_reads_nothing(running, tenant):
    writer = Client(running, running.make_key(tenant, "callbacks:write"))
    callback_id = writer.accepted(between(NUMBER, "1000125"))
    for answer in (writer.get(callback_id), writer.list()):
        assert (answer.status_code, answer.json()["scope"]) == (403, "callbacks:read")
    assert writer.delete(callback_id).status_code == 202
    writer.close()


# -- another tenant's ----------------------------------------------------------------------------


def test_another_tenants_callback_does_not_exist_and_goes_on_as_it_was(one, other):
    callback_id = one.accepted(between(NUMBER, "1000125"))
    for method in ("get", "delete"):
        theirs = getattr(other, method)(callback_id)
        nobodys = getattr(other, method)("00000000-0000-4000-8000-000000000000")
        assert theirs.status_code == 404
        assert theirs.json() == nobodys.json(), "as if it had never been"
    assert one.get(callback_id).json()["status"] == "calling_first"
    assert one.delete(callback_id).status_code == 202


def test_lists_and_cursors_show_a_tenant_its_own_callbacks_only(one, other):
    def accepted(client: Client) -> str:
        client.clock.pause(1)  # what is asked for at the same moment has no order
        return client.accepted(between(NUMBER, "1000125"))

    ours = [accepted(one) for _ in range(3)]
    theirs = [accepted(other) for _ in range(3)]

    def listed(client: Client, **query: Any) -> list[str]:
        return [c["callback_id"] for c in client.list(**query).json()["callbacks"]]

    for query in ({}, {"number": NUMBER}):
        assert listed(one, **query) == ours[::-1]
        assert listed(other, **query) == theirs[::-1]
    cursor = one.list(limit=1).json()["next_cursor"]
    assert listed(one, cursor=cursor) == ours[1::-1]
    assert set(listed(other, cursor=cursor)) <= set(theirs)
    assert set(listed(other, cursor=cursor, number=NUMBER)) <= set(theirs)
    for client, ids in ((one, ours), (other, theirs)):
        for callback_id in ids:
            client.delete(callback_id)


def test_an_idempotency_key_is_its_tenants(one, other):
    key = {"Idempotency-Key": str(uuid.uuid4())}
    body = between(NUMBER, "1000125")
    first, again = one.post(body, **key), one.post(body, **key)
    theirs = other.post({**body, "order": "reverse"}, **key)
    assert again.headers["Idempotent-Replayed"] == "true"
    assert again.json() == first.json()
    assert theirs.status_code == 202, "neither a replay nor a conflict"
    assert theirs.json()["callback_id"] != first.json()["callback_id"]
    for client, answer in ((one, first), (other, theirs)):
        client.delete(answer.json()["callback_id"])


def test_two_tenants_may_call_the_same_two_parties_and_learn_nothing_of_each_other(one, other):
    body = {**between(NUMBER, "1000125"), "allow_parallel": False}
    first = one.accepted(body)
    assert one.post(body).json()["callback_id"] == first
    theirs = other.accepted(body)
    one.delete(first)
    other.delete(theirs)
    assert one.record_when(first, has_ended)["outcome"] == "canceled"


def test_a_tenant_with_anothers_ids_cursors_keys_and_numbers_gets_nothing_and_changes_nothing(
    running, stack, one, other
):
    """Everything of another's that could leak, tried at once: not a byte of its rows changes."""
    key = {"Idempotency-Key": str(uuid.uuid4())}
    number = "1000204"
    body = between(number, "1000203", metadata={"ticket": "one's"})
    theirs = one.post(body, **key)
    ids = [theirs.json()["callback_id"], one.accepted(body)]
    cursor = one.list(limit=1).json()["next_cursor"]
    one.delete(ids[1])
    for callback_id in ids:
        one.delete(callback_id)
        one.record_when(callback_id, has_ended)

    def rows() -> dict[str, str]:
        pages = running.aws.dynamodb.get_paginator("scan").paginate(
            TableName=running.table_name, ConsistentRead=True
        )
        items = (item for page in pages for item in page["Items"])
        mine = [item for item in items if any(each in str(item) for each in ids)]
        return {i["pk"]["S"] + i["sk"]["S"]: str(i) for i in mine if i["pk"]["S"] != "OPEN"}

    before, calls = rows(), len(stack.calls())
    assert len(before) >= 8
    for callback_id in ids:
        assert other.get(callback_id).status_code == other.delete(callback_id).status_code == 404
    for query in ({}, {"cursor": cursor}, {"number": number}, {"number": number, "cursor": cursor}):
        assert other.list(**query).json() == {"callbacks": [], "next_cursor": None}
    changed = other.post({**body, "leg_B": {"to": "911"}}, **key)
    assert changed.json()["code"] == "invalid_request", "neither a replay nor a conflict"
    asked = requests.post(
        f"{running.url}/voice/erasure",
        json={"number": number},
        headers={"Authorization": f"Bearer {other.key}"},
    )
    erasure = f"{running.url}{asked.headers['Location']}"
    running.until(lambda: _read(erasure, other.key)["status"] == "done")
    done_by = _read(erasure, other.key)
    assert done_by["callbacks_erased"] == 0
    assert requests.get(erasure, headers=_bearer(one.key)).status_code == 404
    assert rows() == before
    assert len(stack.calls()) == calls
    again = one.post(body, **key)
    assert again.headers["Idempotent-Replayed"] == "true"
    assert again.text == theirs.text


def _bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def _read(url: str, key: str) -> dict[str, Any]:
    read: dict[str, Any] = requests.get(url, headers=_bearer(key)).json()
    return read


# -- keys ----------------------------------------------------------------------------------------


def key_in(said: str) -> str:
    (line,) = (line for line in said.splitlines() if line.startswith("send"))
    return line.removeprefix("send     Authorization: Bearer ")


def test_a_key_is_made_rotated_and_revoked_by_the_operators_command(running):
    """Revoked means worthless within 60 s, though the gateway remembers who was let in."""
    tenant = name()
    done(running, "create-tenant", tenant)
    old = key_in(done(running, "create-key", tenant))
    new = key_in(done(running, "create-key", tenant, "--scope", "callbacks:read"))
    clients = [Client(running, key) for key in (old, new)]
    assert [client.list().status_code for client in clients] == [200, 200]

    old_id, old_secret = old.split(".")
    new_id, new_secret = new.split(".")
    done(running, "revoke-key", old_id)
    revoked_at = running.clock.now()
    running.clock.until(lambda: clients[0].list().status_code == 403, within=600)
    assert (running.clock.now() - revoked_at).total_seconds() <= 60
    assert clients[0].post(between(NUMBER, "1000125")).status_code == 403
    assert clients[1].list().status_code == 200

    listed = {line.split()[0]: line for line in done(running, "list-keys", tenant).splitlines()}
    assert set(listed) == {old_id, new_id}
    assert "callbacks:read callbacks:write  revoked 20" in listed[old_id]
    assert listed[new_id].endswith("callbacks:read  valid")
    for secret in (old_secret, new_secret):
        assert secret not in "".join(listed.values())
    for client in clients:
        client.close()


def test_a_key_revoked_in_the_moment_it_was_let_in_is_worthless_within_a_minute(running, tenant):
    client = Client(running, running.make_key(tenant))
    assert client.list().status_code == 200
    store = ApiKeyStore(Table(running.aws.dynamodb, running.table_name))
    store.revoke(client.key.partition(".")[0])
    revoked_at = running.clock.now()
    running.clock.until(lambda: client.list().status_code == 403, within=600)
    assert (running.clock.now() - revoked_at).total_seconds() <= 60
    client.close()


def test_the_command_says_what_is_wrong_and_fails(running, tenant):
    for arguments, said in (
        (("create-tenant", tenant), f"There is a tenant {tenant} already.\n"),
        (("create-tenant", "A#B"), "'A#B': use a-z, 0-9 and -, 63 characters at most.\n"),
        (("create-key", "nobody"), "There is no tenant nobody.\n"),
        (("list-keys", "nobody"), "There is no tenant nobody.\n"),
        (("revoke-key", "key_unknown"), "There is no key key_unknown.\n"),
    ):
        ran = admin(running, *arguments)
        assert (ran.returncode, ran.stdout, ran.stderr) == (1, "", said)
    ran = admin(running, "create-key", tenant, "--pepper", "/not/there")
    assert (ran.returncode, ran.stdout) == (1, "")
    assert "/not/there" in ran.stderr
    assert len(ran.stderr.splitlines()) == 1


def test_every_tenant_is_listed(running, tenant):
    new = name()
    assert new not in done(running, "list-tenants").split()
    done(running, "create-tenant", new)
    listed = done(running, "list-tenants").split()
    assert {tenant, new, "demo"} <= set(listed)
    assert listed == sorted(listed)


def test_the_command_says_which_table_or_address_is_not_there(running):
    for arguments in (["create-tenant", "acme"], ["list-tenants"], ["kill-switch", "show"]):
        ran = admin(running, *arguments, table="no-such-table")
        said = "There is no table no-such-table in this account and region.\n"
        assert (ran.returncode, ran.stdout, ran.stderr) == (1, "", said)
    for command in ("list-tenants", "kill-switch show"):
        ran = admin_process(running, *command.split(), AWS_ENDPOINT_URL="zzz")
        assert (ran.returncode, ran.stdout) == (1, "")
        assert ran.stderr == "AWS_ENDPOINT_URL: Invalid endpoint: zzz\n"


def test_what_is_said_of_a_number_again_shows_what_it_replaces(running, tenant):
    number = "+12065550166"
    taking = f"{number}  owned  CALL ME to 1000125  CALL <number> to nobody  missed call to nobody"
    nothing = f"{number}  owned  CALL ME to nobody  CALL <number> to nobody  missed call to nobody"
    put = ("put-number", tenant, number)
    for arguments, said in (
        (["--sms-to", "1000125"], [taking]),
        (["--sms-to", "1000125"], [taking]),
        ([], [f"instead of  {taking}", nothing]),
    ):
        assert done(running, *put, *arguments).splitlines() == said
    for option in (["--sms-to", "1000125"], ["--sms-to-anyone"], ["--missed-call-to", "1000125"]):
        ran = admin(running, *put, "--verified", *option)
        assert (ran.returncode, ran.stdout) == (2, "")
        assert "only verified accepts neither texts nor calls" in ran.stderr
    assert done(running, "list-numbers", tenant).splitlines() == [nothing]


def test_a_policy_that_contradicts_itself_or_names_no_field_changes_nothing(running, tenant):
    before = done(running, "show-policy", tenant)
    for fields, status, said in (
        (["enabled=false", "enabled=true"], 2, "enabled is given more than once"),
        (["=1"], 2, "write it as field=value"),
        (["calls_per_tenant=0/1m"], 1, "calls_per_tenant: 0 is not a rate"),
        (["concurrent_callbacks=9999999999"], 1, "give 999999999 at most"),
    ):
        ran = admin(running, "set-policy", tenant, *fields)
        assert (ran.returncode, ran.stdout) == (status, "")
        assert said in ran.stderr
    assert done(running, "show-policy", tenant) == before


def test_no_secret_of_a_key_is_logged_or_stored(running, stack, one):
    secret = one.key.partition(".")[2]
    callback_id = one.accepted(between(NUMBER, "1000125"))
    assert ask(running, "GET", PATH, f"Bearer key_unknown.{secret}").status_code == 403
    one.delete(callback_id)
    one.record_when(callback_id, has_ended)
    rows = running.aws.dynamodb.scan(TableName=running.table_name, ConsistentRead=True)["Items"]
    for seen in (stack.logged(), str(rows), stack.execution_text(callback_id)):
        assert seen
        assert secret not in seen
