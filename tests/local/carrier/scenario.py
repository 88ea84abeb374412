"""Scenario files: settings, behaviours, faults and numbers in one JSON document.

{
  "settings":   {"calls_per_second": 5, "answered_callback": "after_twiml"},
  "behaviours": {"1000300": {"answer_after": 1, "hang_up_after_joined": 30}, "*77": {…}, "*": {…}},
  "faults":     [{"fault": "drop", "event": "ringing", "chance": 0.5}],
  "numbers":    {"+14155550100": {"owned": true, "voice_url": "http://127.0.0.1:5000/voice"}},
  "applications": {"AP…": {"voice_url": "…"}},
  "api_keys": {"SK…": "secret"}
}
"""

import json
import re
from pathlib import Path
from typing import Any

from .checked import checked, mapping
from .exchange import Application, Exchange, Number
from .faults import FaultRule
from .scripts import Behaviour

PARTS = ("settings", "behaviours", "faults", "numbers", "applications", "api_keys")


def read(path: str | Path) -> dict[str, Any]:
    """Raises ValueError when the file is not a scenario."""
    document = json.loads(Path(path).read_text("utf-8"))
    if not isinstance(document, dict):
        raise ValueError(f"{path} is not a JSON object")
    return document


def apply(exchange: Exchange, scenario: dict[str, Any]) -> None:
    """Apply a scenario on top of the current state. Raises ValueError naming the fault."""
    unknown = sorted(set(scenario) - set(PARTS))
    if unknown:
        raise ValueError(f"no such part of a scenario: {', '.join(unknown)}")
    part = {name: mapping(scenario.get(name, {}), name) for name in PARTS if name != "faults"}
    faults = scenario.get("faults", [])
    if not isinstance(faults, list):
        raise ValueError(f"faults must be a list, not {faults!r}")
    rules = [FaultRule.parse(values) for values in faults]
    behaviours = {m: Behaviour.parse(v) for m, v in part["behaviours"].items()}
    numbers = {n: _number(v) for n, v in part["numbers"].items()}
    applications = {s: _application(s, v) for s, v in part["applications"].items()}
    keys = part["api_keys"]
    for sid in keys:
        if not re.fullmatch(r"SK[0-9a-f]{32}", sid):
            raise ValueError(f"{sid} is not an API key's SID")
        if not isinstance(keys[sid], str):
            raise ValueError(f"the secret of {sid} cannot be {keys[sid]!r}")
    exchange.settings.change(**part["settings"])
    for match, behaviour in behaviours.items():
        exchange.scripts.set(match, behaviour)
    for rule in rules:
        exchange.faults.add(rule)
    for phone_number, values in numbers.items():
        exchange.add_number(phone_number, **values)
    exchange.applications.update(applications)
    exchange.api_keys.update(keys)


def _number(values: Any) -> dict[str, Any]:
    return checked(Number, values, without=("sid", "phone_number", "created"))


def _application(sid: str, document: Any) -> Application:
    if not re.fullmatch(r"AP[0-9a-f]{32}", sid):
        raise ValueError(f"{sid} is not an application's SID")
    values = checked(Application, document, without=("sid",))
    if "voice_url" not in values:
        raise ValueError("an application has a voice_url")
    return Application(sid, **values)
