"""The serve command: a server as users start it, its signals, its refusals, and the real one."""

from concurrent import futures
import contextlib
import os
import pathlib
import re
import shlex
import signal
import socket
import subprocess
import sys
import time

import pytest
import tensorflow as tf

from aigc_tf import serve
from aigc_tf.errors import UserError
from aigc_tf.serving import client
from aigc_tf.serving import deployment
from aigc_tf.serving import savedmodel
from tests import ports
from tests import serve_models
from tests import serving_models

ROOT = pathlib.Path(__file__).parent.parent
WAIT_SECONDS = 120


class Server:
  """The command in a process of its own.  lines: what it has said until it was ready."""

  def __init__(self, *arguments, path="", command=("-m", "aigc_tf.serve")):
    self.process = subprocess.Popen(
        [sys.executable, *command, *arguments], cwd=ROOT, text=True,
        env={**os.environ, "PATH": path}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    self.lines = []

  def wait_for(self, text):
    for line in self.process.stdout:
      self.lines.append(line.rstrip())
      if text in line:
        return line
    raise AssertionError(f"{text!r} was never said: {self.lines}")

  def stop(self, number):
    """Returns: (what it said at last, exit status)."""
    self.process.send_signal(number)
    return self.process.communicate(timeout=WAIT_SECONDS)[0], self.process.returncode


@contextlib.contextmanager
def server(*arguments, **keywords):
  one = Server(*arguments, **keywords)
  try:
    yield one
  finally:
    one.process.kill()
    one.process.communicate()


@pytest.fixture(scope="module")
def exports(tmp_path_factory):
  """An export root with inputs and outputs of every kind."""
  root = tmp_path_factory.mktemp("exports")
  specs = {"image": tf.TensorSpec([None, 4, 4, 1], tf.uint8),
           "mel": tf.TensorSpec([None, None, 3], tf.float32)}
  savedmodel.export(serving_models.Single(framed, specs), root, "framer")
  savedmodel.export(serving_models.Painter(), root, "painter")
  savedmodel.export(serving_models.Speller(), root, "speller")
  return root


def framed(layer, image, mel):
  """A file is all it answers, and its inputs are too long to be written out."""
  del layer
  mean = tf.cast(tf.reduce_mean(mel, axis=[1, 2]), tf.uint8)[:, None, None, None]
  return {"image_bytes": tf.map_fn(tf.io.encode_png, image + mean,
                                   fn_output_signature=tf.TensorSpec([], tf.string))}


# --- ours


def test_the_command_of_an_export_serves_it(exports, tmp_path, monkeypatch):
  """All flags of deployment.command, then each call of CLIENT.md as it stands there."""
  monkeypatch.chdir(tmp_path)
  grpc_port, rest_port = ports.free(2)
  words = shlex.split(deployment.command(exports))[1:]
  addresses = [f"--port={grpc_port}", f"--rest_api_port={rest_port}",
               "--rest_api_timeout_in_ms=0"]  # the last one counts: no limit
  with server(*words, *addresses) as one:
    ready = one.wait_for("ready: ")
    assert one.lines[0] == ("the embedded server of aigc_tf runs (there is no "
                            "tensorflow_model_server on the PATH)")
    assert {"loaded painter, version 1", "loaded speller, version 1"} <= set(one.lines)
    assert f"http://127.0.0.1:{rest_port}/" in ready and f"127.0.0.1:{grpc_port}" in ready
    for url in (f"http://127.0.0.1:{rest_port}", f"grpc://127.0.0.1:{grpc_port}"):
      with client.Client(url) as far:
        assert far.predict("painter", {"seed": [1, 2]})["image"].shape == (2, 12, 12, 3)
    blocks = 0
    for name in ("framer", "painter", "speller"):
      blocks += run_guide(exports / name / "CLIENT.md", grpc_port, rest_port)
    assert blocks == 4 + 3 * 3  # a curl for each signature, three programs for each model
    assert (tmp_path / "serving_default_1.png").read_bytes().startswith(b"\x89PNG")
    said, code = one.stop(signal.SIGTERM)
    assert code == 0 and "stopping" in said and "Traceback" not in said


def run_guide(path, grpc_port, rest_port):
  """Executes each block of a CLIENT.md in this folder.  Returns: how many there are."""
  text = path.read_text().replace("localhost:8500", f"localhost:{grpc_port}")
  text = text.replace("localhost:8501", f"localhost:{rest_port}")
  blocks = re.findall(r"```(sh|python)\n(.*?)```", text, re.DOTALL)
  for kind, block in blocks:
    if kind == "python":
      exec(compile(block, str(path), "exec"), {})  # in here TensorFlow is imported already
      continue
    done = subprocess.run(["sh", "-e"], input=block, text=True, capture_output=True, check=False)
    assert done.returncode == 0, block + done.stdout + done.stderr
    assert '"predictions"' in done.stdout
  return len(blocks)


def test_one_model_and_ctrl_c_with_a_request_under_way(tmp_path):
  serve_models.make_slow(tmp_path, "m", 3)
  port, = ports.free(1)
  with server(f"--model_base_path={tmp_path / 'm'}", "--port=0", f"--rest_api_port={port}",
              "--embedded", "--nodemo", "--num_load_threads=4",
              "--flush_filesystem_caches") as one:
    ready = one.wait_for("ready: ")
    assert "gRPC" not in ready and "demo" not in ready
    assert "warning: --num_load_threads is passed over by the embedded server" in one.lines
    with client.Client(f"http://127.0.0.1:{port}/v1/models/default") as far:
      assert far.predict(None, {"seed": [2], "steps": [1]}, version=3)["sample"].tolist() == [2.0]
      serve_models.copy(str(tmp_path / "m" / "3"), 4)
      one.wait_for("loaded default, version 4")
      one.wait_for("unloaded default, version 3")
      far.predict(None, {"seed": [1], "steps": [1]})
      with futures.ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(far.predict, None, {"seed": [7], "steps": [15_000]})
        time.sleep(0.5)
        assert not waiting.done()
        said, code = one.stop(signal.SIGINT)
        assert waiting.result()["sample"].tolist() == [7.0]
    assert code == 0 and "Traceback" not in said


def test_a_run_without_a_deadline_cannot_keep_a_stopped_server_alive(tmp_path):
  serve_models.make_slow(tmp_path)
  port, = ports.free(1)
  quick = ("-c", "import sys; from aigc_tf import serve; serve.STOP_SECONDS = 1; "
           "sys.exit(serve.main())")
  with server(f"--model_base_path={tmp_path / 'slow'}", "--port=0", f"--rest_api_port={port}",
              "--embedded", "--rest_api_timeout_in_ms=0", command=quick) as one:
    one.wait_for("ready: ")
    with client.Client(f"http://127.0.0.1:{port}/v1/models/default") as far:
      with futures.ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(far.predict, None, {"seed": [7], "steps": [2**31 - 1]})
        time.sleep(0.5)
        said, code = one.stop(signal.SIGTERM)
        with pytest.raises(UserError):
          waiting.result()
  assert "what is still under way is given up" in said and code == 1


@pytest.mark.parametrize("arguments,message", [
    ([], "say what to serve: --model_config_file=DIR/models.config"),
    (["--model_base_path=x", "--port=0", "--rest_api_port=0"], "nothing is left to serve by"),
    (["--model_base_path=x", "--batching_parameters_file=y"], "needs --enable_batching"),
    (["--model_base_path=x", "--ssl_config_file=y"], "speaks no TLS"),
    (["--model_config_file=/none/models.config"], "/none/models.config: cannot be read"),
    (["--model_base_path=x", "--port=65536"], "65536"),
    (["--model_bas_path=x"], "model_bas_path")])
def test_mistakes_are_one_line(arguments, message, monkeypatch, capsys):
  monkeypatch.setenv("PATH", "")
  handler = signal.getsignal(signal.SIGTERM)
  try:
    assert serve.main(["serve", *arguments]) == 1
  finally:
    signal.signal(signal.SIGTERM, handler)
  said = capsys.readouterr().err
  assert message in said and said.count("\n") == 1


def test_a_port_that_is_taken(tmp_path, monkeypatch, capsys):
  serve_models.make_half_plus_two(tmp_path, "m")
  monkeypatch.setenv("PATH", "")
  handler = signal.getsignal(signal.SIGTERM)
  with socket.socket() as taken:
    taken.bind(("127.0.0.1", 0))
    taken.listen()
    port = taken.getsockname()[1]
    try:
      assert serve.main(["serve", f"--model_base_path={tmp_path / 'm'}", "--port=0",
                         f"--rest_api_port={port}"]) == 1
    finally:
      signal.signal(signal.SIGTERM, handler)
  assert str(port) in capsys.readouterr().err


# --- the real one


@pytest.fixture
def real(tmp_path):
  """A tensorflow_model_server that says how it was called."""
  path = tmp_path / "bin" / serve.BINARY
  path.parent.mkdir()
  path.write_text("#!/bin/sh\nprintf '%s\\n' \"$0\" \"$@\"\n")
  path.chmod(0o755)
  return path


def called(real, *arguments):
  return subprocess.run(
      [sys.executable, "-m", "aigc_tf.serve", *arguments], cwd=ROOT, text=True,
      env={**os.environ, "PATH": str(real.parent)}, capture_output=True, check=False)


def test_the_real_one_is_executed_with_the_same_flags(real):
  done = called(real, "--model_base_path=exports/m", "--model_name", "m", "--enable_batching",
                "--noenable_model_warmup", "--num_load_threads=4", "--port=9000")
  first, *words = done.stdout.splitlines()
  assert first == (f"executing {real}, which listens on all addresses of this machine "
                   "(--embedded: our own server)")
  assert sorted(words[1:]) == [
      "--enable_batching=true", "--enable_model_warmup=false",
      f"--model_base_path={ROOT / 'exports' / 'm'}", "--model_name=m", "--num_load_threads=4",
      "--port=9000", "--rest_api_port=8501"]
  assert done.returncode == 0 and not done.stderr


def test_what_the_real_one_cannot(real):
  done = called(real, "--model_base_path=m", "--host=0.0.0.0")
  assert done.returncode == 1 and not done.stdout
  assert done.stderr == (f"error: --host is for the embedded server: add --embedded, for {real} "
                         "is there and would be executed\n")


def test_version_names_both(real):
  assert f"tensorflow_model_server: {real}" in called(real, "--version").stdout
