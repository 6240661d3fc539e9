"""Serves exported models by TF Serving's own REST and gRPC API, with TF Serving's own flags.

  python -m aigc_tf.serve --model_config_file=exports/models.config
  python -m aigc_tf.serve --model_name=dcgan_mnist --model_base_path=exports/dcgan_mnist

A tensorflow_model_server on the PATH is executed with the same flags. Where there is none, or with
--embedded, the server of this package runs, which answers alike; it shows a demo page at / of the
REST port, and nobody outside this machine reaches it unless --host says so. SIGTERM and Ctrl-C stop
it, after the requests under way, but within a minute.
"""

import contextlib
import importlib.metadata
import importlib.util
import os
import shutil
import signal
import sys
import threading

from absl import flags

import aigc_tf
from aigc_tf import command
from aigc_tf.errors import UserError

BINARY = "tensorflow_model_server"
PACKAGES = ("grpc", "tensorflow_serving", "uvicorn", "rapidjson")
MODEL_NAME = "default"  # TF Serving's own, where no flag names the model
STOP_SECONDS = 30  # for the requests under way
OWN = ("embedded", "host", "demo", "help")
# Flags of tensorflow_model_server that mean nothing here; it gets them, ours passes them over.
OTHERS = frozenset((
    "enable_grpc_healthcheck_service", "enable_profiler", "enable_serialization_as_tensor_content",
    "enable_signature_method_name_check", "flush_filesystem_caches", "grpc_channel_arguments",
    "mixed_precision", "num_load_threads", "num_request_iterations_for_warmup",
    "num_tflite_interpreters_per_pool", "num_tflite_pools", "num_unload_threads",
    "per_process_gpu_memory_fraction", "platform_config_file", "prefer_tflite_model",
    "remove_unused_fields_from_bundle_metagraph", "saved_model_tags", "skip_initialize_tpu",
    "ssl_config_file", "tensorflow_inter_op_parallelism", "tensorflow_intra_op_parallelism",
    "tensorflow_session_config_file", "thread_pool_factory_config_file", "use_alts_credentials",
    "xla_cpu_compilation_enabled", "xla_gpu_compilation_enabled"))
# What may not be passed over in silence: whoever gives it relies on it.
NEEDED = ("ssl_config_file", "use_alts_credentials")


def define(values):
  def flag(kind, name, default, text, **bounds):
    kind(name, default, text, flag_values=values, **bounds)

  integer, boolean, string = flags.DEFINE_integer, flags.DEFINE_bool, flags.DEFINE_string
  port = {"lower_bound": 0, "upper_bound": 65535}
  flag(boolean, "embedded", False, f"Run our own server even if there is a {BINARY}.")
  flag(string, "host", "127.0.0.1", "Address to listen on; 0.0.0.0: all of this machine.")
  flag(boolean, "demo", True, "The demo page at / of the REST port.")
  flag(boolean, "version", False, "Print the versions.")
  flag(integer, "port", 8500, "Port of gRPC; 0: none.", **port)
  flag(string, "grpc_socket_path", None, "Also serve gRPC at this UNIX socket.")
  flag(integer, "grpc_max_threads", None, "Requests by gRPC at once.", lower_bound=1)
  flag(integer, "rest_api_port", 8501, "Port of REST; 0: none.", **port)
  flag(integer, "rest_api_num_threads", None, "Requests by REST at once.", lower_bound=1)
  flag(integer, "rest_api_timeout_in_ms", 30000, "Limit of a request by REST; 0: none.")
  flag(boolean, "rest_api_enable_cors_support", False, "Let pages of other sites ask by REST.")
  _define_models(flag)


