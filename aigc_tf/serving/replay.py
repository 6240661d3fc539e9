"""Warm-up: the requests that a version brings along are run before the first user comes.

They are `PredictionLog` messages in assets.extra/tf_serving_warmup_requests, one a record of a
TFRecord file, as TF Serving reads them. One that fails makes the whole load fail: a version that
cannot answer its own examples does not replace one that can.
"""

import os

import tensorflow as tf

from aigc_tf.errors import UserError
from aigc_tf.serving import inference
from aigc_tf.serving import runner
from aigc_tf.serving import status

FILE = os.path.join("assets.extra", "tf_serving_warmup_requests")
MAX_RECORDS = 1000


def replay(servable):
  """Runs a servable's own warm-up requests.

  Returns: int, how many; None if it has no such file.
  Raises: ServingError of the first that fails; UserError if their classes are not installed.
  """
  path = os.path.join(servable.path, FILE)
  if not tf.io.gfile.exists(path):
    return None
  count = 0
  for record in _records(path):
    _run(servable, _parse(record, path))
    count += 1
    if count > MAX_RECORDS:
      raise status.ServingError(status.INVALID_ARGUMENT, (
          f"Number of warmup records exceeds the maximum ({MAX_RECORDS}) at {path}"))
  return count


def _records(path):
  try:
    yield from tf.data.TFRecordDataset(path).as_numpy_iterator()
  except tf.errors.DataLossError as error:
    raise status.ServingError(status.DATA_LOSS, (
        f"{status.text(error.message)}. Please verify your warmup data is in TFRecord format.")
    ) from error


def _parse(record, path):
  """record: bytes.  Returns: PredictionLog."""
  from google.protobuf import message
  try:
    from tensorflow_serving.apis import prediction_log_pb2
  except ImportError as error:
    raise UserError("this model's warm-up needs the package tensorflow-serving-api: "
                    "pip install 'aigc_tf[serve]'") from error
  try:
    return prediction_log_pb2.PredictionLog.FromString(record)
  except message.DecodeError as error:
    raise status.ServingError(
        status.INVALID_ARGUMENT, f"Failed to parse warmup record from {path}") from error


def _run(servable, log):
  kind = log.WhichOneof("log_type")
  direct = runner.Direct()
  if kind == "predict_log":
    request = log.predict_log.request
    inference.predict(direct, servable, request.model_spec.signature_name, dict(request.inputs),
                      tuple(request.output_filter))
  elif kind in ("classify_log", "regress_log"):
    request = getattr(log, kind).request
    method = inference.classify if kind == "classify_log" else inference.regress
    method(direct, servable, request.model_spec.signature_name,
           inference.serialized_examples(request.input))
  elif kind == "multi_inference_log":
    request = log.multi_inference_log.request
    tasks = [(task.model_spec.name, task.model_spec.signature_name, task.method_name)
             for task in request.tasks]
    inference.multi_inference(direct, servable, tasks, inference.serialized_examples(request.input))
  elif kind is not None:
    number = log.DESCRIPTOR.fields_by_name[kind].number
    raise status.ServingError(
        status.UNIMPLEMENTED, f"Unsupported log_type for warmup: {number}")
