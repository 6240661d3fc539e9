"""The server's text files: which models, how to batch, what to monitor.

All are protobuf text, read by protobuf's own parser. The messages of models come with the package
tensorflow-serving-api; BatchingParameters and MonitoringConfig are not in it, so their fields are
described here, by the numbers TF Serving gives them.
"""

import dataclasses
import os

from google.protobuf import descriptor_pb2
from google.protobuf import descriptor_pool
from google.protobuf import message_factory
from google.protobuf import text_format
from google.protobuf import wrappers_pb2

from aigc_tf.errors import UserError
from aigc_tf.serving import status

PLATFORM = "tensorflow"
METRICS_PATH = "/monitoring/prometheus/metrics"
LATEST = ("latest", 1)


@dataclasses.dataclass(frozen=True)
class ModelConfig:
  """A model to serve.

  name: as requests name it.  base_path: folder of the versions, absolute or a URI.
  policy: ("latest", n), ("all",) or ("specific", (versions)): which of them are served.
  labels: {label: version}.  platform: only "tensorflow" can be served.  mistake: what is wrong
  with the fields that name the platform; it is told when the platform is asked for.
  """

  name: str
  base_path: str
  policy: tuple = LATEST
  labels: dict = dataclasses.field(default_factory=dict)
  platform: str = PLATFORM
  mistake: str = ""


def single(name, base_path):
  """The config of a server with one model.  base_path: may be relative.  Returns: ModelConfig."""
  return ModelConfig(name, base_path if "://" in base_path else os.path.abspath(base_path))


def read_models(path):
  """Reads a ModelServerConfig (models.config).

  path: of the text file.  Returns: list of ModelConfig.  Raises: UserError with file and line.
  """
  message = _read(path, _serving_api().ModelServerConfig())
  try:
    configs = from_proto(message)
    validate(configs)
    check_platforms(configs)
  except status.ServingError as error:
    raise UserError(f"{path}: {error.message}") from error
  return configs


def _serving_api():
  try:
    from tensorflow_serving.config import model_server_config_pb2
  except ImportError as error:
    raise UserError("a file of models needs the package tensorflow-serving-api: "
                    "pip install 'aigc_tf[serve]'") from error
  return model_server_config_pb2


def from_proto(message):
  """message: ModelServerConfig.  Returns: list of ModelConfig.

  Raises: ServingError INVALID_ARGUMENT, in TF Serving's words.
  """
  if message.WhichOneof("config") == "custom_model_config":
    raise status.ServingError(status.INVALID_ARGUMENT, (
        "ServerModelConfig type not supported by HandleReloadConfigRequest. Only ModelConfigList "
        "is currently supported"))
  return [ModelConfig(
      name=config.name, base_path=config.base_path, policy=_policy(config.model_version_policy),
      labels=dict(config.version_labels), **_platform(config))
      for config in message.model_config_list.config]


def _policy(message):
  choice = message.WhichOneof("policy_choice")
  if choice == "all":
    return ("all",)
  if choice == "specific":
    return ("specific", tuple(message.specific.versions))
  return ("latest", max(message.latest.num_versions, 1))


def _platform(config):
  """Returns: dict of `platform` or `mistake`; the number before there were names is still read."""
  if config.model_type and config.model_platform:
    return {"mistake": "Illegal setting both ModelServerConfig::model_type (deprecated) and "
                       f"ModelServerConfig::model_platform, model name is {config.name}"}
  if config.model_type and config.model_type != _serving_api().TENSORFLOW:
    return {"mistake": f"ModelServerConfig::model_type choice {config.model_type} not supported."}
  if not config.model_type and not config.model_platform:
    return {"mistake": "Illegal setting neither ModelServerConfig::model_type (deprecated) nor "
                       f"ModelServerConfig::model_platform, model name is {config.name}"}
  return {"platform": config.model_platform or PLATFORM}


def validate(configs, previous=()):
  """Checks a change of what is served. The platforms of new models come last: check_platforms.

  configs, previous: lists of ModelConfig; `previous` is what has been served so far.
  Raises: ServingError INVALID_ARGUMENT, in TF Serving's words.
  """
  names = set()
  for config in configs:
    if config.name in names:
      raise _invalid(f"Illegal to list model {config.name} multiple times in config list")
    names.add(config.name)
  for config in configs:
    if "://" not in config.base_path and not os.path.isabs(config.base_path):
      raise _invalid(f"Expected model {config.name} to have an absolute path or URI; got "
                     f"base_path()={config.base_path}")
  platforms = {config.name: config.platform for config in previous}
  for config in configs:
    if config.name in platforms and _platform_of(config) != platforms[config.name]:
      raise _invalid(f"Illegal to change a model's platform. For model {config.name} platform was "
                     f"{platforms[config.name]} and new platform requested is {config.platform}")


