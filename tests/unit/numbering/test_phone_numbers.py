"""The numbering plan of a country decides about a number. Its prefix alone does not."""

import phonenumbers
import pytest

from callback.numbering import destinations, emergency, phone_numbers


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
def test_a_number_is_parsed_as_people_write_it_in_the_home_region(written, home, number):
    assert phone_numbers.read(written, home) == number


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
def test_a_number_has_a_country_and_is_an_ordinary_telephone_or_not(number, region, plain):
    assert phone_numbers.region(number) == region
    assert phone_numbers.is_plain(number) is plain


AT_A_PBX = {
    # International, without a prefix.
    ("14155550123", "US"): ["+14155550123"],
    ("442079460000", "US"): ["+442079460000"],
    ("870773111632", "US"): ["+870773111632"],
    ("sip:+14155550123@pbx.example", "GB"): ["+14155550123"],
    ("sip:14155550123@pbx.example:5061", "GB"): ["+14155550123"],
    # After an international prefix of any region, also behind a digit for an outside line.
    ("00442079460000", "US"): ["+442079460000"],
    ("011442079460000", "US"): ["+442079460000"],
    ("9011442079460000", "US"): ["+442079460000"],
    ("900442079460000", "GB"): ["+442079460000"],
    ("000442079460000", "DE"): ["+442079460000"],
    ("001114155550123", "AU"): ["+14155550123"],
    ("sip:+00442079460000@pbx.example", "US"): ["+442079460000"],
    # National, with or without a trunk prefix, also behind a digit for an outside line.
    ("4155550123", "US"): ["+14155550123"],
    ("94155550123", "US"): ["+14155550123"],
    ("814155550123", "US"): ["+14155550123"],
    ("02079460000", "GB"): ["+442079460000"],
    ("902079460000", "GB"): ["+442079460000"],
    ("5551234", "IS"): ["+3545551234"],  # numbers have seven digits there, and no trunk prefix
    ("95551234", "IS"): ["+3545551234"],
    ("sip:+9005550123@pbx.example", "US"): ["+19005550123"],
    # Two possible readings.
    ("914155550123", "US"): ["+14155550123", "+914155550123"],
    # Digits in other notations.
    ("sip:1-415-555-0123@pbx.example", "US"): ["+14155550123"],
    ("sip:+1.415.555.0123@pbx.example", "US"): ["+14155550123"],
    ("sip:.+14155550123@pbx.example", "US"): ["+14155550123"],
    ("sip:9+14155550123@pbx.example", "GB"): ["+914155550123", "+14155550123"],
    ("sip:14155550123p1@pbx.example", "US"): ["+14155550123"],
    ("sip:14155550123EXT12@pbx.example", "US"): ["+14155550123"],
    # E.164 numbers, in the form that carriers use.
    ("+14155550123", "US"): ["+14155550123"],
    ("+4402079460000", "US"): ["+442079460000"],
    # Invalid numbers that can be nothing but a number.
    ("+1415555012", "US"): ["+1415555012"],
    ("sip:+1000123@pbx.example", "US"): ["+1000123"],
    ("0111555555012", "US"): [],  # too short
    ("01115555550123", "US"): ["+15555550123"],
    # Extensions and words.
    ("201", "US"): [],
    ("0011", "US"): [],
    ("0049301", "US"): [],
    ("100012", "IS"): [],
    ("1000123", "US"): [],
    ("1000125", "US"): [],
    ("5551234", "US"): [],
    ("4930123", "US"): [],
    ("3012345", "DE"): [],
    ("12345678", "US"): [],
    ("sip:alice@pbx.example", "US"): [],
    ("sip:x14155550123@pbx.example", "US"): [],
    ("sip:14155550-ab12@pbx.example", "US"): [],
    ("sip:14155550123_2@pbx.example", "US"): [],
    ("sip:1000123@pbx.example", "US"): [],
    ("", "US"): [],
    # Without a home region.
    ("14155550123", None): ["+14155550123"],
    ("4155550123", None): [],
}


@pytest.mark.parametrize(("address", "home"), AT_A_PBX)
def test_an_address_stands_for_every_telephone_that_a_pbx_may_ring_for_it(address, home):
    telephones = phone_numbers.telephones(address, home)
    assert list(telephones) == AT_A_PBX[address, home]
    assert all(phone_numbers.is_e164(number) for number in telephones)


@pytest.mark.parametrize("home", sorted(phone_numbers.REGIONS))
def test_short_extensions_are_no_telephones_in_any_region(home):
    for digits in range(2, 7):
        for number in range(10):
            assert phone_numbers.telephones(str(number) * digits, home) == ()


EXAMPLES = {
    home: phonenumbers.format_number(
        phonenumbers.example_number(home), phonenumbers.PhoneNumberFormat.E164
    )
    for home in sorted(phone_numbers.REGIONS)
}


@pytest.mark.parametrize(
    ("home", "number"),
    # Shorter numbers may be extensions.
    [(home, number) for home, number in EXAMPLES.items() if len(number) > len("+1234567")],
)
def test_a_number_is_found_in_all_digits_that_a_pbx_may_dial_for_it(home, number):
    assert len(EXAMPLES) > 200
    for before in ("+", "", "00", "011", "900", "9011", "9", "8", "0"):
        assert number in phone_numbers.telephones(f"sip:{before}{number[1:]}@pbx.example", home)


@pytest.mark.parametrize(
    "text", ["", "14155550123", "+0415555", "+1415555012\n", "+１４１５５５５０１２３"]
)
def test_text_in_another_format_is_not_e164(text):
    assert not phone_numbers.is_e164(text)
    assert phone_numbers.is_e164("+14155550123")


def test_a_request_that_asks_for_a_number_often_has_it_parsed_once(monkeypatch):
    parsed = []
    parse = phonenumbers.parse

    def counting(text, *arguments):
        parsed.append(text)
        return parse(text, *arguments)

    monkeypatch.setattr(phonenumbers, "parse", counting)

    found = {destinations.find_destination("+12125550177", "US") for _ in range(28)}

    assert [telephone.region for telephone in found.pop().telephones] == ["US"]
    assert parsed == ["+12125550177"] * 2  # its readings, and its type


@pytest.mark.parametrize(
    "remembering",
    [phone_numbers.telephones, destinations.telephone, emergency.is_emergency],
)
def test_a_process_remembers_few_numbers(remembering):
    assert remembering.cache_info().maxsize <= 32
