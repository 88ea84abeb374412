"""Money is exact, and its text is parsed back to the same amount."""

import pytest

from callback import amounts
from callback.amounts import InvalidAmount, Money


def test_money_is_exact_to_a_millionth():
    assert amounts.money("0.000001 USD").micros == 1
    assert amounts.money("999999999.999999 USD").micros == 999_999_999_999_999
    assert [amounts.decimal(micros) for micros in (0, 1, 50_000, 1_234_500, -20_000)] == [
        "0.00",
        "0.000001",
        "0.05",
        "1.2345",
        "-0.02",
    ]


@pytest.mark.parametrize("text", ["12.345 EUR", "0.00 USD", "999999999.999999 USD"])
def test_money_is_parsed_in_the_format_in_which_it_is_written(text):
    assert str(amounts.money(text)) == text


@pytest.mark.parametrize("text", ["", "5", "5 usd", "-5 USD", "5.0000001 USD", "1234567890 USD"])
def test_an_invalid_amount_is_refused(text):
    with pytest.raises(InvalidAmount, match="currency"):
        amounts.money(text)


def test_five_dollars_are_five_million_micros():
    assert amounts.money("5 USD") == Money(5_000_000, "USD")
