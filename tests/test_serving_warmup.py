"""The warm-up file, read back by the genuine protos and sent through the C API."""

import numpy as np
import pytest
import tensorflow as tf

from aigc_tf.serving import savedmodel
from aigc_tf.serving import warmup
from tests import serving_models

SPECS = {
    "seed": tf.TensorSpec([None], tf.int64),
    "label": tf.TensorSpec([None], tf.int32),
    "truncation": tf.TensorSpec([None], tf.float32),
    "image": tf.TensorSpec([None, 300, 2, 1], tf.uint8),  # longer than one varint byte can say
    "mel": tf.TensorSpec([None, None, 80], tf.float32),
    "prompt": tf.TensorSpec([None], tf.string),
}


def test_sample_follows_name_dtype_and_shape():
  inputs = warmup.sample(SPECS, 3)
  assert inputs["seed"].tolist() == [0, 1, 2] and inputs["seed"].dtype == np.int64
  assert inputs["label"].tolist() == [0, 0, 0]
  assert inputs["truncation"].tolist() == [1, 1, 1]
  assert inputs["prompt"].tolist() == [b"hello"] * 3
  assert inputs["image"].shape == (3, 300, 2, 1) and set(inputs["image"].ravel()) == {128}
  assert inputs["mel"].shape == (3, warmup.UNKNOWN_DIM, 80)
  assert all(len(value) == 0 for value in warmup.sample(SPECS, 0).values())


def test_messages_are_those_of_the_serving_api():
  pytest.importorskip("tensorflow_serving")
  from tensorflow_serving.apis import predict_pb2
  from tensorflow_serving.apis import prediction_log_pb2
  inputs = warmup.sample(SPECS, 2)
  message = prediction_log_pb2.PredictionLog.FromString(
      warmup.prediction_log("m" * 200, "generate", inputs))
  expected = predict_pb2.PredictRequest()
  expected.model_spec.name = "m" * 200
  expected.model_spec.signature_name = "generate"
  for key, value in inputs.items():
    expected.inputs[key].CopyFrom(tf.make_tensor_proto(value))
  assert message.predict_log.request == expected
  assert message.WhichOneof("log_type") == "predict_log"


def test_an_export_has_a_record_for_each_signature_and_batch_size(tmp_path):
  pytest.importorskip("tensorflow_serving")
  from tensorflow_serving.apis import prediction_log_pb2
  path = savedmodel.export(serving_models.Painter(), tmp_path, "painter")
  served = tf.saved_model.load(path).signatures
  found = []
  for record in tf.data.TFRecordDataset(f"{path}/{warmup.FILE}").as_numpy_iterator():
    request = prediction_log_pb2.PredictionLog.FromString(record).predict_log.request
    inputs = {key: tf.make_ndarray(value) for key, value in request.inputs.items()}
    answer = served[request.model_spec.signature_name](
        **{key: tf.constant(value) for key, value in inputs.items()})
    found.append((request.model_spec.name, request.model_spec.signature_name,
                  answer["image"].shape[0]))
  assert found == [("painter", signature, rows) for signature in ("serving_default", "generate")
                   for rows in (1, 2, 4, 8)]
