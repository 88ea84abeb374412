"""Emergency numbers, and extensions that are similar to them."""

import phonenumbers
import pytest
from phonenumbers import PhoneMetadata, shortnumberinfo

from callback.numbering import emergency


@pytest.mark.parametrize("form", ["{}", "sip:{}@pbx.example", "sip:+{}@pbx.example"])
@pytest.mark.parametrize(
    ("digits", "home"),
    [
        ("911", "US"),
        ("112", "US"),
        ("000", "US"),
        ("933", "US"),
        ("9911", "US"),
        ("8911", "US"),
        ("0911", "US"),
        ("9112", "US"),
        ("9911", "GB"),
        ("0112", "GB"),
        ("0112", "DE"),
        ("9110", "DE"),
        ("0110", "DE"),
        ("9999", "GB"),
        ("0000", "AU"),
        ("015", "FR"),
    ],
)
def test_an_emergency_number_is_recognized_also_behind_a_digit_for_an_outside_line(
    digits, home, form
):
    assert emergency.is_emergency(form.format(digits), home)


@pytest.mark.parametrize("form", ["{}", "sip:{}@pbx.example"])
@pytest.mark.parametrize(
    ("digits", "home"),
    [
        ("9110", "US"),
        ("1112", "US"),
        ("1911", "US"),
        ("7911", "US"),
        ("99911", "US"),
        ("9000", "US"),
        ("8000", "US"),
        ("9999", "US"),
        ("9933", "US"),
        ("0000", "GB"),
        ("110", "US"),
        ("9112345", "US"),
        ("91", "US"),
        ("9", "US"),
    ],
)
def test_an_extension_similar_to_an_emergency_number_is_no_emergency_number(digits, home, form):
    assert not emergency.is_emergency(form.format(digits), home)


def test_no_region_has_an_emergency_number_that_is_longer_than_we_look_for():
    lengths = [
        length
        for region in phonenumbers.SUPPORTED_SHORT_REGIONS
        if (plan := PhoneMetadata.short_metadata_for_region(region)) and plan.emergency
        for length in plan.emergency.possible_length or plan.general_desc.possible_length
    ]

    assert max(lengths) == emergency.LONGEST


def test_an_ordinary_number_is_not_looked_up_in_each_region_of_its_country_code(monkeypatch):
    asked = []
    look_up = shortnumberinfo.is_emergency_number

    def recording(digits, region):
        asked.append(region)
        return look_up(digits, region)

    monkeypatch.setattr(shortnumberinfo, "is_emergency_number", recording)

    assert not emergency.is_emergency("+12135550188", "US")
    assert {*asked} == {"US"}

    assert emergency.is_emergency("+1911", "GB")
