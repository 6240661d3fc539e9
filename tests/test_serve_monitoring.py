"""Metrics: TF Serving's names and format, TensorFlow's own histograms as the oracle, and cheap."""

import re
import threading
import time
import types

import numpy as np
import pytest
from tensorflow.python.eager import monitoring as oracle

from aigc_tf.serving import monitoring as monitoring_module

MAX_MICROS = 5


@pytest.fixture
def monitoring():
  return monitoring_module.Monitoring()


def lines(monitoring, start):
  return [line for line in monitoring.text().splitlines() if line.startswith(start)]


def test_counters_are_told_as_upstream_tells_them(monitoring):
  for _ in range(3):
    monitoring.request("m", "OK")
  monitoring.request("a", "NOT_FOUND")
  name = ":tensorflow:serving:request_count"
  assert lines(monitoring, f"# TYPE {name}") == [f"# TYPE {name} counter"]
  assert lines(monitoring, name) == [f'{name}{{model_name="a",status="NOT_FOUND"}} 1',
                                     f'{name}{{model_name="m",status="OK"}} 3']
  assert monitoring.text().endswith("\n")


# Values at the limits, below, above and far beyond; sums as floats of six digits.
@pytest.mark.parametrize("record, upstream, limits, name, labels", [
    (lambda m, v: m.latency("m", "Predict", "GRPC", v), "request_latency", (10, 1.8, 33),
     ":tensorflow:serving:request_latency", 'model_name="m",API="Predict",entrypoint="GRPC"'),
    (lambda m, v: m.runtime("m", "Predict", v), "runtime_latency", (10, 1.8, 33),
     ":tensorflow:serving:runtime_latency", 'model_name="m",API="Predict",runtime="TF1"'),
    (lambda m, v: m.examples("m", v), "request_example_counts", (1, 2, 15),
     ":tensorflow:serving:request_example_counts", 'model="m"'),
    (lambda m, v: m.batch(8, 0, [v]), "queuing_latency", (100, 1.2, 52),
     ":tensorflow:serving:batching_session:queuing_latency", 'thread_pool_name=""'),
])
def test_histograms_are_tensorflows(monitoring, record, upstream, limits, name, labels):
  sampler = oracle.Sampler(f"/test/{upstream}", oracle.ExponentialBuckets(*limits), "", "a")
  cell = sampler.get_cell("")
  for value in (0, 1, 2, 9.99, 10, 18, 18.01, 100, 120, 5e4, 1e6, 3e12):
    record(monitoring, value)
    cell.add(value)
  expected, proto = [], cell.value()
  titles = [f"{limit:g}" for limit in proto.bucket_limit[:-1]] + ["+Inf"]
  for title, count in zip(titles, np.cumsum(proto.bucket), strict=True):
    expected.append(f'{name}_bucket{{{labels},le="{title}"}} {int(count)}')
  expected += [f"{name}_sum{{{labels}}} {proto.sum:g}",
               f"{name}_count{{{labels}}} {int(proto.num)}"]
  assert lines(monitoring, name) == expected
  assert lines(monitoring, f"# TYPE {name} ") == [f"# TYPE {name} histogram"]


def test_a_batch_is_noted_with_its_padding_and_waits(monitoring):
  monitoring.batch_input(3)
  monitoring.batch(8, 2, [50.0, 130.0])
  prefix = ":tensorflow:serving:batching_session:"
  text = monitoring.text()
  for line in ('wrapped_run_count{} 1', 'queuing_latency_count{thread_pool_name=""} 2',
               'padding_size_sum{execution_batch_size="8"} 2', 'input_batch_size_sum{} 3',
               'processed_batch_size_bucket{le="8"} 0', 'processed_batch_size_bucket{le="16"} 1'):
    assert f"{prefix}{line}\n" in text


def test_warm_up_of_a_loaded_version(monitoring):
  for path, records in (("/models/m/1", 3), ("/empty", 0), ("/without", None)):
    servable = types.SimpleNamespace(
        name="m", path=path, warmup_seconds=0.5, warmup_records=records)
    monitoring.servable_changed("loaded", servable)
    monitoring.servable_changed("unloaded", servable)
  name = ":tensorflow:serving:model_warmup"
  assert lines(monitoring, f"{name}_latency_sum") == [
      f'{name}_latency_sum{{model_path="/empty",status="OK"}} 500000',
      f'{name}_latency_sum{{model_path="/models/m/1",status="OK"}} 500000']
  assert lines(monitoring, f"{name}_records_read") == [
      f'{name}_records_read{{model_path="/empty",status="OK"}} 0',
      f'{name}_records_read{{model_path="/models/m/1",status="OK"}} 3']


def test_values_of_counters_by_upstreams_name(monitoring):
  monitoring.request("m", "OK")
  assert monitoring.value("/tensorflow/serving/request_count") == 1
  monitoring.latency("m", "Predict", "GRPC", 5)
  for name in ("/tensorflow/serving/request_latency", "request_count", "/other", ""):
    assert monitoring.value(name) == 0


@pytest.mark.parametrize("model", ['"} 9 #', "back\\slash", "line\nbreak", "\N{SNOWMAN}"])
def test_no_name_breaks_the_page(monitoring, model):
  monitoring.request(model, "OK")
  [line] = lines(monitoring, ":tensorflow:serving:request_count")
  label = re.fullmatch(r'\S+\{model_name="((?:[^"\\]|\\.)*)",status="OK"\} 1', line)[1]
  assert label.replace("\\n", "\n").replace('\\"', '"').replace("\\\\", "\\") == model


def test_names_of_clients_do_not_fill_the_memory(monitoring):
  for i in range(2000):
    monitoring.request(f"m{i}" + "é" * 100_000, "OK")
    monitoring.examples(f"m{i}" + "é" * 100_000, 1)
  served = types.SimpleNamespace(name="served" * 100, path="/m", warmup_records=None)
  monitoring.servable_changed("loaded", served)
  monitoring.request(served.name, "OK")  # a model of ours is counted under its whole name
  name = ":tensorflow:serving:request_count{"
  counts = lines(monitoring, name)
  assert len(counts) < 310 and len(monitoring.text()) < 10_000_000
  assert f'{name}model_name="{served.name}",status="OK"}} 1' in counts
  assert f'{name}model_name="other models",status="OK"}} 1700' in counts
  assert sum(int(line.rpartition(" ")[2]) for line in counts) == 2001


def test_threads_lose_nothing(monitoring):
  def count():
    for _ in range(1000):
      monitoring.request("m", "OK")
      monitoring.latency("m", "Predict", "REST", 7)
  threads = [threading.Thread(target=count) for _ in range(8)]
  for thread in threads:
    thread.start()
  for thread in threads:
    thread.join()
  assert monitoring.value("/tensorflow/serving/request_count") == 8000
  assert lines(monitoring, ":tensorflow:serving:request_latency_count")[0].endswith(" 8000")


def test_counting_is_cheap(monitoring):
  best = min(timed(lambda: monitoring.latency("m", "Predict", "GRPC", 1234.5)) for _ in range(20))
  assert best < MAX_MICROS


def timed(call, times=500):
  """Microseconds a call."""
  start = time.perf_counter()
  for _ in range(times):
    call()
  return (time.perf_counter() - start) / times * 1e6
