"""A number is forgotten over HTTP, by a tenant or by the operator, with the schedule that is
deployed."""

import pytest
import requests

from tests.support.client import Client, between, has_ended
from tests.support.commands import admin, done, name

ERASURE = "/voice/erasure"


@pytest.fixture
def leaving(running):
    """(a tenant, a client of its)."""
    tenant = name()
    client = Client(running, running.make_tenant(tenant))
    yield tenant, client
    client.close()


def call(client, method, path="", **options):
    headers = {"Authorization": f"Bearer {client.key}"}
    url = f"{client.url}{ERASURE}{path}"
    return requests.request(method, url, headers=headers, **options)


def test_a_number_is_forgotten_here_and_at_the_carrier(running, leaving):
    tenant, client = leaving
    number, own = "+14155550118", "+14155550177"
    running.make_number(own, tenant)
    record = client.ended({"leg_A": {"to": number}, "leg_B": {"to": "1000218"}})
    sids = {record[leg]["call_sid"] for leg in ("leg_A", "leg_B")}
    asked = call(client, "POST", json={"number": number})
    assert asked.status_code == 202
    assert asked.headers["Location"] == f"{ERASURE}/{asked.json()['erasure_id']}"
    place = f"/{asked.json()['erasure_id']}"
    running.until(lambda: call(client, "GET", place).json()["status"] == "done")
    evidence = call(client, "GET", place).json()
    assert (evidence["callbacks_erased"], evidence["carrier_records_erased"]) == (1, 2)
    assert client.get(record["callback_id"]).status_code == 404
    assert client.list(number=number).json()["callbacks"] == []
    assert all(running.carrier.exchange.calls[sid].deleted for sid in sids)
    assert call(client, "GET").json() == {"erasures": [evidence]}


def test_an_invalid_number_is_refused_and_nothing_is_stored(stack, leaving):
    _, client = leaving
    stored = stack.rows()
    for body, code in (
        ({"number": "me"}, "invalid_address"),
        ({}, "missing"),
        ({"number": "+14155550118", "everything": True}, "extra_forbidden"),
    ):
        answer = call(client, "POST", json=body)
        assert (answer.status_code, answer.json()["errors"][0]["code"]) == (400, code)
    assert call(client, "POST", data=b"number").json()["code"] == "body_not_json"
    assert call(client, "GET", "/unknown").json()["code"] == "erasure_not_found"
    assert stack.rows() <= stored


def test_erasing_requires_the_erase_scope(running, stack, leaving):
    tenant, _ = leaving
    writer = Client(running, running.make_key(tenant, "callbacks:read", "callbacks:write"))
    stored = stack.rows()
    answer = call(writer, "POST", json={"number": "+14155550118"})
    assert (answer.status_code, answer.json()["scope"]) == (403, "callbacks:erase")
    assert call(writer, "GET").json() == {"erasures": []}
    assert stack.rows() <= stored
    writer.close()


def test_an_erase_key_reads_erasures_and_nothing_else(running, leaving):
    tenant, _ = leaving
    eraser = Client(running, running.make_key(tenant, "callbacks:erase"))
    asked = call(eraser, "POST", json={"number": "+14155550118"})
    assert asked.status_code == 202
    place = asked.headers["Location"].removeprefix(ERASURE)
    assert call(eraser, "GET", place).json()["erasure_id"] == asked.json()["erasure_id"]
    assert len(call(eraser, "GET").json()["erasures"]) == 1
    assert (eraser.list().status_code, eraser.list().json()["scope"]) == (403, "callbacks:read")
    eraser.close()
    writer = Client(running, running.make_key(tenant, "callbacks:write"))
    for path in ("", place):
        refused = call(writer, "GET", path)
        assert (refused.status_code, refused.json()["scope"]) == (403, "callbacks:read")
    writer.close()


def test_the_operator_erases_a_number_that_no_shell_remembers(running, leaving):
    tenant, _ = leaving
    number = "+14155550119"
    said = admin(running, "erase-number", tenant, said=f"{number}\n")
    assert (said.returncode, said.stderr) == (0, "")
    running.until(lambda: "not done" not in done(running, "list-erasures", tenant))
    (line,) = done(running, "list-erasures", tenant).splitlines()
    assert line.startswith(said.stdout.split()[0])
    assert "  0 callbacks here, 0 calls at the carrier  done 20" in line
    assert number not in said.stdout + line
    wrong = admin(running, "erase-number", tenant, said="me\n")
    assert (wrong.returncode, wrong.stdout) == (1, "")
    assert len(wrong.stderr.splitlines()) == 1


def test_a_tenant_that_leaves_is_forgotten_and_locked_out(running, leaving):
    tenant, client = leaving
    ids = [client.accepted(between(to, "1000125")) for to in ("1000202", "1000203")]
    client.record_when(ids[0], has_ended)
    done(running, "put-number", tenant, "+14155550120", "--sms-to", "1000125")
    endpoint = f"{client.url}/voice/webhook/endpoint"
    headers = {"Authorization": f"Bearer {client.key}"}
    told = {"url": "https://client.example/told"}
    assert requests.put(endpoint, json=told, headers=headers).status_code == 201
    for typed in ("", "yes\n", f"{tenant}x\n"):
        refused = admin(running, "erase-tenant", tenant, said=typed)
        said = f"That is not {tenant}. Nothing is erased.\n"
        assert (refused.returncode, refused.stdout, refused.stderr) == (1, "", said)
    assert client.list().status_code == 200
    assert done(running, "list-erasures", tenant) == ""
    done(running, "erase-tenant", tenant, said=f"{tenant}\n")
    running.until(lambda: "not done" not in done(running, "list-erasures", tenant))
    assert "  2 callbacks here" in done(running, "list-erasures", tenant)
    assert done(running, "list-numbers", tenant) == ""
    assert client.list().status_code == 403
    items = running.aws.dynamodb.scan(TableName=running.table_name, ConsistentRead=True)["Items"]
    left = {item["pk"]["S"].partition("#")[0] for item in items if tenant in str(item)}
    assert left == {"APIKEY", "ERASURE", "ERASURES", "LIMIT", "TENANT-SETTINGS", "TENANTS"}
    assert "allowed_regions=GB,US\n" in done(running, "show-policy", tenant)
    again = Client(running, running.make_key(tenant))
    assert again.list().json()["callbacks"] == []
    again.close()
