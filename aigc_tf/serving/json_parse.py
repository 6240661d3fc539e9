"""JSON text to Python values, as TF Serving's parser reads it: RapidJSON 1.1.0, iterative.

The work is done by python-rapidjson, a binding of a later RapidJSON. What TF Serving accepts and
the binding does not is read by a slow parser of our own: arrays nested without limit, strings that
are not UTF-8, single low surrogates, and numbers that overflow (2e308 is Infinity).

Values: None, bool, int (what fits 64 bits), float, str (bytes that are not UTF-8 as surrogate
escapes), list, and `Object`, a list of (key, value) pairs, because a repeated key has a meaning.
"""

import functools
import re
import threading

from aigc_tf.errors import UserError
from aigc_tf.serving import status

# Beyond this, what only the slow parser could read is refused: so much takes it about 2 s.
MAX_SLOW_BYTES = 1 << 20
_ONE_AT_A_TIME = threading.Lock()  # so that the others have at least half of the interpreter
_FAILURE = re.compile(r"Parse error at offset (\d+): (.*)", re.DOTALL)
_ESCAPE = re.compile(rb"\\u([0-9a-fA-F]{4})|\\(.?)|[\x00-\x1f]", re.DOTALL)
_PLAIN_ESCAPES = dict(zip(b'"\\/bfnrt', b'"\\/\b\f\n\r\t', strict=True))
_NUMBER = re.compile(rb"-?(\d+)(?:\.(\d+))?(?:[eE]\+?(\d+))?")
_SCALAR = re.compile(rb"[-+.0-9A-Za-z]*")
_SPACE = re.compile(rb"[ \t\n\r]*")
_STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+"', re.DOTALL)  # possessive: linear in time

EMPTY = "The document is empty."
ESCAPE = "Invalid escape character in string."
HEX_ESCAPE = r"Incorrect hex digit after \u escape in string."
INVALID = "Invalid value."
NAME = "Missing a name for object member."
NOT_CLOSED = "Missing a closing quotation mark in string."
NOT_ENCODED = "Invalid encoding in string."  # newer than 1.1.0, which says ESCAPE
NOT_SINGLE = "The document root must not be followed by other values."
SURROGATE = "The surrogate pair in string is invalid."
TOO_BIG = "Number too big to be stored in double."

# States of the slow parser, and what is wrong if something comes that cannot come there.
_START, _OBJECT, _KEY, _COLON, _MEMBER, _NEXT_MEMBER, _ARRAY, _ELEMENT, _NEXT_ELEMENT = range(9)
_ERRORS = (EMPTY, NAME, "Missing a colon after a name of object member.", INVALID,
           "Missing a comma or '}' after an object member.", NAME, INVALID,
           "Missing a comma or ']' after an array element.", INVALID)
_AFTER_VALUE = {_COLON: _MEMBER, _ARRAY: _ELEMENT, _NEXT_ELEMENT: _ELEMENT}
_CLOSING = {ord("]"): (_ARRAY, _ELEMENT), ord("}"): (_OBJECT, _MEMBER)}
_SEPARATORS = {(ord(","), _MEMBER): _NEXT_MEMBER, (ord(","), _ELEMENT): _NEXT_ELEMENT,
               (ord(":"), _KEY): _COLON}


class Object(list):
  """A JSON object: (key, value) pairs in the order of the text."""

  def find(self, key, default=None):
    """Returns: the value of the first pair with this key."""
    return next((value for name, value in self if name == key), default)


class _SyntaxError(Exception):
  """RapidJSON's text and the offset in bytes."""


def parse(body):
  """A request's body.

  body: bytes.  Returns: Object.
  Raises: status.ServingError INVALID_ARGUMENT, with TF Serving's text.
  """
  if not body:
    raise status.ServingError(status.INVALID_ARGUMENT, "JSON Parse error: The document is empty")
  skipped = 0
  for byte in b"\xef\xbb\xbf":  # a byte order mark, or any part of it
    skipped += body[skipped:skipped + 1] == bytes([byte])
  try:
    return _parse(body[skipped:] if skipped else body)
  except _SyntaxError as error:
    text, offset = error.args
    message = f"JSON Parse error: {text} at offset: {offset + skipped}"
    raise status.ServingError(status.INVALID_ARGUMENT, message) from None


def _parse(text):
  decode, failure = _decoder()
  try:
    return decode(text)
  except failure as error:
    offset, message = _read_failure(error)
  except (RecursionError, UnicodeDecodeError):
    return _parse_slowly(text)
  if message == NOT_SINGLE:
    return decode(text[:offset])
  if message in (SURROGATE, TOO_BIG):
    return _parse_slowly(text)
  if text[offset:offset + 1] in (b"]", b"}", b",", b":") and _SPACE.match(text).end() == offset:
    message = EMPTY
  raise _SyntaxError(ESCAPE if message == NOT_ENCODED else message, offset)


@functools.cache
def _decoder():
  """Returns: function(bytes) -> value, and the error that it raises."""
  try:
    import rapidjson
  except ImportError as error:
    raise UserError("the server needs python-rapidjson: pip install 'aigc_tf[serve]'") from error

  class Decoder(rapidjson.Decoder):
    def start_object(self):
      return Object()

  return (Decoder(number_mode=rapidjson.NM_NAN | rapidjson.NM_NATIVE),
          rapidjson.JSONDecodeError)


