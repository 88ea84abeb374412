"""A small Twilio over HTTP, to test an application without paying for calls."""

from tests.local.clock import Clock

from .scripts import Behaviour, Scripts
from .settings import Settings
from .simulator import CarrierSimulator

__all__ = ["Behaviour", "CarrierSimulator", "Clock", "Scripts", "Settings"]
