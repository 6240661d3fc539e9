"""Times of a run: in all, over all its starts, and since the last log."""

import time


class Clock:

  def __init__(self):
    self._start = self._lap_start = None
    self._steps, self._wait_s = 0, 0.0

  def start(self, seconds_before):
    """seconds_before: spent by the run before this process."""
    self._start = time.time() - seconds_before
    self._lap_start = time.time()

  def seconds(self):
    """Seconds of training in all; 0 before the start."""
    return time.time() - self._start if self._start else 0.0

  def add(self, steps, wait_s):
    """Notes updates done, and seconds spent waiting for their data."""
    self._steps += steps
    self._wait_s += wait_s

  def lap(self, rows_per_step):
    """What is logged, and a new lap.  Returns: ({name: float}, seconds a step)."""
    seconds = time.time() - self._lap_start
    scalars = {"time/rows_per_s": self._steps * rows_per_step / seconds,
               "time/data_wait": self._wait_s / seconds,
               "time/seconds": self.seconds()}
    seconds_per_step = seconds / max(self._steps, 1)
    self._lap_start, self._steps, self._wait_s = time.time(), 0, 0.0
    return scalars, seconds_per_step
