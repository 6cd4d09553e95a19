"""A double's digits as RapidJSON finds them (Grisu2): mostly the fewest that give it back, not always."""

from __future__ import annotations

import math
from fractions import Fraction
from functools import cache

_MASK = 2**64 - 1


def digits(value: float) -> tuple[str, int]:
    """Returns digits and an exponent: the positive, finite value is the digits times ten to the exponent."""
    mantissa, exponent = math.frexp(value)
    significand, exponent = int(mantissa * 2**53), exponent - 53
    if exponent < -1074:  # subnormal
        significand, exponent = significand >> (-1074 - exponent), -1074
    upper, e = _normalized(2 * significand + 1, exponent - 1)
    lower, lower_e = (
        (4 * significand - 1, exponent - 2) if significand == 2**52 else (2 * significand - 1, exponent - 1)
    )
    lower <<= lower_e - e
    power, power_e, k = _power(e)
    middle, middle_e = _normalized(significand, exponent)
    e += power_e + 64
    w = _product(middle, power)
    assert middle_e + power_e + 64 == e
    high, low = _product(upper, power) - 1, _product(lower, power) + 1
    return _generate(w, high, high - low, -e, k)


def _generate(w: int, high: int, delta: int, shift: int, k: int) -> tuple[str, int]:
    one = 1 << shift
    gap = high - w
    whole, part = high >> shift, high & (one - 1)
    kappa = len(str(whole))
    found = 0
    while kappa > 0:
        kappa -= 1
        digit, whole = divmod(whole, 10**kappa)
        found = found * 10 + digit
        rest = (whole << shift) + part
        if rest <= delta:
            return str(_rounded(found, delta, rest, 10**kappa << shift, gap)), k + kappa
    while True:
        part, delta = part * 10, delta * 10
        kappa -= 1
        found = found * 10 + (part >> shift)
        part &= one - 1
        if part < delta:
            gap = (gap * 10**-kappa) & _MASK if kappa > -9 else 0
            return str(_rounded(found, delta, part, one, gap)), k + kappa


def _rounded(found: int, delta: int, rest: int, unit: int, gap: int) -> int:
    while rest < gap and delta - rest >= unit and (rest + unit < gap or gap - rest > rest + unit - gap):
        found -= 1
        rest += unit
    return found


def _normalized(f: int, e: int) -> tuple[int, int]:
    shift = 64 - f.bit_length()
    return f << shift, e - shift


def _product(a: int, b: int) -> int:
    return (a * b + 2**63) >> 64


def _power(e: int) -> tuple[int, int, int]:
    """Returns the power of ten that brings a number of this exponent into range, and its exponents."""
    index = (math.ceil((-61 - e) * 0.30102999566398114 + 347) >> 3) + 1
    k = 348 - index * 8
    return *_cached(-k), k


@cache
def _cached(k: int) -> tuple[int, int]:
    exact = Fraction(10) ** k
    e = math.floor(math.log2(exact.numerator) - math.log2(exact.denominator)) - 63
    f = round(exact / Fraction(2) ** e)
    while f.bit_length() > 64:
        e += 1
        f = round(exact / Fraction(2) ** e)
    while f.bit_length() < 64:
        e -= 1
        f = round(exact / Fraction(2) ** e)
    return f, e
