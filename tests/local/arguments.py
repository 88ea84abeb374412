"""The arguments of the commands, and readable errors for invalid ones."""

import argparse

FASTEST = 1000
SLOWEST_CPS, FASTEST_CPS = 0.01, 1000  # as the template's CallsPerSecond


def port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) <= 65535):
        raise argparse.ArgumentTypeError(f"{text} is not a port: give 0 to 65535")
    return int(text)


def speed(text: str) -> float:
    value = _number(text)
    if not 0 < value <= FASTEST:
        raise argparse.ArgumentTypeError(
            f"{text} is not a speed: give more than 0 and at most {FASTEST}"
        )
    return value


def calls_per_second(text: str) -> float:
    value = _number(text)
    if not SLOWEST_CPS <= value <= FASTEST_CPS:
        raise argparse.ArgumentTypeError(
            f"{text} is not a rate: give {SLOWEST_CPS} to {FASTEST_CPS} calls per second"
        )
    return value


def _number(text: str) -> float:
    """The number. 0 for a text that is none."""
    try:
        return float(text)
    except ValueError:
        return 0.0


def pace(speed: float) -> str:
    return f"{speed:g} virtual second{'' if speed == 1 else 's'} in a real one"