def _define_models(flag):
  integer, boolean, string = flags.DEFINE_integer, flags.DEFINE_bool, flags.DEFINE_string
  flag(string, "model_config_file", None, "Several models: exports write it as models.config.")
  flag(integer, "model_config_file_poll_wait_seconds", 0, "How often to read it again; 0: never.")
  flag(string, "model_name", MODEL_NAME, "Name of a single model.")
  flag(string, "model_base_path", None, "Folder of a single model, with a folder a version.")
  flag(integer, "file_system_poll_wait_seconds", 1, "How often to look for versions; 0: once.")
  flag(integer, "max_num_load_retries", 5, "How often a failed load is tried again.",
       lower_bound=0)
  flag(integer, "load_retry_interval_micros", 60_000_000, "Time between two of them.")
  flag(boolean, "enable_model_warmup", True, "Run a version's warm-up requests before any other.")
  flag(boolean, "allow_version_labels_for_unavailable_models", False,
       "Labels may name versions that are not loaded.")
  flag(boolean, "enable_batching", False, "Run requests that come together as one.")
  flag(string, "batching_parameters_file", None, "How: exports write it as batching.config.")
  flag(boolean, "enable_per_model_batching_parameters", False,
       "Batch only models with a batching_params.pbtxt, as that says.")
  flag(integer, "tensorflow_session_parallelism", 0, "Threads of TensorFlow; 0: one a core.",
       lower_bound=0)
  flag(string, "monitoring_config_file", None,
       "Metrics for Prometheus: exports write it as monitoring.config.")


def run(values, others=()):
  """others: words of the command line that only tensorflow_model_server understands."""
  binary = None if values.embedded else shutil.which(BINARY)
  if values.version:
    print(f"aigc_tf {aigc_tf.__version__}, TensorFlow {importlib.metadata.version('tensorflow')}, "
          f"{BINARY}: {binary or 'none'}")
  elif binary:
    _execute(binary, values, others)
  else:
    _serve(values, others)


# --- the real one


def _execute(binary, values, others):
  """Becomes tensorflow_model_server, with the same flags."""
  for name in OWN:
    if values[name].present:
      raise UserError(f"--{name} is for the embedded server: add --embedded, for {binary} "
                      "is there and would be executed")
  print(f"executing {binary}, which listens on all addresses of this machine "
        "(--embedded: our own server)", flush=True)
  os.execv(binary, [BINARY, *_words(values), *others])


def _words(values):
  """The flags as TF Serving's parser reads them: --name=value; REST is off there by default."""
  given = {name: values[name].value for name in values
           if name not in (*OWN, "h", "model_base_path") and values[name].present}
  given.setdefault("rest_api_port", values.rest_api_port)
  if values.model_base_path:
    given["model_base_path"] = _absolute(values.model_base_path)
  return [f"--{name}={str(value).lower() if isinstance(value, bool) else value}"
          for name, value in given.items()]


def _absolute(path):
  return path if "://" in path else os.path.abspath(path)


# --- our own


def _serve(values, others):
  _check(values, others)
  found = "--embedded" if values.embedded else f"there is no {BINARY} on the PATH"
  print(f"the embedded server of aigc_tf runs ({found})", flush=True)
  command.import_tensorflow()
  signal.signal(signal.SIGTERM, _interrupt)
  with contextlib.ExitStack() as stack:
    try:
      print("ready: " + ", ".join(_start(values, stack)), flush=True)
      threading.Event().wait()
    except KeyboardInterrupt:
      print("stopping", flush=True)
      _end_at_last()


def _end_at_last():
  """Ends the process when stopping takes too long: a run without a deadline may never end."""
  def end():
    print("what is still under way is given up", flush=True)
    os._exit(1)  # the run holds threads that an orderly end would wait for
  timer = threading.Timer(2 * STOP_SECONDS, end)
  timer.daemon = True
  timer.start()


def _interrupt(number, frame):
  del number, frame
  raise KeyboardInterrupt


def _check(values, others):
  """Raises: UserError for flags that do not go together, and packages that are not there."""
  if not values.model_config_file and not values.model_base_path:
    raise UserError("say what to serve: --model_config_file=DIR/models.config, or "
                    "--model_name=NAME --model_base_path=DIR/NAME")
  if not values.port and not values.rest_api_port and not values.grpc_socket_path:
    raise UserError("--port=0 and --rest_api_port=0: nothing is left to serve by")
  if values.batching_parameters_file and not values.enable_batching:
    raise UserError("--batching_parameters_file needs --enable_batching")
  for word in others:
    name = _name(word)
    if name in NEEDED:
      raise UserError(f"--{name}: the embedded server speaks no TLS; put a proxy before it")
    print(f"warning: --{name} is passed over by the embedded server", file=sys.stderr)
  missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
  if missing:
    raise UserError(f"{' and '.join(missing)} not installed: pip install 'aigc_tf[serve]'")


