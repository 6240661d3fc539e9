"""The calls behind both fronts: what TF Serving checks, in its order and with its words.

predict takes named tensors; classify, regress and multi_inference take tf.Examples, and any
signature with one input `inputs` and outputs of the right names answers them.
"""

import time

from google.protobuf import text_format
import numpy as np
import tensorflow as tf
from tensorflow.core.framework import types_pb2

from aigc_tf.serving import status
from aigc_tf.serving import tensor_protos

DEFAULT_SIGNATURE = tf.saved_model.DEFAULT_SERVING_SIGNATURE_DEF_KEY
CLASSIFY = tf.saved_model.CLASSIFY_METHOD_NAME
REGRESS = tf.saved_model.REGRESS_METHOD_NAME


def _invalid(message):
  return status.ServingError(status.INVALID_ARGUMENT, message)


def _set(names):
  return "{" + ",".join(sorted(names)) + "}"


def _run(runner, servable, key, inputs, outputs, timeout_ms, monitoring, api):
  start = time.perf_counter()
  values = runner.run(servable, key, inputs, outputs, timeout_ms)
  if monitoring:
    monitoring.runtime(servable.name, api, (time.perf_counter() - start) * 1e6)
  return values


# --- predict


def predict(runner, servable, signature_name, inputs, output_filter=(), timeout_ms=None,
            monitoring=None):
  """Runs a signature on named tensors.

  signature_name: "" for the default one.  inputs: {alias: TensorProto or np.ndarray}.
  output_filter: aliases wanted, none for all.  timeout_ms: int, or None for no limit.
  monitoring: where the time is noted.

  Returns: {alias: np.ndarray}.
  Raises: ServingError.
  """
  key = signature_name or DEFAULT_SIGNATURE
  signature = servable.signatures.get(key)
  if signature is None:
    raise status.ServingError(status.FAILED_PRECONDITION,
                              f'Serving signature key "{key}" not found.')
  feeds = _feeds(signature, inputs)
  outputs = _outputs(signature, output_filter)
  values = _run(runner, servable, key, feeds, outputs, timeout_ms, monitoring, "Predict")
  return dict(zip(outputs, values, strict=True))


def _feeds(signature, given):
  """Returns: {alias: np.ndarray}, one for each input of the signature."""
  required = set(signature.inputs)
  if len(given) > len(required) or len(given) < len(required) and not signature.defaults:
    raise _invalid(
        f"input size does not match signature: {len(given)}!={len(required)} "
        f"len({_set(given)}) != len({_set(required)}). "
        f"Sent extra: {_set(set(given) - required)}. "
        f"Missing but required: {_set(required - set(given))}.")
  feeds = {}
  for alias in sorted(required):
    if alias in given:
      feeds[alias] = _array(alias, given[alias])
    elif alias in signature.defaults:
      feeds[alias] = _array(alias, signature.defaults[alias])
    else:
      raise _invalid(
          f"Signature input alias: {alias}(feed name: {signature.inputs[alias].name}) not found "
          f"in request and no default value provided. Inputs expected to be in the request "
          f"{_set(given)}, or default input alias set: {','.join(sorted(signature.defaults))}")
  if not required.issuperset(given):
    raise _invalid("Inputs contains invalid name. Used request inputs: "
                   f"{','.join(sorted(required & set(given)))}, "
                   f"request input: {','.join(sorted(given))}")
  return feeds


def _array(alias, value):
  if isinstance(value, np.ndarray):
    return value
  try:
    return tensor_protos.decode(value)
  except (ValueError, IndexError, OverflowError, MemoryError):
    raise _invalid(f"tensor parsing error: {alias}") from None


