"""Runs a Twilio application against the simulator, without a change to its code.

    python …/tests/local/carrier/point.py http://127.0.0.1:8001 app.py [arguments]

Every `twilio.rest.Client` that the program makes talks to the given address instead of
api.twilio.com; nothing else is different. Needs only the application's own environment.
"""

import functools
import runpy
import sys
from pathlib import Path
from typing import Any


def point(carrier_url: str) -> None:
    """Make the SDK of this process (release 6 to 9) call `carrier_url`."""
    from twilio.rest.api import Api  # noqa: PLC0415 - the application's own SDK

    original = Api.__init__

    @functools.wraps(original)
    def init(self: Any, *arguments: Any, **named: Any) -> None:
        original(self, *arguments, **named)
        self.base_url = carrier_url

    Api.__init__ = init


def main() -> None:
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    carrier_url, script = sys.argv[1:3]
    # As if the script had been started itself: its directory is searched, this one is not.
    sys.argv = sys.argv[2:]
    sys.path[0] = str(Path(script).resolve().parent)
    point(carrier_url)
    runpy.run_path(script, run_name="__main__")


if __name__ == "__main__":
    main()
