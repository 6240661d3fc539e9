"""The warm-up file of an export: TF Serving runs its requests before the first user comes.

The file is a TFRecord of `PredictionLog` messages. Their classes come only with the package
tensorflow-serving-api, which an export must not need: the three small messages around TensorProto
are written here in protobuf's wire format (a field is a key, a length and the bytes).
"""

import numpy as np
import tensorflow as tf

BATCH_SIZES = (1, 2, 4, 8)
FILE = "assets.extra/tf_serving_warmup_requests"
UNKNOWN_DIM = 16  # rows of a mel, frames of a wave: any small length will do

# What an input of this name is fed with; any other is fed with zeros, or with this text.
TEXT = b"hello"
VALUES = {
    "image": 128,  # mid-grey
    "truncation": 1,
    "temperature": 1,
    "top_p": 1,
    "repetition_penalty": 1,
    "length_penalty": 1,
    "beam_size": 1,
    "max_new_tokens": 8,  # enough to compile the loop, and cheap
    "num_frames": 8,
}


def sample(specs, rows):
  """Inputs that any endpoint accepts, the same each time.

  specs: {input: tf.TensorSpec}.  rows: batch size.  Returns: {input: np.ndarray[rows, ...]}.
  """
  return {name: _sample_input(name, spec, rows) for name, spec in specs.items()}


def _sample_input(name, spec, rows):
  shape = [rows] + [UNKNOWN_DIM if dim is None else dim for dim in spec.shape[1:]]
  if name == "seed":
    return np.arange(rows, dtype=spec.dtype.as_numpy_dtype)
  return np.full(shape, fill_value(name, spec.dtype), spec.dtype.as_numpy_dtype)


def fill_value(name, dtype):
  """A value that the input `name` accepts anywhere: bytes for strings, else a number."""
  return TEXT if dtype == tf.string else VALUES.get(name, 0)


def write(directory, name, signatures):
  """Writes one request for each signature and batch size into DIRECTORY/assets.extra/.

  directory: a SavedModel.  name: the served model's name.  signatures: {name: {input: TensorSpec}}.
  """
  path = f"{directory}/{FILE}"
  tf.io.gfile.makedirs(path.rpartition("/")[0])
  with tf.io.TFRecordWriter(path) as writer:
    for signature, specs in signatures.items():
      for rows in BATCH_SIZES:
        writer.write(prediction_log(name, signature, sample(specs, rows)))


def prediction_log(name, signature, inputs):
  """PredictionLog{predict_log{request}} for one call.

  inputs: {input: np.ndarray}.  Returns: bytes, the serialized message.
  """
  model_spec = _field(1, name.encode()) + _field(3, signature.encode())  # name, signature_name
  request = _field(1, model_spec)
  for key, value in inputs.items():
    tensor = tf.make_tensor_proto(value).SerializeToString(deterministic=True)
    request += _field(2, _field(1, key.encode()) + _field(2, tensor))  # a map entry: key, value
  predict_log = _field(1, request)
  return _field(6, predict_log)


def _field(number, payload):
  """One length-delimited protobuf field (wire type 2)."""
  return _varint(number << 3 | 2) + _varint(len(payload)) + payload


def _varint(value):
  """value: int >= 0.  Returns: bytes, seven bits each, low bits first, high bit = more follows."""
  out = bytearray()
  while value >= 0x80:
    out.append(value & 0x7F | 0x80)
    value >>= 7
  return bytes(out + bytearray([value]))
