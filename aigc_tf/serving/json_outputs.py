"""Answers as JSON, to the byte as TF Serving writes them.

Its writer indents by four spaces. Rows and results stand in one line each, as do the arrays in
them; the arrays of the columnar format have a line for every element.
"""

import base64
import math

import numpy as np

from aigc_tf.serving import json_debug
from aigc_tf.serving import json_numbers
from aigc_tf.serving import status

BYTES_SUFFIX = "_bytes"  # outputs named so are written as base64
_WRITABLE = {np.dtype(kind) for kind in (
    np.float32, np.float64, np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint32, np.uint64,
    np.bool_)}
_TYPE_NAMES = {"float16": "half"}  # where NumPy's names are not TensorFlow's


def _invalid(message):
  return status.ServingError(status.INVALID_ARGUMENT, message)


def error(message):
  """Returns: bytes, {"error": message}."""
  return f'{{\n    "error": {json_debug.quoted(message)}\n}}'.encode("utf-8", "surrogateescape")


def predictions(is_row, arrays):
  """The JSON of a prediction.

  is_row: bool, the format of the request.  arrays: {output: np.ndarray}.

  Returns: bytes.
  Raises: ServingError if an array cannot be written, or in row format has not its row's dimension.
  """
  if not arrays:
    raise _invalid("Cannot convert empty tensor map to JSON")
  text = _row_text(arrays) if is_row else _columnar_text(arrays)
  return text.encode("utf-8", "surrogateescape")


def classifications(results):
  """results: list of [(label str, score float32 value)].  Returns: bytes.  Raises: ServingError."""
  if not results:
    raise _invalid("Cannot convert empty ClassificationResults to JSON")
  rows = (", ".join(f"[{json_debug.quoted(label)}, {_score(score)}]" for label, score in classes)
          for classes in results)
  text = ", ".join(f"[{row}]" for row in rows)
  return f'{{\n    "results": [{text}\n    ]\n}}'.encode("utf-8", "surrogateescape")


def regressions(results):
  """results: list of float32 values.  Returns: bytes.  Raises: ServingError."""
  if not results:
    raise _invalid("Cannot convert empty RegressionResults to JSON")
  text = ", ".join(map(_score, results))
  return f'{{\n    "results": [{text}]\n}}'.encode("ascii")


def _score(value):
  return json_numbers.text(value, np.float32)


# --- rows


def _row_text(arrays):
  size = _batch_size(arrays)
  level = 2 if len(arrays) == 1 else 3
  columns = [_nested(_texts(name, array, level + array.ndim - 1), size, array.shape[1:])
             for name, array in arrays.items()]
  if not size:
    return '{\n    "predictions": []\n}'
  if len(arrays) == 1:
    return f'{{\n    "predictions": [{", ".join(columns[0])}\n    ]\n}}'
  keys = [f"            {json_debug.quoted(name)}: " for name in arrays]
  rows = ",\n        ".join(
      "{\n" + ",\n".join(map("".join, zip(keys, row, strict=True))) + "\n        }"
      for row in zip(*columns, strict=True))
  return f'{{\n    "predictions": [\n        {rows}\n    ]\n}}'


def _batch_size(arrays):
  size = None
  for name, array in arrays.items():
    if not array.ndim:
      raise _invalid(f"Tensor name: {name} has no shape information ")
    if size not in (None, len(array)):
      raise _invalid(f"Tensor name: {name} has inconsistent batch size: {len(array)} "
                     f"expecting: {size}")
    size = len(array)
  return size


# --- columns


def _columnar_text(arrays):
  level = 1 if len(arrays) == 1 else 2
  columns = [_nested(_texts(name, array, level + array.ndim), 1, array.shape, level)[0]
             for name, array in arrays.items()]
  if len(arrays) == 1:
    return f'{{\n    "outputs": {columns[0]}\n}}'
  members = ",\n".join(f"        {json_debug.quoted(name)}: {column}"
                       for name, column in zip(arrays, columns, strict=True))
  return f'{{\n    "outputs": {{\n{members}\n    }}\n}}'


# --- arrays


def _nested(texts, count, shape, level=None):
  """Puts brackets around texts.

  texts: list of str, count * prod(shape) elements.  shape: of each of the `count` arrays they make.
  level: None for arrays in one line; else the number of values these arrays stand in, and every
    element has its own line.

  Returns: list of `count` str.
  """
  if 0 in shape:
    shape = shape[:shape.index(0)]
    texts = ["[]"] * (count * math.prod(shape))
  if not shape:
    return texts
  opening, separators, closing = _brackets(shape, level)
  size, parts = math.prod(shape), [""] * (2 * math.prod(shape) + 1)
  parts[0], parts[2:-1:2], parts[-1] = opening, separators, closing
  arrays = []
  for start in range(0, len(texts), size):
    parts[1::2] = texts[start:start + size]
    arrays.append("".join(parts))
  return arrays


def _brackets(shape, level):
  """What stands before, between and after the elements of one array without an axis of size 0.

  Returns: (str, list of prod(shape) - 1 str, str).
  """
  opening, separators, closing = "", [], ""
  for axis in reversed(range(len(shape))):
    outer = "" if level is None else "\n" + "    " * (level + axis)
    inner = outer and outer + "    "
    comma = f",{inner}" if inner else ", "
    row = [*separators, closing + comma + opening]
    separators = row * shape[axis]
    del separators[-1]
    opening, closing = f"[{inner}{opening}", f"{closing}{outer}]"
  return opening, separators, closing


def _texts(name, array, level):
  """Returns: list of str, each element of an array.  level: number of values each stands in."""
  if array.dtype == object or array.dtype.kind == "S":
    return _string_texts(array.reshape(-1).tolist(), name.endswith(BYTES_SUFFIX), level)
  if array.dtype in _WRITABLE:
    return json_numbers.texts(array)
  if array.size:
    kind = _TYPE_NAMES.get(array.dtype.name, array.dtype.name)
    raise _invalid(f"Failed to write JSON value for tensor type: {kind}")
  return []


def _string_texts(values, are_bytes, level):
  if not are_bytes:
    return [json_debug.quoted(value.decode("utf-8", "surrogateescape")) for value in values]
  before = "{\n" + "    " * (level + 1) + '"b64": "'
  after = '"\n' + "    " * level + "}"
  return [before + base64.b64encode(value).decode("ascii") + after for value in values]
