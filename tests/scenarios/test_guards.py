"""Scenario 21, and everything else that is decided before anything is spent."""

import json
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Any

import phonenumbers
import pytest
from botocore.exceptions import ClientError
from phonenumbers import PhoneNumberType

from callback.amounts import MICROS
from callback.storage.table import Table
from callback.tenancy.numbers import NumberStore, TenantNumber
from callback.tenancy.pepper import Pepper
from callback.tenancy.policy import ALLOWABLE_TYPES
from callback.tenancy.policy import Policy as Defaults
from callback.tenancy.policy_store import PolicyStore
from callback.tenancy.policy_text import format_policy
from callback.tenancy.suppression import SuppressionList
from tests.support.play import PHASES, Play
from tests.support.world import TABLE, TENANT, FixedPepper, caller

LA = "+14155550123"
VERIFIED, OWNED = "+14155550199", "+14155550100"
CACHE = 10  # seconds after which a policy is felt at the latest


def may(play: Play, **fields: str) -> None:
    """What the tenant may do from here on."""
    play.world.set_policy(**fields)
    play.let(CACHE)


def by_default(play: Play) -> None:
    may(play, **dict.fromkeys(format_policy(Defaults()), ""))


def numbers(play: Play) -> NumberStore:
    return NumberStore(Table(play.world._dynamodb, TABLE))


@pytest.fixture
def shows(play: Play) -> Play:
    """The tenant shows a number of its own where it has no other to show."""
    numbers(play).put(TenantNumber(VERIFIED, TENANT, owned=False))
    may(play, fallback_caller_id=VERIFIED)
    return play


def code(answer: dict[str, Any] | None) -> str:
    assert answer is not None
    return str(json.loads(answer["body"]).get("code", answer["statusCode"]))


def problem(answer: dict[str, Any] | None) -> dict[str, Any]:
    assert answer is not None
    told: dict[str, Any] = json.loads(answer["body"])
    return told


def items(play: Play) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = play.world._dynamodb.scan(TableName=TABLE)["Items"]
    return found


def counted(play: Play) -> dict[str, int]:
    """Every counter of the tenant's, by what it counts. Its shards together."""
    used: dict[str, int] = {}
    for item in items(play):
        if item["pk"]["S"].startswith("LIMIT#"):
            what = item["sk"]["S"]
            used[what] = used.get(what, 0) + int(item["used"]["N"])
    return used


def spent(play: Play) -> int:
    (used,) = [used for what, used in counted(play).items() if what.startswith("SPEND#")]
    return used


def nothing_happened(play: Play) -> bool:
    return not play.world.records() and not play.calls() and not counted(play)


# -- 21: toll fraud ------------------------------------------------------------------------------

EXAMPLE_882 = phonenumbers.format_number(
    phonenumbers.example_number_for_non_geo_entity(882), phonenumbers.PhoneNumberFormat.E164
)
FRAUD = {
    "+19005551234": "number_type_not_allowed",  # premium, where we are at home
    "+15005551234": "number_type_not_allowed",  # a personal number
    "+18095551234": "region_not_allowed",  # the Dominican Republic
    "+18765551234": "region_not_allowed",  # Jamaica
    "+12684641234": "region_not_allowed",  # Antigua
    "+447012345678": "number_type_not_allowed",  # personal, the classic
    "+448711234567": "number_type_not_allowed",
    "+449091234567": "number_type_not_allowed",
    "+445612345678": "number_type_not_allowed",  # VoIP, unless it is allowed
    "+447911123456": "region_not_allowed",  # Guernsey
    "+447781123456": "region_not_allowed",
    "+447797123456": "region_not_allowed",  # Jersey
    "+447624123456": "region_not_allowed",  # the Isle of Man
    "+870773123456": "region_not_allowed",  # satellites
    "+881612345678": "region_not_allowed",
    EXAMPLE_882: "region_not_allowed",  # international networks
    "+883510012345": "region_not_allowed",
    "+979123456789": "region_not_allowed",  # international premium
    "+88213123": "number_not_valid",
    "+1415555012": "number_not_valid",
    "+141555501234": "number_not_valid",
    "+4420794600001": "number_not_valid",
    "+2471234567": "number_not_valid",
    "+9991234567": "number_not_valid",  # no country has this code
    "sip:1000201@elsewhere.example": "sip_host_not_allowed",
    "sip:+19005551234@elsewhere.example": "sip_host_not_allowed",
    OWNED: "own_number",
    # The same, written for a PBX that leads outward.
    "19005550123": "number_type_not_allowed",
    "9005550123": "number_type_not_allowed",
    "99005550123": "number_type_not_allowed",
    "09005550123": "number_type_not_allowed",
    "89005550123": "number_type_not_allowed",
    "01119005550123": "number_type_not_allowed",
    "0119005550123": "number_type_not_allowed",
    "0019005550123": "number_type_not_allowed",
    "901119005550123": "number_type_not_allowed",
    "900447012345678": "number_type_not_allowed",
    "sip:+19005550123@pbx.example": "number_type_not_allowed",
    "sip:19005550123@pbx.example": "number_type_not_allowed",
    "sip:+1-900-555-0123@pbx.example:5061": "number_type_not_allowed",
    "sip:1.900.555.0123@PBX.example": "number_type_not_allowed",
    "sip:9+19005550123@pbx.example": "region_not_allowed",  # or +91 900...
    "sip:++19005550123@pbx.example": "number_type_not_allowed",
    "sip:19005550123ww1@pbx.example": "number_type_not_allowed",
    "sip:19005550123ext1@pbx.example": "number_type_not_allowed",
    "+119005550123": "number_type_not_allowed",  # a trunk prefix too many
    "sip:+870773111632@pbx.example": "region_not_allowed",
    "870773111632": "region_not_allowed",
    "011870773111632": "region_not_allowed",
    "18765551234": "region_not_allowed",
    "9011247621234": "number_not_valid",  # Ascension, and no number there
    "sip:+1415555012@pbx.example": "number_not_valid",
    "14155550100": "own_number",
    "sip:+14155550100@pbx.example": "own_number",
    "95550123": "extension_too_long",  # a neighbour's, at a PBX
    "sip:95550123@pbx.example": "extension_too_long",
    "123456789012": "extension_too_long",
    "sip:10102889005550123@pbx.example": "extension_too_long",  # by a carrier of one's choice
}
# Refused by their form, each naming its field.
NO_ADDRESS = {
    "911": "emergency_number",
    "112": "emergency_number",
    "999": "emergency_number",
    "933": "emergency_number",
    "+1911": "emergency_number",
    "+44999": "emergency_number",
    "sip:911@pbx.example": "emergency_number",
    "sip:+911@pbx.example": "emergency_number",
    "9911": "emergency_number",
    "8911": "emergency_number",
    "9112": "emergency_number",
    "0112": "emergency_number",
    "sip:9911@pbx.example": "emergency_number",
    "sip:9.911@pbx.example": "emergency_number",
    "sip:911w1@pbx.example": "emergency_number",
    "tel:+14155550123": "invalid_address",
    "client:alice": "invalid_address",
    "+14155550123\n": "invalid_address",
    "+1415555０１２３": "invalid_address",
    "+1 415 555 0123": "invalid_address",
    "0014155550123x": "invalid_address",
    "5": "invalid_address",
}


