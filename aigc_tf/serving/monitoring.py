"""What the server counts, under TF Serving's own metric names, as Prometheus reads it.

A dashboard made for TF Serving works unchanged: the same names, labels and bucket limits. The page
is TF Serving's, with two repairs: a line break in a label is escaped, and names that clients invent
are limited in number and in length, for each would be kept for ever.
"""

import bisect
import re
import threading

MAX_INVENTED = 300  # names that are no model's; later ones are counted together
MAX_NAME_BYTES = 200  # of such a name
OTHERS = "other models"
PREFIX = "/tensorflow/serving/"


def _exponential(scale, growth, count):
  """count: number of limits.  Returns: list of float: scale * growth**i, by repeated product."""
  limits = [float(scale)]
  while len(limits) < count:
    limits.append(limits[-1] * growth)
  return limits


LATENCY_LIMITS = _exponential(10, 1.8, 33)  # microseconds, to about 20 minutes
QUEUE_LIMITS = _exponential(100, 1.2, 52)  # microseconds, to about one second
SIZE_LIMITS = _exponential(1, 2, 14)  # rows
EXAMPLE_LIMITS = _exponential(1, 2, 15)


class _Counter:
  """A number for each set of labels, that only grows."""

  kind = "counter"

  def __init__(self, labels):
    self.labels, self.cells = labels, {}

  def add(self, values, amount):
    self.cells[values] = self.cells.get(values, 0) + amount

  def lines(self, name, labels, cell):
    yield f"{name}{{{labels}}} {cell}"


class _Histogram:
  """Counts of values below each limit, and their sum, for each set of labels."""

  kind = "histogram"

  def __init__(self, labels, limits):
    self.labels, self.limits, self.cells = labels, limits, {}
    self._titles = [f"{limit:g}" for limit in limits] + ["+Inf"]

  def add(self, values, amount):
    cell = self.cells.get(values)
    if cell is None:
      cell = self.cells[values] = [[0] * len(self._titles), 0.0]
    cell[0][bisect.bisect_right(self.limits, amount)] += 1
    cell[1] += amount

  def lines(self, name, labels, cell):
    total, before = 0, labels and labels + ","
    for title, count in zip(self._titles, cell[0], strict=True):
      total += count
      yield f'{name}_bucket{{{before}le="{title}"}} {total}'
    yield f"{name}_sum{{{labels}}} {cell[1]:g}"
    yield f"{name}_count{{{labels}}} {total}"


def _metrics():
  """Returns: {name without PREFIX: metric}."""
  of_model = ("model_name", "API")
  return {
      "batching_session/input_batch_size": _Histogram((), SIZE_LIMITS),
      "batching_session/padding_size": _Histogram(("execution_batch_size",), SIZE_LIMITS),
      "batching_session/processed_batch_size": _Histogram((), SIZE_LIMITS),
      "batching_session/queuing_latency": _Histogram(("thread_pool_name",), QUEUE_LIMITS),
      "batching_session/wrapped_run_count": _Counter(()),
      "model_warmup_latency": _Histogram(("model_path", "status"), LATENCY_LIMITS),
      "model_warmup_records_read": _Counter(("model_path", "status")),
      "request_count": _Counter(("model_name", "status")),
      "request_example_count_total": _Counter(("model",)),
      "request_example_counts": _Histogram(("model",), EXAMPLE_LIMITS),
      "request_latency": _Histogram((*of_model, "entrypoint"), LATENCY_LIMITS),
      "runtime_latency": _Histogram((*of_model, "runtime"), LATENCY_LIMITS),
  }


class Monitoring:
  """All metrics of one server. Every method may be called from any thread."""

  def __init__(self):
    self._metrics = _metrics()
    self._lock = threading.Lock()
    self._models, self._invented = set(), set()

  def _name(self, model):
    """Returns: str, the label of a model, which a client may have invented."""
    if model in self._models:
      return model
    name = model[:MAX_NAME_BYTES].encode()[:MAX_NAME_BYTES].decode(errors="ignore")
    with self._lock:
      if len(self._invented) < MAX_INVENTED:
        self._invented.add(name)
      return name if name in self._invented else OTHERS

  def _add(self, name, values, amount):
    with self._lock:
      self._metrics[name].add(values, amount)

  def request(self, model, status_name):
    """Counts an answered request.  status_name: "OK", "INVALID_ARGUMENT", ..."""
    self._add("request_count", (self._name(model), status_name), 1)

  def latency(self, model, api, entrypoint, micros):
    """Time of a successful request.  api: "Predict", ...  entrypoint: "GRPC" or "REST"."""
    self._add("request_latency", (self._name(model), api, entrypoint), micros)

  def runtime(self, model, api, micros):
    """Time of a request within TensorFlow, with the wait for a batch.  api: "Predict", ..."""
    self._add("runtime_latency", (self._name(model), api, "TF1"), micros)

  def examples(self, model, count):
    """count: number of tf.Examples in a request."""
    labels = (self._name(model),)
    self._add("request_example_counts", labels, count)
    self._add("request_example_count_total", labels, count)

  def batch_input(self, rows):
    """rows: of an input tensor that is queued for batching."""
    self._add("batching_session/input_batch_size", (), rows)

  def batch(self, rows, padding, queued_micros):
    """A batch that is run.  rows: with padding.  padding: rows of it.  queued_micros: list, one a
    request, its wait in the queue.
    """
    with self._lock:
      add = {key: metric.add for key, metric in self._metrics.items()}
      add["batching_session/padding_size"]((str(rows),), padding)
      add["batching_session/processed_batch_size"]((), rows)
      add["batching_session/wrapped_run_count"]((), 1)
      for micros in queued_micros:
        add["batching_session/queuing_latency"](("",), micros)

  def servable_changed(self, event, servable):
    """A listener of the manager: notes the names of models, and the warm-up of each version."""
    if event != "loaded":
      return
    self._models.add(servable.name)
    if servable.warmup_records is not None:
      labels = (str(servable.path), "OK")
      self._add("model_warmup_latency", labels, servable.warmup_seconds * 1e6)
      self._add("model_warmup_records_read", labels, servable.warmup_records)

  def value(self, name):
    """name: "/tensorflow/serving/request_count", ...  Returns: int, its first count or 0."""
    with self._lock:
      metric = self._metrics.get(name.removeprefix(PREFIX))
      if not isinstance(metric, _Counter) or not name.startswith(PREFIX):
        return 0
      return min(metric.cells.items(), default=((), 0))[1]

  def text(self):
    """Returns: str, the page in Prometheus's text format, ending with a line break."""
    with self._lock:
      return "\n".join(self._lines()) + "\n"

  def _lines(self):
    for key, metric in sorted(self._metrics.items()):
      name = re.sub("[^a-zA-Z0-9_]", ":", PREFIX + key)
      yield f"# TYPE {name} {metric.kind}"
      for values, cell in sorted(metric.cells.items()):
        labels = ",".join(f'{label}="{_escaped(value)}"'
                          for label, value in zip(metric.labels, values, strict=True))
        yield from metric.lines(name, labels, cell)


def _escaped(value):
  return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
