"""What TF Serving's messages show of a JSON value: its text, until 256 bytes are reached."""

import math

from aigc_tf.serving import json_doubles
from aigc_tf.serving import json_parse

LIMIT_BYTES = 256
# Control characters as RapidJSON writes them.
ESCAPES = {i: f"\\u{i:04X}" for i in range(0x20)}
ESCAPES |= {ord('"'): '\\"', ord("\\"): "\\\\", 8: "\\b", 9: "\\t", 10: "\\n", 12: "\\f", 13: "\\r"}
_WORDS = {None: "null", True: "true", False: "false"}


def type_name(value):
  """Returns: str, RapidJSON's name of a value's type."""
  if value is None or isinstance(value, bool):
    return {None: "Null", True: "True", False: "False"}[value]
  if isinstance(value, (int, float)):
    return "Number"
  return {str: "String", list: "Array", json_parse.Object: "Object"}[type(value)]


def quoted(string):
  """Returns: str, a JSON string."""
  return f'"{string.translate(ESCAPES)}"'


def text(value):
  """A value as messages show it: arrays in one line, members in lines of their own.

  Whatever begins before byte 256 is written whole; the rest, and what follows a number that is not
  finite, is left out.

  Returns: str.
  """
  pieces, size = [], 0
  for event in _events(value):
    if event is None or size >= LIMIT_BYTES:
      break
    pieces.append(event)
    size += len(event.encode("utf-8", "surrogateescape"))
  return "".join(pieces)


def _events(value):
  """Yields: str, what each step of writing adds; None where writing fails. Depth costs no stack."""
  open_values = []  # [iterator over members or elements, closing mark, number written]
  prefix = ""
  while True:
    if isinstance(value, list):
      is_object = isinstance(value, json_parse.Object)
      yield prefix + ("{" if is_object else "[")
      open_values.append([iter(value), is_object, 0])
    elif isinstance(value, float) and not math.isfinite(value):
      yield prefix
      yield None
    else:
      yield prefix + _scalar(value)
    while open_values:
      members, is_object, count = open_values[-1]
      following = next(members, open_values)
      if following is not open_values:
        break
      open_values.pop()
      end = "\n" + "    " * len(open_values) if is_object and count else ""
      yield end + ("}" if is_object else "]")
    if not open_values:
      return
    open_values[-1][2] += 1
    if is_object:
      key, value = following
      yield (",\n" if count else "\n") + "    " * len(open_values) + quoted(key)
      prefix = ": "
    else:
      value, prefix = following, ", " if count else ""


def _scalar(value):
  if value is None or isinstance(value, bool):
    return _WORDS[value]
  if isinstance(value, str):
    return quoted(value)
  return str(value) if isinstance(value, int) else json_doubles.text(value)
