"""Reads, writes and orders scalars as go-yaml v2 does.

Used where p2 reads the same scalar: for the SHA of a manifest, because p2 hashes the YAML that it writes from Go's
values, and for ports. `0x10` is 16 there, and `1.0` is 1. Podpulse's own fields do not use these rules of YAML 1.1.

Source: gopkg.in/yaml.v2 at a5b47d31c556 (2016-09-28), the version in p2's go.mod, with Go's strconv since Go 1.13.
In this old version, timestamps are text, and floating-point numbers are written with a precision of 32 bits.
"""

import math
import re
import struct
from fractions import Fraction
from functools import lru_cache

Scalar = bool | int | float | str | None

INT64 = range(-(1 << 63), 1 << 63)
UINT64 = range(1 << 64)

WORDS: dict[str, Scalar] = {
    **dict.fromkeys(("y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON"), True),
    **dict.fromkeys(("n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF"), False),
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), math.nan),
    **dict.fromkeys((".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF"), math.inf),
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), -math.inf),
}
INTEGER = re.compile(
    r"(?P<sign>[+-]?)(?:0[xX](?P<x>[0-9a-fA-F]+)|0[bB](?P<b>[01]+)|0[oO]?(?P<o>[0-7]+)|(?P<d>0|[1-9][0-9]*))"
)
BASES = {"x": 16, "b": 2, "o": 8, "d": 10}
MAX_DECIMALS = 20
DECIMAL = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
FRACTION = re.compile(r"\.[0-9]+(?:_[0-9]+)*(?:[eE][+-]?[0-9]+(?:_[0-9]+)*)?")
HEXADECIMAL = re.compile(r"[+-]?0[xX](?:[0-9a-fA-F]+(?:\.[0-9a-fA-F]*)?|\.[0-9a-fA-F]+)[pP][+-]?[0-9]+")
INFINITE = re.compile(r"[+-](?:inf|infinity)", re.IGNORECASE | re.ASCII)
DIGITS_OR_CHARACTER = re.compile(r"(?P<digits>\d+)|.", re.DOTALL)
SIGNED_BINARY = re.compile(r"(?P<minus>-?)0b(?P<number>[+-][01]+)")


def resolve(text: str) -> Scalar:
    """Returns what go-yaml reads from a scalar without quotes: `text` itself if it is neither a word nor a number."""
    if text in WORDS:
        return WORDS[text]
    match text[0]:
        case ".":
            return _decimal(text.replace("_", ""), text) if FRACTION.fullmatch(text) else text
        case letter if letter in "+-0123456789":
            return _number(text.replace("_", ""), text)
        case _:
            return text


def wrap(value: int) -> int:
    """Returns `value` after the overflow of Go's int64."""
    return (value + (1 << 63)) % (1 << 64) - (1 << 63)


