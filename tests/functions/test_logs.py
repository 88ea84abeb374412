"""What functions log is what Lambda takes for an application's log line.

Where a level is set, Lambda throws away every line below it, and takes a line whose level or time
it cannot read for INFO (Lambda Developer Guide, "Log-level filtering"); alarms hang on such lines.
"""

import re

import pytest

from tests.functions.cold_start import FUNCTIONS, start

LEVELS = {"TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL"}
RFC_3339 = re.compile(
    r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)",  # RFC 3339, 5.6: date-time
    re.ASCII,
)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_line_has_a_level_and_a_time_that_lambda_can_read(name: str):
    lines = start(name).lines
    assert lines
    for line in lines:
        assert line["level"] in LEVELS
        assert RFC_3339.fullmatch(line["timestamp"])


def test_the_modules_of_a_function_log_as_its_handler_does():
    """The alarm on failed deliveries listens to one of them."""
    assert {"voice-callback", "voice-callback.callback.webhooks.notifying"} <= {
        line["message"] for line in start("NotifyClient").lines
    }