def _outputs(signature, output_filter):
  """Returns: tuple of aliases."""
  seen = set()
  for alias in output_filter:
    if alias not in signature.outputs:
      raise _invalid(f"output tensor alias not found in signature: {alias} Outputs expected to be "
                     f"in the set {_set(signature.outputs)}.")
    if alias in seen:
      raise _invalid(f"duplicate output tensor alias: {alias}")
    seen.add(alias)
  return tuple(output_filter) or tuple(sorted(signature.outputs))


# --- tf.Examples


def serialized_examples(container):
  """container: serving.Input message.  Returns: list of bytes, tf.Examples with the context in."""
  kind = container.WhichOneof("kind")
  if kind is None:
    return []
  chosen = getattr(container, kind)
  # Two serialized messages in a row are the merged one.
  context = chosen.context.SerializeToString() if kind == "example_list_with_context" else b""
  return [context + example.SerializeToString() for example in chosen.examples]


def classify(runner, servable, signature_name, examples, timeout_ms=None, monitoring=None,
             errors="replace"):
  """Labels and scores of tf.Examples.

  signature_name: "" for the default one.  examples: list of bytes, serialized.  errors: what
  becomes of bytes of a label that are not UTF-8, as in bytes.decode.

  Returns: list, one for each example, of [(label str, score float)]; without an output `classes`
    labels are "", without `scores` scores are 0.
  Raises: ServingError.
  """
  key, signature = _named(servable, signature_name)
  outputs = _classification_outputs(signature)
  return _classes(*_on_examples(runner, servable, key, outputs, examples, timeout_ms, monitoring,
                                "Classify"), errors)


def regress(runner, servable, signature_name, examples, timeout_ms=None, monitoring=None):
  """A number for each tf.Example.

  signature_name: "" for the default one.  examples: list of bytes, serialized.

  Returns: list of float.
  Raises: ServingError.
  """
  key, signature = _named(servable, signature_name)
  outputs = _regression_outputs(signature)
  return _numbers(*_on_examples(runner, servable, key, outputs, examples, timeout_ms, monitoring,
                                "Regress"))


def multi_inference(runner, servable, tasks, examples, timeout_ms=None, monitoring=None):
  """Several signatures on the same tf.Examples.

  tasks: list of (model name, signature name, method name: CLASSIFY or REGRESS).

  Returns: list, one for each task, of what classify or regress would return.
  Raises: ServingError; all tasks are checked before the first is run.
  """
  plans, keys = [], set()
  for model, signature_name, method in tasks:
    plans.append(_plan(servable, tasks[0][0], model, signature_name, method, keys))
  results = [_RESULTS[method](*_on_examples(runner, servable, key, outputs, examples, timeout_ms))
             for key, outputs, method in plans]
  if monitoring:
    monitoring.examples(servable.name, len(examples))
  return results


def _plan(servable, first_model, model, signature_name, method, keys):
  """Returns: (signature key, output aliases, method) of one task, and adds the key to `keys`."""
  if not model:
    raise _invalid("Found ModelSpec with an empty model name.")
  if model != first_model:
    raise _invalid("All ModelSpecs in a MultiInferenceRequest must access the same model name.")
  key = signature_name or DEFAULT_SIGNATURE
  if key in keys:
    raise _invalid(f"Duplicate evaluation of signature: {key}")
  keys.add(key)
  if key not in servable.signatures:
    raise _invalid(f"Requested signature not found in model graph: {key}")
  if method not in _OUTPUTS:
    raise status.ServingError(status.UNIMPLEMENTED, f"Unsupported signature method_name: {method}")
  return key, _OUTPUTS[method](servable.signatures[key]), method


def _named(servable, signature_name):
  key = signature_name or DEFAULT_SIGNATURE
  if key not in servable.signatures:
    raise _invalid(f"No signature was found with the name: {key}")
  return key, servable.signatures[key]


def _on_examples(runner, servable, key, outputs, examples, timeout_ms, monitoring=None, api=""):
  """Returns: (number of examples, {alias: np.ndarray})."""
  if not examples:
    raise _invalid("Input is empty.")
  inputs = {"inputs": np.array(examples, object)}
  values = _run(runner, servable, key, inputs, outputs, timeout_ms, monitoring, api)
  return len(examples), dict(zip(outputs, values, strict=True))


