"""Secrets by name from SSM Parameter Store, kept in memory for some minutes.

Powertools has a utility for this, which is paid at each cold start: a tenth of a webhook's.
"""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

from botocore.exceptions import BotoCoreError, ClientError

from callback import clock

if TYPE_CHECKING:
    from mypy_boto3_ssm import SSMClient

_CACHED_FOR = timedelta(minutes=5)


class ParameterUnreadable(Exception):
    """The parameter cannot be read. `code` is the code of AWS's error, or botocore's class."""

    def __init__(self, name: str, code: str) -> None:
        super().__init__(f"The parameter {name} cannot be read: {code}.")
        self.code = code


class _Cached(NamedTuple):
    text: str
    until: datetime


class Parameters:
    """Holds one value for each name it was asked for: a function has one or two names, all from its
    environment. The client is created at first use."""

    def __init__(self, client: "Callable[[], SSMClient]") -> None:
        self._client = client
        self._cache: dict[str, _Cached] = {}

    def get(self, name: str, *, force_fetch: bool = False) -> str:
        """The decrypted text, at most five minutes old. `force_fetch` reads it anew.

        Raises ParameterUnreadable. A value that is cached stays cached then.
        """
        cached = self._cache.get(name)
        if cached and not force_fetch and clock.now() < cached.until:
            return cached.text
        try:
            parameter = self._client().get_parameter(Name=name, WithDecryption=True)["Parameter"]
        except ClientError as error:
            raise ParameterUnreadable(name, error.response["Error"]["Code"]) from None
        except BotoCoreError as error:
            raise ParameterUnreadable(name, type(error).__name__) from None
        self._cache[name] = _Cached(parameter["Value"], clock.now() + _CACHED_FOR)
        return parameter["Value"]

    def forget(self, name: str) -> None:
        """Read the parameter anew next time: its value was of no use."""
        self._cache.pop(name, None)
