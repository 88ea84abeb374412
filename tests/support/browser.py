"""Pages as a browser shows them."""

import subprocess
from pathlib import Path

import pytest

from tests.support import chromium


def rendered(url: str, profile: Path) -> str:
    """The page's text after its scripts ran, in headless Chromium.

    The test is skipped if Chromium was left out on purpose, and fails if Chromium is missing.
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
