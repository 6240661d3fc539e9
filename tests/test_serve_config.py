"""The server's text files are read as TF Serving reads them."""

import os
import re

from google.protobuf import text_format
import pytest

from aigc_tf.errors import UserError
from aigc_tf.serving import deployment
from aigc_tf.serving import manager
from aigc_tf.serving import server_config
from aigc_tf.serving import status

model_server_config_pb2 = pytest.importorskip("tensorflow_serving.config.model_server_config_pb2")

MODELS = """
model_config_list {
  config {
    name: 'one'  # a comment
    base_path: "/models/one"
    model_platform: "tensorflow"
    model_version_policy { specific { versions: 3 versions: 7 } }
    version_labels { key: 'stable' value: 3 }
    version_labels { key: "canary" value: 7 }
  }
  config: <name: "two", base_path: "gs://bucket/two", model_platform: "tensorflow",
           model_version_policy: { all {} }>
  config { name: "three" base_path: "/three" model_platform: "tensorflow"
           model_version_policy { latest { num_versions: 2 } } }
  config { name: "four" base_path: "/four" model_type: TENSORFLOW }
}
"""


def _write(tmp_path, text):
  path = tmp_path / "file.config"
  path.write_text(text)
  return str(path)


def test_models(tmp_path):
  assert server_config.read_models(_write(tmp_path, MODELS)) == [
      server_config.ModelConfig("one", "/models/one", ("specific", (3, 7)),
                                {"stable": 3, "canary": 7}),
      server_config.ModelConfig("two", "gs://bucket/two", ("all",)),
      server_config.ModelConfig("three", "/three", ("latest", 2)),
      server_config.ModelConfig("four", "/four")]
  assert server_config.read_models(_write(tmp_path, "")) == []


def test_what_export_writes_is_read(tmp_path):
  deployment.update(str(tmp_path), "painter")
  assert server_config.read_models(f"{tmp_path}/models.config") == [
      server_config.ModelConfig("painter", f"{tmp_path}/painter")]
  assert server_config.read_monitoring(f"{tmp_path}/monitoring.config") == (
      True, "/monitoring/prometheus/metrics")
  batching = server_config.read_batching(f"{tmp_path}/batching.config")
  assert tuple(batching.allowed_batch_sizes) == deployment.ALLOWED_BATCH_SIZES
  assert batching.max_batch_size.value == deployment.ALLOWED_BATCH_SIZES[-1]
  assert not batching.HasField("num_batch_threads")


