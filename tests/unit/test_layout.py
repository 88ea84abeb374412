"""What the modules of the layer may say and know, so that each stays what it is."""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
LAYER, FUNCTIONS = ROOT / "layers/shared/callback", ROOT / "functions"
MODULES = {path.relative_to(LAYER).as_posix(): path for path in LAYER.rglob("*.py")}


def speaks_http(module: str) -> bool:
    """Transport, the rendering of results, and what only a function that is asked over HTTP has."""
    folder, _, name = module.rpartition("/")
    return name in {"http.py", "responses.py"} or folder == "api"


def imported(path: Path) -> Iterator[str]:
    """Each name that is imported, with its module's."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (each.name for each in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield str(node.module)
            yield from (f"{node.module}.{each.name}" for each in node.names)


def test_only_what_speaks_http_knows_what_a_response_of_the_gateway_looks_like():
    sources = {**MODULES, **{str(path): path for path in FUNCTIONS.rglob("*.py")}}
    assert len(sources) > 80
    knows = {
        module
        for module, path in sources.items()
        if "statusCode" in path.read_text(encoding="utf-8")
    }
    assert "http.py" in knows
    assert {module for module in knows if not speaks_http(module)} == set()


def test_a_use_case_returns_a_result_and_renders_none():
    """What the carrier asks is verified where its HTTP arrives."""
    door = {"carrier_door.py", "carrier/twilio/door.py"}
    renders = {
        module
        for module, path in MODULES.items()
        if {"callback.http", "callback.responses"} & set(imported(path))
    }
    assert "responses.py" in renders
    assert {module for module in renders - door if not speaks_http(module)} == set()
