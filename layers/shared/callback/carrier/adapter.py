"""Chooses the carrier: the only module that constructs one.

It imports a carrier's package. No other module of `carrier` may therefore import it.
"""

from callback.carrier.credentials import CredentialStore
from callback.carrier.port import Carrier
from callback.carrier.twilio.client import TwilioCarrier
from callback.settings import CarrierSettings


def connect(settings: CarrierSettings, credentials: CredentialStore) -> Carrier:
    """The carrier of a function. Call it once per cold start; it sends no request.

    The carrier can dial if `settings` are DialSettings. Otherwise it can only look and end calls.
    """
    return TwilioCarrier.from_settings(settings, credentials)
