"""Chooses the carrier: the only module that constructs one.

It imports a carrier's package. No other module of `carrier` may therefore import it.
"""

from callback.carrier.credentials import CredentialStore
from callback.carrier.first_use import CarrierAtFirstUse
from callback.carrier.port import Carrier
from callback.settings import CarrierSettings


def connect(settings: CarrierSettings, credentials: CredentialStore) -> CarrierAtFirstUse:
    """The carrier of a function. Call it once per cold start; it sends no request.

    The carrier can dial if `settings` are DialSettings. Otherwise it can only look and end calls.
    Its client is imported at the first request to it.
    """
    return CarrierAtFirstUse(lambda: connect_now(settings, credentials))


def connect_now(settings: CarrierSettings, credentials: CredentialStore) -> Carrier:
    """As `connect`, for a function that dials whenever it runs: it is ready when somebody waits."""
    from callback.carrier.twilio.client import TwilioCarrier  # noqa: PLC0415

    return TwilioCarrier.from_settings(settings, credentials)