def _classification_outputs(signature):
  """Returns: tuple of the aliases among `classes`, `scores` that the signature has."""
  if len(signature.inputs) != 1:
    raise _invalid("Expected one input Tensor.")
  if len(signature.outputs) not in (1, 2):
    raise _invalid(f"Expected one or two output Tensors, found {len(signature.outputs)}")
  if "inputs" not in signature.inputs:
    raise _invalid(f"No classification inputs found in SignatureDef: {_text(signature)}")
  outputs = tuple(alias for alias in ("classes", "scores") if alias in signature.outputs)
  if not outputs:
    raise _invalid("Expected classification signature outputs to contain at least one of "
                   f'"classes" or "scores". Signature was: {_text(signature)}')
  return outputs


def _regression_outputs(signature):
  if len(signature.inputs) != 1:
    raise _invalid("Expected one input Tensor.")
  if len(signature.outputs) != 1:
    raise _invalid("Expected one output Tensor.")
  if "inputs" not in signature.inputs:
    raise _invalid(f"No regression inputs found in SignatureDef: {_text(signature)}")
  if "outputs" not in signature.outputs:
    raise _invalid(f"No regression outputs found in SignatureDef: {_text(signature)}")
  return ("outputs",)


def _text(signature):
  return text_format.MessageToString(signature)


def _classes(num_examples, outputs, errors="replace"):
  for alias, dtype in (("classes", tf.string), ("scores", tf.float32)):
    if alias in outputs:
      _check_classes(alias, outputs[alias], dtype, num_examples)
  widths = [values.shape[1] for values in outputs.values()]
  if len(set(widths)) > 1:
    raise _invalid("Tensors class and score should match in dim_size(1). "
                   f"Got {widths[0]} vs. {widths[1]}")
  shape = num_examples, widths[0]
  labels = outputs.get("classes", np.full(shape, b"", object)).tolist()
  scores = outputs.get("scores", np.zeros(shape, np.float32)).tolist()
  return [[(label.decode(errors=errors), score) for label, score in zip(*row, strict=True)]
          for row in zip(labels, scores, strict=True)]


def _check_classes(alias, values, dtype, num_examples):
  if values.ndim != 2:
    raise _invalid(
        f"Expected Tensor shape: [batch_size num_classes] but got {_shape(values)}")
  if tf.as_dtype(values.dtype) != dtype:
    raise _invalid(f"Expected {alias} Tensor of {_type(dtype)}. Got: {_type(values.dtype)}")
  if len(values) != num_examples:
    raise _invalid(
        f"Expected {alias} output batch size of {num_examples}. Got: {len(values)}")


def _numbers(num_examples, outputs):
  values = outputs["outputs"]
  if not (values.ndim == 1 or values.ndim == 2 and values.shape[1] == 1):
    raise _invalid("Expected output Tensor shape to be either [batch_size] or [batch_size, 1] "
                   f"but got {_shape(values)}")
  if len(values) != num_examples:
    raise _invalid("Input batch size did not match output batch size: "
                   f"{num_examples} vs. {len(values)}")
  if values.dtype != np.float32:
    raise _invalid(f"Expected output Tensor of DT_FLOAT.  Got: {_type(values.dtype)}")
  return values.ravel().tolist()


def _shape(values):
  return f"[{','.join(map(str, values.shape))}]"


def _type(dtype):
  """Returns: "DT_FLOAT", ..."""
  return types_pb2.DataType.Name(tf.as_dtype(dtype).as_datatype_enum)


_OUTPUTS = {CLASSIFY: _classification_outputs, REGRESS: _regression_outputs}
_RESULTS = {CLASSIFY: _classes, REGRESS: _numbers}
