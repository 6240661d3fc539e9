"""SIGTERM and Ctrl-C, on any of several hosts: all of them stop after the same step."""

import contextlib
import signal

import tensorflow as tf

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stop:
  """Notes signals while `listening`; `agree` tells every host of them.

  number: int, the signal that all hosts know of; None before.
  """

  def __init__(self, strategy):
    self.strategy, self.number, self._received = strategy, None, None
    resolver = strategy.cluster_resolver
    self._has_peers = resolver is not None and bool(resolver.task_type)

  @contextlib.contextmanager
  def listening(self):
    handlers = {s: signal.signal(s, self._on_signal) for s in SIGNALS}
    try:
      yield
    finally:
      for number, handler in handlers.items():
        signal.signal(number, handler)

  def _on_signal(self, number, frame):
    del frame
    if self._received:
      raise KeyboardInterrupt
    self._received = number

  def agree(self, chunk):
    """To be called by all hosts between the same two steps.

    chunk: int, steps that this host would do next.  Returns: int, those that all will do, or 0.
    """
    if not self._has_peers:
      self.number = self._received
      return 0 if self.number else chunk
    mine = [float(self._received == s) for s in SIGNALS] + [float(chunk)]
    values = self.strategy.experimental_distribute_values_from_function(
        lambda context: tf.constant(mine))
    *received, chunks = self.strategy.reduce("SUM", values, axis=None).numpy()
    self.number = next((int(s) for s, count in zip(SIGNALS, received) if count), None)
    return 0 if self.number else max(1, int(chunks / self.strategy.num_replicas_in_sync))
