"""Requests of several clients as one run of the session, as TF Serving's BatchingSession does.

Requests for the same outputs of the same signature of a version are concatenated along dimension 0
and the answer is cut. One difference: if a joined run fails by a mistake in an input, each request
is run by itself, so that no client fails for another's mistake.
"""

import math
import os
import time
import weakref

from absl import logging
import numpy as np
import tensorflow as tf

from aigc_tf.errors import UserError
from aigc_tf.serving import batch_queue
from aigc_tf.serving import server_config
from aigc_tf.serving import status

FILE = "batching_params.pbtxt"  # beside saved_model.pb
MAX_PADDED_RANK = 6
_ONES_OWN_FAULT = (status.INVALID_ARGUMENT, status.FAILED_PRECONDITION, status.OUT_OF_RANGE)


def options(parameters):
  """parameters: BatchingParameters message.  Returns: batch_queue.Options.

  Raises: ServingError INVALID_ARGUMENT, in upstream's words.
  """
  given = {name: getattr(parameters, name).value
           for name in ("max_batch_size", "batch_timeout_micros", "max_enqueued_batches",
                        "enable_large_batch_splitting", "max_execution_batch_size")
           if parameters.HasField(name)}
  if "max_batch_size" in given:
    given.setdefault("max_execution_batch_size", given["max_batch_size"])
  return batch_queue.Options(
      **given, allowed_batch_sizes=tuple(parameters.allowed_batch_sizes),
      pad_variable_length_inputs=parameters.pad_variable_length_inputs)


class Batching:
  """A Runner that joins requests.

  parameters: BatchingParameters message, for all models.  per_model: only models that have a
  batching_params.pbtxt are batched, as that says; `parameters` gives only the threads.
  monitoring: where batches are counted.
  Raises: UserError if the parameters contradict each other.
  """

  def __init__(self, parameters, per_model=False, monitoring=None):
    num_threads = batch_queue.threads_default()
    if parameters.HasField("num_batch_threads"):
      num_threads = parameters.num_batch_threads.value
    if num_threads < 1:
      raise UserError(f"num_batch_threads: {num_threads}: give 1 or more batch threads")
    try:
      self._common = None if per_model else options(parameters)
    except status.ServingError as error:
      raise UserError(f"batching parameters: {error.message}: correct the file") from error
    self._per_model = per_model
    self._options = weakref.WeakKeyDictionary()  # {servable: Options, or None: not batched}
    self._monitoring = monitoring
    self._scheduler = batch_queue.Scheduler(num_threads)

  def stop(self):
    """Answers what is queued and ends the threads."""
    self._scheduler.stop()

  def run(self, servable, key, inputs, outputs, timeout_ms):
    """See runner.Runner."""
    chosen = self._chosen(servable)
    if chosen is None:
      return servable.run(key, inputs, outputs, timeout_ms)
    rows = _rows(inputs)
    if not rows:  # nothing to join, nothing to pad with
      return servable.run(key, inputs, outputs, timeout_ms)
    if self._monitoring:
      for _ in inputs:
        self._monitoring.batch_input(rows)
    wanted = tuple(sorted(set(outputs)))
    tasks = self._schedule(chosen, servable, key, inputs, rows, wanted, timeout_ms)
    values = batch_queue.wait_for_all(tasks)
    joined = values[0] if len(values) == 1 else [np.concatenate(parts) for parts in zip(*values)]
    return [joined[wanted.index(alias)] for alias in outputs]

  def _schedule(self, chosen, servable, key, inputs, rows, outputs, timeout_ms):
    deadline = math.inf if timeout_ms is None else time.monotonic() + timeout_ms / 1e3
    job = _Job(servable, key, outputs, chosen, self._monitoring)
    queue = id(servable), key, outputs, tuple(sorted(inputs))
    return self._scheduler.schedule(
        queue, batch_queue.Task(inputs, rows, deadline), chosen, job.process)

  def _chosen(self, servable):
    """Returns: Options, or None for a model that is not batched."""
    if not self._per_model:
      return self._common
    if servable not in self._options:
      self._options[servable] = _own_options(servable)
    return self._options[servable]

  def servable_changed(self, event, servable):
    """A listener of the manager: reads a loaded version's parameters before its first request."""
    if event == "loaded":
      try:
        self._chosen(servable)
      except status.ServingError as error:
        logging.error("%s: %s", servable.path, error.message)


def _own_options(servable):
  """Returns: Options of a model that brings its own parameters, else None."""
  path = os.path.join(servable.path, FILE)
  try:
    return options(server_config.read_batching(path)) if tf.io.gfile.exists(path) else None
  except UserError as error:
    logging.error("%s", error)
    raise _failed(f"{FILE} of {servable.name} {servable.version} is not valid") from error


