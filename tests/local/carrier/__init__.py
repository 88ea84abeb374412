"""A small Twilio over HTTP, for applications that must be tried before a call is paid for."""

from tests.local.clock import Clock

from .scripts import Behaviour, Scripts
from .settings import Settings
from .simulator import CarrierSimulator

__all__ = ["Behaviour", "CarrierSimulator", "Clock", "Scripts", "Settings"]
