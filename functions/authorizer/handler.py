"""Tell the gateway which tenant an API key belongs to, before it forwards a client's request.

The gateway caches the response, for as long as template.yaml says, for every route. The response
therefore contains the key's scopes, too, and `http.tenant` enforces them on each route.
"""

from typing import Any

from aws_lambda_powertools import Logger

from callback import aws, http, settings
from callback.observability.redaction import redact_exceptions
from callback.storage.parameters import Parameters
from callback.storage.table import Table
from callback.tenancy import api_keys
from callback.tenancy.api_keys import ApiKeyStore
from callback.tenancy.pepper import Pepper

SETTINGS = settings.Authorizer.read()
logger = Logger(use_rfc3339=True)
table = Table(aws.dynamodb(), SETTINGS.table_name)
store = ApiKeyStore(table)
pepper = Pepper(SETTINGS.key_pepper_name, Parameters(aws.ssm))


@redact_exceptions
@logger.inject_lambda_context
def handler(event: http.Event, context: Any) -> dict[str, Any]:  # noqa: ARG001
    """A simple response (API Gateway Developer Guide, "Lambda authorizers for HTTP APIs")."""
    key = api_keys.authenticate(store, pepper.get(), http.header(event, "authorization"))
    if key is None:
        logger.info("no valid key")
        return {"isAuthorized": False}
    return {
        "isAuthorized": True,
        "context": http.authorizer_context(key.tenant, key.key_id, key.scopes),
    }
