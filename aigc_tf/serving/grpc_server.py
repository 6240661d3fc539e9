"""TF Serving's gRPC services, PredictionService and ModelService, complete.

Requests are parsed and answers serialized here, not by gRPC's own code, so that a request that is
no message gets a status, and the log no traceback. Import this module only to serve: its packages
come with the extra `serve`.
"""

from concurrent import futures
import time

from google.protobuf import message as protobuf_message

from aigc_tf.errors import UserError
from aigc_tf.serving import inference
from aigc_tf.serving import server_config
from aigc_tf.serving import status
from aigc_tf.serving import tensor_protos

try:
  import grpc
  from tensorflow_serving.apis import classification_pb2
  from tensorflow_serving.apis import get_model_metadata_pb2
  from tensorflow_serving.apis import get_model_status_pb2
  from tensorflow_serving.apis import inference_pb2
  from tensorflow_serving.apis import model_management_pb2
  from tensorflow_serving.apis import predict_pb2
  from tensorflow_serving.apis import regression_pb2
except ImportError as missing:
  raise UserError(f"serving over gRPC needs {missing.name}: pip install 'aigc_tf[serve]', or turn "
                  "it off by --port=0") from missing

MAX_THREADS = 128  # requests worked on at once; while they wait for a batch they cost nothing
OPTIONS = (("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1),
           ("grpc.so_reuseport", 0))  # a port in use is an error
FOREVER_SECONDS = 1e8  # gRPC's way to say that there is no deadline
SIGNATURE_DEF = "signature_def"
_CODES = {code.value[0]: code for code in grpc.StatusCode}


def start(manager, runner, monitoring, address="127.0.0.1:8500", max_threads=MAX_THREADS):
  """Starts serving.

  manager: manager.Manager.  runner: runner.Runner.  address: "HOST:PORT", port 0 for any free one,
  or "unix:PATH".  max_threads: requests worked on at once.

  Returns: (grpc.Server, its `stop(grace_seconds)` ends it; the port).
  Raises: UserError if the address cannot be had.
  """
  server = grpc.server(
      futures.ThreadPoolExecutor(max_threads, thread_name_prefix="grpc"), options=OPTIONS)
  services = Services(manager, runner, monitoring)
  server.add_generic_rpc_handlers((
      _handler("PredictionService", {
          "Predict": services.predict, "Classify": services.classify, "Regress": services.regress,
          "MultiInference": services.multi_inference,
          "GetModelMetadata": services.get_model_metadata}),
      _handler("ModelService", {
          "GetModelStatus": services.get_model_status,
          "HandleReloadConfigRequest": services.handle_reload_config_request})))
  try:
    port = server.add_insecure_port(address)
  except RuntimeError:
    port = 0
  if not port:
    server.stop(None)
    raise UserError(f"gRPC: cannot listen on {address}: give another --port, 0 turns gRPC off")
  server.start()
  return server, port


def _handler(service, methods):
  """methods: {name: function(bytes, context) -> bytes}."""
  return grpc.method_handlers_generic_handler(
      f"tensorflow.serving.{service}",
      {name: grpc.unary_unary_rpc_method_handler(_safe(method))
       for name, method in methods.items()})


def _safe(method):
  """A method whose every failure is a status with a text, and nothing more."""
  def answer(data, context):
    try:
      return method(data, context).SerializeToString()
    except Exception as error:
      known = status.from_exception(error)
    context.abort(_CODES[known.code], status.truncated(known.message))
  return answer


def _parsed(request_class, data):
  try:
    return request_class.FromString(data)
  except protobuf_message.DecodeError:
    raise status.ServingError(
        status.INTERNAL, f"Failed to parse {request_class.DESCRIPTOR.name}") from None


def _timeout_ms(context):
  """Returns: milliseconds left to a request, None for no limit.  Raises: ServingError if late."""
  remaining = context.time_remaining()
  if remaining is None or remaining > FOREVER_SECONDS:
    return None
  if remaining <= 0:
    raise status.ServingError(status.DEADLINE_EXCEEDED, "Deadline exceeded before the run")
  return remaining * 1e3


def _require_spec(request):
  if not request.HasField("model_spec"):
    raise _invalid("Missing ModelSpec")


def _invalid(message):
  return status.ServingError(status.INVALID_ARGUMENT, message)


def _fill_spec(spec, asked, servable, signature_name=True):
  """spec: ModelSpec of an answer.  asked: that of the request."""
  spec.name = asked.name
  if signature_name:
    spec.signature_name = asked.signature_name or inference.DEFAULT_SIGNATURE
  spec.version.value = servable.version


class Services:
  """Every method takes a request's bytes and its context, and returns the answering message."""

  def __init__(self, manager, runner, monitoring):
    self._manager, self._runner, self._monitoring = manager, runner, monitoring

  def _servable(self, spec):
    """Returns: context manager that yields the servable that a ModelSpec asks for."""
    if not spec.name:
      raise _invalid("ModelSpec has no name specified.")
    choice = spec.WhichOneof("version_choice")
    return self._manager.servable(
        spec.name, version=spec.version.value if choice == "version" else None,
        label=spec.version_label if choice == "version_label" else None)

  def _counted(self, api, request, call, context):
    """call(servable, timeout_ms) -> response, timed and counted under the model's name."""
    start_seconds, code = time.perf_counter(), status.OK
    try:
      _require_spec(request)
      timeout_ms = _timeout_ms(context)
      with self._servable(request.model_spec) as servable:
        response = call(servable, timeout_ms)
      micros = (time.perf_counter() - start_seconds) * 1e6
      self._monitoring.latency(request.model_spec.name, api, "GRPC", micros)
      return response
    except Exception as error:
      code = status.from_exception(error).code
      raise
    finally:
      self._monitoring.request(request.model_spec.name, status.NAMES[code])

  # --- PredictionService

  def predict(self, data, context):
    request = _parsed(predict_pb2.PredictRequest, data)

    def call(servable, timeout_ms):
      outputs = inference.predict(
          self._runner, servable, request.model_spec.signature_name, request.inputs,
          request.output_filter, timeout_ms, self._monitoring)
      response = predict_pb2.PredictResponse()
      _fill_spec(response.model_spec, request.model_spec, servable)
      for alias, value in outputs.items():
        tensor_protos.encode(value, response.outputs[alias])
      return response
    return self._counted("Predict", request, call, context)

  def classify(self, data, context):
    return self._on_examples("Classify", data, context, inference.classify, _fill_classes,
                             classification_pb2.ClassificationRequest,
                             classification_pb2.ClassificationResponse)

  def regress(self, data, context):
    return self._on_examples("Regress", data, context, inference.regress, _fill_numbers,
                             regression_pb2.RegressionRequest,
                             regression_pb2.RegressionResponse)

  def _on_examples(self, api, data, context, method, fill, request_type, response_type):
    """method: of inference.  fill: puts what it returns into a result."""
    request = _parsed(request_type, data)

    def call(servable, timeout_ms):
      found = method(self._runner, servable, request.model_spec.signature_name,
                     inference.serialized_examples(request.input), timeout_ms, self._monitoring)
      response = response_type()
      _fill_spec(response.model_spec, request.model_spec, servable)
      fill(response.result, found)
      return response
    return self._counted(api, request, call, context)

  def multi_inference(self, data, context):
    request = _parsed(inference_pb2.MultiInferenceRequest, data)
    tasks = [(task.model_spec.name, task.model_spec.signature_name, task.method_name)
             for task in request.tasks]
    first = request.tasks[0] if tasks else inference_pb2.InferenceTask()
    timeout_ms = _timeout_ms(context)
    response = inference_pb2.MultiInferenceResponse()
    with self._servable(first.model_spec) as servable:
      results = inference.multi_inference(
          self._runner, servable, tasks, inference.serialized_examples(request.input), timeout_ms,
          self._monitoring)
      for task, values in zip(request.tasks, results, strict=True):
        result = response.results.add()
        _fill_spec(result.model_spec, task.model_spec, servable)
        if task.method_name == inference.CLASSIFY:
          _fill_classes(result.classification_result, values)
        else:
          _fill_numbers(result.regression_result, values)
    return response

  def get_model_metadata(self, data, context):
    request = _parsed(get_model_metadata_pb2.GetModelMetadataRequest, data)
    _require_spec(request)
    if not request.metadata_field:
      raise _invalid("GetModelMetadataRequest must specify at least one metadata_field")
    for field in request.metadata_field:
      if field != SIGNATURE_DEF:
        raise _invalid(f"Metadata field {field} is not supported")
    signatures = get_model_metadata_pb2.SignatureDefMap()
    response = get_model_metadata_pb2.GetModelMetadataResponse()
    with self._servable(request.model_spec) as servable:
      for key, signature in servable.signatures.items():
        signatures.signature_def[key].CopyFrom(signature)
      _fill_spec(response.model_spec, request.model_spec, servable, signature_name=False)
    response.metadata[SIGNATURE_DEF].Pack(signatures)
    return response

  # --- ModelService

  def get_model_status(self, data, context):
    request = _parsed(get_model_status_pb2.GetModelStatusRequest, data)
    _require_spec(request)
    spec = request.model_spec
    version = spec.version.value if spec.HasField("version") else None
    response = get_model_status_pb2.GetModelStatusResponse()
    for known in self._manager.versions(spec.name, version):
      told = response.model_version_status.add(version=known.version)
      told.state = told.State.Value(known.state)
      told.status.error_code = known.error_code
      told.status.error_message = known.error_message
    return response

  def handle_reload_config_request(self, data, context):
    request = _parsed(model_management_pb2.ReloadConfigRequest, data)
    before = {name: self._monitoring.value(name) for name in request.metric_names}
    if request.config.WhichOneof("config") != "model_config_list":
      raise _invalid("ServerModelConfig type not supported by HandleReloadConfigRequest. "
                     "Only ModelConfigList is currently supported")
    self._manager.reload(server_config.from_proto(request.config))
    response = model_management_pb2.ReloadConfigResponse()
    response.status.error_code = status.OK
    for name, value in before.items():
      response.metric.add(name=name, int64_value_increase=self._monitoring.value(name) - value)
    return response


def _fill_classes(result, rows):
  for row in rows:
    classes = result.classifications.add().classes
    for label, score in row:
      classes.add(label=label, score=score)


def _fill_numbers(result, numbers):
  for value in numbers:
    result.regressions.add(value=value)
