"""Requests waiting to be run together, and the threads that run them.

As TF Serving's SharedBatchScheduler: each queue fills one open batch behind closed ones, a batch is
run when it is full or its first request has waited long enough, all queues share the threads and
take turns. A queue lives only while something waits in it.
"""

import collections
import dataclasses
import math
import os
import threading
import time

from aigc_tf.serving import status

TIMED_OUT = "Timed out waiting for notification"  # TensorFlow's own words


@dataclasses.dataclass(frozen=True)
class Options:
  """How requests are joined; the defaults are TF Serving's.

  max_batch_size: rows of a request, and of a batch.  batch_timeout_micros: how long a first request
  waits for others.  max_enqueued_batches: waiting ones of a queue.  allowed_batch_sizes: ascending;
  a batch is padded to the next one.  max_execution_batch_size: rows of a batch, if large requests
  are split.
  """

  max_batch_size: int = 1000
  batch_timeout_micros: int = 0
  max_enqueued_batches: int = 10
  allowed_batch_sizes: tuple = ()
  pad_variable_length_inputs: bool = False
  enable_large_batch_splitting: bool = False
  max_execution_batch_size: int = 1000

  def __post_init__(self):
    sizes = self.allowed_batch_sizes
    if sizes and sizes[-1] != self.max_batch_size:
      _invalid("Last entry in allowed_batch_sizes must match max_batch_size; last entry was "
               f"{sizes[-1]}; expected {self.max_batch_size}")
    if list(sizes) != sorted(set(sizes)) or min(sizes, default=1) < 1:
      _invalid("allowed_batch_sizes entries must be monotonically increasing")
    if self.max_batch_size < 1:
      _invalid(f"input_batch_size_limit must be positive; was {self.max_batch_size}")
    if self.batch_timeout_micros < 0:
      _invalid(f"batch_timeout_micros must be non-negative; was {self.batch_timeout_micros}")
    if self.max_enqueued_batches < 1:
      _invalid(f"max_enqueued_batches must be positive; was {self.max_enqueued_batches}")
    if self.enable_large_batch_splitting and not (
        0 < self.max_execution_batch_size <= self.max_batch_size):
      _invalid("When enable_large_batch_splitting is true, input_batch_size_limit must be greater "
               "than or equal to max_execution_batch_size.")

  @property
  def batch_rows(self):
    """Rows at which a batch is full."""
    return (self.max_execution_batch_size if self.enable_large_batch_splitting
            else self.max_batch_size)


def _invalid(message):
  raise status.ServingError(status.INVALID_ARGUMENT, message)


def threads_default():
  """Returns: int, the cores this process may use."""
  return len(os.sched_getaffinity(0))


class Task:
  """A request, or a part of one, that waits for its answer.

  inputs: {alias: np.ndarray[rows, ...]}.  deadline: of time.monotonic, or infinity.
  run_deadline: that of the run it is in, set by who runs it.
  """

  def __init__(self, inputs, rows, deadline):
    self.inputs, self.rows, self.deadline = inputs, rows, deadline
    self.queued = time.monotonic()
    self.run_deadline = -math.inf
    self._values = self._error = None
    self._taken = threading.Lock()  # by who runs it, or by who gives it up
    self._done = threading.Lock()
    self._done.acquire()

  def split(self, sizes):
    """sizes: list of int, rows of each part.  Returns: list of Task."""
    parts, start = [], 0
    for size in sizes:
      part = {alias: value[start:start + size] for alias, value in self.inputs.items()}
      parts.append(Task(part, size, self.deadline))
      start += size
    return parts

  def take(self):
    """Called by who wants to run it, or to give it up.  Returns: whether nobody else has."""
    return self._taken.acquire(blocking=False)

  def finish(self, values=None, error=None):
    """values: list of np.ndarray, or error: ServingError."""
    self._values, self._error = values, error
    self._done.release()

  def wait(self):
    """Returns: list of np.ndarray.  Raises: ServingError, at the latest at the deadline.

    The last one to wait for a run waits for its end, which TensorFlow brings about at the deadline:
    only then may the model be unloaded.
    """
    seconds = self.deadline - time.monotonic()
    if not self._done.acquire(timeout=min(max(seconds, 0), threading.TIMEOUT_MAX)):
      if self.take():
        raise status.ServingError(status.RESOURCE_EXHAUSTED,
                                  "Run() timeout exceeded while waiting in batching queue")
      if self.deadline < self.run_deadline:
        raise status.ServingError(status.DEADLINE_EXCEEDED, TIMED_OUT)
      self._done.acquire()
    if self._error:
      raise self._error
    return self._values


def wait_for_all(tasks):
  """tasks: list of Task, the parts of a request.  Returns: list, what each `wait` returns.

  Raises: ServingError, the first; then no part is queued any more.
  """
  values, failure = [], None
  for task in tasks:
    if failure is None or not task.take():
      try:
        values.append(task.wait())
      except status.ServingError as error:
        failure = failure or error
  if failure:
    raise failure
  return values


