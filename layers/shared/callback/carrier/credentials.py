"""The carrier account's credentials, from a named parameter of SSM Parameter Store.

The parameter is a SecureString of JSON: {"account_sid", "auth_token"} and, during a token's
rotation, "previous_auth_token". Its value is never in an environment variable and never in a log.
"""

import json
import time
from dataclasses import dataclass, field

from aws_lambda_powertools import Logger

from callback.errors import CarrierUnavailable
from callback.storage.parameters import Parameters, ParameterUnreadable

logger = Logger(child=True)

_REFETCH_SECONDS = 30


@dataclass(frozen=True)
class Credentials:
    account_sid: str
    auth_token: str = field(repr=False)
    previous_auth_token: str | None = field(default=None, repr=False)

    @property
    def accepted_tokens(self) -> tuple[str, ...]:
        """Tokens whose signatures we accept. During a rotation some webhooks use the old one."""
        return tuple(t for t in (self.auth_token, self.previous_auth_token) if t)


class CredentialStore:
    """Every method raises CarrierUnavailable if the parameter cannot be read or is malformed."""

    def __init__(self, parameter_name: str, parameters: Parameters) -> None:
        self._name = parameter_name
        self._parameters = parameters
        self._refetched_at = float("-inf")

    def get(self) -> Credentials:
        return self._fetch(force=False)

    def refetch(self) -> Credentials | None:
        """Read the parameter without the cache. For use after a signature or a token failed: the
        token may have been rotated. Reads at most every 30 s and returns None in between."""
        if time.monotonic() - self._refetched_at < _REFETCH_SECONDS:
            return None
        self._refetched_at = time.monotonic()
        return self._fetch(force=True)

    def _fetch(self, *, force: bool) -> Credentials:
        try:
            parameter = json.loads(self._parameters.get(self._name, force_fetch=force))
            if not isinstance(parameter, dict):
                raise TypeError(f"{self._name} is not a JSON object")
            return Credentials(**parameter)
        except ParameterUnreadable as error:
            logger.error("the carrier's credentials cannot be read", error=error.code)
        except (ValueError, TypeError) as error:
            self._parameters.forget(self._name)
            # The error's message may quote the parameter.
            logger.error("the carrier's credentials cannot be read", error=type(error).__name__)
        raise CarrierUnavailable("The carrier's credentials cannot be read.")
