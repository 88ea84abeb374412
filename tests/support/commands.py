"""The operator's commands, and names for the tenants that they add."""

import contextlib
import io
import os
import subprocess
import sys
import uuid
from unittest import mock

from callback import aws
from callback.admin import main
from tests.local.stack import PROJECT, LocalStack


def name() -> str:
    return f"tenant-{uuid.uuid4().hex[:12]}"


def admin(
    stack: LocalStack, *arguments: str, said: str = "", table: str | None = None
) -> subprocess.CompletedProcess[str]:
    """Run the operator's command in this process, on the stack's clock, against the embedded AWS.
    `said` is its standard input."""
    command = [*arguments, "--table", table or stack.table_name]
    for client in (aws.dynamodb, aws.ssm):
        client.cache_clear()  # those of another stack
    out, err = io.StringIO(), io.StringIO()
    with (
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        mock.patch.object(sys, "stdin", io.StringIO(said)),
    ):
        try:
            status = main(command)
        except SystemExit as leaving:  # argparse, of what it does not understand
            status = int(leaving.code or 0)
    return subprocess.CompletedProcess(command, status, out.getvalue(), err.getvalue())


def admin_process(
    stack: LocalStack, *arguments: str, said: str = "", **environment: str
) -> subprocess.CompletedProcess[str]:
    """As `admin`, but in a separate process, as an operator runs it."""
    command = [sys.executable, "-m", "callback.admin", *arguments, "--table", stack.table_name]
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
        command, env=environment, input=said, capture_output=True, text=True, check=False
    )


def done(stack: LocalStack, *arguments: str, said: str = "") -> str:
    ran = admin(stack, *arguments, said=said)
    assert (ran.returncode, ran.stderr) == (0, "")
    return ran.stdout