class _Batch:
  """Tasks that are run together."""

  def __init__(self):
    self.tasks, self.rows = [], 0
    self.opened = time.monotonic()

  def add(self, task):
    self.tasks.append(task)
    self.rows += task.rows


class _Queue:
  """Batches of one signature; the last is open. Used under the scheduler's lock only."""

  def __init__(self, options, process):
    self.options, self.process = options, process
    self.batches = collections.deque()

  def add(self, task):
    """Returns: list of Task, what the task became.  Raises: ServingError if there is no room."""
    options = self.options
    if task.rows > options.max_batch_size:
      _invalid(f"Task size {task.rows} is larger than maximum input batch size "
               f"{options.max_batch_size}")
    open_rows = self.batches[-1].rows if self.batches else 0
    if not options.enable_large_batch_splitting:
      self._check_room(task.rows, open_rows)
      tasks = [task]
    else:
      self._check_capacity(task.rows, open_rows)
      sizes = _sizes(task.rows, options.batch_rows - open_rows, options.batch_rows)
      tasks = [task] if len(sizes) == 1 else task.split(sizes)
    for part in tasks:
      self._append(part)
    return tasks

  def _append(self, task):
    if not self.batches or self.batches[-1].rows + task.rows > self.options.batch_rows:
      self.batches.append(_Batch())
    self.batches[-1].add(task)

  def _check_room(self, rows, open_rows):
    options, enqueued = self.options, max(len(self.batches), 1)
    if open_rows + rows > options.max_batch_size and enqueued >= options.max_enqueued_batches:
      raise status.ServingError(status.UNAVAILABLE, (
          "The batch scheduling queue to which this task was submitted is full; currently "
          f"{enqueued} batches enqueued and max_enqueued_batches is "
          f"{options.max_enqueued_batches}"))

  def _check_capacity(self, rows, open_rows):
    options, enqueued = self.options, max(len(self.batches), 1)
    limit = options.batch_rows
    capacity = (options.max_enqueued_batches - enqueued) * limit + limit - open_rows
    if rows > capacity:
      raise status.ServingError(status.UNAVAILABLE, (
          "The batch scheduling queue to which this task was submitted is full; task size is "
          f"{rows} but scheduling capacity is only {capacity} (num_enqueued_batches={enqueued}, "
          f"max_enqueued_batches={options.max_enqueued_batches}, open_batch_size={open_rows}, "
          f"max_execution_batch_size={limit})"))

  def ready_at(self):
    """Returns: time.monotonic from which the first batch may be run; -infinity if it is full."""
    first = self.batches[0]
    if len(self.batches) > 1 or first.rows >= self.options.batch_rows:
      return -math.inf
    return first.opened + self.options.batch_timeout_micros / 1e6


def _sizes(rows, room, limit):
  """Rows of the parts of a request: what still fits into the open batch, then whole batches."""
  first = min(rows, room)
  sizes = [first] if first else []
  rows -= first
  return sizes + [limit] * (rows // limit) + ([rows % limit] if rows % limit else [])


class Scheduler:
  """The threads, and all queues in the order of their turns.

  num_threads: batches run at once.
  """

  def __init__(self, num_threads):
    self._queues = collections.OrderedDict()
    self._changed = threading.Condition()
    self._stopped = False
    self._threads = [threading.Thread(target=self._work, name=f"batch_threads_{i}", daemon=True)
                     for i in range(num_threads)]
    for thread in self._threads:
      thread.start()

  def schedule(self, key, task, options, process):
    """Puts a task into the queue `key`.

    process: called in one of the threads with a list of Task, must finish each and not raise.
    Returns: list of Task to wait for.  Raises: ServingError UNAVAILABLE, INVALID_ARGUMENT.
    """
    with self._changed:
      if self._stopped:
        raise status.ServingError(status.UNAVAILABLE, "The server is being stopped")
      queue = self._queues.get(key) or _Queue(options, process)
      before = len(queue.batches)
      tasks = queue.add(task)
      self._queues[key] = queue
      if len(queue.batches) != before or queue.batches[-1].rows >= options.batch_rows:
        self._changed.notify()
      return tasks

  def _work(self):
    while True:
      with self._changed:
        taken = self._take()
        if taken is None:
          return
        if self._queues:
          self._changed.notify()  # someone has to watch the clock of the others
      process, tasks = taken
      process(tasks)
      del taken, process, tasks  # nothing of a request, nor its model, is kept while waiting

  def _take(self):
    """Waits for a batch.  Returns: (process, list of Task), or None when all is done."""
    while True:
      now, wake = time.monotonic(), math.inf
      for key, queue in self._queues.items():
        at = queue.ready_at()
        if at <= now or self._stopped:
          batch = queue.batches.popleft()
          self._queues.move_to_end(key)
          if not queue.batches:
            del self._queues[key]
          return queue.process, batch.tasks
        wake = min(wake, at)
      if self._stopped:
        return None
      self._changed.wait(None if wake == math.inf else wake - now)

  def stop(self):
    """Runs what is still queued, refuses anything new, and ends the threads."""
    with self._changed:
      self._stopped = True
      self._changed.notify_all()
    for thread in self._threads:
      thread.join()
