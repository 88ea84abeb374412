"""Numbers are judged by their country's plan, never by how they begin."""

import pytest

from callback import numbering


@pytest.mark.parametrize(
    ("written", "home", "number"),
    [
        ("+14155550123", "GB", "+14155550123"),
        ("(415) 555-0123", "US", "+14155550123"),
        ("415.555.0123", "US", "+14155550123"),
        ("1 415 555 0123", "US", "+14155550123"),
        ("011 44 20 7183 8750", "US", "+442071838750"),
        ("020 7183 8750", "GB", "+442071838750"),
        ("+44 (0)20 7183 8750", "US", "+442071838750"),
        ("+1 415\u00a0555\u20110123", "US", "+14155550123"),
        ("911", "US", None),
        ("555-0123 x12", "US", None),
        ("4155550123 x12", "US", None),
        ("1-800-FLOWERS", "US", None),
        ("mum", "US", None),
        ("", "US", None),
        ("415 555 0123", None, None),
        ("4" * 300, "US", None),
    ],
)
def test_a_number_is_read_as_people_write_it_at_home(written, home, number):
    assert numbering.read(written, home) == number


@pytest.mark.parametrize(
    ("number", "region", "plain"),
    [
        ("+14155550123", "US", True),
        ("+442071838750", "GB", True),
        ("+447400123456", "GB", True),
        ("+18095551234", "DO", True),
        ("+19005551234", "US", False),
        ("+18005551234", "US", False),
        ("+447012345678", "GB", False),
        ("+881612345678", "001", False),
        ("+979123456789", "001", False),
        ("+14155550", None, False),
        ("+9999999999", None, False),
    ],
)
def test_a_number_has_a_country_and_is_somebodys_telephone_or_is_not(number, region, plain):
    assert numbering.region(number) == region
    assert numbering.is_plain(number) is plain


@pytest.mark.parametrize(
    "text", ["", "14155550123", "+0415555", "+1415555012\n", "+１４１５５５５０１２３"]
)
def test_what_is_not_e164_is_not_taken_for_it(text):
    assert not numbering.is_e164(text)
    assert numbering.is_e164("+14155550123")
