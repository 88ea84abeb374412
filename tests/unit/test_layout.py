"""What the modules of the layer may say and know, so that each stays what it is."""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
LAYER, FUNCTIONS = ROOT / "layers/shared/callback", ROOT / "functions"
UNIT_TESTS = ROOT / "tests/unit"
MODULES = {path.relative_to(LAYER).as_posix(): path for path in LAYER.rglob("*.py")}


def speaks_http(module: str) -> bool:
    """Transport, the rendering of results, and what only a function that is asked over HTTP has."""
    folder = module.rpartition("/")[0]
    return module == "http.py" or folder == "api"


# A package imports only what stands before it; "" are the modules of no package.
ORDER = (
    "",
    "lifecycle",
    "numbering",
    "observability",
    "storage",
    "carrier",
    "carrier/twilio",
    "tenancy",
    "webhooks",
    "admission",
    "call_control",
    "requests",
    "triggers",
    "privacy",
    "api",
    "admin",
)
# Modules that stand higher than the folder in which they lie: the operator's command stands above
# all packages, and the choice of the carrier stands beside the carriers.
HIGHER = {"admin.py": "admin", "carrier/adapter.py": "carrier/twilio"}


def package_of(module: str) -> str:
    return HIGHER.get(module, module.rpartition("/")[0])


def imported_modules(path: Path) -> set[str]:
    """Those of the layer, as in MODULES; what is imported for type checking alone as well."""
    names = {name.removeprefix("callback.").replace(".", "/") for name in imported(path)}
    return {f"{name}.py" for name in names} & set(MODULES)


def test_a_package_imports_only_what_stands_before_it():
    wrong = {
        f"{module} imports {other}"
        for module, path in MODULES.items()
        for other in imported_modules(path)
        if ORDER.index(package_of(other)) > ORDER.index(package_of(module))
    }
    assert wrong == set()


def test_no_module_imports_itself_by_way_of_others():
    """With the order above, a circle can only lie within one package."""
    left = {module: imported_modules(path) for module, path in MODULES.items()}
    while free := {module for module, others in left.items() if not others & set(left)}:
        left = {module: others for module, others in left.items() if module not in free}
    assert left == {}


def test_only_what_belongs_to_no_package_lies_beside_them():
    beside = {path.stem for path in LAYER.glob("[!_]*.py")}
    assert beside == {
        "admin", "amounts", "aws", "clock", "errors", "http", "randomness", "scopes", "settings",
        "validation", "values",
    }  # fmt: skip


def test_a_package_is_loaded_for_what_is_imported_from_it_and_for_nothing_else():
    """A re-export would load a module that nobody asked for, at each cold start."""
    initial = {path for path in LAYER.rglob("__init__.py") if path.parent != LAYER}
    assert len(initial) == len(set(ORDER) - {"", "admin"})
    assert {path.read_text(encoding="utf-8") for path in initial} == {""}


def test_a_module_and_its_tests_have_the_same_path():
    """What is about several packages, or about the repository, lies beside the folders."""
    folders = {path.parent for path in UNIT_TESTS.rglob("*.py")} - {UNIT_TESTS}
    tests = {path for folder in folders for path in folder.glob("test_*.py")}
    assert len(tests) > 20
    tested = {
        path.relative_to(UNIT_TESTS).with_name(path.name.removeprefix("test_")) for path in tests
    }
    assert {path.as_posix() for path in tested} - set(MODULES) == set()
    assert {(folder / "__init__.py").read_text(encoding="utf-8") for folder in folders} == {""}


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
        if {"callback.http", "callback.api.responses"} & set(imported(path))
    }
    assert "api/responses.py" in renders
    assert {module for module in renders - door if not speaks_http(module)} == set()


# What a function may take besides `self`; the fields of a dataclass are named where one is made.
MOST_PARAMETERS = 4

# Data of one fact or one query. None takes more than two collaborators.
LONGER = {
    "throttle.allow": "tenant, action, address, how often it is allowed, and the request's id",
    "throttle.allow_once": "likewise",
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
