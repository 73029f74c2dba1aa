"""Numbers in the options of providers, read strictly: `-o size=64M`, `-o calls=16`.

What it is *not*: a provider's options, or what it says of wrong ones.

Concurrency: pure functions.
"""

from __future__ import annotations

_FACTORS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}


def decimal(text: str) -> int:
    """Return the number that `text` is; ValueError for anything but decimal digits."""
    # int() alone would take "1_000", "+1" and other scripts' digits. Longer than any limit
    # is refused before it is converted, which takes quadratic time.
    if not text.isascii() or not text.isdigit() or len(text) > 20:
        raise ValueError(text)
    return int(text)


def within(value: int, least: int, most: int) -> int:
    """Return `value`; ValueError if it is not from `least` to `most`."""
    if not least <= value <= most:
        raise ValueError(value)
    return value


def scaled(text: str, suffixes: str) -> int:
    """Return a number that may end in one of `suffixes`, letters of either case; ValueError."""
    digits = text.rstrip(suffixes.lower() + suffixes.upper())
    factor = _FACTORS.get(text[len(digits) :].lower())
    if factor is None:
        raise ValueError(text)
    return decimal(digits) * factor