@pytest.mark.parametrize("leg", ["leg_A", "leg_B"])
@pytest.mark.parametrize("to", FRAUD)
def test_a_number_type_used_for_fraud_is_refused_before_any_spend(shows, to, leg):
    numbers(shows).put(TenantNumber(OWNED, TENANT, owned=True))
    may(shows, allowed_types="fixed_line,mobile,fixed_line_or_mobile")
    other = "leg_A" if leg == "leg_B" else "leg_B"
    answer = shows.world.request("POST", body={leg: {"to": to}, other: {"to": "1000201"}})
    assert (code(answer), answer["statusCode"]) == (FRAUD[to], 403)
    assert problem(answer)["leg"] == leg[-1]
    assert len(problem(answer)["detail"].split()) > 4, "it says what to do"
    assert to not in answer["body"]
    assert nothing_happened(shows)


@pytest.mark.parametrize("to", NO_ADDRESS)
def test_an_invalid_or_emergency_address_is_refused_by_its_field(play, to):
    answer = play.post(to)
    assert answer["statusCode"] == 400
    errors = {error["field"]: error["code"] for error in problem(answer)["errors"]}
    assert errors == {"leg_A.to": NO_ADDRESS[to]}
    assert nothing_happened(play)


def test_a_party_is_not_called_to_talk_to_itself(play):
    assert play.post("1000201", "1000201")["statusCode"] == 400
    assert nothing_happened(play)


def test_no_policy_can_allow_number_types_used_for_fraud(shows):
    """Every example that there is of such numbers, whatever the country."""
    every = ",".join(sorted(phonenumbers.SUPPORTED_REGIONS))
    may(shows, allowed_regions=every, allowed_types=",".join(sorted(ALLOWABLE_TYPES)))
    kinds = (
        PhoneNumberType.PREMIUM_RATE,
        PhoneNumberType.SHARED_COST,
        PhoneNumberType.PERSONAL_NUMBER,
        PhoneNumberType.PAGER,
        PhoneNumberType.UAN,
        PhoneNumberType.VOICEMAIL,
    )
    examples = [
        phonenumbers.example_number_for_type(region, kind)
        for region in sorted(phonenumbers.SUPPORTED_REGIONS)
        for kind in kinds
    ]
    examples += [
        phonenumbers.example_number_for_non_geo_entity(country_code)
        for country_code in phonenumbers.COUNTRY_CODES_FOR_NON_GEO_REGIONS
    ]
    asked = [
        phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
        for number in examples
        if number
    ]
    answers = Counter(code(shows.post(to)) for to in asked if len(to) > 7)
    assert sum(answers.values()) > 250
    assert set(answers) == {"number_type_not_allowed", "region_not_allowed"}
    assert nothing_happened(shows)


