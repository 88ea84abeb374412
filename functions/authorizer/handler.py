"""Asked by the gateway before a client's request goes on: whose API key is this?

The gateway remembers the answer for as long as the template says, whatever the route; so what a
key may do is told along with whose it is, and `http.tenant` holds each route to it.
"""

from typing import Any

from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.parameters import SSMProvider

from callback import aws, http, settings
from callback.observability.redaction import redact_exceptions
from callback.storage.table import Table
from callback.tenancy import tenants
from callback.tenancy.tenants import Pepper, TenantStore

SETTINGS = settings.Authorizer.read()
logger = Logger(use_rfc3339=True)
table = Table(aws.dynamodb(), SETTINGS.table_name)
store = TenantStore(table)
pepper = Pepper(SETTINGS.key_pepper_name, SSMProvider(boto3_client=aws.ssm()))


@redact_exceptions
@logger.inject_lambda_context
def handler(event: http.Event, context: Any) -> dict[str, Any]:  # noqa: ARG001
    """A simple response (API Gateway Developer Guide, "Lambda authorizers for HTTP APIs")."""
    key = tenants.authenticate(store, pepper.get(), http.header(event, "authorization"))
    if key is None:
        logger.info("no valid key")
        return {"isAuthorized": False}
    return {
        "isAuthorized": True,
        "context": http.authorizer_context(key.tenant, key.key_id, key.scopes),
    }
