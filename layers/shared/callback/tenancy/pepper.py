"""The pepper: one secret for the hashes of API keys and of addresses.

It is kept in SSM Parameter Store, so that neither the table nor a backup of it contains it.
"""

from aws_lambda_powertools.utilities.parameters import SSMProvider

_CACHE_SECONDS = 300
_SHORTEST = 32  # characters


class PepperTooShort(ValueError):
    """The pepper is short enough to guess. The message names its parameter."""


class Pepper:
    """Reads the pepper by its parameter name."""

    def __init__(self, parameter_name: str, provider: SSMProvider) -> None:
        self._name = parameter_name
        self._provider = provider

    def get(self) -> str:
        """Raises PepperTooShort, and Powertools' GetParameterError."""
        pepper = str(self._provider.get(self._name, decrypt=True, max_age=_CACHE_SECONDS))
        if len(pepper) < _SHORTEST:
            raise PepperTooShort(f"{self._name} has fewer than {_SHORTEST} characters.")
        return pepper
