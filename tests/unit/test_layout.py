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
    door = {"carrier/twilio/door.py"}
    renders = {
        module
        for module, path in MODULES.items()
        if {"callback.http", "callback.responses"} & set(imported(path))
    }
    assert "responses.py" in renders
    assert {module for module in renders - door if not speaks_http(module)} == set()


# What a function may take besides `self`; the fields of a dataclass are named where one is made.
MOST_PARAMETERS = 4

# Data of one fact or one query. None takes more than two collaborators.
LONGER = {
    "once.may": "who did what to whom, how often it is allowed, and the id of this one",
    "once.may_so_often": "likewise",
    "signature.genuine_form": "a request, what verifies it, and the shapes of its fields",
    "listings.page": "a query: each is a filter or a bound",
    "transitions.answer": "the fence compares them all, and a pure function takes the time",
}


def functions(path: Path) -> Iterator[tuple[str, int]]:
    """(name, number of parameters) of each, also of methods and of functions within others."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            taken = node.args
            named = [*taken.posonlyargs, *taken.args, *taken.kwonlyargs]
            own = sum(each.arg not in {"self", "cls"} for each in named)
            yield node.name, own + (taken.vararg is not None) + (taken.kwarg is not None)


def test_no_function_takes_a_train_of_arguments():
    counted: dict[str, int] = {}
    for path in MODULES.values():
        for name, parameters in functions(path):
            whole = f"{path.stem}.{name}"
            counted[whole] = max(parameters, counted.get(whole, 0))
    assert len(counted) > 500
    long = {name for name, parameters in counted.items() if parameters > MOST_PARAMETERS}
    assert long == set(LONGER)