def test_an_emergency_of_any_country_in_the_request_is_refused_at_a_pbx(shows):
    """15 is an ambulance in France, and nothing here."""
    numbers(shows).put(TenantNumber("+33142685300", TENANT, owned=False))
    may(shows, allowed_regions="US,FR")
    answer = shows.post("15", "+33142685300")
    assert (code(answer), problem(answer)["leg"]) == ("emergency_number", "A")
    assert nothing_happened(shows)
    assert code(shows.post("15")) == "202"


def test_a_thousand_numbers_of_one_prefix_are_twenty_calls_an_hour(shows):
    may(shows, calls_per_prefix="20/1h")
    answers = Counter(
        code(shows.post(f"+1415556{n:04}", str(1000000 + n))) for n in range(100, 160)
    )
    assert answers == {"202": 20, "too_many_calls_to_prefix": 40}
    assert len(shows.world.records()) == 20
    refused = shows.post("+14155560999")
    assert 0 < int(refused["headers"]["Retry-After"]) <= 3600
    shows.let(int(refused["headers"]["Retry-After"]), step=60)
    assert code(shows.post("+14155560999")) == "202"


def test_a_number_called_again_and_again_all_day_is_ten_calls(shows):
    """However patiently: three in ten minutes, ten in a day (UTC)."""
    may(shows, calls_per_number="3/10m,10/1d")
    shows.party(LA, answer_after=1, hang_up_after=1)
    answers = []
    for n in range(30):
        answers.append(code(shows.post(LA, f"10002{n:02}", allow_parallel=True)))
        shows.let(240, step=60)
    assert answers.count("202") == 10
    assert set(answers) == {"202", "too_many_calls_to_number"}


# However it is written: for the carrier, or for a PBX that leads outward.
SAME_AS_LA = (
    LA,
    LA[1:],
    LA[2:],
    "9" + LA[2:],
    "011" + LA[1:],
    "9011" + LA[1:],
    "00" + LA[1:],
    f"sip:{LA}@pbx.example",
    f"sip:{LA[1:]}@PBX.example:5061",
    "sip:1-415-555-0123@pbx.example",
    "+11" + LA[2:],
)


def test_a_number_is_counted_however_it_is_written(shows):
    may(shows, calls_per_number="3/1d")
    answers = [code(shows.post(to, f"10002{n:02}")) for n, to in enumerate(SAME_AS_LA)]
    assert answers == ["202"] * 3 + ["too_many_calls_to_number"] * (len(SAME_AS_LA) - 3)


def test_numbers_beside_it_are_counted_however_they_are_written(shows):
    may(shows, calls_per_prefix="3/1d")
    answers = [
        code(shows.post(to.replace("0123", f"013{n}"), f"10002{n:02}"))
        for n, to in enumerate(SAME_AS_LA[:9])
    ]
    assert answers == ["202"] * 3 + ["too_many_calls_to_prefix"] * 6


def test_a_number_dialed_by_a_pbx_costs_what_the_number_costs(shows):
    prices = [rehearsed(shows, to) for to in (LA, *SAME_AS_LA, "sip:+442079460000@pbx.example")]
    calls = [json.loads(answer["body"])["calls"][0] for answer in prices]
    assert [call["price_per_minute"] for call in calls] == ["0.02"] * (len(calls) - 1) + ["0.03"]
    assert [call["type"] for call in calls[-2:]] == ["fixed_line_or_mobile", "fixed_line"]


def test_digits_that_may_be_several_numbers_are_judged_as_each(shows):
    """9 for a line and a number at home, or a number in India."""
    to = "914155550123"
    may(shows, allowed_regions="US")
    answer = shows.post(to)
    assert (code(answer), problem(answer)["region"]) == ("region_not_allowed", "IN")
    assert "write numbers with +" in problem(answer)["detail"]
    may(shows, allowed_regions="IN")
    assert problem(shows.post(to))["region"] == "US"
    may(shows, allowed_regions="US,IN")
    (call, _) = json.loads(rehearsed(shows, to)["body"])["calls"]
    assert (call["region"], call["price_per_minute"]) == ("US", "2.00"), "the dearer's price"
    for number in (LA, "+914155550123"):
        suppression(shows).add(TENANT, number)
        assert code(shows.post(to)) == "suppressed"
        suppression(shows).remove(TENANT, number)
    assert code(shows.post(to)) == "202"


@pytest.mark.parametrize(
    "to", ["12", "201", "9000", "9110", "1112", "100012", "1000123", "1000125", "5551234"]
)
def test_an_extension_stays_one_and_so_does_a_word(play, to):
    other = "1000218"
    assert code(play.post(to, other)) == "202"
    for written in (f"sip:{to}@pbx.example", f"sip:a{to}@pbx.example", f"sip:{to}_a@pbx.example"):
        assert code(play.post(written, other, allow_parallel=True)) == "202"
    told = rehearsed(play, to, other, allow_parallel=True)
    call = json.loads(told["body"])["calls"][0]
    assert (call["type"], call["price_per_minute"]) == ("extension", "0.01")


