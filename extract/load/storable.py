"""What jsonb refuses although it is good JSON, found before COPY: one such body took the package of 64 answers with it.

orjson refuses the rest: broken UTF-8, lone surrogates, numbers beyond a double, deep nesting.
"""

from __future__ import annotations

import re

from extract.load.responses import BadPayload

# jsonb's numbers have at most so many decimal places.
MOST_DECIMALS = 16_383
# Candidates: an exponent of four digits and more. A literal first character makes the search as fast as memchr.
_EXPONENTS = (re.compile(rb"e[-+]?[0-9]{4}"), re.compile(rb"E[-+]?[0-9]{4}"))
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)
_NUMBER = re.compile(rb"(?:\.([0-9]+))?[eE]([-+]?[0-9]{4,})")
# The exponent of a zero; orjson refuses any other number as large.
_LARGEST = 100_000
# A run of that many digits holds at least one whole range of this length that begins at a multiple of it.
_STRETCH = MOST_DECIMALS // 2


def check(body: bytes) -> None:
    """Raise BadPayload where the JSON holds a NUL or a number beyond jsonb's (1e-20000, 20,000 decimals)."""
    if b"\\u0000" in body or b"\x00" in body:
        raise BadPayload("the body holds a NUL, which jsonb cannot store")
    if any(candidate.search(body) for candidate in _EXPONENTS):
        for decimals, exponent in _NUMBER.findall(_STRING.sub(b'""', body)):
            places = len(decimals) - int(exponent) if len(exponent) < 9 else MOST_DECIMALS + 1
            if places > MOST_DECIMALS or places < -_LARGEST:
                raise BadPayload("the body holds a number with an exponent that jsonb cannot store")
    for start in range(0, len(body) - _STRETCH, _STRETCH):
        if body[start : start + 32].isdigit() and body[start : start + _STRETCH].isdigit():
            raise BadPayload("the body holds a number with more digits than jsonb can store")
