"""A running gRPC server and the genuine stubs, for the tests that talk to it."""

import contextlib

import grpc
import pytest
import tensorflow as tf
from tensorflow_serving.apis import model_service_pb2_grpc
from tensorflow_serving.apis import predict_pb2
from tensorflow_serving.apis import prediction_service_pb2_grpc

from aigc_tf.serving import grpc_server
from aigc_tf.serving import manager as managers
from aigc_tf.serving import monitoring as monitoring_module
from aigc_tf.serving import runner

CLASSIFY, REGRESS = "tensorflow/serving/classify", "tensorflow/serving/regress"
UNLIMITED = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]


@contextlib.contextmanager
def serving(configs, **options):
  """Yields (Manager, Monitoring, port) of a running server."""
  manager = managers.Manager(configs, poll_seconds=0, **options)
  manager.start()
  monitoring = monitoring_module.Monitoring()
  try:
    server, port = grpc_server.start(manager, runner.Direct(), monitoring, "127.0.0.1:0")
    try:
      yield manager, monitoring, port
    finally:
      server.stop(None).wait()
  finally:
    manager.stop()


class Remote:
  """Stubs of one server.  address: a port of this machine, or "unix:PATH"."""

  def __init__(self, address, **options):
    target = f"127.0.0.1:{address}" if isinstance(address, int) else address
    self.channel = grpc.insecure_channel(target, options=UNLIMITED, **options)
    self.prediction = prediction_service_pb2_grpc.PredictionServiceStub(self.channel)
    self.model = model_service_pb2_grpc.ModelServiceStub(self.channel)

  def predict(self, inputs, timeout=20, outputs=(), **spec):
    """inputs: {alias: np.ndarray}."""
    request = predict_pb2.PredictRequest(output_filter=outputs)
    fill(request.model_spec, **spec)
    for alias, value in inputs.items():
      request.inputs[alias].CopyFrom(tf.make_tensor_proto(value))
    return self.prediction.Predict(request, timeout)


def fill(spec, name="half", signature="", version=None, label=None):
  spec.name, spec.signature_name = name, signature
  if version is not None:
    spec.version.value = version
  if label is not None:
    spec.version_label = label


def failure(call, *args, **kwargs):
  with pytest.raises(grpc.RpcError) as caught:
    call(*args, **kwargs)
  return caught.value.code(), caught.value.details()


def examples(message, *values):
  for value in values:
    feature = message.example_list.examples.add().features.feature["x"]
    feature.float_list.value.append(value)
