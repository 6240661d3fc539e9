"""The server's text files: parsed by the genuine protos, merged, and safe to write at once."""

import concurrent.futures
import os
import shlex
import subprocess
import sys

import pytest
import tensorflow as tf
import yaml

from aigc_tf.serving import deployment
from aigc_tf.serving import savedmodel
from tests import serving_models

EDITED = """# ours
model_config_list {
  config {
    name: 'digits'
    base_path: '/old/place'
    model_version_policy { specific { versions: 3 versions: 4 } }
    version_labels { key: 'stable' value: 3 }
  }
}
"""


def parse(text):
  """The models of a models.config, by name."""
  pytest.importorskip("tensorflow_serving")
  from google.protobuf import text_format
  from tensorflow_serving.config import model_server_config_pb2
  message = text_format.Parse(text, model_server_config_pb2.ModelServerConfig())
  return {config.name: config for config in message.model_config_list.config}


def test_models_config_grows_and_keeps_what_is_there():
  text = deployment.add_model("", "digits", '/exports/a "b"/digits')
  text = deployment.add_model(text, "emoji", "/exports/emoji")
  models = parse(text)
  assert list(models) == ["digits", "emoji"]
  assert models["digits"].base_path == '/exports/a "b"/digits'
  assert models["emoji"].model_platform == "tensorflow"
  assert models["emoji"].model_version_policy.latest.num_versions == 1
  assert deployment.add_model(text, "emoji", "/exports/emoji") == text


def test_edits_of_the_user_are_kept():
  models = parse(deployment.add_model(
      deployment.add_model(EDITED, "digits", "/new/digits"), "digit", "/new/digit"))
  assert models["digits"].base_path == "/new/digits"
  assert list(models["digits"].model_version_policy.specific.versions) == [3, 4]
  assert models["digits"].version_labels["stable"] == 3
  assert models["digit"].base_path == "/new/digit"


def test_update_keeps_the_settings_of_the_user(tmp_path):
  (tmp_path / "batching.config").write_text("max_batch_size { value: 4 }\n")
  deployment.update(tmp_path, "digits")
  assert (tmp_path / "batching.config").read_text() == "max_batch_size { value: 4 }\n"
  assert 'path: "/monitoring' in (tmp_path / "monitoring.config").read_text()
  assert sorted(os.listdir(tmp_path)) == ["batching.config", "compose.yaml", "kubernetes.yaml",
                                          "models.config", "monitoring.config"]


def test_batch_sizes_ascend_to_the_largest():
  """The server refuses to start otherwise."""
  lines = dict.fromkeys(deployment.batching().splitlines())
  sizes = [int(line.split()[1]) for line in lines if line.startswith("allowed_batch_sizes")]
  assert sizes == sorted(sizes) and f"max_batch_size {{ value: {sizes[-1]} }}" in lines


def test_open_inner_dims_are_not_batched():
  image = {"image": tf.TensorSpec([None, 28, 28, 1], tf.uint8)}
  mel = {"mel": tf.TensorSpec([None, None, 80], tf.float32)}
  assert deployment.may_batch({"encode": image})
  assert not deployment.may_batch({"encode": image, "vocode": mel})


def test_command_survives_a_shell(tmp_path):
  root = tmp_path / "my exports"
  words = shlex.split(deployment.command(root))
  assert words[0] == "tensorflow_model_server"
  assert f"--model_config_file={root}/models.config" in words
  echoed = subprocess.run(["sh", "-c", "printf '%s\\n' " + deployment.command(root)], check=True,
                          capture_output=True, text=True).stdout.splitlines()
  assert echoed == words


