"""Alternated rounds: contenders take turns, so that a machine's moods hit all of them."""

import contextlib
import importlib
import multiprocessing
import statistics

from aigc_tf import command
from aigc_tf import recipe


def rates(contenders, rounds, work, amount):
  """What each contender does in a second.

  contenders: {name: object with run(work) -> seconds}.  work: what run takes.  amount: rows or
  tokens in it.  Returns: {name: list of float, one a round}.
  """
  for contender in contenders.values():
    contender.run(work)  # traces, allocates
  found = {name: [] for name in contenders}
  for _ in range(rounds):
    for name, contender in contenders.items():
      found[name].append(amount / contender.run(work))
  return found


def report(found, unit):
  """found: {name: list of float a second}, the project's first.  unit: str, of what."""
  ours = next(iter(found.values()))
  for name, values in found.items():
    ratios = [a / b for a, b in zip(ours, values)]
    print(f"  {name:26} {statistics.median(values):8.0f} {unit}/s ({min(values):.0f} to "
          f"{max(values):.0f})   this project is {statistics.median(ratios):.2f} times as fast")


def warn_if_busy(load):
  """load: float, of the machine before the benchmark."""
  if load > 1:
    print(f"  careful: the machine was busy before (load {load:.1f}); measure when it is idle")


class Apart:
  """A contender in a process of its own: its threads, which spin while they wait, and its settings
  stay away from the others'. Only one contender runs at a time.
  """

  def __init__(self, kind, config, *rest):
    """kind: class, made in the child as kind(config, *rest).  rest: what pickle can hold."""
    context = multiprocessing.get_context("spawn")
    self.pipe, theirs = context.Pipe()
    context.Process(target=serve, daemon=True, args=(
        theirs, kind.__module__, kind.__name__, recipe.to_json(config), rest)).start()

  def run(self, steps):
    self.pipe.send(steps)
    return self.pipe.recv()


def serve(pipe, module, kind, config, rest):
  """In the child: steps come in, seconds go out, until the parent ends."""
  command.import_tensorflow()
  contender = getattr(importlib.import_module(module), kind)(recipe.from_json(config), *rest)
  with contextlib.suppress(EOFError):
    while True:
      pipe.send(contender.run(pipe.recv()))
