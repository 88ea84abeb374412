"""The pepper: one secret for the hashes of API keys and of addresses.

It is kept in SSM Parameter Store, so that neither the table nor a backup of it contains it.
"""

from callback.storage.parameters import Parameters

_SHORTEST = 32  # characters


class PepperTooShort(ValueError):
    """The pepper is short enough to guess. The message names its parameter."""


class Pepper:
    """Reads the pepper by its parameter name."""

    def __init__(self, parameter_name: str, parameters: Parameters) -> None:
        self._name = parameter_name
        self._parameters = parameters

    def get(self) -> str:
        """Raises PepperTooShort, ParameterUnreadable."""
        pepper = self._parameters.get(self._name)
        if len(pepper) < _SHORTEST:
            raise PepperTooShort(f"{self._name} has fewer than {_SHORTEST} characters.")
        return pepper
