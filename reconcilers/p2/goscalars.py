"""Scalars as go-yaml v2 reads, writes and orders them: which text is a number, and how a number is written.

For what p2 reads too: the manifest's SHA (`p2manifest`), since p2 hashes what it writes from Go's values, and ports.
There `0x10` counts as 16, and `1.0` as 1. Our own fields are not read by these YAML 1.1 guesses.

Source: gopkg.in/yaml.v2 at a5b47d31c556 (2016-09-28), the version in p2's go.mod, with Go's strconv since Go 1.13.
Signs of its age: timestamps are text, and floating-point numbers are written with the precision of 32 bits.
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
DIGITS_OR_OTHER = re.compile(r"(?P<digits>\d+)|.", re.DOTALL)
SIGNED_BINARY = re.compile(r"(?P<minus>-?)0b(?P<number>[+-][01]+)")


def resolve(text: str) -> Scalar:
    """What go-yaml makes of a scalar without quotes; text where it is none of its words and numbers."""
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
    """`value` as it overflows in Go's int64."""
    return (value + (1 << 63)) % (1 << 64) - (1 << 63)


def write(value: bool | float | None) -> str:
    """The text that go-yaml writes for what is not text."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, int) else _write_float(value)


def precedes(one: Scalar, other: Scalar) -> bool:
    """Whether go-yaml writes the key `one` before the key `other`."""
    if isinstance(one, str) and isinstance(other, str):
        return _text_precedes(one, other)
    return _rank(one) < _rank(other)


def natural(text: str) -> tuple[list[tuple[int, int, str]], str]:
    """A sort key: runs of digits count as numbers, letters come after everything else."""
    return [_part(found) for found in DIGITS_OR_OTHER.finditer(text)], text


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
    """`0b-101`: an oddity that go-yaml accepts, since it takes the prefix off before it reads the number."""
    value = int(found["number"], 2)
    if value not in INT64:
        return text
    return wrap(-value) if found["minus"] else value


def _write_float(value: float) -> str:
    value = _single(value)
    if math.isnan(value):
        return ".nan"
    if math.isinf(value):
        return ".inf" if value > 0 else "-.inf"
    sign = "-" if math.copysign(1, value) < 0 else ""
    return sign + (_general(*_shortest(abs(value))) if value else "0")


def _single(value: float) -> float:
    """The nearest number of 32 bits; beyond the largest one, infinity."""
    try:
        return float(struct.unpack("<f", struct.pack("<f", value))[0])
    except OverflowError:
        return math.copysign(math.inf, value)


def _shortest(value: float) -> tuple[str, int]:
    """The fewest digits from which a reader with 32 bits gets `value` again, and the power of ten of the first."""
    if math.frexp(value)[0] == 0.5:
        return _shortest_of_power(value)
    for count in range(8):
        text = f"{value:.{count}e}"
        reading = float(text)
        around = {_single(math.nextafter(reading, 0)), _single(math.nextafter(reading, math.inf))}
        if value in around and (len(around) == 1 or _is_nearest(Fraction(text), value)):
            return _digits(text)
    return _digits(f"{value:.8e}")


@lru_cache(maxsize=512)
def _shortest_of_power(value: float) -> tuple[str, int]:
    """The same for a power of two: the number below is nearer than the one above, so the digits that are nearest to
    `value` may not be the fewest."""
    exact, power = Fraction(value), int(f"{value:.8e}".partition("e")[2])
    units = (Fraction(10) ** (power - place) for place in range(9))
    candidates = (digits * unit for unit in units for digits in _around(exact / unit))
    return _digits(f"{float(next(number for number in candidates if _is_nearest(number, value))):.8e}")


def _around(number: Fraction) -> list[int]:
    """The two whole numbers beside it, the nearer one first; of two that are as near, the even one."""
    below = math.floor(number)
    return sorted((below, below + 1), key=lambda digits: (abs(digits - number), digits % 2))


def _is_nearest(number: Fraction, value: float) -> bool:
    """Whether `value` is what a reader with 32 bits gets from `number`."""
    lowest, highest, closed = _interval(value)
    return lowest < number < highest or (closed and number in {lowest, highest})


def _digits(text: str) -> tuple[str, int]:
    digits, _, power = text.partition("e")
    return digits.replace(".", "").rstrip("0"), int(power)


def _interval(value: float) -> tuple[Fraction, Fraction, bool]:
    """Between which numbers `value` is the nearest of 32 bits, and whether the two ends count too."""
    (bits,) = struct.unpack("<I", struct.pack("<f", value))
    below, above = (Fraction(*_bits(bits + step).as_integer_ratio()) for step in (-1, 1))
    return (below + Fraction(value)) / 2, (above + Fraction(value)) / 2, bits % 2 == 0


def _bits(bits: int) -> float:
    """The number of 32 bits with this pattern; after the largest one, what would follow it."""
    return 2.0**128 if bits == 0x7F800000 else float(struct.unpack("<f", struct.pack("<I", bits))[0])


def _general(digits: str, power: int) -> str:
    """Go's %g in its shortest form: with an exponent from a million up, and below a ten-thousandth."""
    if not -4 <= power < 6:
        return _exponential(digits, power)
    if power < 0:
        return "0." + "0" * (-power - 1) + digits
    whole = digits[: power + 1].ljust(power + 1, "0")
    return f"{whole}.{digits[power + 1 :]}" if len(digits) > power + 1 else whole


def _exponential(digits: str, power: int) -> str:
    mantissa = f"{digits[0]}.{digits[1:]}" if len(digits) > 1 else digits
    return f"{mantissa}e{'-' if power < 0 else '+'}{abs(power):02}"


def _rank(key: Scalar) -> tuple[int, float, int, float]:
    """Numbers and booleans by their value, then by Go's order of kinds; null comes after them, text last."""
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
    """Natural order: digits count as a number, letters come after everything else.

    It is circular for some sets of keys: `10` < `1b` < `2` < `10`, and `99` < `100` < `11` < `99`. With such keys p2's
    own SHA varies from call to call, and ours is one of those.
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
