"""Numbers as TF Serving writes them into JSON.

A float is printed with "%g", six digits, if that reads back as the same value, else with as many
digits as its type may need (9 for float32, 17 for float64); a whole number gets ".0" behind it.
Arrays are written by one big format: which value takes which of them is found by NumPy, and only
where the last bit would decide is the text itself read back.
"""

import numpy as np

# One format a class of values; "%.0s" takes its argument and prints nothing.
_SHORT, _WHOLE, _LONG, _NAN, _INFINITY, _MINUS_INFINITY = range(6)
_FEW = 32  # values that are faster written one by one
_ROUNDING = 1e-15  # of the products of doubles below, relative
_SMALLEST_NORMAL = {np.dtype(np.float32): 1.2e-38, np.dtype(np.float64): 1e-290}


def texts(array):
  """JSON texts of numbers or truth values.

  array: np.ndarray of bool, any integer, float32 or float64, any shape.

  Returns: list of str, in row-major order.
  """
  flat = array.reshape(-1)
  if flat.dtype == np.bool_:
    return ["true" if value else "false" for value in flat.tolist()]
  if flat.dtype.kind in "iu":
    return list(map(str, flat.tolist()))
  if flat.size <= _FEW:
    return [text(value, flat.dtype) for value in flat.tolist()]
  return _float_texts(flat)


def text(value, dtype):
  """Returns: str, the JSON text of one float that is exact in `dtype` (float32 or float64)."""
  if value != value:
    return "NaN"
  if value in (float("inf"), float("-inf")):
    return "Infinity" if value > 0 else "-Infinity"
  written = f"{value:g}"
  if not _reads_back(written, value, dtype):
    written = f"{value:.{_digits(dtype)}g}"
  return written if "." in written or "e" in written else written + ".0"


def _digits(dtype):
  return 9 if dtype == np.float32 else 17


def _reads_back(written, value, dtype):
  read = float(written)
  if dtype == np.float32 and read != value:
    with np.errstate(over="ignore"):
      read = float(np.float32(read))
  return read == value


def _float_texts(flat):
  long = f"%.{_digits(flat.dtype)}g"
  formats = np.array(["%g", "%.1f", long, "%.0sNaN", "%.0sInfinity", "%.0s-Infinity"], object)
  chosen = "\n".join(formats[_classes(flat)].tolist())
  return (chosen % tuple(flat.tolist())).split("\n")


def _classes(flat):
  """Returns: u8[N], the index of each value's format."""
  size = np.abs(flat).astype(np.float64)
  with np.errstate(all="ignore"):
    short, unclear = _six_digits_do(flat, size)
    whole = np.trunc(size) == size
  finite = np.isfinite(size)
  for i in np.flatnonzero(unclear & finite).tolist():
    short[i] = _reads_back("%g" % flat[i], float(flat[i]), flat.dtype)
  plain = whole & (size < np.where(short, 1e6, 10.0 ** _digits(flat.dtype)))
  classes = np.where(short, _SHORT, _LONG)
  classes[plain] = _WHOLE
  if not finite.all():
    classes[np.isnan(size)] = _NAN
    classes[np.isinf(size)] = np.where(flat[np.isinf(size)] > 0, _INFINITY, _MINUS_INFINITY)
  return classes


def _six_digits_do(flat, size):
  """Whether six digits name a value: bool[N], and where that is not clear: bool[N]."""
  exponent = np.floor(np.log10(size))
  rounded = np.rint(size * 10.0 ** (5 - exponent))
  exponent += (rounded > 1e6).astype(int) - (rounded < 1e5)
  rounded = np.rint(size * 10.0 ** (5 - exponent))
  candidate = rounded * 10.0 ** (exponent - 5)
  low = (candidate * (1 - _ROUNDING)).astype(flat.dtype)
  high = (candidate * (1 + _ROUNDING)).astype(flat.dtype)
  magnitude = np.abs(flat)
  integer = (size < 1e6) & (np.trunc(size) == size)
  short = integer | ((low == magnitude) & (high == magnitude))
  inside = (low <= magnitude) & (magnitude <= high)
  unclear = ~short & (inside | (size < _SMALLEST_NORMAL[flat.dtype]))
  return short, unclear