def test_exports_at_once_into_one_root(tmp_path):
  """Two of one model take two numbers; of two models, both are in models.config."""
  names = ["left", "left", "right"]
  specs = {"x": tf.TensorSpec([None, 4], tf.float32)}
  models = [serving_models.Single(lambda layer, x: {"y": layer(x)}, specs) for _ in names]
  with concurrent.futures.ThreadPoolExecutor(len(names)) as pool:
    paths = list(pool.map(lambda model, name: savedmodel.export(model, tmp_path, name),
                          models, names))
  assert sorted(paths) == [f"{tmp_path}/{name}" for name in ("left/1", "left/2", "right/1")]
  for path in paths:
    assert set(savedmodel.read_manifest(path)["files"]) >= {"saved_model.pb"}
  assert parse((tmp_path / "models.config").read_text()).keys() == {"left", "right"}
  names = sorted(os.listdir(tmp_path / "left"))
  assert names == ["1", "2", "CLIENT.md"]  # nothing temporary is left


def test_many_processes_add_their_models(tmp_path):
  script = ("import sys; from aigc_tf.serving import deployment; "
            "deployment.update(sys.argv[1], sys.argv[2])")
  root = os.path.dirname(os.path.dirname(os.path.dirname(deployment.__file__)))
  names = [f"model_{i}" for i in range(12)]
  children = [subprocess.Popen([sys.executable, "-c", script, tmp_path, name], cwd=root)
              for name in names]
  assert [child.wait() for child in children] == [0] * len(names)
  assert sorted(parse((tmp_path / "models.config").read_text())) == sorted(names)


# --- containers

AWKWARD = "/srv/my $HOME exports: \"a\" 'b' #c $(d) \u8bd7"


def unescaped(value):
  """What Docker Compose and Kubernetes make of $$."""
  return value.replace("$$", "$")


def test_compose_starts_the_image_as_command_does():
  service = yaml.safe_load(deployment.compose(AWKWARD))["services"]["serving"]
  words = service["entrypoint"] + [unescaped(word) for word in service["command"]]
  assert words == shlex.split(deployment.command(AWKWARD))
  assert not any("$" in word.replace("$$", "") for word in service["command"])  # no variable
  major, minor, _ = tf.__version__.split(".", 2)
  assert service["image"] == f"tensorflow/serving:{major}.{minor}.0"
  assert [port.rsplit(":", 1)[1] for port in service["ports"]] == ["8500", "8501"]
  volume, = service["volumes"]
  assert unescaped(volume["target"]) == AWKWARD and volume["read_only"]


def test_kubernetes_starts_the_image_as_command_does():
  claim, work, service = yaml.safe_load_all(deployment.kubernetes(AWKWARD))
  assert [part["kind"] for part in (claim, work, service)] == [
      "PersistentVolumeClaim", "Deployment", "Service"]
  pod = work["spec"]["template"]
  container, = pod["spec"]["containers"]
  arguments = [unescaped(word) for word in container["args"]]
  assert container["command"] + arguments == shlex.split(deployment.command(AWKWARD))
  assert not any("$" in word.replace("$$", "") for word in container["args"])
  assert work["spec"]["selector"]["matchLabels"] == service["spec"]["selector"]
  assert service["spec"]["selector"].items() <= pod["metadata"]["labels"].items()
  mount, volume = container["volumeMounts"][0], pod["spec"]["volumes"][0]
  assert mount["name"] == volume["name"] and mount["mountPath"] == AWKWARD
  assert volume["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
  ports = {port["name"]: port["containerPort"] for port in container["ports"]}
  assert ports == {"grpc": 8500, "rest": 8501}
  assert {port["targetPort"] for port in service["spec"]["ports"]} <= ports.keys()
  for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
    assert container[probe]["tcpSocket"]["port"] in ports


def test_container_files_follow_the_exports_until_they_are_edited(tmp_path):
  before, after = tmp_path / "before", tmp_path / "after"
  before.mkdir()
  deployment.update(before, "digits")
  before.rename(after)
  edited = (after / "compose.yaml").read_text().replace("127.0.0.1:", "")
  (after / "compose.yaml").write_text(edited)
  deployment.update(after, "digits")
  assert (after / "compose.yaml").read_text() == edited
  manifest = (after / "kubernetes.yaml").read_text()
  assert str(after) in manifest and str(before) not in manifest
