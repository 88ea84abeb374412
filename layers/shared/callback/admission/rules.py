"""The admission rules. RULES lists them in order."""

from collections.abc import Callable

from callback import errors
from callback.admission import calling_window
from callback.admission.case import Case
from callback.admission.party import Party
from callback.errors import CallbackError
from callback.lifecycle.models import maybe_text, to_text
from callback.numbering import addresses, destinations, emergency
from callback.webhooks import endpoints

# Seconds for Retry-After. An estimate: nobody can know when a kill switch is turned off.
_SWITCH_RETRY = 60


def calling_is_not_stopped(case: Case) -> None:
    if not case.standing.may_call:
        raise errors.CallingStopped(
            "Your operator has stopped all calls, and resumes them with `kill-switch off`.",
            headers={"Retry-After": str(_SWITCH_RETRY)},
        )


def no_emergency_number_is_called(case: Case) -> None:
    """Refuse emergency numbers of each country involved, not only of ours.

    A carrier routes an emergency call by the country of the caller ID (Twilio docs, emergency
    calling); a PBX routes it by its own location.
    """
    involved = [a for party in case.parties for a in (party.leg.to, party.leg.caller_id)]
    regions = {
        telephone.region
        for address in involved
        for telephone in destinations.find_destination(
            address, case.dial_plan.home_region
        ).telephones
    }
    for party in case.parties:
        for region in sorted({case.dial_plan.home_region, *filter(None, regions)}):
            if emergency.is_emergency(party.leg.to, region):
                raise errors.EmergencyNumber("Dial this number directly.", leg=party.name)


def sip_hosts_are_allowed(case: Case) -> None:
    hosts = case.policy.allowed_sip_hosts | {case.dial_plan.sip_domain.partition(":")[0].lower()}
    for party in case.parties:
        host = addresses.sip_host(party.leg.to)
        if host and host not in hosts:
            raise errors.SipHostNotAllowed(
                "Call the party by number, or ask your operator to allow this host"
                " (allowed_sip_hosts).",
                leg=party.name,
            )


def numbers_exist(case: Case) -> None:
    for party in case.parties:
        if not all(telephone.valid for telephone in party.destination.telephones):
            raise errors.NumberNotValid(
                "Check the digits: no numbering plan contains this number.", leg=party.name
            )


def regions_are_allowed(case: Case) -> None:
    regions = case.policy.regions(case.dial_plan.home_region)
    for party, telephone in case.telephones():
        region = telephone.region
        if region == destinations.NO_COUNTRY or region not in regions:
            raise errors.RegionNotAllowed(
                "Call a number of another region, or ask your operator to allow this one"
                " (allowed_regions). Satellite and international networks are never allowed."
                f"{_pbx_hint(party)}",
                leg=party.name,
                region=region,
            )


def types_are_allowed(case: Case) -> None:
    for party, telephone in case.telephones():
        kind = telephone.type
        if kind not in case.policy.allowed_types:
            raise errors.NumberTypeNotAllowed(
                "Call the party at another number, or ask your operator to allow this type"
                f" (allowed_types). Premium and similar types are never allowed.{_pbx_hint(party)}",
                leg=party.name,
                number_type=kind,
            )


def extensions_are_short(case: Case) -> None:
    """Refuse long digits that no numbering plan contains: a PBX may dial them all the same."""
    for party in case.parties:
        digits = (addresses.pbx_digits(party.leg.to) or "").removeprefix("+")
        longest = case.policy.longest_extension
        if len(digits) > longest and not party.destination.is_telephone:
            raise errors.ExtensionTooLong(
                f"An extension may have {longest} digits at most (longest_extension). Write a"
                " telephone number as E.164.",
                leg=party.name,
            )


def webhook_can_be_signed(case: Case) -> None:
    """A callback with a webhook URL of its own needs the secret of the tenant's endpoint."""
    if case.planned.webhook and endpoints.key(case.tenant) not in case.rows:
        raise errors.InvalidRequest.of_field(
            "webhook",
            "no_endpoint",
            "PUT /voice/webhook/endpoint first: its secret signs these events, too.",
        )


def no_own_number_is_called(case: Case) -> None:
    """Refuse a carrier number of any tenant: the call would return to this service."""
    for party, telephone in case.telephones():
        owner = case.owners.owner(telephone.number)
        if owner and owner.owned:
            raise errors.OwnNumber("Give the number of the person to call.", leg=party.name)


def caller_ids_are_allowed(case: Case) -> None:
    _ = case.caller_ids.shown


def no_party_is_suppressed(case: Case) -> None:
    for party in case.parties:
        if any(key in case.rows for key in case.suppression_keys(party)):
            raise suppression_refusal(party)


def time_is_inside_window(case: Case) -> None:
    window = case.policy.calling_window
    windowed = {
        party.name: zones for party in case.parties if (zones := case.zones(party)) is not None
    }
    if window is None:
        return
    for name, zones in windowed.items():
        if not calling_window.inside(window, zones, case.now):
            everywhere = sorted({zone for each in windowed.values() for zone in each})
            all_have_zones = all(windowed.values())
            at = (
                calling_window.next_inside(window, everywhere, case.now) if all_have_zones else None
            )
            raise errors.OutsideCallingWindow(
                f"Try again at {to_text(at)}." if at else "Call the party at another number.",
                leg=name,
                next_allowed_at=maybe_text(at),
            )


def limits_are_not_exceeded(case: Case) -> None:
    case.usage.refuse_exceeded()


RULES: tuple[Callable[[Case], None], ...] = (
    calling_is_not_stopped,
    no_emergency_number_is_called,
    sip_hosts_are_allowed,
    numbers_exist,
    regions_are_allowed,
    types_are_allowed,
    extensions_are_short,
    webhook_can_be_signed,
    no_own_number_is_called,
    caller_ids_are_allowed,
    no_party_is_suppressed,
    time_is_inside_window,
    limits_are_not_exceeded,
)


def suppression_refusal(party: Party) -> CallbackError:
    return errors.Suppressed(
        "Do not call this party again unless it opts in by texting START to your number.",
        leg=party.name,
    )


def _pbx_hint(party: Party) -> str:
    """A hint for digits that a PBX may dial as another number than the client meant."""
    if addresses.is_number(party.leg.to):
        return ""
    return " A PBX may dial these digits as that number: write numbers with + and country code."
