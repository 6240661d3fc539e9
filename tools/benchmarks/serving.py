"""The embedded server: what a request costs over the session itself, batching, and a long load.

The clients are threads of this process, so they share the cores with the server.
"""

import contextlib
import os
import pathlib
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

from benchmarks import rounds

CLIENTS = 32  # of the comparison with batching
LOAD_CLIENTS, LOAD_SECONDS, SWAP_SECONDS = 64, 60, 2
WARM_SECONDS = 60  # after this, memory should not grow
DEADLINE_SECONDS = 60


def serving(config, values):
  """Prints latencies, throughput with and without batching, and how a minute's load went."""
  del config
  busy = os.getloadavg()[0]
  with tempfile.TemporaryDirectory() as root:
    path = exported(root, values.recipe)
    latencies(root, values.recipe, path, values.steps)
    joined(root, values.recipe, values.rounds)
    load(root, values.recipe)
  rounds.warn_if_busy(busy)


def exported(root, name):
  import aigc_tf
  from aigc_tf.serving import savedmodel
  return savedmodel.export(aigc_tf.load(name), root, name)


@contextlib.contextmanager
def server(root, *words):
  """Yields (process, gRPC address, REST URL) of the command with an export root."""
  ports = [free_port() for _ in range(2)]
  process = subprocess.Popen(
      [sys.executable, "-m", "aigc_tf.serve", "--embedded", f"--port={ports[0]}",
       f"--rest_api_port={ports[1]}", f"--model_config_file={root}/models.config", *words],
      stdout=subprocess.PIPE, text=True)
  try:
    while not (line := process.stdout.readline()).startswith("ready"):
      if not line:
        raise RuntimeError("the server did not start")
    threading.Thread(target=process.stdout.read, daemon=True).start()
    yield process, f"grpc://127.0.0.1:{ports[0]}", f"http://127.0.0.1:{ports[1]}"
  finally:
    process.terminate()
    process.wait()


def free_port():
  with socket.socket() as found:
    found.bind(("127.0.0.1", 0))
    return found.getsockname()[1]


# --- one request at a time


def latencies(root, name, path, calls):
  """The same call by the session, by gRPC and by REST."""
  import numpy as np

  from aigc_tf.serving import client
  from aigc_tf.serving import servable as servables
  servable = servables.load(name, 1, path)
  inputs = {"seed": np.array([1])}
  outputs = tuple(servable.signatures["serving_default"].outputs)
  ways = {"the session": lambda: servable.run("serving_default", inputs, outputs)}
  with server(root, f"--monitoring_config_file={root}/monitoring.config") as (
      _, grpc_url, rest_url), client.Client(grpc_url) as by_grpc, (
          client.Client(rest_url)) as by_rest:
    ways |= {"gRPC": lambda: by_grpc.predict(name, inputs),
             "REST": lambda: by_rest.predict(name, inputs)}
    found = {way: timed(ask, calls) for way, ask in ways.items()}
    within = session_ms(rest_url)
  servable.close()
  print(f"{name}: one row, one request at a time, medians of {calls}; a core that was idle between "
        "two requests wakes slowly, so the overhead is what is above the session in the server")
  for way, seconds in found.items():
    print(f"  {way:25} {statistics.median(seconds) * 1000:6.2f} ms")
  print(f"  {'the session in the server':25} {within:6.2f} ms (mean)")


def timed(ask, calls):
  """Returns: list of seconds, of each call after the first 10."""
  seconds = []
  for _ in range(calls + 10):
    start = time.perf_counter()
    ask()
    seconds.append(time.perf_counter() - start)
  return seconds[10:]


def session_ms(rest_url):
  """Mean time of a run within the server, by its own metrics."""
  with urllib.request.urlopen(f"{rest_url}/monitoring/prometheus/metrics") as answer:
    text = answer.read().decode()
  total, count = (float(re.search(rf":runtime_latency_{part}\S* (\S+)", text)[1])
                  for part in ("sum", "count"))
  return total / count / 1000


# --- many at once


def joined(root, name, repeats):
  """Requests a second with batching and without, in alternated rounds."""
  flags = ("--enable_batching", "--enable_per_model_batching_parameters",
           f"--batching_parameters_file={root}/batching.config")
  with server(root, *flags) as batched, server(root) as plain:
    found, used = {"with batching": [], "without": []}, {}
    for _ in range(repeats):
      for way, (process, url, _) in (("with batching", batched), ("without", plain)):
        before = cpu_seconds(process.pid)
        done, failed = hammer(url, name, CLIENTS, 4.0)
        found[way].append(done / 4.0)
        used[way] = (cpu_seconds(process.pid) - before) / max(done, 1)
        if failed:
          print(f"  {way}: {failed} requests failed")
  print(f"{name}: {CLIENTS} clients by gRPC, one row a request; the server's own CPU: "
        + ", ".join(f"{1000 * seconds:.2f} ms a request {way}" for way, seconds in used.items()))
  rounds.report(found, "requests")


def hammer(url, name, clients, seconds):
  """Returns: (number of answers, number of failures)."""
  import numpy as np

  from aigc_tf.errors import UserError
  from aigc_tf.serving import client
  counts, end = [[0, 0] for _ in range(clients)], time.monotonic() + seconds

  def ask(count, seed):
    with client.Client(url, DEADLINE_SECONDS) as remote:
      while time.monotonic() < end:
        try:
          remote.predict(name, {"seed": np.array([seed])})
          count[0] += 1
        except UserError as error:
          print(f"  failed: {error}")
          count[1] += 1

  threads = [threading.Thread(target=ask, args=(count, i)) for i, count in enumerate(counts)]
  for thread in threads:
    thread.start()
  for thread in threads:
    thread.join()
  return tuple(map(sum, zip(*counts)))


# --- a long load, while versions come and go


def load(root, name):
  """64 clients, half by gRPC and half by REST; every two seconds a version comes or goes."""
  print(f"{name}: {LOAD_CLIENTS} clients for {WARM_SECONDS} + {LOAD_SECONDS} s while versions come "
        "and go")
  with server(root) as (process, grpc_url, rest_url):
    for seconds in (WARM_SECONDS, LOAD_SECONDS):
      stop, answers = threading.Event(), []
      swapping = threading.Thread(target=swap, args=(pathlib.Path(root) / name, stop))
      swapping.start()
      halves = [threading.Thread(target=lambda url=url: answers.append(
          hammer(url, name, LOAD_CLIENTS // 2, seconds))) for url in (grpc_url, rest_url)]
      for half in halves:
        half.start()
      for half in halves:
        half.join()
      stop.set()
      swapping.join()
      done, failed = map(sum, zip(*answers))
      print(f"  {done} answers, {failed} failures; the server holds {resident_mb(process.pid)} MB")


def swap(folder, stop):
  """Publishes version 2 and withdraws it, in turns."""
  while not stop.wait(SWAP_SECONDS):
    if (folder / "2").exists():
      (folder / "2").rename(folder / ".gone")
      shutil.rmtree(folder / ".gone")
    else:
      shutil.copytree(folder / "1", folder / ".coming")
      (folder / ".coming").rename(folder / "2")


def cpu_seconds(pid):
  """User and system time of a process so far."""
  fields = pathlib.Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
  return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_mb(pid):
  """Resident memory of a process in MB."""
  status = pathlib.Path(f"/proc/{pid}/status").read_text(encoding="ascii")
  return next(int(line.split()[1]) // 1024 for line in status.splitlines()
              if line.startswith("VmRSS"))
