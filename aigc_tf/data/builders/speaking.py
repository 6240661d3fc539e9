"""Speech synthesisers in processes of their own: lines in, samples out, in order.

Their libraries are written in C, keep their state in globals and can take their process down.
"""

import contextlib
import itertools
import os
import subprocess
import sys
import tempfile

import numpy as np

from aigc_tf.errors import UserError

_MOST_PROCESSES = 2


def spoken(script, arguments, lines):
  """Speaks lines.

  script: path of a Python file that needs the standard library only. It reads lines from standard
    input and writes for each the number of samples as int32 and the samples as int16, in the
    machine's byte order.  arguments: list of str for it.  lines: list of str.
  Yields: int16[S], one a line, in their order.  Raises: UserError where the script stops.
  """
  number = max(1, min(_MOST_PROCESSES, os.cpu_count() or 1, len(lines)))
  words = [sys.executable, "-I", script, *arguments]
  with contextlib.ExitStack() as stack:
    workers = [stack.enter_context(_process(words, lines[start::number]))
               for start in range(number)]
    for worker, line in zip(itertools.cycle(workers), lines):
      size = worker.stdout.read(4)
      samples = worker.stdout.read(2 * int.from_bytes(size, sys.byteorder)) if size else b""
      if not samples:
        raise UserError(f"the speech synthesiser stopped at {line!r}: is the library "
                        f"{arguments[0]} made for this machine?")
      yield np.frombuffer(samples, np.int16)


@contextlib.contextmanager
def _process(words, lines):
  # The lines lie in a file: neither side ever waits for the other to read.
  with tempfile.TemporaryFile() as file:
    file.write("".join(f"{line}\n" for line in lines).encode())
    file.seek(0)
    worker = subprocess.Popen(words, stdin=file, stdout=subprocess.PIPE)
    try:
      yield worker
    finally:
      worker.kill()
      worker.stdout.close()
      worker.wait()