def test_single(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  assert server_config.single("m", "models/m").base_path == os.path.join(
      os.getcwd(), "models", "m")
  assert server_config.single("m", "gs://bucket/m").base_path == "gs://bucket/m"


CONFIG = 'config { name: "m" base_path: "/m" model_platform: "tensorflow" }\n'


@pytest.mark.parametrize("text, expected", [
    ("model_config_list {\n  config {\n    nane: 'm'\n  }\n}", r"file\.config:3:\d+ : .*nane"),
    ("model_config_list {", r"file\.config:1:\d+ "),
    ("custom_model_config { }", "Only ModelConfigList is currently supported"),
    (f"model_config_list {{ {CONFIG}{CONFIG} }}",
     "Illegal to list model m multiple times in config list"),
    ("model_config_list { config { name: 'm' base_path: 'm' model_platform: 'tensorflow' } }",
     r"Expected model m to have an absolute path or URI; got base_path\(\)=m"),
    ("model_config_list { config { name: 'm' base_path: '/m' } }",
     "neither ModelServerConfig::model_type .* model name is m"),
    ("model_config_list { config { name: 'm' base_path: '/m' model_platform: 'torch' } }",
     "Model m requests unsupported platform torch"),
])
def test_mistakes_are_told_in_one_line(tmp_path, text, expected):
  with pytest.raises(UserError) as caught:
    server_config.read_models(_write(tmp_path, text))
  assert "file.config" in str(caught.value)
  assert "\n" not in str(caught.value)
  assert re.search(expected, str(caught.value))


def test_unreadable_files(tmp_path):
  with pytest.raises(UserError, match="absent.config: cannot be read"):
    server_config.read_models(str(tmp_path / "absent.config"))
  (tmp_path / "binary").write_bytes(b"\xff\xfe")
  with pytest.raises(UserError, match="UTF-8"):
    server_config.read_batching(str(tmp_path / "binary"))


def _reloaded(text):
  message = text_format.Parse(
      f"model_config_list {{ {text} }}", model_server_config_pb2.ModelServerConfig())
  served = manager.Manager([], start_wait_seconds=0)
  try:
    served.reload([server_config.ModelConfig("old", "/none")])
  except status.ServingError:
    pass  # it is configured now, and that is enough here
  with pytest.raises(status.ServingError) as caught:
    served.reload(server_config.from_proto(message))
  assert caught.value.code in (status.INVALID_ARGUMENT, status.FAILED_PRECONDITION)
  return caught.value.message


NEW, OLD = 'config { name: "new" base_path: "/n" ', 'config { name: "old" base_path: "/none" '
TORCH, BOTH, LABEL = 'model_platform: "torch" ', "model_type: TENSORFLOW ", (
    'version_labels { key: "a" value: 1 } ')


# Two mistakes each: the first of upstream's order is told.
@pytest.mark.parametrize("text, expected", [
    (f"{NEW} {TORCH} }} {NEW} {TORCH} }}", "Illegal to list model new multiple times"),
    (f'{NEW} }} {NEW} {TORCH} }}', "Illegal to list model new multiple times"),
    (f'{NEW} }} config {{ name: "a" base_path: "a" }}', "Expected model a to have an absolute"),
    (f"{NEW} }} {OLD} {TORCH} }}", "Illegal to change a model's platform. For model old platform "
     "was tensorflow and new platform requested is torch"),
    (f"{NEW} {TORCH} }} {OLD} }}", "Illegal setting neither ModelServerConfig::model_type "
     "(deprecated) nor ModelServerConfig::model_platform, model name is old"),
    (f"{NEW} {TORCH} {LABEL} }}", "Request to assign label to version 1 of model new"),
    (f"{NEW} {TORCH} }} config {{ name: 'm' base_path: '/m' }}",
     "Model new requests unsupported platform torch"),
    (f"{NEW} {TORCH} {BOTH} }}", "Illegal setting both ModelServerConfig::model_type")])
def test_the_first_mistake_of_upstreams_order_is_told(text, expected):
  assert _reloaded(text).startswith(expected)


def test_batching(tmp_path):
  batching = server_config.read_batching(_write(tmp_path, """
      max_batch_size { value: 128 }
      batch_timeout_micros { value: 0 }
      max_enqueued_batches { value: 1000000 }
      num_batch_threads { value: 8 }
      thread_pool_name { value: "mine" }
      allowed_batch_sizes: [8, 128]
      pad_variable_length_inputs: true
      enable_large_batch_splitting { value: true }
      max_execution_batch_size { value: 64 }"""))
  assert batching.max_batch_size.value == 128
  assert batching.HasField("batch_timeout_micros") and batching.batch_timeout_micros.value == 0
  assert list(batching.allowed_batch_sizes) == [8, 128]
  assert batching.pad_variable_length_inputs and batching.enable_large_batch_splitting.value
  assert batching.thread_pool_name.value == "mine"
  with pytest.raises(UserError, match=r"file\.config:1:\d+ .*max_batch"):
    server_config.read_batching(_write(tmp_path, "max_batch { value: 1 }"))


def test_monitoring(tmp_path):
  path = _write(tmp_path, "prometheus_config { enable: true }")
  assert server_config.read_monitoring(path) == (True, "/monitoring/prometheus/metrics")
  path = _write(tmp_path, 'prometheus_config { enable: false path: "/m" }')
  assert server_config.read_monitoring(path) == (False, "/m")
