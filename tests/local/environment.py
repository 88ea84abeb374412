"""The environments: each function's own while it is loaded, and a harmless one for the process.

A handler reads its environment at import, so a function is loaded under exactly the variables
that Lambda would give it. All functions then share this process; for as long as they run here
its own variables are such that an AWS client made by mistake still reaches only the embedded AWS,
and that no variable of the developer's shell redirects the carrier's SDK or sends 127.0.0.1
through a proxy.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from tests.local.template import REGION, FunctionDefinition

# Made-up credentials: they sign requests to the embedded AWS, which does not check them.
_CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "local",
    "AWS_SECRET_ACCESS_KEY": "local",
    "AWS_SESSION_TOKEN": "local",
}


def of_function(definition: FunctionDefinition, aws_url: str) -> dict[str, str]:
    """What Lambda's Python runtime sets, plus what the template gives this function.

    AWS_ENDPOINT_URL (the embedded AWS) and the empty configuration files are the only additions:
    a Lambda sandbox has neither.
    """
    environment = {
        **_aws(aws_url),
        "AWS_EXECUTION_ENV": "AWS_Lambda_python3.13",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(definition.memory),
        "AWS_LAMBDA_FUNCTION_NAME": definition.name,
        "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
        "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
        "AWS_LAMBDA_LOG_GROUP_NAME": f"/aws/lambda/{definition.name}",
        "AWS_LAMBDA_LOG_STREAM_NAME": "local",
        "LAMBDA_RUNTIME_DIR": "/var/runtime",
        "LAMBDA_TASK_ROOT": str(definition.folder),
        "LANG": "en_US.UTF-8",
        "PATH": os.environ.get("PATH", os.defpath),
        "_HANDLER": definition.handler,
    }
    if definition.log_level is not None:
        environment["AWS_LAMBDA_LOG_FORMAT"] = "JSON"
        environment["AWS_LAMBDA_LOG_LEVEL"] = definition.log_level
    return {**environment, **definition.environment}


@contextmanager
def replaced(variables: Mapping[str, str]) -> Iterator[None]:
    """os.environ is exactly `variables` inside the block."""
    before = dict(os.environ)
    os.environ.clear()
    os.environ.update(variables)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


@contextmanager
def harmless(aws_url: str) -> Iterator[None]:
    """The process's own environment while functions run in it."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("AWS_", "TWILIO_"))
    }
    hosts = ",".join(filter(None, [kept.get("NO_PROXY") or kept.get("no_proxy"), "127.0.0.1"]))
    with replaced({**kept, **_aws(aws_url), "NO_PROXY": hosts, "no_proxy": hosts}):
        yield


def _aws(aws_url: str) -> dict[str, str]:
    return {
        **_CREDENTIALS,
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_ENDPOINT_URL": aws_url,
        "AWS_REGION": REGION,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    }
