"""A running embedded server for the tests, on free ports of 127.0.0.1."""

import contextlib
import types

from aigc_tf.serving import demo
from aigc_tf.serving import grpc_server
from aigc_tf.serving import http_server
from aigc_tf.serving import manager
from aigc_tf.serving import monitoring
from aigc_tf.serving import rest
from aigc_tf.serving import runner
from aigc_tf.serving import server_config


@contextlib.contextmanager
def running(configs, **keywords):
  """Serves models.

  configs: list of ModelConfig.  keywords: of the Manager.
  Yields: namespace with `rest` and `grpc`, URLs for the client, and `manager`.
  """
  with contextlib.ExitStack() as stack:
    models = manager.Manager(configs, poll_seconds=0.1, **keywords)
    stack.callback(models.stop)
    models.start()
    counts = monitoring.Monitoring()
    server, port = grpc_server.start(models, runner.Direct(), counts, "127.0.0.1:0")
    stack.callback(lambda: server.stop(None).wait())
    front = rest.Rest(models, runner.Direct(), counts, demo=demo.pages(models))
    handle = http_server.start(front, port=0)
    stack.callback(handle.stop)
    yield types.SimpleNamespace(
        manager=models, rest=f"http://127.0.0.1:{handle.port}", grpc=f"grpc://127.0.0.1:{port}")


def configs(root, *names):
  """Returns: list of ModelConfig of ROOT/NAME."""
  return [server_config.single(name, str(root / name)) for name in names]
