"""The operator's commands, and names for the tenants that they make."""

import os
import subprocess
import sys
import uuid

from tests.local.stack import PROJECT, LocalStack


def name() -> str:
    return f"tenant-{uuid.uuid4().hex[:12]}"


def admin(
    stack: LocalStack,
    *arguments: str,
    said: str = "",
    table: str | None = None,
    **environment: str,
) -> subprocess.CompletedProcess[str]:
    """The operator's command, against the embedded AWS; `said` is what is typed into it."""
    command = [sys.executable, "-m", "callback.admin", *arguments]
    command += ["--table", table or stack.table_name]
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(PROJECT / "layers" / "shared"),
        "AWS_ENDPOINT_URL": stack.aws.url,
        "AWS_ACCESS_KEY_ID": "local",
        "AWS_SECRET_ACCESS_KEY": "local",
        "AWS_DEFAULT_REGION": "us-east-1",
        **environment,
    }
    return subprocess.run(
        command,
        env=environment,
        input=said,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def done(stack: LocalStack, *arguments: str, said: str = "") -> str:
    ran = admin(stack, *arguments, said=said)
    assert (ran.returncode, ran.stderr) == (0, "")
    return ran.stdout
