"""Is what was exported what the model computes? Every signature, run outside Python, tells."""

import numpy as np
import tensorflow as tf

from aigc_tf.errors import UserError
from aigc_tf.serving import audit
from aigc_tf.serving import capi
from aigc_tf.serving import warmup

ROWS = (1, 2, 7, 0)
VERIFIED = "verified by the C API with 1, 2, 7 and 0 rows"
# Two sessions may order a sum differently: last bits of a float, one level of a rounded pixel.
FLOAT_TOLERANCE = 1e-4  # relative to the largest value of the tensor
# Griffin-Lim magnifies them with each iteration, to what nobody hears.
LEVEL_TOLERANCE = {"image_bytes": 1, "image": 1, "audio_bytes": 2**-8}


def verify(directory, functions, specs):
  """Compares an export with the functions it was made from.

  directory: a SavedModel.  functions: {signature: function(**tensors) -> {output: tensor}}.
  specs: {signature: {input: tf.TensorSpec}}.
  Returns: str, what was verified, or "not verified by the C API: " and why not.
  Raises: UserError where TF Serving would fail or answer something else.
  """
  calls = _calls(directory, specs)
  try:
    results = capi.run(directory, calls)
  except capi.Absent as error:
    return f"not verified by the C API: {error}"
  except capi.Failed as error:
    raise UserError(f"the export does not run outside Python: {error}") from error
  for call, result in zip(calls, results):
    inputs = {key: tf.constant(value, specs[call["signature"]][key].dtype)
              for key, value in call["values"].items()}
    for key, value in functions[call["signature"]](**inputs).items():
      fault = difference(key, value.numpy(), result[key])
      if len(result[key]) != call["rows"]:
        fault = f"it answers {len(result[key])} rows"
      if fault:
        raise UserError(f"signature {call['signature']!r} with {call['rows']} rows, output "
                        f"{key!r}: {fault}")
  return VERIFIED


def _calls(directory, specs):
  calls = []
  for name, signature in audit.meta_graph(directory).signature_def.items():
    for rows in ROWS if name in specs else ():
      calls.append({"signature": name, "rows": rows, "inputs": _names(signature.inputs),
                    "outputs": _names(signature.outputs),
                    "values": warmup.sample(specs[name], rows)})
  return calls


def _names(tensors):
  return {key: [info.name, info.dtype] for key, info in tensors.items()}


def difference(name, expected, actual):
  """What differs between two values of the output `name`; "" if nothing that matters.

  expected, actual: np.ndarray, strings as object.
  """
  if expected.dtype != actual.dtype or expected.shape != actual.shape:
    return (f"the export gives {actual.dtype}{list(actual.shape)}, the model "
            f"{expected.dtype}{list(expected.shape)}")
  if np.array_equal(expected, actual):
    return ""
  if name == "image_bytes":
    pairs = [[tf.io.decode_png(item).numpy() for item in pair] for pair in zip(expected, actual)]
  elif name == "audio_bytes":
    pairs = [[tf.audio.decode_wav(item).audio.numpy() for item in pair]
             for pair in zip(expected, actual)]
  else:
    pairs = [[expected, actual]]
  return next(filter(None, (_numeric_difference(name, *pair) for pair in pairs)), "")


def _numeric_difference(name, expected, actual):
  if expected.dtype == object or expected.shape != actual.shape:
    return "the export and the model give other values"
  wide = [array.astype(np.float64) for array in (expected, actual)]
  allowed = LEVEL_TOLERANCE.get(name, 0)
  if np.issubdtype(expected.dtype, np.floating) and name not in LEVEL_TOLERANCE:
    allowed = FLOAT_TOLERANCE * np.max(np.abs(wide[0]), initial=0, where=np.isfinite(wide[0]))
  if np.allclose(*wide, rtol=0, atol=allowed, equal_nan=True):
    return ""
  return f"the export and the model differ by up to {np.max(np.abs(wide[0] - wide[1])):.3g}"
