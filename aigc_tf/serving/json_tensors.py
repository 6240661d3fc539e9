"""JSON bodies of :predict to arrays, as TF Serving reads them.

Row format: {"instances": [one value or {input: value} a row]}, answered by {"predictions": [...]}.
Columnar format: {"inputs": value or {input: value}}, answered by {"outputs": ...}.

What is right is converted whole arrays at a time. What is not, or is unusual (a key given twice,
a type that JSON cannot hold), goes value by value through the rules of TF Serving's parser, which
gives its message about the first value that breaks one.
"""

import binascii
import itertools
import math
import re

import numpy as np
import tensorflow as tf

from aigc_tf.serving import json_debug
from aigc_tf.serving import json_parse
from aigc_tf.serving import status

MAX_RANK = 64  # of NumPy
FLOAT, DOUBLE, INT32, UINT8, INT16, INT8, STRING, INT64, BOOL = 1, 2, 3, 4, 5, 6, 7, 9, 10
UINT32, UINT64 = 22, 23
TYPE_NAMES = {
    FLOAT: "float", DOUBLE: "double", INT32: "int32", UINT8: "uint8", INT16: "int16", INT8: "int8",
    STRING: "string", 8: "complex64", INT64: "int64", BOOL: "bool", 11: "qint8", 12: "quint8",
    13: "qint32", 14: "bfloat16", 15: "qint16", 16: "quint16", 17: "uint16", 18: "complex128",
    19: "half", 20: "resource", 21: "variant", UINT32: "uint32", UINT64: "uint64",
    24: "float8_e5m2", 25: "float8_e4m3fn", 29: "int4", 30: "uint4"}
ARRAYS = {FLOAT: np.float32, DOUBLE: np.float64, INT32: np.int32, UINT8: np.uint8,
          INT16: np.int16, INT8: np.int8, STRING: object, INT64: np.int64, BOOL: np.bool_,
          UINT32: np.uint32, UINT64: np.uint64}
# What TF Serving takes: the small types any int32, of which they keep the low bits.
_INT32_RANGE = (-2**31, 2**31 - 1)
RANGES = {INT32: _INT32_RANGE, INT16: _INT32_RANGE, INT8: _INT32_RANGE, UINT8: _INT32_RANGE,
          INT64: (-2**63, 2**63 - 1), UINT32: (0, 2**32 - 1), UINT64: (0, 2**64 - 1)}
_SPACE = b" \t\n\v\f\r"
_BASE64 = re.compile(rb"([A-Za-z0-9+/]*)([=.]*)")
_PADDING = {0: 0, 2: 2, 3: 1}


def _error(message, code=status.INVALID_ARGUMENT):
  return status.ServingError(code, message)


def format_error(value, text):
  """Returns: ServingError that shows a JSON value and says what is wrong with it."""
  return _error(f"JSON Value: {json_debug.text(value)} {text}")


# --- the body


def document(body):
  """body: bytes.  Returns: json_parse.Object.  Raises: ServingError."""
  value = json_parse.parse(body)
  if not isinstance(value, json_parse.Object):
    raise format_error(value, "Is not object")
  return value


def signature_name(value):
  """value: json_parse.Object.  Returns: str, "" if none is given.  Raises: ServingError."""
  name = value.find("signature_name", "")
  if not isinstance(name, str):
    raise format_error(
        value, "not formatted correctly. 'signature_name' key must be a string value.")
  return name


def inputs(value, types, name=""):
  """The arrays that a body holds.

  value: json_parse.Object, the body.  types: {input: DataType number}.  name: of the signature.

  Returns: (bool whether in row format, {input: np.ndarray}; strings are object arrays of bytes).
  Raises: ServingError.
  """
  if not types:
    raise _error(f"Failed to get input map for signature: {name or 'DEFAULT'}")
  absent = object()
  instances, columns = value.find("instances", absent), value.find("inputs", absent)
  if instances is absent and columns is absent:
    raise _error("Missing 'inputs' or 'instances' key")
  if instances is absent:
    return False, _columnar(columns, types)
  if columns is not absent:
    raise format_error(value, "Not formatted correctly expecting only one of 'inputs' or "
                       "'instances' keys to exist ")
  if type(instances) is not list:
    raise format_error(value, "Expecting 'instances' to be an list/array")
  if not instances:
    raise format_error(value, "No values in 'instances' array")
  return True, _rows(instances, types)


# --- row format


def _rows(instances, types):
  if not isinstance(instances[0], json_parse.Object) and len(types) > 1:
    raise _error("instances is a plain list, but expecting list of objects as multiple "
                 "input tensors required as per tensorinfo_map")
  columns = _columns(instances, types)
  if columns:
    arrays = {name: _array(columns[name], types[name]) for name in columns}
    if all(array is not None for array in arrays.values()):
      return arrays
  return _careful_rows(instances, types)