def test_how_long_an_extension_may_be_is_the_tenants_and_a_number_is_a_number(play):
    may(play, longest_extension="4")
    assert code(play.post("2001", "3001")) == "202"
    answer = play.post("20010", "3001")
    assert (code(answer), problem(answer)["leg"]) == ("extension_too_long", "A")
    assert "4 digits" in problem(answer)["detail"]
    may(play, longest_extension="15")
    assert code(play.post("123456789012345", "3001")) == "202"
    assert code(play.post("19005550123", "3001")) == "number_type_not_allowed"
    assert code(play.post("sip:1234567890123456@pbx.example", "3001")) == "extension_too_long"


# -- caller IDs ----------------------------------------------------------------------------------


def shown_ids(answer: dict[str, Any] | None) -> tuple[str, str]:
    assert answer is not None
    assert answer["statusCode"] == 202, answer
    record = json.loads(answer["body"])
    return record["leg_A"]["from"], record["leg_B"]["from"]


def test_a_number_of_the_tenants_own_is_shown_and_another_is_not(shows):
    numbers(shows).put(TenantNumber(OWNED, TENANT, owned=True))
    shows.world.make_tenant("another")
    numbers(shows).put(TenantNumber("+13105550148", "another", owned=False))
    legs = {"leg_B": {"to": "1000218"}, "allow_parallel": True}
    for own in (VERIFIED, OWNED):
        body = {"leg_A": {"to": LA, "from": own}, **legs}
        assert shown_ids(shows.world.request("POST", body=body))[0] == own
    before = len(shows.world.records())
    for others in ("+13105550148", "+13105550149", "sip:+13105550149@pbx.example", "1000125"):
        body = {"leg_A": {"to": LA, "from": others}, **legs}
        answer = shows.world.request("POST", body=body)
        assert (code(answer), problem(answer)["leg"]) == ("caller_id_not_allowed", "A"), others
    assert len(shows.world.records()) == before


def test_nobodys_number_is_shown_to_the_other_unless_it_is_the_tenants(shows):
    assert shown_ids(shows.post(LA, "1000218")) == (VERIFIED, VERIFIED)
    numbers(shows).put(TenantNumber(LA, TENANT, owned=False))
    assert shown_ids(shows.post(LA, "1000201")) == (VERIFIED, LA)


def test_without_a_number_to_show_a_telephone_is_not_called(play):
    answer = play.post(LA)
    assert (code(answer), problem(answer)["leg"]) == ("caller_id_not_allowed", "A")
    assert problem(answer)["detail"] == (
        "There is no caller ID for leg_A. Set leg_A.from to a number of yours, or ask your operator"
        f" to run `put-number {TENANT} <number>` and"
        f" `set-policy {TENANT} fallback_caller_id=<number>`."
    )
    assert nothing_happened(play)


def test_a_caller_id_that_is_not_the_tenants_is_refused_with_the_command_that_adds_it(play):
    body = {"leg_A": {"to": LA, "from": VERIFIED}, "leg_B": {"to": "1000218"}}
    answer = play.world.request("POST", body=body)
    assert (code(answer), problem(answer)["leg"]) == ("caller_id_not_allowed", "A")
    assert problem(answer)["detail"] == (
        "leg_A.from must be a number of yours, owned or verified. Omit it, or ask your operator to"
        f" run `put-number {TENANT} <number>`."
    )


def test_a_fallback_that_is_no_longer_the_tenants_is_not_shown(shows):
    numbers(shows).remove(TENANT, VERIFIED)
    assert code(shows.post(LA)) == "caller_id_not_allowed"


def test_extensions_are_shown_where_the_tenant_allows_it(play):
    assert shown_ids(play.post("1000201", "1000218")) == ("1000218", "1000201")
    may(play, any_caller_id_extension="")
    assert code(play.post("1000201", "1000219")) == "caller_id_not_allowed"
    body = {"leg_A": {"to": "1000201", "from": "1000219"}, "leg_B": {"to": "1000219"}}
    assert code(play.world.request("POST", body=body)) == "caller_id_not_allowed"
    may(play, any_caller_id_extension="true")
    assert code(play.world.request("POST", body={**body, "allow_parallel": True})) == "202"
    may(play, any_caller_id_extension="")
    may(play, concurrent_callbacks="0")
    told = play.world.request("POST", body=body)
    assert code(told) == "caller_id_not_allowed", "what waiting would not mend is told first"


def test_a_strangers_number_is_not_shown_as_an_extension_either(shows):
    """At a PBX any extension may be shown; that of somebody's telephone is none."""
    for strangers in ("13105550149", "3105550149", "sip:13105550149@pbx.example"):
        legs = {"leg_A": {"to": "1000201", "from": strangers}, "leg_B": {"to": "1000218"}}
        answer = shows.world.request("POST", body=legs)
        assert (code(answer), problem(answer)["leg"]) == ("caller_id_not_allowed", "A"), strangers
    own = {"leg_A": {"to": "1000201", "from": VERIFIED[1:]}, "leg_B": {"to": "1000218"}}
    assert shown_ids(shows.world.request("POST", body=own))[0] == VERIFIED[1:]


