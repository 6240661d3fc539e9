"""The text files a TF Serving started on an export root needs, and the command that starts it.

  ROOT/models.config       which models are there; a second export adds its own, edits are kept
  ROOT/monitoring.config   Prometheus metrics on the REST port
  ROOT/batching.config     batching, for all models
  ROOT/compose.yaml, ROOT/kubernetes.yaml   the official image, started with the same flags
  ROOT/NAME/CLIENT.md      how to call this very model
  ROOT/NAME/N/batching_params.pbtxt   batching, for a model that may be batched

Written as text: the classes of these messages (ModelServerConfig, ...) are not in TensorFlow. The
containers see the export root under its own path, so models.config holds for them, too.
"""

import fcntl
import hashlib
import importlib.metadata
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


# --- containers

COMPOSE = """\
# docker compose up: the models of this folder on http://localhost:8501 and, by gRPC, on port 8500.
services:
  serving:
    image: {image}
    entrypoint: [tensorflow_model_server]
    command:
{arguments}
    ports:  # to be reached by others, leave out 127.0.0.1
      - "127.0.0.1:8500:8500"
      - "127.0.0.1:8501:8501"
    volumes:
      - type: bind
        source: .
        target: {root}  # the paths in models.config
        read_only: true
    restart: unless-stopped
"""

KUBERNETES = """\
# kubectl apply -f kubernetes.yaml: the models of this folder as the service aigc-tf.
# The volume claim aigc-tf-models holds this folder's content; a new version or model that is copied
# into it is served without a restart. Copy versions under another name and rename them: a
# half-copied one cannot be loaded.
apiVersion: v1
kind: PersistentVolumeClaim
metadata:
  name: aigc-tf-models
spec:
  accessModes: [ReadWriteMany]
  resources:
    requests:
      storage: 10Gi
---
apiVersion: apps/v1
kind: Deployment
metadata:
  name: aigc-tf
  labels: {{app: aigc-tf}}
spec:
  replicas: 1
  selector:
    matchLabels: {{app: aigc-tf}}
  template:
    metadata:
      labels: {{app: aigc-tf}}
      annotations:
        prometheus.io/scrape: "true"
        prometheus.io/port: "8501"
        prometheus.io/path: /monitoring/prometheus/metrics
    spec:
      containers:
        - name: serving
          image: {image}
          command: [tensorflow_model_server]
          args:
{arguments}
          ports:
            - {{name: grpc, containerPort: 8500}}
            - {{name: rest, containerPort: 8501}}
          # The ports open when all models are loaded and warm.
          startupProbe:
            tcpSocket: {{port: rest}}
            periodSeconds: 5
            failureThreshold: 120
          readinessProbe:
            tcpSocket: {{port: rest}}
          livenessProbe:
            tcpSocket: {{port: grpc}}
          securityContext:
            allowPrivilegeEscalation: false
          volumeMounts:
            - name: models
              mountPath: {root}  # the paths in models.config
              readOnly: true
      volumes:
        - name: models
          persistentVolumeClaim:
            claimName: aigc-tf-models
---
apiVersion: v1
kind: Service
metadata:
  name: aigc-tf
spec:
  selector: {{app: aigc-tf}}
  ports:
    - {{name: grpc, port: 8500, targetPort: grpc}}
    - {{name: rest, port: 8501, targetPort: rest}}
"""


def image():
  """The official image that knows all operations of the TensorFlow that exports here."""
  major, minor = importlib.metadata.version("tensorflow").split(".")[:2]
  return f"tensorflow/serving:{major}.{minor}.0"


def compose(root):
  """Returns: text of compose.yaml.  root: the export root, absolute."""
  return COMPOSE.format(image=image(), root=_quote(root.replace("$", "$$")),
                        arguments=_listed(flags(root), " " * 6))


def kubernetes(root):
  """Returns: text of kubernetes.yaml.  root: the export root, absolute."""
  return KUBERNETES.format(image=image(), root=_quote(root),
                           arguments=_listed(flags(root), " " * 12))


def _listed(words, margin):
  """A YAML list, its strings are JSON's; to both readers $X or $(X) is a variable, $$ a dollar."""
  return "\n".join(f"{margin}- {_quote(word)}" for word in words).replace("$", "$$")


# --- on disk


def update(root, name, guide=""):
  """Writes or updates the files of an export root; exports into one root may run together.

  guide: text of the model's CLIENT.md; without one, none is written.
  """
  root = os.path.abspath(root)
  handle = os.open(root, os.O_RDONLY)
  try:
    fcntl.flock(handle, fcntl.LOCK_EX)  # until close: reading and replacing must be one act
    config = os.path.join(root, "models.config")
    _write(config, add_model(_read(config), name, os.path.join(root, name)))
    for path, content in (("monitoring.config", MONITORING), ("batching.config", batching())):
      if not os.path.exists(os.path.join(root, path)):  # the user's own settings stay
        _write(os.path.join(root, path), content)
    for path, content in (("compose.yaml", compose(root)), ("kubernetes.yaml", kubernetes(root))):
      _write_unless_edited(os.path.join(root, path), content)
    if guide:
      _write(os.path.join(root, name, "CLIENT.md"), guide)
  finally:
    os.close(handle)


def _read(path):
  if not os.path.exists(path):
    return ""
  with open(path, encoding="utf-8") as f:
    return f.read()


def _write_unless_edited(path, text):
  """Paths and image follow the last export, unless someone has changed the file since."""
  mark, _, found = _read(path).partition("\n")
  if not mark or mark == _mark(found):
    _write(path, f"{_mark(text)}\n{text}")


def _mark(text):
  digest = hashlib.sha256(text.encode()).hexdigest()[:16]
  return f"# aigc_tf.export {digest}: once you have changed this file, exports leave it alone."


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


def flags(root):
  """Returns: list of str, the server's flags for an export root, which is absolute."""
  return ["--port=8500", "--rest_api_port=8501",
          f"--model_config_file={root}/models.config",
          "--model_config_file_poll_wait_seconds=60",
          "--allow_version_labels_for_unavailable_models",
          f"--monitoring_config_file={root}/monitoring.config",
          "--enable_batching", "--enable_per_model_batching_parameters",
          f"--batching_parameters_file={root}/batching.config",
          f"--rest_api_timeout_in_ms={REST_TIMEOUT_MS}"]


def command(root):
  """Returns: the command line that serves all models of an export root."""
  return shlex.join(["tensorflow_model_server", *flags(os.path.abspath(root))])
