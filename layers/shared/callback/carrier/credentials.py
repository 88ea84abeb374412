"""The carrier account's credentials, by name from SSM Parameter Store.

The parameter is a SecureString holding JSON: {"account_sid", "auth_token"} and, while a token
is being rotated, "previous_auth_token". Never in an environment value, never in a log.
"""

import time
from dataclasses import dataclass, field

from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.parameters import SSMProvider
from aws_lambda_powertools.utilities.parameters.exceptions import (
    GetParameterError,
    TransformParameterError,
)

from callback.errors import CarrierUnavailable

logger = Logger(child=True)

_CACHE_SECONDS = 300
_REFETCH_SECONDS = 30


@dataclass(frozen=True)
class Credentials:
    account_sid: str
    auth_token: str = field(repr=False)
    previous_auth_token: str | None = field(default=None, repr=False)

    @property
    def accepted_tokens(self) -> tuple[str, ...]:
        """Tokens whose signatures count: webhooks sent around a rotation carry the old one."""
        return tuple(t for t in (self.auth_token, self.previous_auth_token) if t)


class CredentialStore:
    """Every method raises CarrierUnavailable where the parameter cannot be had, or is none."""

    def __init__(self, parameter_name: str, provider: SSMProvider) -> None:
        self._name = parameter_name
        self._provider = provider
        self._refetched_at = float("-inf")

    def get(self) -> Credentials:
        return self._fetch(force=False)

    def refetch(self) -> Credentials | None:
        """A signature or a token failed: it may have changed. At most every 30 s, else None."""
        if time.monotonic() - self._refetched_at < _REFETCH_SECONDS:
            return None
        self._refetched_at = time.monotonic()
        return self._fetch(force=True)

    def _fetch(self, *, force: bool) -> Credentials:
        try:
            stored = self._provider.get(
                self._name,
                decrypt=True,
                transform="json",
                max_age=_CACHE_SECONDS,
                force_fetch=force,
            )
            if not isinstance(stored, dict):
                raise TypeError(f"{self._name} is not a JSON object")
            return Credentials(**stored)
        except (GetParameterError, TransformParameterError, TypeError) as error:
            # Its message may quote the parameter.
            logger.error("the carrier's credentials cannot be had", error=type(error).__name__)
            raise CarrierUnavailable("The carrier's credentials cannot be had.") from None