def _start(values, stack):
  """Starts the parts; the stack stops them in the opposite order.  Returns: list of str, URLs."""
  from aigc_tf.serving import monitoring as metrics
  monitoring = metrics.Monitoring()
  manager = _manager(values)
  manager.listeners += [monitoring.servable_changed, _announce]
  runner = _runner(values, monitoring, manager, stack)
  stack.callback(manager.stop)
  manager.start()
  return (_start_grpc(values, manager, runner, monitoring, stack)
          + _start_rest(values, manager, runner, monitoring, stack))


def _manager(values):
  from aigc_tf.serving import manager
  from aigc_tf.serving import server_config
  if values.model_config_file:
    configs = server_config.read_models(values.model_config_file)
  else:
    configs = [server_config.single(values.model_name, values.model_base_path)]
  return manager.Manager(
      configs, poll_seconds=values.file_system_poll_wait_seconds,
      parallelism=values.tensorflow_session_parallelism, warm_up=values.enable_model_warmup,
      allow_labels_for_unavailable=values.allow_version_labels_for_unavailable_models,
      max_load_retries=values.max_num_load_retries,
      load_retry_seconds=max(values.load_retry_interval_micros, 0) / 1e6,
      config_file=values.model_config_file,
      config_poll_seconds=values.model_config_file_poll_wait_seconds)


def _announce(event, servable):
  print(f"{event} {servable.name}, version {servable.version}", flush=True)


def _runner(values, monitoring, manager, stack):
  from aigc_tf.serving import batching
  from aigc_tf.serving import runner
  from aigc_tf.serving import server_config
  if not values.enable_batching:
    return runner.Direct()
  parameters = server_config.BatchingParameters()
  if values.batching_parameters_file:
    parameters = server_config.read_batching(values.batching_parameters_file)
  made = batching.Batching(parameters, values.enable_per_model_batching_parameters, monitoring)
  manager.listeners.append(made.servable_changed)
  stack.callback(made.stop)
  return made


def _start_grpc(values, manager, runner, monitoring, stack):
  from aigc_tf.serving import grpc_server
  addresses = [_joined(values.host, values.port)] if values.port else []
  if values.grpc_socket_path:
    addresses.append(f"unix:{values.grpc_socket_path}")
  threads = {"max_threads": values.grpc_max_threads} if values.grpc_max_threads else {}
  for address in addresses:
    server, _ = grpc_server.start(manager, runner, monitoring, address, **threads)
    stack.callback(lambda server=server: server.stop(STOP_SECONDS).wait())
  return [f"gRPC {address}" for address in addresses]


def _start_rest(values, manager, runner, monitoring, stack):
  from aigc_tf.serving import demo
  from aigc_tf.serving import http_server
  from aigc_tf.serving import rest
  from aigc_tf.serving import server_config
  if not values.rest_api_port:
    return []
  is_shown, path = False, None
  if values.monitoring_config_file:
    is_shown, path = server_config.read_monitoring(values.monitoring_config_file)
  pages = demo.pages(manager) if values.demo else None
  front = rest.Rest(
      manager, runner, monitoring, timeout_ms=values.rest_api_timeout_in_ms,
      enable_cors=values.rest_api_enable_cors_support,
      monitoring_path=path if is_shown else None, demo=pages)
  threads = {"threads": values.rest_api_num_threads} if values.rest_api_num_threads else {}
  handle = http_server.start(front, host=values.host, port=values.rest_api_port, **threads)
  stack.callback(handle.stop)
  url = f"http://{_joined(values.host, values.rest_api_port)}"
  return [f"REST {url}/v1/models/NAME"] + ([f"demo {url}/"] if pages else [])


def _joined(host, port):
  return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


# --- the command line


def _name(word):
  """"--port=1", "--noport" and "-port" -> "port"."""
  name = word.lstrip("-").partition("=")[0]
  return name if name in OTHERS else name.removeprefix("no")


def main(argv=None):
  argv = list(sys.argv if argv is None else argv)
  others = [word for word in argv[1:] if word.startswith("-") and _name(word) in OTHERS]
  kept = [word for word in argv if word not in others]
  return command.guarded(lambda: run(command.parse(kept, __doc__, define), others))


if __name__ == "__main__":
  sys.exit(main())
