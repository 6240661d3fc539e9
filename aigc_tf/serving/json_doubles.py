"""Doubles as RapidJSON writes them, which messages show: by the Grisu2 algorithm.

Florian Loitsch, "Printing floating-point numbers quickly and accurately with integers", PLDI 2010.
The digits read back as the same double and are nearly always the fewest, but not always those
nearest to it: 2**64 is 18446744073709553000.0. So repr() does not do, and the steps are followed in
integers of 64 bits.
"""

import functools
import math

BITS = 64
HIDDEN_BIT = 1 << 52
MAX_PLAIN_DIGITS = 21  # before the point


def text(value):
  """value: float, finite.  Returns: str, as in 1.0, 0.001, 1e22, 1.5e-7."""
  sign = "-" if math.copysign(1, value) < 0 else ""
  if value == 0:
    return f"{sign}0.0"
  number, exponent = _shortest(abs(value))
  digits = str(number)
  point = len(digits) + exponent
  if len(digits) <= point <= MAX_PLAIN_DIGITS:
    return f"{sign}{digits}{'0' * exponent}.0"
  if 0 < point <= MAX_PLAIN_DIGITS:
    return f"{sign}{digits[:point]}.{digits[point:]}"
  if -6 < point <= 0:
    return f"{sign}0.{'0' * -point}{digits}"
  return f"{sign}{digits[0]}{'.' if digits[1:] else ''}{digits[1:]}e{point - 1}"


def _shortest(value):
  """Returns: (int, exponent): value is about int * 10**exponent.  value: positive."""
  fraction, exponent = math.frexp(value)
  bits = max(-1074 - (exponent - 53), 0)  # that a subnormal lacks
  significand, exponent = int(math.ldexp(fraction, 53 - bits)), exponent - 53 + bits
  # Halfway to the neighbours, and the value, all with the same exponent.
  high = 2 * significand + 1
  shift = BITS - high.bit_length()
  middle, low, high = (2 * significand) << shift, (high - 2) << shift, high << shift
  if significand == HIDDEN_BIT:  # the neighbour below is half as far
    low = (4 * significand - 1) << (shift - 1)
  exponent -= 1 + shift
  power, power_exponent, decimal = _power(exponent)
  high = _product(high, power) - 1
  gap = high - _product(middle, power)
  number, places = _digits(high, high - _product(low, power) - 1, gap,
                           -(exponent + power_exponent + BITS))
  return number, places - decimal


def _product(a, b):
  return (a * b + (1 << BITS - 1)) >> BITS


def _power(exponent):
  """The power of ten that brings 2**exponent into reach: (its 64 bits, their exponent, decimal)."""
  least = math.ceil((-61 - exponent) * 0.30102999566398114 + 347)
  return _rounded_power(-348 + 8 * ((least >> 3) + 1))


@functools.cache
def _rounded_power(decimal):
  numerator, denominator = 10**max(decimal, 0), 10**max(-decimal, 0)
  exponent = numerator.bit_length() - denominator.bit_length() - BITS
  for _ in range(2):
    up, down = numerator << max(-exponent, 0), denominator << max(exponent, 0)
    rounded = (2 * up + down) // (2 * down)
    if rounded.bit_length() == BITS:
      break
    exponent += rounded.bit_length() - BITS
  return rounded, exponent, decimal


def _digits(high, delta, gap, shift):
  """The fewest digits of high / 2**shift that stay within delta of it, rounded towards the value.

  gap: from high down to the value.  Returns: (int, exponent of ten).
  """
  whole = str(high >> shift)
  for i in range(1, len(whole) + 1):
    unit = 10 ** (len(whole) - i) << shift
    number = int(whole[:i])
    rest = high - number * unit
    if rest <= delta:
      return _nearer(number, rest, delta, unit, gap), len(whole) - i
  rest, places, unit = high & ((1 << shift) - 1), 0, 1 << shift
  while True:
    rest, delta, places = rest * 10, delta * 10, places + 1
    number = 10 * number + (rest >> shift)
    rest &= unit - 1
    if rest < delta:
      # RapidJSON has no power of ten beyond 10**8 here.
      gap = gap * 10**places if places < 9 else 0
      return _nearer(number, rest, delta, unit, gap), -places


def _nearer(number, rest, delta, unit, gap):
  while rest < gap and delta - rest >= unit and (
      rest + unit < gap or gap - rest > rest + unit - gap):
    number, rest = number - 1, rest + unit
  return number