@pytest.mark.parametrize("to", [to for to in SAME_AS_LA if to != LA])
def test_a_telephone_behind_a_pbx_is_shown_a_number_and_no_extension(shows, to):
    legs = {"leg_A": {"to": to, "from": "1000125"}, "leg_B": {"to": "1000218"}}
    assert code(shows.world.request("POST", body=legs)) == "caller_id_not_allowed"
    assert shown_ids(shows.post(to, "1000218")) == (VERIFIED, VERIFIED)


# -- suppression ---------------------------------------------------------------------------------


def suppression(play: Play) -> SuppressionList:
    pepper = Pepper("/pepper", FixedPepper())  # type: ignore[arg-type]
    return SuppressionList(Table(play.world._dynamodb, TABLE), pepper)


@pytest.mark.parametrize("order", ["sequential", "reverse", "simultaneous"])
def test_nobody_who_is_suppressed_is_called_whichever_leg_they_are(shows, order):
    suppression(shows).add(TENANT, LA)
    for a, b, leg in (
        (LA, "1000218", "A"),
        ("1000218", LA, "B"),
        (f"sip:{LA}@pbx.example", "1000218", "A"),
    ):
        answer = shows.post(a, b, order=order)
        assert (code(answer), problem(answer)["leg"]) == ("suppressed", leg)
    for stored, asked in (
        ("sip:1000201@pbx.example", "1000201"),
        ("1000219", "sip:1000219@PBX.example"),
    ):
        suppression(shows).add(TENANT, stored)
        assert code(shows.post(asked, order=order)) == "suppressed"
    assert nothing_happened(shows)


@pytest.mark.parametrize("to", SAME_AS_LA)
@pytest.mark.parametrize("said", [LA, LA[1:], f"sip:{LA}@pbx.example", "+11" + LA[2:]])
def test_nobody_who_is_suppressed_is_called_however_they_are_written(shows, said, to):
    suppression(shows).add(TENANT, said)
    answer = shows.post("1000218", to)
    assert (code(answer), problem(answer)["leg"]) == ("suppressed", "B")
    assert nothing_happened(shows)
    suppression(shows).remove(TENANT, said)
    assert code(shows.post("1000218", to)) == "202"


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (LA, f"sip:{LA}@pbx.example"),
        (f"sip:{LA}@pbx.example", LA),
        ("1000201", "sip:1000201@pbx.example:5061"),
    ],
)
def test_a_party_named_as_the_other_is_elsewhere_may_be_called_unless_suppressed(shows, a, b):
    suppression(shows).add(TENANT, LA)
    suppression(shows).add(TENANT, "1000201")
    answer = shows.post(a, b)
    assert (code(answer), problem(answer)["leg"]) == ("suppressed", "A")
    suppression(shows).remove(TENANT, LA)
    suppression(shows).remove(TENANT, "1000201")
    assert code(shows.post(a, b)) == "202"


def test_a_stop_during_admission_prevents_the_call(shows):
    """After the rules have looked, and before the callback is stored."""
    stop = lambda: suppression(shows).add(TENANT, LA)  # noqa: E731
    with shows.whenever("before dynamodb.transact_write_items", stop) as done:
        answer = shows.post(LA, key="key-of-a-client-1")
    assert done
    assert code(answer) == "suppressed"
    assert nothing_happened(shows)
    suppression(shows).remove(TENANT, LA)
    assert code(shows.post(LA, key="key-of-a-client-1")) == "202", "the key was not used up"


# -- when ----------------------------------------------------------------------------------------


def test_outside_the_calling_window_the_next_time_is_told_and_then_it_is_allowed(shows):
    """It is six in Greenwich and the night before in California, where eight is our sixteen."""
    may(shows, calling_window="08:00-21:00 mon-sun")
    now = shows.world.clock.now()
    night = now.replace(hour=6, minute=0, second=0, microsecond=0)
    shows.let(((night - now) % timedelta(days=1)).total_seconds(), step=600)
    answer = shows.post(LA)
    told = problem(answer)
    assert (code(answer), told["leg"]) == ("outside_calling_window", "A")
    at = datetime.fromisoformat(told["next_allowed_at"])
    assert (at.hour, at.minute) == (16, 0)
    shows.let((at - shows.world.clock.now()).total_seconds() - 1, step=600)
    assert code(shows.post(LA)) == "outside_calling_window"
    assert code(shows.post(LA[1:])) == "outside_calling_window"
    shows.let(1)
    assert code(shows.post(LA)) == "202"
    assert code(shows.post(LA[1:])) == "202"


def test_the_tenants_own_people_and_its_pbx_are_called_at_any_hour(shows):
    numbers(shows).put(TenantNumber(LA, TENANT, owned=False))
    nobody_now = "00:00-00:01 mon"
    may(shows, calling_window=nobody_now)
    assert code(shows.post(LA, "1000218")) == "202"
    assert code(shows.post("+12125550123", "1000218")) == "outside_calling_window"
    may(shows, pbx_zone="Europe/Berlin")
    answer = shows.post(LA, "1000201")
    assert (code(answer), problem(answer)["leg"]) == ("outside_calling_window", "B")


# -- how many ------------------------------------------------------------------------------------