def check_platforms(configs):
  """configs: list of ModelConfig.  Raises: ServingError INVALID_ARGUMENT, in the same words."""
  for config in configs:
    if _platform_of(config) != PLATFORM:
      raise _invalid(f"Model {config.name} requests unsupported platform {config.platform}")


def _platform_of(config):
  if config.mistake:
    raise _invalid(config.mistake)
  return config.platform


def _invalid(message):
  return status.ServingError(status.INVALID_ARGUMENT, message)


def read_batching(path):
  """Reads BatchingParameters (batching.config, batching_params.pbtxt).

  path: of the text file; URIs too.  Returns: the message; numbers that may be absent are wrapped,
  as in `HasField("max_batch_size")`, `max_batch_size.value`.  Raises: UserError.
  """
  return _read(path, BatchingParameters())


def read_monitoring(path):
  """Reads a MonitoringConfig (monitoring.config).

  Returns: (bool whether metrics are shown, path of the URL).  Raises: UserError with file and line.
  """
  config = _read(path, MonitoringConfig()).prometheus_config
  return config.enable, config.path or METRICS_PATH


def _read(path, message):
  """Parses a text file into a message.  Raises: UserError, one line with file and line number."""
  import tensorflow as tf  # for files that are not local
  try:
    with tf.io.gfile.GFile(path, "rb") as f:
      return text_format.Parse(f.read().decode(), message)
  except tf.errors.OpError as error:
    raise UserError(f"{path}: cannot be read ({error.message.splitlines()[0]})") from error
  except UnicodeDecodeError as error:
    raise UserError(f"{path}: is not text in UTF-8") from error
  except text_format.ParseError as error:
    text = " ".join(str(error).split())
    raise UserError(f"{path}:{text}; see the field names of {message.DESCRIPTOR.name}") from error


# --- messages that no package brings along

_FIELD = descriptor_pb2.FieldDescriptorProto
_PACKAGE = "tensorflow.serving"
_WRAPPED = ".google.protobuf."

# Field name -> (number, type); a str is a message's type, a list is a repeated field.
_FIELDS = {
    "BatchingParameters": {
        "max_batch_size": (1, _WRAPPED + "Int64Value"),
        "batch_timeout_micros": (2, _WRAPPED + "Int64Value"),
        "max_enqueued_batches": (3, _WRAPPED + "Int64Value"),
        "num_batch_threads": (4, _WRAPPED + "Int64Value"),
        "thread_pool_name": (5, _WRAPPED + "StringValue"),
        "allowed_batch_sizes": (6, [_FIELD.TYPE_INT64]),
        "pad_variable_length_inputs": (7, _FIELD.TYPE_BOOL),
        "enable_large_batch_splitting": (8, _WRAPPED + "BoolValue"),
        "max_execution_batch_size": (9, _WRAPPED + "Int64Value"),
    },
    "PrometheusConfig": {"enable": (1, _FIELD.TYPE_BOOL), "path": (2, _FIELD.TYPE_STRING)},
    "MonitoringConfig": {"prometheus_config": (1, f".{_PACKAGE}.PrometheusConfig")},
}


def _messages():
  """Returns: {name: message class}, in a pool of their own."""
  file = descriptor_pb2.FileDescriptorProto(
      name="aigc_tf/serving/server_config.proto", package=_PACKAGE, syntax="proto3",
      dependency=[wrappers_pb2.DESCRIPTOR.name])
  for name, fields in _FIELDS.items():
    message = file.message_type.add(name=name)
    for field, (number, kind) in fields.items():
      _add_field(message, field, number, kind)
  pool = descriptor_pool.DescriptorPool()
  pool.AddSerializedFile(wrappers_pb2.DESCRIPTOR.serialized_pb)
  pool.Add(file)
  return {name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.{name}"))
          for name in _FIELDS}


def _add_field(message, name, number, kind):
  field = message.field.add(name=name, number=number, label=_FIELD.LABEL_OPTIONAL)
  if isinstance(kind, list):
    field.label = _FIELD.LABEL_REPEATED
    kind, = kind
  if isinstance(kind, str):
    field.type, field.type_name = _FIELD.TYPE_MESSAGE, kind
  else:
    field.type = kind


_CLASSES = _messages()
BatchingParameters = _CLASSES["BatchingParameters"]
MonitoringConfig = _CLASSES["MonitoringConfig"]