def _columns(instances, types):
  """Returns: {input: list of its values}, or None if the rows are not all alike."""
  kinds = set(map(type, instances))
  if json_parse.Object not in kinds:
    return {min(types): instances}
  if len(kinds) > 1:
    return None
  if len(types) == 1 and all(map(is_base64, instances)):
    return {min(types): instances}
  columns = {name: [] for name in types}
  for pairs in instances:
    if len(pairs) != len(types) or is_base64(pairs):
      return None
    for name, item in pairs:
      column = columns.get(name)
      if column is None:
        return None
      column.append(item)
  return columns if all(len(column) == len(instances) for column in columns.values()) else None


def _careful_rows(instances, types):
  """Row after row, as upstream's parser goes."""
  are_objects = _is_named(instances[0])
  values, shapes, sizes = {}, {}, {}
  for i, instance in enumerate(instances):
    if _is_named(instance) != are_objects:
      raise _error(f"Expecting object but got list at item {i} of input list" if are_objects else
                   f"Expecting value/list but got object at item {i} of input list")
    pairs = instance if are_objects else [(min(types), instance)]
    for key, item in pairs:
      key = key.partition("\0")[0]
      try:
        _add_item(key, item, types, values, shapes, sizes)
      except status.ServingError as error:
        named = f" key: {key}" if are_objects else ""
        raise _error(f"Failed to process element: {i}{named} of 'instances' list. "
                     f"Error: {status.NAMES[error.code]}: {error.message}") from None
    if are_objects and {key.partition("\0")[0] for key, _ in pairs} != set(types):
      raise _error(f"Failed to process element: {i} of 'instances' list. JSON object: "
                   f"{json_debug.text(instance)} keys must be equal to: {','.join(sorted(types))}")
  return {name: _made(values[name], types[name], [len(instances), *shapes[name]], name)
          for name in values}


def _add_item(key, item, types, values, shapes, sizes):
  """Appends a row's values of one input to values[key]; every row has the first one's shape."""
  if key not in types:
    raise _error(f"JSON object: does not have named input: {key}")
  shape, found = _shape(item), values.setdefault(key, [])
  before = len(found)
  _fill(item, types[key], shape, found)
  size = len(found) - before
  if key not in shapes:
    shapes[key], sizes[key] = shape, size
  elif size != sizes[key]:
    raise _error(f"Expecting tensor size: {sizes[key]} but got: {size}")
  elif shape != shapes[key]:
    raise _error(f"Expecting shape {_bracketed(shapes[key])} but got: {_bracketed(shape)}")


def _bracketed(shape):
  return f"[{','.join(map(str, shape))}]"


# --- columnar format


def _columnar(value, types):
  if not _is_named(value):
    if len(types) > 1:
      raise _error("inputs is a plain value/list, but expecting an object as multiple "
                   "input tensors required as per tensorinfo_map")
    name = min(types)
    return {name: _tensor(value, types[name], name)}
  arrays, absent = {}, object()
  for name in sorted(types):
    item = value.find(name, absent)
    if item is absent:
      raise _error(f"Missing named input: {name} in 'inputs' object.")
    arrays[name] = _tensor(item, types[name], name)
  return arrays


def _tensor(value, kind, name):
  array = _array([value], kind)
  if array is not None:
    return array.reshape(array.shape[1:])
  values, shape = [], _shape(value)
  _fill(value, kind, shape, values)
  return _made(values, kind, shape, name)


# --- values of one input, all at once


def _array(items, kind):
  """items: list of nested lists.  Returns: np.ndarray, or None if something is not as usual."""
  shape = [len(items)]
  while items and type(items[0]) is list:
    sizes = set(map(len, items)) if set(map(type, items)) == {list} else ()
    if len(sizes) != 1 or len(shape) == MAX_RANK:
      return None
    shape.append(sizes.pop())
    items = list(itertools.chain.from_iterable(items))
  leaves = _checked(items, kind)
  return None if leaves is None else _flat(leaves, kind).reshape(shape)


def _checked(items, kind):
  """Returns: list of leaves (strings as bytes), or None if the type cannot hold one of them."""
  types = set(map(type, items))
  if kind in (FLOAT, DOUBLE):
    return items if types <= {int, float} else None
  if kind in RANGES:
    low, high = RANGES[kind]
    fit = types <= {int} and (not items or low <= min(items) and max(items) <= high)
    return items if fit else None
  if kind == BOOL:
    return items if types <= {bool} else None
  if kind != STRING or not types <= {str, json_parse.Object}:
    return None
  leaves = [item.encode("utf-8", "surrogateescape") if type(item) is str else _decoded(item)
            for item in items]
  return None if json_parse.Object in types and None in leaves else leaves


