"""What a tenant may do, set by the operator's command and felt at the client's door."""

import re
from collections.abc import Callable
from typing import Any

import pytest
import requests

from tests.local.stack import GENEROUS
from tests.support.client import PATH, Client
from tests.support.commands import admin, done, name

PARTIES = {"leg_A": {"to": "1000203"}, "leg_B": {"to": "1000125"}, "allow_parallel": True}


@pytest.fixture
def client(one: Client) -> Client:
    return one


def until(client: Client, condition: Callable[[requests.Response], bool]) -> requests.Response:
    """The first dry run of which the condition holds."""

    def answers() -> list[requests.Response]:
        ran = dry_run(client)
        return [ran] if condition(ran) else []

    return client.clock.until(answers, within=600)[0]


def dry_run(client: Client, value: str = "true", **query: str) -> requests.Response:
    return requests.post(
        client.url + PATH,
        params={"dry_run": value, **query},
        json=PARTIES,
        headers={"Authorization": f"Bearer {client.key}"},
    )


def code(answer: requests.Response) -> Any:
    return answer.json().get("code")


def policy(said: str) -> dict[str, str]:
    return dict(line.split("=", 1) for line in said.splitlines())


def test_a_policy_set_by_the_operator_is_shown_and_enforced(running, tenant, client):
    before = policy(done(running, "show-policy", tenant))
    assert before.items() >= {**GENEROUS, "calling_window": "always"}.items() - {
        ("allowed_regions", "US,GB"),
        ("allowed_types", GENEROUS["allowed_types"]),
    }
    assert dry_run(client).status_code == 200
    said = done(
        running, "set-policy", tenant, "any_caller_id_extension=", "calls_per_number=2/10m,5/1d"
    )
    changed = {"any_caller_id_extension": "false", "calls_per_number": "2/10m,5/1d"}
    assert policy(said) == policy(done(running, "show-policy", tenant)) == before | changed
    assert code(until(client, lambda answer: answer.status_code == 403)) == "caller_id_not_allowed"


def test_a_new_tenants_first_refusal_names_the_commands_that_fix_it(running):
    tenant = name()
    done(running, "create-tenant", tenant)
    done(running, "set-policy", tenant, "calling_window=always")  # at whatever hour this runs
    client = Client(running, running.make_key(tenant))
    to_a_telephone = {"leg_A": {"to": "+14155550123"}, "leg_B": {"to": "1000125"}}
    refused = client.post(to_a_telephone)
    assert (refused.status_code, code(refused)) == (403, "caller_id_not_allowed")
    commands = [command.split() for command in re.findall("`([^`]+)`", refused.json()["detail"])]
    assert [command[0] for command in commands] == ["put-number", "set-policy"]
    for command in commands:
        done(running, *(word.replace("<number>", "+13105550155") for word in command))
    running.clock.until(lambda: client.post(to_a_telephone).status_code == 202, within=600)
    client.close()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("colour=red", "A policy has no field colour. It has: enabled, "),
        ("enabled=perhaps", "enabled: Give true or false."),
        ("allowed_regions=US,XX", "allowed_regions: give ISO 3166 codes"),
        ("allowed_types=premium_rate", "allowed_types: Give some of"),
        ("daily_spend=20.00 EUR", "daily_spend: prices are in USD."),
        (
            "fallback_caller_id=+13105550148",
            "fallback_caller_id: give a number of the tenant. `put-number` assigns one.",
        ),
    ],
)
def test_an_invalid_policy_is_refused_with_the_field_name_and_changes_nothing(
    running, tenant, given, said
):
    before = done(running, "show-policy", tenant)
    ran = admin(running, "set-policy", tenant, "concurrent_callbacks=3", given)
    assert (ran.returncode, ran.stdout) == (1, "")
    assert ran.stderr.startswith(said), ran.stderr
    assert done(running, "show-policy", tenant) == before


def test_an_unknown_tenant_and_a_field_without_a_value_are_refused(running):
    for command in (("show-policy", "nobody"), ("kill-switch", "on", "nobody")):
        ran = admin(running, *command)
        assert (ran.returncode, ran.stderr.strip()) == (1, "There is no tenant nobody.")
    ran = admin(running, "set-policy", "nobody", "enabled")
    assert ran.returncode == 2
    assert "write it as field=value" in ran.stderr


@pytest.mark.parametrize("whose", ["tenant", "all tenants"])
def test_the_operator_stops_calling_and_lets_it_go_on(running, tenant, client, whose):
    of = [tenant] if whose == "tenant" else []
    whom = tenant if whose == "tenant" else "all tenants"
    assert done(running, "kill-switch", "show", *of) == f"{whom}  calling is on\n"
    assert done(running, "kill-switch", "on", *of) == f"{whom}  calling is stopped\n"
    try:
        stopped = until(client, lambda answer: answer.status_code == 503)
        assert code(stopped) == "calling_stopped"
        answer = client.post(PARTIES)
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "60")
        assert done(running, "kill-switch", "show", *of) == f"{whom}  calling is stopped\n"
    finally:
        assert done(running, "kill-switch", "off", *of) == f"{whom}  calling is on\n"
    until(client, lambda answer: answer.status_code == 200)


def test_a_dry_run_leaves_no_trace_and_costs_what_the_table_says(stack, tenant, client):
    rows, calls = stack.rows(), len(stack.calls())
    answer = dry_run(client)
    assert answer.status_code == 200
    told = answer.json()
    assert [call["from"] for call in told["calls"]] == ["1000125", "1000203"]
    assert told["estimated_maximum_cost"]["currency"] == "USD"
    assert {row for row in stack.rows() - rows if tenant in row} == set()
    assert len(stack.calls()) == calls
    assert client.list().json()["callbacks"] == []


def test_a_dry_run_is_asked_for_by_true_and_by_nothing_else(client):
    for value in ("1", "yes", "TRUE", ""):
        answer = dry_run(client, value)
        assert (answer.status_code, code(answer)) == (400, "invalid_request"), value
        assert answer.json()["errors"][0]["field"] == "dry_run"
    assert dry_run(client, "true", colour="red").json()["errors"][0]["field"] == "colour"
    assert client.list().json()["callbacks"] == []
    assert dry_run(client, "false").status_code == 202


def test_each_new_response_states_the_remaining_limit(running, tenant, client):
    running.set_policy(tenant, calls_per_tenant="90/1d")
    running.clock.pause(10)  # functions cache policies
    first, second = (client.post(PARTIES).headers["RateLimit"] for _ in range(2))
    left = [int(each.split(";")[1].removeprefix("r=")) for each in (first, second)]
    assert left[0] - left[1] == 1 or left[1] == 89, "or another day began"


def test_a_number_suppressed_by_the_operator_is_not_called_until_released(running, tenant, client):
    typed = PARTIES["leg_A"]["to"] + "\n"
    assert dry_run(client).status_code == 200
    said = admin(running, "suppress", tenant, said=typed)
    assert (said.returncode, said.stdout, said.stderr) == (0, "suppressed\n", "")
    refused = dry_run(client)
    assert (refused.status_code, code(refused), refused.json()["leg"]) == (403, "suppressed", "A")
    assert admin(running, "unsuppress", tenant, said=typed).stdout == "unsuppressed\n"
    assert dry_run(client).status_code == 200
    wrong = admin(running, "suppress", tenant, said="me\n")
    assert (wrong.returncode, wrong.stdout) == (1, "")
    assert admin(running, "suppress", "nobody-of-that-name", said=typed).returncode == 1
