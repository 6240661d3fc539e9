"""The command of the embedded server in a process of its own, with models that show all of the API.

Written from TF Serving's documents, tests and source alone, for the tests of conformance.
"""

import contextlib
import http.client
import json
import os
import pathlib
import subprocess
import sys
import time
import types

from google.protobuf import text_format
import tensorflow as tf
from tensorflow_serving.apis import classification_pb2
from tensorflow_serving.apis import get_model_metadata_pb2
from tensorflow_serving.apis import get_model_status_pb2
from tensorflow_serving.apis import inference_pb2
from tensorflow_serving.apis import model_management_pb2
from tensorflow_serving.apis import predict_pb2
from tensorflow_serving.apis import regression_pb2

from tests import ports
from tests import serve_models

ROOT = pathlib.Path(__file__).parent.parent
TYPES = (tf.float32, tf.float64, tf.float16, tf.int8, tf.int16, tf.int32, tf.int64, tf.uint8,
         tf.uint32, tf.uint64, tf.bool, tf.string, tf.complex64)
TEXTS, FLOATS = tf.TensorSpec([None], tf.string), tf.TensorSpec([None], tf.float32)
WAIT_SECONDS = 120
METRICS_PATH = "/monitoring/prometheus/metrics"

# Name of a call: request, response.
CALLS = {
    "Predict": (predict_pb2.PredictRequest, predict_pb2.PredictResponse),
    "Classify": (classification_pb2.ClassificationRequest,
                 classification_pb2.ClassificationResponse),
    "Regress": (regression_pb2.RegressionRequest, regression_pb2.RegressionResponse),
    "MultiInference": (inference_pb2.MultiInferenceRequest, inference_pb2.MultiInferenceResponse),
    "GetModelMetadata": (get_model_metadata_pb2.GetModelMetadataRequest,
                         get_model_metadata_pb2.GetModelMetadataResponse),
    "GetModelStatus": (get_model_status_pb2.GetModelStatusRequest,
                       get_model_status_pb2.GetModelStatusResponse),
    "HandleReloadConfigRequest": (model_management_pb2.ReloadConfigRequest,
                                  model_management_pb2.ReloadConfigResponse)}
SERVICES = {"GetModelStatus": "ModelService", "HandleReloadConfigRequest": "ModelService"}


def same(spec):
  return tf.function(lambda x: {"y": tf.identity(x)}, input_signature=[spec])


def wide(width, dtype=tf.float32):
  """Returns: function inputs: string[N] -> dtype[N, width], 0.25 everywhere."""
  return lambda inputs: tf.cast(tf.fill([tf.size(inputs), width], 0.25), dtype)


def scored(**outputs):
  """A signature for regress or classify.  outputs: {alias: function of the examples}."""
  return tf.function(lambda inputs: {alias: make(inputs) for alias, make in outputs.items()},
                     input_signature=[TEXTS])


def labels(width):
  return lambda inputs: tf.fill([tf.size(inputs), width], "label")


def two(a, b):
  return {"total": a + tf.cast(b, tf.float32), "name": tf.strings.as_string(b),
          "name_bytes": tf.strings.as_string(b)}


def scaled(x, scale=tf.constant([3.0])):
  return {"y": x * scale}


def unequal(x):
  return {"long": tf.concat([x, x], 0), "short": x}


def signatures():
  """Returns: {key: tf.function}: same_TYPE {x: any shape} -> {y: x}, and those with a purpose."""
  made = {f"same_{dtype.name}": same(tf.TensorSpec(None, dtype)) for dtype in TYPES}
  integers = tf.TensorSpec([None], tf.int64)
  return {
      **made, "serving_default": made["same_float32"],
      "two": tf.function(two, input_signature=[FLOATS, integers]),
      "scaled": tf.function(scaled, input_signature=[FLOATS, FLOATS]),
      "unequal": tf.function(unequal, input_signature=[FLOATS]),
      "text_bytes": tf.function(lambda x: {"y_bytes": x}, input_signature=[TEXTS]),
      "regress_flat": scored(outputs=lambda inputs: wide(1)(inputs)[:, 0]),
      "regress_wide": scored(outputs=wide(2)),
      "regress_double": scored(outputs=wide(1, tf.float64)),
      "regress_short": scored(outputs=lambda inputs: wide(1)(inputs)[1:]),
      "classify_flat": scored(scores=lambda inputs: wide(1)(inputs)[:, 0]),
      "classify_double": scored(scores=wide(2, tf.float64)),
      "classify_numbers": scored(classes=wide(2)),
      "classify_labels": scored(classes=labels(2)),
      "classify_unequal": scored(classes=labels(2), scores=wide(3)),
      "classify_short": scored(scores=lambda inputs: wide(2)(inputs)[1:])}