@pytest.fixture
def dynamodb_at_once(shows: Play, monkeypatch: pytest.MonkeyPatch) -> Play:
    """Requests on one row come one after another, and a transaction that meets another is
    canceled, as DynamoDB has it (API reference, TransactWriteItems). moto knows neither."""
    table, around = threading.Lock(), shows.world.faults.around

    def serial(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def locked(*args: Any, **kwargs: Any) -> Any:
            transaction = name.endswith("transact_write_items")
            if not table.acquire(blocking=not transaction):
                reasons = [{"Code": "TransactionConflict"} for _ in kwargs["TransactItems"]]
                raise _canceled(reasons)
            try:
                return call(*args, **kwargs)
            finally:
                table.release()

        return around(name, locked if name.startswith("dynamodb") else call)

    _canceled = conflict_of(shows)
    monkeypatch.setattr(shows.world.faults, "around", serial)
    return shows


def conflict_of(play: Play) -> Callable[[list[dict[str, str]]], ClientError]:
    made = play.world._dynamodb.exceptions.TransactionCanceledException

    def canceled(reasons: list[dict[str, str]]) -> ClientError:
        document = {
            "Error": {"Code": "TransactionCanceledException", "Message": "canceled"},
            "CancellationReasons": reasons,
        }
        error: ClientError = made(document, "TransactWriteItems")
        return error

    return canceled


def posted(play: Play, number: int, **fields: Any) -> dict[str, Any]:
    body = {"leg_A": {"to": f"2{number:05}"}, "leg_B": {"to": f"3{number:05}"}, **fields}
    answer, error = play.world.invoke(
        "CallbackApi",
        {
            "routeKey": "POST /voice/call/callback",
            "headers": {},
            "requestContext": caller(),
            "body": json.dumps(body),
        },
    )
    assert error is None, answer
    assert isinstance(answer, dict)
    return answer


def all_at_once(play: Play, count: int, clients: int, **fields: Any) -> list[dict[str, Any]]:
    """Each request until it is decided: who lost too many races is told to come again."""
    lost = []

    def client(number: int) -> dict[str, Any]:
        for _ in range(100):
            answer = posted(play, number, **fields)
            if code(answer) != "store_contended":
                return answer
            lost.append(number)
        raise AssertionError(answer)

    with ThreadPoolExecutor(clients) as pool:
        return list(pool.map(client, range(count)))


# Of a minute's conversation, at the PBX's price of a minute.
COST = 30_000


def test_a_thousand_at_once_do_not_spend_a_millionth_over_the_cap(dynamodb_at_once):
    play = dynamodb_at_once
    cap = 23 * COST + COST // 2
    may(play, daily_spend=f"{cap / MICROS:.6f} USD")
    answers = all_at_once(play, 1000, 50, max_duration_seconds=60)
    decided = Counter(code(answer) for answer in answers)
    assert decided == {"202": 23, "spend_cap_reached": 1000 - 23}
    assert spent(play) == 23 * COST <= cap
    assert len(play.world.records()) == len(play.calls("A")) == 23
    assert counted(play)["AT-ONCE"] == 23


@pytest.mark.parametrize(
    ("limit", "text", "refusal", "status"),
    [
        ("concurrent_callbacks", "9", "too_many_at_once", 429),
        ("calls_per_tenant", "9/1d", "too_many_callbacks", 429),
        ("daily_spend", f"{9 * COST / MICROS:.6f} USD", "spend_cap_reached", 403),
    ],
)
def test_of_many_at_once_exactly_as_many_are_taken_as_are_allowed(
    dynamodb_at_once, limit, text, refusal, status
):
    play = dynamodb_at_once
    may(play, **{limit: text})
    answers = all_at_once(play, 60, 20, max_duration_seconds=60)
    assert Counter(code(answer) for answer in answers) == {"202": 9, refusal: 51}
    for answer in answers:
        if answer["statusCode"] != 202:
            assert answer["statusCode"] == status
            assert ("Retry-After" in answer["headers"]) == (status == 429)
    assert len(play.world.records()) == 9


# Of a conversation of four hours, in which B may first wait a minute.
LONG_COST = 4_810_000


def test_a_limit_that_is_divided_among_rows_is_used_up_and_given_back(dynamodb_at_once):
    """Each row's part is 50 dollars, so the last callbacks take money from several."""
    play = dynamodb_at_once
    cap = 25 * LONG_COST + LONG_COST // 2
    may(play, daily_spend=f"{cap / MICROS:.6f} USD", concurrent_callbacks="250")
    answers = all_at_once(play, 60, 20, max_duration_seconds=14_400)
    decided = Counter(code(answer) for answer in answers)
    assert decided == {"202": 25, "spend_cap_reached": 35}
    assert (counted(play)["AT-ONCE"], spent(play)) == (25, 25 * LONG_COST)
    keys = [(item["pk"]["S"], item["sk"]["S"]) for item in items(play)]
    assert sum(pk.startswith("LIMIT#") and "SPEND#" in sk for pk, sk in keys) == 3
    play.let(14_400)
    assert counted(play)["AT-ONCE"] == 0
    assert 0 < spent(play) < 25 * LONG_COST // 10


def test_a_place_and_the_money_are_free_again_when_a_callback_has_ended(shows):
    """30 s of leg A and 5 s of leg B are a begun minute each."""
    may(shows, concurrent_callbacks="1")
    callback_id = shows.accepted("1000201", "1000218", max_duration_seconds=60)
    assert counted(shows)["AT-ONCE"] == 1
    assert spent(shows) == COST
    other = shows.post("1000211", "1000219")
    assert (code(other), other["headers"]["Retry-After"]) == ("too_many_at_once", "10")
    record = shows.ended(callback_id, within=60)
    assert record["outcome"] == "completed"
    shows.let(1)
    assert counted(shows)["AT-ONCE"] == 0
    assert spent(shows) == 20_000
    assert code(shows.post("1000211", "1000219")) == "202"


def test_a_callback_that_the_carrier_refuses_costs_nothing(shows):
    answer = shows.post("1000206")
    assert code(answer) == "carrier_rejected"
    assert (counted(shows)["AT-ONCE"], spent(shows)) == (0, 0)


@pytest.mark.parametrize("play", PHASES, indirect=True)
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("nth", [1, 2])
def test_a_crash_while_returning_a_reservation_returns_it_once(play, when, nth):
    callback_id = play.accepted("1000201", "1000218", max_duration_seconds=60)
    play.world.faults.arm(f"{when} dynamodb.transact_write_items", nth)
    play.ended(callback_id, within=180)
    play.let(180)
    assert (counted(play)["AT-ONCE"], spent(play)) == (0, 20_000)


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_crash_while_reserving_takes_all_or_nothing_and_leaks_nothing(play, when):
    play.world.faults.arm(f"{when} dynamodb.transact_write_items")
    assert play.post("1000201", "1000218", max_duration_seconds=60) is None
    stored = len(play.world.records())
    assert stored == (when == "after")
    assert counted(play).get("AT-ONCE", 0) == stored
    if stored:
        play.ended(play.the_only_id(), within=300)
        play.let(120)
        assert (counted(play)["AT-ONCE"], spent(play)) == (0, 20_000)


def test_a_callback_too_dear_for_the_day_is_refused_and_a_shorter_one_is_not(shows):
    may(shows, daily_spend="1.00 USD")
    answer = shows.post(LA, max_duration_seconds=3600)
    assert code(answer) == "spend_cap_reached"
    assert "max_duration_seconds" in problem(answer)["detail"]
    assert code(shows.post(LA, max_duration_seconds=600)) == "202"


def test_money_in_another_currency_than_the_prices_buys_nothing(play):
    may(play, daily_spend="1000.00 EUR")
    assert code(play.post("1000201")) == "spend_cap_reached"


def test_the_day_begins_anew_at_midnight(play):
    may(play, daily_spend="0.04 USD")
    now = play.world.clock.now()
    midnight = (now + timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0)
    assert code(play.post("1000201", "1000218", max_duration_seconds=60)) == "202"
    assert code(play.post("1000211", "1000219", max_duration_seconds=60)) == "spend_cap_reached"
    play.let((midnight - now).total_seconds(), step=300)
    assert code(play.post("1000211", "1000219", max_duration_seconds=60)) == "202"


def test_the_remaining_limit_is_reported_and_runs_out(play):
    may(play, calls_per_tenant="3/1m,5/1d")
    play.let(60 - play.world.clock.now().second)
    told = []
    for n in range(4):
        answer = play.post(f"10002{n:02}")
        headers = answer["headers"]
        assert headers["RateLimit-Policy"] == '"tenant-60";q=3;w=60, "tenant-86400";q=5;w=86400'
        told.append([part.split(";")[1] for part in headers["RateLimit"].split(", ")])
    assert told == [["r=2", "r=4"], ["r=1", "r=3"], ["r=0", "r=2"], ["r=0", "r=2"]]
    assert (code(answer), answer["statusCode"]) == ("too_many_callbacks", 429)
    wait = int(answer["headers"]["Retry-After"])
    assert f";t={wait}," in answer["headers"]["RateLimit"]
    play.let(wait - 1)
    assert code(play.post("1000209")) == "too_many_callbacks"
    play.let(1)
    assert code(play.post("1000209")) == "202"


# -- switches ------------------------------------------------------------------------------------


def switch(play: Play, *, on: bool, tenant: str | None) -> None:
    PolicyStore(Table(play.world._dynamodb, TABLE)).switch(on=on, tenant=tenant)


@pytest.mark.parametrize("tenant", [TENANT, None], ids=["the tenant's", "everybody's"])
def test_a_switch_stops_new_callbacks_within_ten_seconds_and_lets_them_go_on(play, tenant):
    assert code(play.post("1000203", "1000125")) == "202"
    switch(play, on=True, tenant=tenant)
    play.let(CACHE)
    answer = play.post("1000211")
    assert (code(answer), answer["statusCode"]) == ("calling_stopped", 503)
    assert answer["headers"]["Retry-After"] == "60"
    switch(play, on=False, tenant=tenant)
    play.let(CACHE)
    assert code(play.post("1000211")) == "202"


@pytest.mark.parametrize("tenant", [TENANT, None], ids=["the tenant's", "everybody's"])
def test_a_leg_that_is_not_yet_dialed_is_not_dialed_and_who_waits_is_told(play, tenant):
    first = play.party("1000300", answer_after=CACHE + 2)
    callback_id = play.accepted(first)
    switch(play, on=True, tenant=tenant)
    record = play.ended(callback_id, within=60)
    assert (record["outcome"], record["cause"]) == ("canceled", "calling_stopped")
    assert record["leg_B"]["cause"] == "not_dialed"
    assert play.calls("B") == []
    (sentence,) = [what for _, what in play.heard("A") if "could not connect" in what]
    assert sentence
    play.let(61)
    assert (counted(play)["AT-ONCE"], spent(play)) == (0, 10_000)


# -- dry runs, and requests sent again -----------------------------------------------------------


def rehearsed(play: Play, a: str, b: str = "1000218", **fields: Any) -> dict[str, Any]:
    answer, error = play.world.invoke(
        "CallbackApi",
        {
            "routeKey": "POST /voice/call/callback",
            "headers": {},
            "queryStringParameters": {"dry_run": "true"},
            "requestContext": caller(),
            "body": json.dumps({"leg_A": {"to": a}, "leg_B": {"to": b}, **fields}),
        },
    )
    assert error is None, answer
    assert isinstance(answer, dict)
    return answer


def test_a_dry_run_says_what_would_happen_and_does_nothing(shows):
    may(shows, calling_window="00:00-24:00 mon-sun")
    answer = rehearsed(shows, "1000201", LA, order="reverse", max_duration_seconds=600)
    assert answer["statusCode"] == 200
    told = json.loads(answer["body"])
    assert [(call["leg"], call["step"], call["to"]) for call in told["calls"]] == [
        ("B", "first", LA),
        ("A", "second", "1000201"),
    ]
    b, a = told["calls"]
    assert (b["from"], b["region"], b["type"]) == (VERIFIED, "US", "fixed_line_or_mobile")
    assert b["calling_window"]["zones"] == ["America/Los_Angeles"]
    assert (a["region"], a["type"], a["calling_window"]) == (None, "extension", None)
    # Eleven minutes of B, who may wait for A's ringing, at 0.02; ten of A at 0.01.
    assert told["estimated_maximum_cost"] == {"amount": "0.32", "currency": "USD"}
    assert nothing_happened(shows)
    created = shows.post("1000201", LA, order="reverse", max_duration_seconds=600)
    assert spent(shows) == 320_000
    assert code(created) == "202"


def test_a_dry_run_is_refused_as_the_request_would_be(shows):
    for a, b in ((LA, "+18765551234"), ("+1415555012", LA), (LA, "sip:a@elsewhere.example")):
        assert code(rehearsed(shows, a, b)) == code(shows.post(a, b)) != "202"
    suppression(shows).add(TENANT, "+12125550123")
    assert code(rehearsed(shows, "1000211", "+12125550123")) == "suppressed"
    may(shows, concurrent_callbacks="1")
    shows.accepted("1000211", "1000219")
    assert code(rehearsed(shows, "1000211", "1000219")) == "too_many_at_once"
    may(shows, concurrent_callbacks="2")
    assert code(rehearsed(shows, "1000211", "1000219")) == "callback_in_progress"
    before = counted(shows)
    assert code(rehearsed(shows, "1000211", "1000218")) == "200"
    assert counted(shows) == before


def test_a_request_sent_again_gets_its_answer_whatever_the_rules_say_by_then(shows):
    key = "key-of-a-client-1"
    first = shows.post("1000203", key=key)
    may(shows, concurrent_callbacks="0", allowed_regions="GB", any_caller_id_extension="")
    switch(shows, on=True, tenant=None)
    shows.let(CACHE)
    again = shows.post("1000203", key=key)
    assert again["headers"]["Idempotent-Replayed"] == "true"
    assert again["body"] == first["body"]
    assert code(shows.post("1000203", key="key-of-a-client-2")) == "calling_stopped"


def test_a_tenant_may_have_to_send_a_key(play):
    may(play, require_idempotency_key="true")
    assert code(play.post("1000203")) == "idempotency_key_missing"
    assert code(play.post("1000203", key="key-of-a-client-1")) == "202"


# -- the defaults --------------------------------------------------------------------------------


def test_a_tenant_without_a_policy_may_call_home_and_little_else(shows):
    by_default(shows)
    may(shows, fallback_caller_id=VERIFIED, calling_window="always")
    body = {"max_duration_seconds": 600}
    assert code(shows.post(LA, "+12125550123", **body)) == "202"
    assert code(shows.post("+442079460000", LA)) == "region_not_allowed"
    assert code(shows.post("+18005551234", LA)) == "number_type_not_allowed"
    assert code(shows.post("sip:a@elsewhere.example", LA)) == "sip_host_not_allowed"
    body = {"leg_A": {"to": "1000201", "from": "1000218"}, "leg_B": {"to": LA}}
    assert code(shows.world.request("POST", body=body)) == "caller_id_not_allowed"
