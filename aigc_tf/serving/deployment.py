"""The text files a TF Serving started on an export root needs, and the command that starts it.

  ROOT/models.config       which models are there; a second export adds its own, edits are kept
  ROOT/monitoring.config   Prometheus metrics on the REST port
  ROOT/batching.config     batching, for all models
  ROOT/NAME/N/batching_params.pbtxt   batching, for a model that may be batched

Written as text: the classes of these messages (ModelServerConfig, ...) are not in TensorFlow.
"""

import fcntl
import json
import os
import re
import shlex

ALLOWED_BATCH_SIZES = (1, 2, 4, 8, 16, 32)
MAX_ENQUEUED_BATCHES = 100  # the server's own 10 turns requests away under a short burst
BATCH_TIMEOUT_MICROS = 2000  # how long a first request waits for others
REST_TIMEOUT_MS = 120_000  # a long sampler outlasts the server's own 30 s

MONITORING = """prometheus_config {
  enable: true
  path: "/monitoring/prometheus/metrics"
}
"""


def batching():
  """Returns: text of a BatchingParameters message; its threads are the server's cores."""
  sizes = "".join(f"allowed_batch_sizes: {size}\n" for size in ALLOWED_BATCH_SIZES)
  return (f"max_batch_size {{ value: {ALLOWED_BATCH_SIZES[-1]} }}\n"
          f"batch_timeout_micros {{ value: {BATCH_TIMEOUT_MICROS} }}\n"
          f"max_enqueued_batches {{ value: {MAX_ENQUEUED_BATCHES} }}\n{sizes}")


def may_batch(specs):
  """Whether requests can be joined: rows of unequal length would be padded with strange values.

  specs: {signature: {input: tf.TensorSpec}}.  Returns: bool.
  """
  return all(None not in spec.shape[1:] for inputs in specs.values() for spec in inputs.values())


def add_model(text, name, base_path):
  """Adds a model to models.config, or corrects its path; everything else stays as it is.

  text: the file so far, "" if there is none.  base_path: absolute.  Returns: the new text.
  """
  path_line = f"base_path: {_quote(base_path)}"
  for block in re.finditer(r"\bconfig\s*\{(?:[^{}]|\{(?:[^{}]|\{[^{}]*\})*\})*\}", text):
    if re.search(rf"\bname:\s*(['\"]){re.escape(name)}\1", block[0]):
      corrected = re.sub(r"""base_path:\s*("(?:[^"\\]|\\.)*"|'[^']*')""", lambda _: path_line,
                         block[0])
      return text[:block.start()] + corrected + text[block.end():]
  config = (f"  config {{\n    name: {_quote(name)}\n    {path_line}\n"
            '    model_platform: "tensorflow"\n'
            "    model_version_policy { latest { num_versions: 1 } }\n  }\n")
  before, brace, after = text.rpartition("}")
  return before + config + brace + after if brace else f"model_config_list {{\n{config}}}\n"


def _quote(value):
  return json.dumps(value, ensure_ascii=False)  # protobuf's text format escapes in the same way


def update(root, name):
  """Writes or updates the files of an export root; exports into one root may run together."""
  root = os.path.abspath(root)
  handle = os.open(root, os.O_RDONLY)
  try:
    fcntl.flock(handle, fcntl.LOCK_EX)  # until close: reading and replacing must be one act
    config = os.path.join(root, "models.config")
    text = ""
    if os.path.exists(config):
      with open(config, encoding="utf-8") as f:
        text = f.read()
    _write(config, add_model(text, name, os.path.join(root, name)))
    for path, content in (("monitoring.config", MONITORING), ("batching.config", batching())):
      if not os.path.exists(os.path.join(root, path)):  # the user's own settings stay
        _write(os.path.join(root, path), content)
  finally:
    os.close(handle)


def _write(path, text):
  """Atomically: a server that polls the file sees the old text or the new one."""
  temporary = f"{path}.tmp-{os.getpid()}"
  try:
    with open(temporary, "w", encoding="utf-8") as f:
      f.write(text)
    os.replace(temporary, path)
  finally:
    if os.path.exists(temporary):
      os.remove(temporary)


def command(root):
  """Returns: the command line that serves all models of an export root."""
  root = os.path.abspath(root)
  return " ".join([
      "tensorflow_model_server --port=8500 --rest_api_port=8501",
      shlex.quote(f"--model_config_file={root}/models.config"),
      "--model_config_file_poll_wait_seconds=60 --allow_version_labels_for_unavailable_models",
      shlex.quote(f"--monitoring_config_file={root}/monitoring.config"),
      "--enable_batching --enable_per_model_batching_parameters",
      shlex.quote(f"--batching_parameters_file={root}/batching.config"),
      f"--rest_api_timeout_in_ms={REST_TIMEOUT_MS}"])
