"""This project's side of a training benchmark: the compiled loop on the real data pipeline."""

import importlib
import pathlib
import statistics
import tempfile
import time

import keras
import tensorflow as tf

from aigc_tf import runs
from aigc_tf.errors import UserError
from aigc_tf.training import checkpoints
from aigc_tf.training import step as compiled


def build(config):
  """A compiled model of the recipe."""
  keras.utils.set_random_seed(config.seed)
  model = runs.build_model(config, data_of(config).spec(config.data))
  model.compile(**config.compile)
  model.gradient_step.jit = config.train.jit == "on"
  return model


def load(config):
  """The training batches of the recipe."""
  return data_of(config).load(config.data, config.data.split, config.seed, 0)


def data_of(config):
  """The data module of the recipe's modality."""
  return importlib.import_module(f"aigc_tf.data.{config.data.modality}")


class Ours:
  """The compiled loop as `train` uses it, on the real data pipeline."""

  def __init__(self, config):
    self.model, twin, data = build(config), build(config), load(config)
    self.iterator = iter(data)
    self.steps = compiled.CompiledSteps(
        tf.distribute.get_strategy(), self.model, twin, config.train.ema_decay)
    self.wait_s = self.seconds = self.done = 0
    self.save_s = []

  def run(self, steps):
    start = time.perf_counter()
    is_finite, wait_s = self.steps(self.iterator, steps)
    seconds = time.perf_counter() - start
    if not is_finite:
      raise UserError(f"the losses are not finite any more after {int(self.steps.step)} steps: "
                      "fewer --rounds or --steps")
    if int(self.steps.step) > steps:  # not the first call, which traces
      self.wait_s += wait_s
      self.seconds += seconds
      self.done += steps
    return seconds

  def time_checkpoints(self, times):
    """Saves what a run saves, so often, into a temporary folder."""
    with tempfile.TemporaryDirectory() as folder:
      saver = checkpoints.Checkpoints(
          pathlib.Path(folder), tf.train.Checkpoint(**self.steps.variables()), keep=2)
      for i in range(times + 1):
        start = time.perf_counter()
        saver.save(i, 0, {"step": i})
        self.save_s.append(time.perf_counter() - start)
    self.save_s.pop(0)  # the first one traces

  def report(self, every):
    """every: int, steps between checkpoints."""
    save_s = statistics.median(self.save_s)
    steps_s = every * self.seconds / self.done
    print(f"  data wait {self.wait_s / self.seconds:.2%} of the time; a checkpoint takes "
          f"{1000 * save_s:.0f} ms, every {every} steps that is {save_s / (steps_s + save_s):.2%}")
