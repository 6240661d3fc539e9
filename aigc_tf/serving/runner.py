"""How a request reaches the session: at once, or joined with others (batching.py)."""

from typing import Protocol


class Runner(Protocol):
  """Runs one signature of a servable."""

  def run(self, servable, key, inputs, outputs, timeout_ms):
    """Runs signature `key`.

    inputs: {alias: np.ndarray} (strings: object arrays of bytes).  outputs: tuple of aliases.
    timeout_ms: int, or None for no limit.

    Returns: list of np.ndarray, in the order of `outputs`.
    Raises: ServingError.
    """


class Direct:
  """Every request by itself."""

  def run(self, servable, key, inputs, outputs, timeout_ms):
    return servable.run(key, inputs, outputs, timeout_ms)