def _flat(leaves, kind):
  if kind == STRING:
    flat = np.empty(len(leaves), object)
    flat[:] = leaves
    return flat
  wide = np.float64 if kind in (FLOAT, DOUBLE) else np.uint64 if kind == UINT64 else np.int64
  return _cast(np.array(leaves, np.bool_ if kind == BOOL else wide), kind)


def float32(value):
  """Returns: float, the nearest float32; infinite beyond its range."""
  return float(_cast(np.array(value), FLOAT))


def _cast(array, kind):
  with np.errstate(over="ignore", under="ignore", invalid="ignore"):
    return array.astype(ARRAYS[kind])


# --- values of one input, one after the other


def _shape(value):
  """Returns: list of int, the sizes along the first elements."""
  shape = []
  while type(value) is list:
    shape.append(len(value))
    if not value:
      break
    value = value[0]
  return shape


def _fill(value, kind, shape, values):
  """Appends the leaves of nested lists to `values`. Depth costs no stack."""
  rank, waiting = len(shape), []
  following, level = iter([value]), 0
  while True:
    value = next(following, waiting)
    if value is waiting:
      if not waiting:
        return
      following, level = waiting.pop(), level - 1
    elif type(value) is not list:
      if level != rank:
        raise format_error(value, f"found at incorrect level: {level + 1} in the JSON DOM. "
                           f"Expected at level: {rank}")
      values.append(_leaf(value, kind))
    else:
      if level >= rank:
        raise _error(f"Encountered list at unexpected level: {level} expected < {rank}")
      if len(value) != shape[level]:
        raise _error(f"Encountered list at unexpected size: {len(value)} at level: {level} "
                     f"expected size: {shape[level]}")
      waiting.append(following)
      following, level = iter(value), level + 1


def _leaf(value, kind):
  """Returns: float, int, bool or bytes.  Raises: ServingError if a type cannot hold the value."""
  if isinstance(value, json_parse.Object):
    return _base64_leaf(value, kind)
  if kind not in ARRAYS:
    raise _error(f"Conversion of JSON Value: {json_debug.text(value)} to type: "
                 f"{_type_name(kind)}", status.UNIMPLEMENTED)
  if kind in (FLOAT, DOUBLE):
    fits = type(value) in (int, float)
  elif kind in RANGES:
    fits = type(value) is int and RANGES[kind][0] <= value <= RANGES[kind][1]
  else:
    fits = type(value) is (str if kind == STRING else bool)
  if not fits:
    raise _type_error(value, kind)
  return value.encode("utf-8", "surrogateescape") if kind == STRING else value


def _base64_leaf(value, kind):
  if kind != STRING:
    raise _type_error(value, kind)
  if not is_base64(value):
    raise format_error(value, "not formatted correctly for base64 data")
  return decode_base64(value)


def _type_error(value, kind):
  return format_error(value, f"Type: {json_debug.type_name(value)} is not of expected type: "
                      f"{_type_name(kind)}")


def _type_name(kind):
  return TYPE_NAMES.get(kind, f"Unknown data type {kind}")


def _made(values, kind, shape, name):
  """Returns: np.ndarray of the first values: a key given twice in a row gives more than needed."""
  if len(shape) > MAX_RANK:
    raise _error(f"tensor parsing error: {name}")
  if kind not in ARRAYS:  # without values any type will do
    return np.zeros(shape, tf.as_dtype(kind).as_numpy_dtype)
  return _flat(values[:math.prod(shape)], kind).reshape(shape)


# --- strings


def is_base64(value):
  """Whether a value is {"b64": "..."}, which stands for bytes."""
  return (isinstance(value, json_parse.Object) and len(value) == 1 and value[0][0] == "b64"
          and isinstance(value[0][1], str))


def decode_base64(value):
  """value: {"b64": str}.  Returns: bytes.  Raises: ServingError."""
  decoded = _decoded(value)
  if decoded is None:
    raise _error("Unable to base64 decode")
  return decoded


def _decoded(value):
  """Returns: bytes, or None. Spaces count nothing; padding may be left out, but not be wrong."""
  if not is_base64(value):
    return None
  text = value[0][1].encode("utf-8", "surrogateescape").translate(None, _SPACE)
  match = _BASE64.fullmatch(text)
  if not match or len(match[1]) % 4 == 1:
    return None
  padding = _PADDING[len(match[1]) % 4]
  if len(match[2]) not in (0, padding):
    return None
  return binascii.a2b_base64(match[1] + b"=" * padding)


def _is_named(value):
  return isinstance(value, json_parse.Object) and not is_base64(value)
