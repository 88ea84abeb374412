"""What functions log is what Lambda takes for an application's log line.

Where a level is set, Lambda throws away every line below it, and takes a line whose level or time
it cannot read for INFO (Lambda Developer Guide, "Log-level filtering"); alarms hang on such lines.
"""

import json
import re
import subprocess
import sys

import pytest

from tests.local import environment, template
from tests.template import document

FUNCTIONS = {
    function.logical_id: function
    for function in template.load(
        document.TEMPLATE, {"PublicUrl": "https://callback.example.com", "LogLevel": "WARN"}
    ).functions
}
LEVELS = {"TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL"}
RFC_3339 = re.compile(
    r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)",  # RFC 3339, 5.6: date-time
    re.ASCII,
)

# The handler's logger, and those of the modules that it imports.
SAY_SOMETHING = """
import logging, os, runpy, sys
runpy.run_path(sys.argv[1])
service = os.environ["POWERTOOLS_SERVICE_NAME"]
for name in [service, *logging.root.manager.loggerDict]:
    if name == service or name.startswith(service + "."):
        logging.getLogger(name).error(name)
"""


def logged(name: str) -> list[dict[str, str]]:
    function = FUNCTIONS[name]
    said = subprocess.run(
        [sys.executable, "-c", SAY_SOMETHING, str(function.folder / "handler.py")],
        env=environment.of_function(function, "http://127.0.0.1:9")
        | {"PYTHONPATH": str(document.ROOT / "layers" / "shared")},
        check=True,
        capture_output=True,
        text=True,
    )
    return [json.loads(line) for line in said.stdout.splitlines()]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_line_has_a_level_and_a_time_that_lambda_can_read(name: str):
    lines = logged(name)
    assert lines
    for line in lines:
        assert line["level"] in LEVELS
        assert RFC_3339.fullmatch(line["timestamp"])


def test_the_modules_of_a_function_log_as_its_handler_does():
    """The alarm on failed deliveries listens to one of them."""
    assert {"voice-callback", "voice-callback.callback.webhooks.notifying"} <= {
        line["message"] for line in logged("NotifyClient")
    }
