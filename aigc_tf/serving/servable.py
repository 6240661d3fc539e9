"""One loaded version of a model, and the one way to run it.

A run goes straight to TensorFlow's session by its C binding: the same call TF Serving makes, with
the same pruning to the outputs asked for, the same error texts, and a deadline that stops loops.
`Session.run` would add checks of shapes that TF Serving does not make, and 50 microseconds.
"""

import gc
import math
import time

from absl import logging
import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import config_pb2

from aigc_tf.serving import bundle
from aigc_tf.serving import replay
from aigc_tf.serving import status

TIMED_OUT = "Timed out waiting for notification"  # TensorFlow's own words
XLA_DISABLED = "XLA compilation disabled"
MAX_PREPARED = 1000  # combinations of outputs that are remembered; a client may ask for any


def load(name, version, path, parallelism=0, warm_up=True):
  """Loads a version and replays its warm-up requests.

  name: str of the model.  version: int.  path: folder of a SavedModel.  parallelism: threads of
  TensorFlow's pools, 0 is one a core.  warm_up: replay assets.extra/tf_serving_warmup_requests.
  Returns: Servable.  Raises: ServingError, also if a warm-up request fails.
  """
  start = time.monotonic()
  servable = None
  try:
    meta_graph = bundle.read(path)
    servable = Servable(name, version, path, meta_graph, parallelism)
    servable.load_seconds = time.monotonic() - start
    if warm_up:
      servable.warmup_records = replay.replay(servable)
      servable.warmup_seconds = time.monotonic() - start - servable.load_seconds
    return servable
  except Exception as error:
    if servable is not None:
      servable.close()
    raise status.from_exception(error) from error


class Servable:
  """A version of a model in a session of its own; any number of threads may run it at once.

  name, version, path: of the model.  signatures: {key: SignatureDef} as in saved_model.pb, its
  `__saved_model_init_op` too.  load_seconds, warmup_seconds: how long these took.
  warmup_records: int, how many were replayed; None without a file of them.
  """

  def __init__(self, name, version, path, meta_graph, parallelism=0):
    self.name, self.version, self.path = name, version, path
    self.signatures = bundle.signatures(meta_graph)
    self.load_seconds = self.warmup_seconds = 0.0
    self.warmup_records = None
    self._compiled = bundle.compiled_signatures(meta_graph)
    self._session = bundle.start(path, meta_graph, parallelism)
    self._execute, self._handle = _executor(self._session)
    self._inputs = {}
    self._prepared = {}

  def run(self, key, inputs, outputs, timeout_ms=None):
    """Runs one signature.

    key: str in `signatures`.  inputs: {alias: np.ndarray}, strings as object arrays of bytes.
    outputs: tuple of aliases.  timeout_ms: None for no deadline.
    Returns: list of np.ndarray, in the order of `outputs`.  Raises: ServingError with TensorFlow's
    code and message; after the deadline DEADLINE_EXCEEDED.
    """
    call = self._prepared.get((key, outputs)) or self._prepare(key, outputs)
    handles, fetches, order = call
    # In the signature's order, whatever the client's: the session remembers each it meets.
    feeds = {handle: inputs[alias] for alias, handle in handles.items() if alias in inputs}
    if len(feeds) != len(inputs):
      raise status.ServingError(status.INVALID_ARGUMENT, (
          f"input tensor alias not found in signature: {', '.join(sorted(inputs.keys() - handles))}"
      ))
    try:
      values = self._execute(feeds, fetches, timeout_ms)
    except UnicodeDecodeError as error:  # TensorFlow's complaint repeats bytes that are no text
      raise status.ServingError(status.INVALID_ARGUMENT, status.text(error.object)) from error
    except Exception as error:
      raise status.from_exception(error) from error
    values = [_array(value) for value in values]
    return values if order is None else [values[i] for i in order]

  def _prepare(self, key, outputs):
    """Returns: ({input alias: handle}, list of handles to fetch, their order or None)."""
    signature = self.signatures.get(key)
    if signature is None:
      raise status.ServingError(
          status.FAILED_PRECONDITION, f'Serving signature key "{key}" not found.')
    if key in self._compiled:
      raise status.ServingError(status.INTERNAL, XLA_DISABLED)
    for alias in outputs:
      if alias not in signature.outputs:
        raise status.ServingError(
            status.INVALID_ARGUMENT, f"output tensor alias not found in signature: {alias}")
    if key not in self._inputs:
      self._inputs[key] = {alias: self._find(info.name, "FeedInputs: unable to find feed output")
                           for alias, info in signature.inputs.items()}
    names = sorted({signature.outputs[alias].name for alias in outputs})
    fetches = [self._find(name, "FetchOutputs node not found:") for name in names]
    order = [names.index(signature.outputs[alias].name) for alias in outputs]
    call = self._inputs[key], fetches, None if order == list(range(len(names))) else order
    if len(self._prepared) < MAX_PREPARED:
      self._prepared[key, outputs] = call
    return call

  def _find(self, tensor_name, complaint):
    try:
      return self._handle(self._session.graph.get_tensor_by_name(tensor_name))
    except (KeyError, ValueError) as error:  # not in the graph; no name of a tensor
      raise status.ServingError(
          status.NOT_FOUND, f"{complaint} {tensor_name}") from error

  def close(self):
    """Gives the memory back. No run may be under way, none may follow."""
    session, self._session = self._session, None
    self._prepared, self._inputs = {}, {}
    self._execute = self._handle = None
    if session is not None:
      session.close()
      del session
      gc.collect()  # a graph of TensorFlow is full of cycles


def _array(value):
  """Of rank 0 TensorFlow gives a string as bytes, a number as a NumPy scalar."""
  if isinstance(value, np.ndarray):
    return value
  return np.array(value, object if isinstance(value, bytes) else None)


def _executor(session):
  """How this TensorFlow is run.

  Returns: (function(feeds {handle: np.ndarray}, fetches list of handles, timeout_ms) -> list of
  np.ndarray, function(tf.Tensor) -> handle).
  """
  try:
    # The only private part of TensorFlow in here; `public` does the same, slower.
    from tensorflow.python.client import pywrap_tf_session as binding
    run, new, delete = (
        session._call_tf_sessionrun, binding.TF_NewBufferFromString, binding.TF_DeleteBuffer)
  except (ImportError, AttributeError) as error:
    logging.warning("Running by Session.run, this TensorFlow has no faster way (%s)", error)
    return _public(session), lambda tensor: tensor

  def execute(feeds, fetches, timeout_ms):
    if timeout_ms is None:
      return run(None, feeds, fetches, [], None)
    options = new(_options(timeout_ms).SerializeToString())
    try:
      return run(options, feeds, fetches, [], None)
    finally:
      delete(options)

  return execute, lambda tensor: tensor._as_tf_output()


def _public(session):
  """The same by Session.run alone."""
  def execute(feeds, fetches, timeout_ms):
    options = None if timeout_ms is None else _options(timeout_ms)
    try:
      return session.run(fetches, feeds, options)
    except ValueError as error:  # its own check of shapes
      raise status.ServingError(status.INVALID_ARGUMENT, str(error)) from error
  return execute


def _options(timeout_ms):
  """RunOptions with the deadline; 0 would mean none at all."""
  if timeout_ms <= 0:
    raise tf.errors.DeadlineExceededError(None, None, TIMED_OUT)
  return config_pb2.RunOptions(timeout_in_ms=math.ceil(timeout_ms))
