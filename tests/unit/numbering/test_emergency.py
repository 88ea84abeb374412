"""Emergency numbers, and extensions that are similar to them."""

import pytest

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
