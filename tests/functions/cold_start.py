"""One cold start of each function, in a process of its own and under its own environment."""

import functools
import json
import subprocess
import sys
from dataclasses import dataclass

from tests.local import environment, template
from tests.template import document

FUNCTIONS = {
    function.logical_id: function
    for function in template.load(
        document.TEMPLATE, {"PublicUrl": "https://callback.example.com", "LogLevel": "WARN"}
    ).functions
}

# The handler's logger says something, and those of the modules that it imports. The last line is
# what was imported.
_START = """
import json, logging, os, runpy, sys
runpy.run_path(sys.argv[1])
modules = sorted(sys.modules)
service = os.environ["POWERTOOLS_SERVICE_NAME"]
for name in [service, *logging.root.manager.loggerDict]:
    if name == service or name.startswith(service + "."):
        logging.getLogger(name).error(name)
print(json.dumps(modules))
"""


@dataclass(frozen=True)
class ColdStart:
    lines: list[dict[str, str]]  # one of each of its loggers, which logged its own name
    modules: frozenset[str]


@functools.cache
def start(name: str) -> ColdStart:
    """Of the function with a logical id: the process is started once for all tests."""
    function = FUNCTIONS[name]
    said = subprocess.run(
        [sys.executable, "-c", _START, str(function.folder / "handler.py")],
        env=environment.of_function(function, "http://127.0.0.1:9")
        | {"PYTHONPATH": str(document.ROOT / "layers" / "shared")},
        check=False,
        capture_output=True,
        text=True,
    )
    assert said.returncode == 0, said.stderr
    *lines, modules = said.stdout.splitlines()
    return ColdStart([json.loads(line) for line in lines], frozenset(json.loads(modules)))
