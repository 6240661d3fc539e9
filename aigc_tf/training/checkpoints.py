"""Checkpoints that survive a kill at any moment, and damage.

A checkpoint is a folder that holds everything: variables (weights, optimizer slots, twin,
counters) and state.json. It is written under a temporary name and renamed, so that a folder with a
final name is whole. Folders sort by name in the order in which they were made.
"""

import json
import os
import pathlib
import shutil
import sys

import tensorflow as tf

from aigc_tf.errors import UserError
from aigc_tf.nn import paths

PREFIX, BEST, TEMPORARY, REPLACED = "step_", "best", ".writing", ".replaced_"
# What reading a truncated or altered checkpoint raises.
DAMAGE = (tf.errors.OpError, IndexError, ValueError, KeyError, OSError, AssertionError)


class Checkpoints:
  """folder: where they lie.  checkpoint: tf.train.Checkpoint of all variables.  keep: int."""

  def __init__(self, folder, checkpoint, keep):
    self.folder, self.checkpoint, self.keep = pathlib.Path(folder), checkpoint, keep

  def save(self, step, rollbacks, state):
    """Writes the checkpoint of `step`.  state: dict that JSON can hold.  Returns: its folder."""
    name = f"{PREFIX}{step:08d}" + (f"_rollback_{rollbacks}" if rollbacks else "")
    path = self._write(name, state)
    for old in self.paths()[:-self.keep]:
      shutil.rmtree(old, ignore_errors=True)
    return path

  def save_best(self, state):
    """Replaces best/. A kill between the two renames leaves the one before, set aside."""
    return self._write(BEST, state)

  def _write(self, name, state):
    final, temporary, aside = (self.folder / n for n in (name, TEMPORARY, REPLACED + name))
    shutil.rmtree(temporary, ignore_errors=True)
    try:
      temporary.mkdir(parents=True)
      self.checkpoint.write(str(temporary / "variables"))
      (temporary / "state.json").write_text(json.dumps(state))
      for file in temporary.iterdir():
        _sync(file)
      if final.exists():
        shutil.rmtree(aside, ignore_errors=True)
        final.rename(aside)
      temporary.rename(final)
      _sync(self.folder)
      shutil.rmtree(aside, ignore_errors=True)
    except (OSError, tf.errors.OpError) as error:
      shutil.rmtree(temporary, ignore_errors=True)
      newest = self.paths()
      kept = f"the checkpoint {newest[-1].name} is intact" if newest else "none was written before"
      raise UserError(f"cannot write a checkpoint to {self.folder}: {_reason(error)}; {kept}. "
                      "Free some space and start the same command again") from error
    return final

  def paths(self):
    """Folders of the whole checkpoints, oldest first; best/ is not among them."""
    return sorted(self.folder.glob(PREFIX + "*"))

  def restore_newest(self, warn):
    """Restores the newest readable one.  warn: function(str) told of each damaged one.

    Returns: its state, or None if there is none at all.  Raises: UserError if all are damaged.
    """
    damaged = []
    for path in reversed(self.paths()):
      try:
        state = read_state(path)
        self.checkpoint.read(str(path / "variables")).assert_consumed()
      except DAMAGE as error:
        damaged.append(path)
        warn(f"checkpoint {path.name} is damaged ({_reason(error)}); trying the one before")
        continue
      for bad in damaged:  # only now that a good one is there
        bad.rename(bad.with_name("damaged_" + bad.name))
      return state
    if damaged:
      raise UserError(f"every checkpoint in {self.folder} is damaged: remove that folder to "
                      "start again from step 0")
    return None


def read_twin(folder, model):
  """Reads the averaged weights of best/, else of the newest readable checkpoint, into a model.

  What is damaged and what is used instead is said on stderr.
  Returns: the step they come from.  Raises: UserError if there is none.
  """
  folder = pathlib.Path(folder)
  best = [path for path in (folder / BEST, folder / (REPLACED + BEST)) if path.is_dir()]
  damaged = []
  for path in best + sorted(folder.glob(PREFIX + "*"), reverse=True):
    try:
      state = read_state(path)
      status = tf.train.Checkpoint(twin=paths.raw(model)).read(str(path / "variables"))
      status.expect_partial().assert_existing_objects_matched()
    except DAMAGE as error:
      damaged.append(f"{path.name} ({_reason(error)})")
      continue
    if damaged:
      print(f"note: {folder} has damaged checkpoints, {', '.join(damaged)}: the weights of "
            f"{path.name} are used, step {state['step']}", file=sys.stderr)
    return state["step"]
  raise UserError(f"no readable checkpoint in {folder}: train first")


def read_state(path):
  """state.json of a checkpoint folder."""
  return json.loads((path / "state.json").read_text())


def _sync(path):
  descriptor = os.open(path, os.O_RDONLY)
  try:
    os.fsync(descriptor)
  finally:
    os.close(descriptor)


def _reason(error):
  text = getattr(error, "message", "") or getattr(error, "strerror", "") or str(error)
  return (text.splitlines() or [type(error).__name__])[0][:160]