def _rows(inputs):
  """Returns: int, the dimension 0 that all inputs share."""
  if not inputs:
    raise _invalid("Batching Run() must have at least one input tensor")
  rows = None
  for value in inputs.values():
    if not value.ndim:
      raise _invalid("Batching Run() input tensors must have at least one dimension")
    if rows is None:
      rows = len(value)
    elif len(value) != rows:
      raise _invalid("Batching Run() input tensors must have equal 0th-dimension size")
  return rows


def _invalid(message):
  return status.ServingError(status.INVALID_ARGUMENT, message)


def _failed(message):
  return status.ServingError(status.FAILED_PRECONDITION, message)


class _CannotJoin(Exception):
  """These tasks have to be run one by one."""


class _Job:
  """What all tasks of a queue have in common, and how a batch of them is run."""

  def __init__(self, servable, key, outputs, chosen, monitoring):
    self.servable, self.key, self.outputs = servable, key, outputs
    self.options, self.monitoring = chosen, monitoring

  def process(self, tasks):
    """tasks: list of batch_queue.Task; each is finished, or was given up by who waits for it."""
    tasks = [task for task in tasks if task.take()]
    deadline = max((task.deadline for task in tasks), default=math.inf)
    for task in tasks:
      task.run_deadline = deadline
    try:
      answers = self._answers(tasks, time.monotonic()) if tasks else []
    except Exception as error:
      answers = [{"error": status.from_exception(error)}] * len(tasks)
    for task, answer in zip(tasks, answers, strict=True):
      task.finish(**answer)

  def _answers(self, tasks, now):
    """Returns: list, one for each task, of arguments for its finish."""
    try:
      return self._run(tasks, now)
    except _CannotJoin:
      return [self._alone(task, now) for task in tasks]

  def _alone(self, task, now):
    try:
      return self._run([task], now)[0]
    except Exception as error:
      return {"error": status.from_exception(error)}

  def _run(self, tasks, now):
    """One run for all tasks.  Raises: ServingError, _CannotJoin."""
    rows = sum(task.rows for task in tasks)
    padding = _allowed(self.options.allowed_batch_sizes, rows) - rows
    inputs = self._merged([task.inputs for task in tasks], padding)
    if self.monitoring:
      self.monitoring.batch(rows + padding, padding, [(now - task.queued) * 1e6 for task in tasks])
    deadline = max(task.deadline for task in tasks)
    timeout_ms = None if deadline == math.inf else (deadline - time.monotonic()) * 1e3
    try:
      values = self.servable.run(self.key, inputs, self.outputs, timeout_ms)
    except status.ServingError as error:
      if len(tasks) > 1 and error.code in _ONES_OWN_FAULT:
        raise _CannotJoin from error
      raise
    for value in values:
      _check_output(value, rows + padding)
    ends = np.cumsum([0] + [task.rows for task in tasks]).tolist()
    return [{"values": [value[start:end] for value in values]}
            for start, end in zip(ends, ends[1:])]

  def _merged(self, inputs, padding):
    """inputs: list of {alias: array}.  Returns: {alias: array with all rows and the padding}."""
    if len(inputs) == 1 and not padding:
      return inputs[0]
    merged = {}
    for alias in inputs[0]:
      parts = [values[alias] for values in inputs]
      if len({part.dtype for part in parts}) > 1:
        raise _CannotJoin
      if self.options.pad_variable_length_inputs:
        parts = _padded(parts)
      elif len({part.shape[1:] for part in parts}) > 1:
        raise _failed(
            f"Tensors with name '{self.servable.signatures[self.key].inputs[alias].name}' from "
            "different tasks have different shapes and padding is turned off. Set "
            "pad_variable_length_inputs to true, or ensure that all tensors with the same name "
            "have equal dimensions starting with the first dim.")
      merged[alias] = np.concatenate(parts + [parts[-1][:1]] * padding)
    return merged


def _allowed(sizes, rows):
  return next((size for size in sizes if size >= rows), rows)


def _padded(parts):
  """Arrays -> the same, as long as the longest in each dimension but the first.

  A row is continued with the first value of its array: one that the model certainly accepts.
  Raises: _CannotJoin if the ranks differ.
  """
  if len({part.ndim for part in parts}) > 1:
    raise _CannotJoin
  longest = tuple(max(sizes) for sizes in zip(*(part.shape[1:] for part in parts)))
  return [_extended(part, longest) for part in parts]


def _extended(part, shape):
  if part.shape[1:] == shape:
    return part
  if part.ndim > MAX_PADDED_RANK:
    raise _invalid("Only tensors with rank from 1 to 6 can be padded.")
  if not part.size:
    raise _invalid("Got empty tensor in batch of non-empty tensors.")
  out = np.full((len(part), *shape), part.flat[0], part.dtype)
  out[tuple(slice(size) for size in part.shape)] = part
  return out


def _check_output(value, rows):
  if not value.ndim:
    raise _failed("Batched output tensor has 0 dimensions")
  if len(value) != rows:
    raise _failed("Batched output tensor's 0th dimension does not equal the sum of the 0th "
                  "dimension sizes of the input tensors")
