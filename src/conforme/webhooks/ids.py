"""Ids of endpoints and deliveries."""

import secrets
from datetime import datetime

_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
_TIME_DIGITS = 9
_RANDOM_DIGITS = 16
"""82 bits: nobody meets another's id by trying."""


def new_id(at: datetime) -> str:
    """`c`, the millisecond and 16 random digits, all in base 36: sorts by time, fits in a URL, cannot be guessed."""
    moment, digits = int(at.timestamp() * 1000), ""
    for _ in range(_TIME_DIGITS):
        moment, digit = divmod(moment, 36)
        digits = _DIGITS[digit] + digits
    return f"c{digits}" + "".join(secrets.choice(_DIGITS) for _ in range(_RANDOM_DIGITS))
