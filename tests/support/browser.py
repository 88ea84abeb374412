"""Pages as a browser shows them."""

import subprocess
from pathlib import Path

import pytest

from tests.support import chromium


def rendered(url: str, profile: Path) -> str:
    """The page's text after its scripts ran, in headless Chromium.

    Where it is left out on purpose the test is skipped; where it is missing the test fails.
    """
    if chromium.is_left_out():
        pytest.skip("=".join(chromium.WITHOUT))
    program = chromium.find()
    if program is None:
        pytest.fail(chromium.ADVICE)
    result = subprocess.run(
        [
            *(
                program,
                "--headless=new",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-dev-shm-usage",
            ),
            *(f"--user-data-dir={profile}", "--virtual-time-budget=2000", "--dump-dom", url),
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    return result.stdout