def _read_failure(error):
  match = _FAILURE.match(str(error))
  return int(match[1]), match[2]


# --- the slow parser: RapidJSON's iterative one, in which depth costs no stack


def _parse_slowly(text):
  if len(text) > MAX_SLOW_BYTES:
    raise status.ServingError(
        status.INVALID_ARGUMENT, "JSON Parse error: too long for what it holds: arrays nested "
        f"more than 1000 deep, or strings that are not UTF-8, in {len(text)} bytes; send at most "
        f"{MAX_SLOW_BYTES}")
  with _ONE_AT_A_TIME:
    return _read_slowly(text)


def _read_slowly(text):
  state, open_values, position = _START, [], 0
  while True:
    position = _SPACE.match(text, position).end()
    byte = text[position] if position < len(text) else 0
    if byte in b"[{" and state in (_START, _COLON, _ARRAY, _NEXT_ELEMENT):
      value = [] if byte == ord("[") else Object()
      open_values.append((value, state))
      state, position = _ARRAY if byte == ord("[") else _OBJECT, position + 1
    elif state in _CLOSING.get(byte, ()):
      value, state = open_values.pop()
      position += 1
      if not open_values:
        return value
      state = _put(open_values[-1][0], value, state)
    elif (byte, state) in _SEPARATORS:
      state, position = _SEPARATORS[byte, state], position + 1
    elif byte == ord('"') and state in (_OBJECT, _NEXT_MEMBER):
      key, position = _string(text, position)
      open_values[-1][0].append(key)
      state = _KEY
    elif byte and byte not in b"[]{},:" and state in (_START, _COLON, _ARRAY, _NEXT_ELEMENT):
      value, position = (_string if byte == ord('"') else _scalar)(text, position)
      if not open_values:
        return value
      state = _put(open_values[-1][0], value, state)
    else:
      raise _SyntaxError(_ERRORS[state], position)


def _put(container, value, state):
  """Puts a value where it belongs.  Returns: the state after it."""
  if state == _COLON:
    container[-1] = (container[-1], value)
  else:
    container.append(value)
  return _AFTER_VALUE[state]


def _scalar(text, position):
  """Returns: (None, bool, int or float, the position behind it)."""
  decode, failure = _decoder()
  token = _SCALAR.match(text, position)[0]
  while True:
    try:
      return decode(token), position + len(token)
    except failure as error:
      offset, message = _read_failure(error)
    if message == NOT_SINGLE:  # 01 is a zero, and then something wrong
      token = token[:offset]
    elif message == TOO_BIG and not _beyond_limits(number := _NUMBER.match(token)):
      return float("-inf" if token[:1] == b"-" else "inf"), position + number.end()
    else:
      raise _SyntaxError(INVALID if message == EMPTY else message, position + offset)


def _beyond_limits(number):
  """Whether RapidJSON 1.1.0, too, refuses a number that a double cannot hold."""
  whole, fraction, exponent = number.groups(b"")
  if len(whole) > 309 or int(whole) >= 2**1024:
    return True
  counted = min(len(fraction), max(17 - len(whole.lstrip(b"0")), 0))
  return int(exponent[:9] or 0) > 308 + counted


def _string(text, position):
  """Returns: (str with surrogate escapes, the position behind the closing quotation mark)."""
  decode, failure = _decoder()
  match = _STRING.match(text, position)
  if not match:
    _unescaped(text[position + 1:], position + 1)
    raise _SyntaxError(NOT_CLOSED, len(text))
  try:
    return decode(match[0]), match.end()
  except (failure, UnicodeDecodeError):
    raw = _unescaped(match[0][1:-1], position + 1)
    return raw.decode("utf-8", "surrogateescape"), match.end()


def _unescaped(content, start):
  """The bytes a string stands for: single low surrogates are taken, high ones need their pair."""
  pieces, position = [], 0
  for match in _ESCAPE.finditer(content):
    if match.start() < position:
      continue  # the second half of a pair
    pieces.append(content[position:match.start()])
    position = match.end()
    if match[1]:
      code, position = _code_point(content, int(match[1], 16), position, start + match.start())
      pieces.append(chr(code).encode("utf-8", "surrogatepass"))
    elif match[2] and match[2][0] in _PLAIN_ESCAPES:
      pieces.append(bytes([_PLAIN_ESCAPES[match[2][0]]]))
    else:
      wrong = {b"\0": NOT_CLOSED, b"\\u": HEX_ESCAPE}.get(match[0], ESCAPE)
      raise _SyntaxError(wrong, start + match.start())
  return b"".join(pieces) + content[position:]


def _code_point(content, code, position, offset):
  """Returns: (int code point, position behind its second half, if it has one)."""
  if not 0xD800 <= code <= 0xDBFF:
    return code, position
  second = _ESCAPE.match(content, position)
  if not second or second[0][:2] != b"\\u":
    raise _SyntaxError(SURROGATE, offset)
  if not second[1]:
    raise _SyntaxError(HEX_ESCAPE, offset)
  low = int(second[1], 16)
  if not 0xDC00 <= low <= 0xDFFF:
    raise _SyntaxError(SURROGATE, offset)
  return 0x10000 + (code - 0xD800 << 10) + low - 0xDC00, second.end()
