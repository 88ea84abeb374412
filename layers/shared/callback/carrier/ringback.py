"""The tone that the first party hears while the second party's phone rings."""

import io
import math
import wave
from functools import cache

_RATE = 8000  # Hz, what telephony carries
_TONE_SECONDS, _SILENCE_SECONDS = 2, 4  # North American cadence
_FREQUENCIES = (440, 480)  # Hz, North American ringback (ITU-T E.180 supplement 2)
_MIDDLE, _LOUDNESS = 128, 30  # unsigned 8-bit samples


@cache
def wav() -> bytes:
    """One ring and one pause, to be played in a loop: a mono 8-bit WAV of about 48 kB."""
    tone = bytes(
        round(
            _MIDDLE + _LOUDNESS * sum(math.sin(2 * math.pi * f * n / _RATE) for f in _FREQUENCIES)
        )
        for n in range(_RATE * _TONE_SECONDS)
    )
    silence = bytes([_MIDDLE]) * (_RATE * _SILENCE_SECONDS)
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(1)
        out.setframerate(_RATE)
        out.writeframes(tone + silence)
    return file.getvalue()
