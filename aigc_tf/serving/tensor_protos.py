"""TensorProto to numpy and back, as TensorFlow's C++ does it.

TensorFlow's Python functions differ: they write `tensor_content`, where TF Serving answers in typed
fields (clients read `.float_val`), and they refuse some of what C++ accepts.
"""

import math

import numpy as np
import tensorflow as tf

# A short list of values is continued with its last one: a message of a few bytes may ask for any
# amount of memory. What a tensor may get, besides the values given:
MAX_REPEATED_BYTES = 64 << 20
STRING_BYTES = 32  # of a string in memory, here and in TensorFlow, without its characters

_FIELDS = {
    "float32": "float_val", "float64": "double_val", "int32": "int_val", "int16": "int_val",
    "int8": "int_val", "uint8": "int_val", "uint16": "int_val", "int64": "int64_val",
    "uint32": "uint32_val", "uint64": "uint64_val", "bool": "bool_val", "string": "string_val",
    "float16": "half_val", "bfloat16": "half_val", "complex64": "scomplex_val",
    "complex128": "dcomplex_val"}
FIELDS = {getattr(tf, name).as_datatype_enum: (np.dtype(getattr(tf, name).as_numpy_dtype), field)
          for name, field in _FIELDS.items()}
# Values whose bytes on the wire are those in memory: key of the packed field in TensorProto.
_RAW = {np.dtype(np.float32): 5, np.dtype(np.float64): 6, np.dtype(np.bool_): 11}
_PARTS = {"scomplex_val": np.float32, "dcomplex_val": np.float64}  # real, imaginary, real, ...


def decode(proto):
  """proto: TensorProto.  Returns: np.ndarray, maybe read-only; strings are objects of bytes.

  Values missing at the end are as the last one given, or zeros if there is none.
  Raises: ValueError if it is not a valid tensor.
  """
  if proto.dtype not in FIELDS:
    raise ValueError(f"type {proto.dtype}")
  dtype, field = FIELDS[proto.dtype]
  shape = [dim.size for dim in proto.tensor_shape.dim]
  if min(shape, default=0) < 0:
    raise ValueError("unknown shape")
  size = math.prod(shape)
  if not size:
    return np.empty(shape, dtype)
  if proto.tensor_content:
    return _content(proto.tensor_content, dtype, size).reshape(shape)
  return _repeated(_values(getattr(proto, field), dtype, field), size).reshape(shape)


def _content(content, dtype, size):
  if dtype != object:
    values = np.frombuffer(content, dtype)
  else:
    values = np.array(_strings(content, size), dtype)
  if len(values) != size:
    raise ValueError("tensor_content of another size")
  return values


def _strings(content, size):
  """content: `size` varint lengths, then the strings.  Returns: list of bytes."""
  lengths, start = [], 0
  while len(lengths) < size and start < len(content):
    length = shift = 0
    while True:
      if shift > 28:
        raise ValueError("a length of more than 32 bits")
      byte = content[start]  # an IndexError is no valid tensor either
      length |= (byte & 127) << shift
      start, shift = start + 1, shift + 7
      if byte < 128:
        break
    lengths.append(length)
  if len(lengths) != size or start + sum(lengths) != len(content):
    raise ValueError("tensor_content of another size")
  ends = np.cumsum([start] + lengths).tolist()
  return [content[start:end] for start, end in zip(ends, ends[1:])]


def _values(repeated, dtype, field):
  if field == "half_val":
    return np.array(repeated, np.int32).astype(np.uint16).view(dtype)
  if field in _PARTS:
    parts = np.array(repeated, _PARTS[field])
    return parts[:len(parts) // 2 * 2].view(dtype)
  if field == "int_val":
    return np.array(repeated, np.int32).astype(dtype, copy=False)
  return np.array(repeated, dtype)


def _repeated(values, size):
  if len(values) >= size:
    return values[:size]
  each = values.itemsize
  if values.dtype == object:
    each = STRING_BYTES + (len(values[-1]) if len(values) else 0)
  if (size - len(values)) * each > MAX_REPEATED_BYTES:
    raise ValueError("too large for the values given")
  if not len(values):
    return np.full(size, b"", values.dtype) if values.dtype == object else np.zeros(
        size, values.dtype)
  out = np.empty(size, values.dtype)
  out[:len(values)], out[len(values):] = values, values[-1]
  return out


def encode(array, proto):
  """Writes an array into an empty TensorProto, in typed fields.

  array: np.ndarray of a type in FIELDS; strings: object array of bytes.
  """
  dtype = tf.as_dtype(array.dtype)
  proto.dtype = dtype.as_datatype_enum
  proto.tensor_shape.SetInParent()  # a scalar's shape is there, and empty
  dims = proto.tensor_shape.dim
  for size in array.shape:
    dims.add().size = size
  if not array.size:
    return
  if array.dtype in _RAW:
    payload = array.tobytes()
    proto.MergeFromString(_key_and_length(_RAW[array.dtype], len(payload)) + payload)
  else:
    _, field = FIELDS[proto.dtype]
    if field in _PARTS:
      array = np.ascontiguousarray(array).view(_PARTS[field])
    elif field == "half_val":
      array = array.view(np.uint16)
    getattr(proto, field).extend(array.ravel().tolist())


def _key_and_length(field, length):
  """The bytes before a length-delimited field of a message."""
  out = bytearray([field << 3 | 2])
  while length >= 0x80:
    out.append(length & 0x7F | 0x80)
    length >>= 7
  out.append(length)
  return bytes(out)
