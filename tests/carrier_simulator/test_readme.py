"""What the simulator's README tells is what it does."""

import json
import re
from dataclasses import fields
from pathlib import Path

import pytest

from tests.local.carrier import Clock, Scripts
from tests.local.carrier.__main__ import parser
from tests.local.carrier.exchange import Exchange
from tests.local.carrier.faults import REST_FAULTS, WEBHOOK_FAULTS, FaultRule
from tests.local.carrier.scenario import PARTS
from tests.local.carrier.settings import DOUBTS
from tests.local.carrier.simapi import SimApi

from .conftest import ACCOUNT, TOKEN

README = (Path(__file__).parents[1] / "local/carrier/README.md").read_text("utf-8")
SECTIONS = dict(re.findall(r"^## ([^\n]+)\n(.*?)(?=^## |\Z)", README, re.MULTILINE | re.DOTALL))
API = SECTIONS["Its own API, under /sim (no credentials; it does not exist at Twilio)"]


def test_the_table_of_parties_is_the_simulators_own() -> None:
    rows = re.findall(r"^\| ([^|]+) \| ([^|]+) \|$", SECTIONS["Who answers how"], re.MULTILINE)
    assert rows[0] == ("destination", "what the party does")
    assert rows[1:] == Scripts().table()


def test_every_route_is_in_the_table_of_its_api() -> None:
    routes = SimApi(Exchange(ACCOUNT, TOKEN, clock=Clock())).routes()
    paths = {route.path for route in routes if route.method != "*"} - {"/"}
    assert len(paths) > 15
    table = "".join(re.findall(r"^\|.*\|$", API, re.MULTILINE))
    told = set(re.findall(r"/[a-z-]+", table))
    assert {segment for path in paths for segment in re.findall(r"/[a-z-]+", path)} - told == set()


@pytest.mark.parametrize(
    "names",
    [
        REST_FAULTS + WEBHOOK_FAULTS,
        [field.name for field in fields(FaultRule) if field.name not in ("fault", "seen", "done")],
        list(DOUBTS),
    ],
    ids=["faults", "fields of a fault", "doubts"],
)
def test_every_fault_and_every_switch_is_named(names: list[str]) -> None:
    assert [name for name in names if f"`{name}`" not in API] == []


def test_every_value_of_a_switch_is_named_the_likeliest_first() -> None:
    rows = re.findall(r"^\| `(\w+)` \| [^|]+ \| ([^|]+) \|$", API, re.MULTILINE)
    values = {
        name: ", ".join(v if isinstance(v, str) else json.dumps(v) for v in known)
        for name, known in DOUBTS.items()
    }
    assert dict(rows) == values


def test_every_part_of_a_scenario_is_named() -> None:
    (told,) = re.findall(r"`\{(settings, [^}]+)\}`", API)
    assert tuple(told.split(", ")) == PARTS


def test_every_option_of_the_command_is_named() -> None:
    options = set(re.findall(r"--[a-z-]+", parser().format_help())) - {"--help"}
    assert len(options) > 7
    assert options - set(re.findall(r"--[a-z-]+", SECTIONS["Start it"])) == set()
