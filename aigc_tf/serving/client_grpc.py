"""The gRPC half of the client; imported only for a grpc:// URL, for it needs TensorFlow."""

import numpy as np

from aigc_tf.errors import UserError

try:
  import grpc
  from tensorflow_serving.apis import get_model_metadata_pb2
  from tensorflow_serving.apis import predict_pb2
  from tensorflow_serving.apis import prediction_service_pb2_grpc
except ImportError as error:
  raise UserError(f"grpc:// needs {error.name}: pip install 'aigc_tf[serve]', or ask the REST "
                  "port, http://") from error
import tensorflow as tf

from aigc_tf.serving import client

OPTIONS = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]


class Transport:
  """As client's REST: `signatures`, `predict`, `close`.  Raises: client.Refusal."""

  def __init__(self, target, timeout_seconds):
    self._channel = grpc.insecure_channel(target, OPTIONS)
    self._stub = prediction_service_pb2_grpc.PredictionServiceStub(self._channel)
    self._timeout_seconds = timeout_seconds

  def close(self):
    self._channel.close()

  def signatures(self, model, version, label):
    request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    _address(request.model_spec, model, version, label)
    answer = self._call(self._stub.GetModelMetadata, request)
    found = get_model_metadata_pb2.SignatureDefMap()
    answer.metadata["signature_def"].Unpack(found)
    return {key: {"inputs": _infos(value.inputs), "outputs": _infos(value.outputs)}
            for key, value in found.signature_def.items() if key != client.INIT_SIGNATURE}

  def predict(self, at, signature, arrays, infos):
    del infos  # the answer says its dtypes itself
    request = predict_pb2.PredictRequest()
    _address(request.model_spec, *at)
    request.model_spec.signature_name = signature
    for name, array in arrays.items():
      request.inputs[name].CopyFrom(_proto(array))
    answer = self._call(self._stub.Predict, request)
    return {name: tf.make_ndarray(value) for name, value in answer.outputs.items()}

  def _call(self, method, request):
    try:
      return method(request, timeout=self._timeout_seconds)
    except grpc.RpcError as error:
      raise client.Refusal(error.details() or error.code().name) from error


def _address(spec, model, version, label):
  spec.name = model
  if version is not None:
    spec.version.value = int(version)
  if label is not None:
    spec.version_label = label


def _proto(array):
  dtype = tf.string if array.dtype == np.dtype(object) else tf.as_dtype(array.dtype)
  return tf.make_tensor_proto(array, dtype, array.shape)


def _infos(infos):
  """{name: TensorInfo} -> {name: {"dtype": str, "shape": list of int, or None}}."""
  return {name: {"dtype": tf.as_dtype(info.dtype).name, "shape": _sizes(info.tensor_shape)}
          for name, info in infos.items()}


def _sizes(shape):
  return None if shape.unknown_rank else [dim.size for dim in shape.dim]