def make_models(root):
  """half_plus_two 123 (stable) and 124 (canary, adds 4), half_plus_three, kinds, slow."""
  serve_models.make_half_plus_two(root, version="00000123")
  serve_models.make_half_plus_two(root, version="00000124", addend=4.0)
  serve_models.make_half_plus_two(root, "half_plus_three", "00000123", addend=3.0)
  serve_models.make_slow(root)
  tf.saved_model.save(tf.Module(), str(root / "kinds" / "1"), signatures=signatures())
  entry = 'config {{ name: "{0}" base_path: "{1}/{0}" model_platform: "tensorflow" {2} }}\n'
  both = ('model_version_policy { specific { versions: 123 versions: 124 } } '
          'version_labels { key: "stable" value: 123 } version_labels { key: "canary" value: 124 }')
  entries = [entry.format(name, root, both if name == "half_plus_two" else "")
             for name in ("half_plus_two", "half_plus_three", "kinds", "slow")]
  (root / "models.config").write_text(f"model_config_list {{\n{''.join(entries)}}}\n")
  (root / "monitoring.config").write_text(
      f'prometheus_config {{ enable: true, path: "{METRICS_PATH}" }}\n')


@contextlib.contextmanager
def serving(root, *flags):
  """Runs the command.  Yields: namespace of grpc and rest (ports), process, said (path)."""
  make_models(root)
  grpc_port, rest_port = ports.free(2)
  said = root / "said.txt"
  with open(said, "w") as out:
    process = subprocess.Popen(
        [sys.executable, "-m", "aigc_tf.serve", "--embedded", f"--port={grpc_port}",
         f"--rest_api_port={rest_port}", f"--model_config_file={root / 'models.config'}",
         f"--monitoring_config_file={root / 'monitoring.config'}",
         "--tensorflow_session_parallelism=1", "--allow_version_labels_for_unavailable_models",
         *flags],
        cwd=ROOT, stdout=out, stderr=subprocess.STDOUT, env={**os.environ, "PATH": ""})
  try:
    wait(process, said)
    yield types.SimpleNamespace(grpc=grpc_port, rest=rest_port, process=process, said=said)
  finally:
    process.terminate()
    code = process.wait(WAIT_SECONDS)
  assert code == 0 and "Traceback" not in said.read_text()


def wait(process, said):
  """Until the server has said that it is ready."""
  for _ in range(WAIT_SECONDS * 20):
    if "ready: " in said.read_text():
      return
    assert process.poll() is None, said.read_text()
    time.sleep(0.05)
  raise AssertionError(said.read_text())


class Rest:
  """Requests over one kept connection."""

  def __init__(self, port):
    self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=WAIT_SECONDS)

  def close(self):
    self.connection.close()

  def ask(self, method, path, body=None, headers=()):
    """Returns: (status, {lower-case name: value}, bytes)."""
    self.connection.request(method, path, body, dict(headers))
    answer = self.connection.getresponse()
    text = answer.read()
    return answer.status, {name.lower(): value for name, value in answer.getheaders()}, text

  def error(self, method, path, body=None, headers=()):
    """Returns: (status, the message of the answer)."""
    status, _, text = self.ask(method, path, body, headers)
    answer = json.loads(text)
    assert list(answer) == ["error"], text
    return status, answer["error"]


def message(name, text):
  """Returns: the request of this call that is written in the text."""
  return text_format.Parse(text, CALLS[name][0]())


def call(channel, name, request, timeout=30, **options):
  """request: in text format, a message, or bytes as they are.  Returns: the response."""
  answer = CALLS[name][1]
  if isinstance(request, str):
    request = message(name, request)
  if not isinstance(request, bytes):
    request = request.SerializeToString()
  service = SERVICES.get(name, "PredictionService")
  function = channel.unary_unary(
      f"/tensorflow.serving.{service}/{name}", response_deserializer=answer.FromString)
  return function(request, timeout, **options)


def mutated(body, generator):
  """A few seeded changes of a request.  body: bytes.  Returns: bytes."""
  body = bytearray(body)
  for _ in range(generator.randint(1, 4)):
    start = generator.randrange(len(body) + 1)
    end = min(len(body), start + generator.choice((1, 1, 2, 5, 20)))
    change = generator.randrange(5)
    if change == 0:
      body[start:end] = generator.randbytes(end - start)
    elif change == 1:
      del body[start:end]
    elif change == 2:
      body[start:start] = body[start:end] * generator.choice((1, 2, 30))
    elif change == 3:
      body[start:start] = generator.choice(
          (b"[", b"{", b'"', b"\\u", b"\xff", b"\0", b"-", b"1e400", b"null", b"\x7f" * 9))
    elif start < len(body):
      body[start] ^= 1 << generator.randrange(8)
  return bytes(body)
