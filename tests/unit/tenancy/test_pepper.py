"""A pepper is long enough, or it is refused."""

import pytest

from callback.tenancy.pepper import Pepper, PepperTooShort

PEPPER = "0123456789abcdef0123456789abcdef"


class Parameter:
    def __init__(self, value):
        self.value = value

    def get(self, name):
        assert name == "/pepper"
        return self.value


def test_a_short_pepper_is_refused_and_only_its_parameter_is_named():
    assert Pepper("/pepper", Parameter(PEPPER)).get() == PEPPER
    with pytest.raises(PepperTooShort, match="/pepper") as refused:
        Pepper("/pepper", Parameter("guess-me")).get()
    assert "guess-me" not in str(refused.value)