def write(value: bool | float | None) -> str:
    """Returns the text that go-yaml writes for a scalar that is not text."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, int) else _write_float(value)


def precedes(one: Scalar, other: Scalar) -> bool:
    """Returns whether go-yaml writes the key `one` before the key `other`."""
    if isinstance(one, str) and isinstance(other, str):
        return _text_precedes(one, other)
    return _rank(one) < _rank(other)


def natural_key(text: str) -> tuple[list[tuple[int, int, str]], str]:
    """Returns a sort key that compares runs of digits as numbers, and puts letters after other characters."""
    return [_part(found) for found in DIGITS_OR_CHARACTER.finditer(text)], text


def _number(plain: str, text: str) -> Scalar:
    if (found := INTEGER.fullmatch(plain)) and (integer := _integer(found)) is not None:
        return integer
    if HEXADECIMAL.fullmatch(plain):
        return _hexadecimal(plain, text)
    if INFINITE.fullmatch(plain):
        return -math.inf if plain[0] == "-" else math.inf
    if found := SIGNED_BINARY.fullmatch(plain):
        return _signed_binary(found, text)
    return _decimal(plain, text)


def _integer(found: re.Match[str]) -> int | None:
    digits, base = found[found.lastgroup or ""], BASES[found.lastgroup or ""]
    if base == 10 and len(digits) > MAX_DECIMALS:
        return None
    value = int(found["sign"] + digits, base)
    return value if value in INT64 or (value in UINT64 and not found["sign"]) else None


def _decimal(plain: str, text: str) -> Scalar:
    if DECIMAL.fullmatch(plain) and math.isfinite(value := float(plain)):
        return value
    return text


def _hexadecimal(plain: str, text: str) -> Scalar:
    try:
        return float.fromhex(plain)
    except OverflowError:
        return text


def _signed_binary(found: re.Match[str], text: str) -> Scalar:
    """Reads `0b-101`, which go-yaml accepts because it removes the prefix before it reads the number."""
    value = int(found["number"], 2)
    if value not in INT64:
        return text
    return wrap(-value) if found["minus"] else value


def _write_float(value: float) -> str:
    value = _to_float32(value)
    if math.isnan(value):
        return ".nan"
    if math.isinf(value):
        return ".inf" if value > 0 else "-.inf"
    sign = "-" if math.copysign(1, value) < 0 else ""
    return sign + (_format(*_shortest(abs(value))) if value else "0")


def _to_float32(value: float) -> float:
    """Returns the nearest number of 32 bits; infinity beyond the largest one."""
    try:
        return float(struct.unpack("<f", struct.pack("<f", value))[0])
    except OverflowError:
        return math.copysign(math.inf, value)


def _shortest(value: float) -> tuple[str, int]:
    """Returns the fewest digits that identify `value` in 32 bits, and the power of ten of the first digit."""
    if math.frexp(value)[0] == 0.5:
        return _shortest_power_of_two(value)
    for count in range(8):
        text = f"{value:.{count}e}"
        number = float(text)
        candidates = {_to_float32(math.nextafter(number, end)) for end in (0, math.inf)}
        if value in candidates and (len(candidates) == 1 or _is_nearest(Fraction(text), value)):
            return _digits(text)
    return _digits(f"{value:.8e}")


@lru_cache(maxsize=512)
def _shortest_power_of_two(value: float) -> tuple[str, int]:
    """Like `_shortest`, for a power of two. The next number below is nearer than the next one above, so a text of fewer
    digits may be one that is not nearest to `value`."""
    exact, power = Fraction(value), int(f"{value:.8e}".partition("e")[2])
    units = (Fraction(10) ** (power - place) for place in range(9))
    candidates = (digits * unit for unit in units for digits in _neighbours(exact / unit))
    return _digits(f"{float(next(number for number in candidates if _is_nearest(number, value))):.8e}")


def _neighbours(number: Fraction) -> list[int]:
    """Returns the whole numbers below and above, the nearer one first; the even one first if both are as near."""
    below = math.floor(number)
    return sorted((below, below + 1), key=lambda digits: (abs(digits - number), digits % 2))


def _is_nearest(number: Fraction, value: float) -> bool:
    """Returns whether `number`, read with 32 bits, is `value`."""
    lowest, highest, closed = _interval(value)
    return lowest < number < highest or (closed and number in {lowest, highest})


def _digits(text: str) -> tuple[str, int]:
    digits, _, power = text.partition("e")
    return digits.replace(".", "").rstrip("0"), int(power)


def _interval(value: float) -> tuple[Fraction, Fraction, bool]:
    """Returns the interval of the numbers that 32 bits round to `value`, and whether it includes both ends."""
    (bits,) = struct.unpack("<I", struct.pack("<f", value))
    below, above = (Fraction(*_from_bits(bits + step).as_integer_ratio()) for step in (-1, 1))
    return (below + Fraction(value)) / 2, (above + Fraction(value)) / 2, bits % 2 == 0


def _from_bits(bits: int) -> float:
    """Returns the number of this pattern of 32 bits; 2^128 for the pattern after the largest number."""
    return 2.0**128 if bits == 0x7F800000 else float(struct.unpack("<f", struct.pack("<I", bits))[0])


def _format(digits: str, power: int) -> str:
    """Formats like Go's shortest %g: with an exponent from 1e6, and below 1e-4."""
    if not -4 <= power < 6:
        mantissa = f"{digits[0]}.{digits[1:]}" if len(digits) > 1 else digits
        return f"{mantissa}e{'-' if power < 0 else '+'}{abs(power):02}"
    if power < 0:
        return "0." + "0" * (-power - 1) + digits
    whole = digits[: power + 1].ljust(power + 1, "0")
    return f"{whole}.{digits[power + 1 :]}" if len(digits) > power + 1 else whole


def _rank(key: Scalar) -> tuple[int, float, int, float]:
    """Returns a sort key: numbers and booleans by value, then by Go's order of kinds; then null, then text."""
    match key:
        case None:
            return 1, 0, 0, 0
        case str():
            return 2, 0, 0, 0
        case bool():
            return 0, float(key), 0, key
        case int():
            return 0, float(key), 1 if key in INT64 else 2, key
        case _:
            return 0, key, 3, key


def _text_precedes(one: str, other: str) -> bool:
    """Compares in go-yaml's natural order: digits as a number, letters after other characters.

    The order is circular for some sets of keys: `10` < `1b` < `2` < `10`, and `99` < `100` < `11` < `99`. With such
    keys p2's own SHA varies from call to call, and Podpulse returns one of these SHAs.
    """
    for place, (left, right) in enumerate(zip(one, other, strict=False)):
        if left == right:
            continue
        if left.isalpha() and right.isalpha():
            return left < right
        if left.isalpha() or right.isalpha():
            return right.isalpha()
        return (*_leading_number(one, place), left) < (*_leading_number(other, place), right)
    return len(one) < len(other)


def _part(found: re.Match[str]) -> tuple[int, int, str]:
    if digits := found["digits"]:
        number = digits.lstrip("0")
        return 0, len(number), number
    return 1 + found[0].isalpha(), 0, found[0]


def _leading_number(text: str, place: int) -> tuple[int, int]:
    number, end = 0, place
    while end < len(text) and text[end].isdecimal():
        number = wrap(number * 10 + ord(text[end]) - ord("0"))
        end += 1
    return number, end
