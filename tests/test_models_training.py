"""Every model resumes to the bit, and trains alike on one device and on two."""

import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from aigc_tf.training import checkpoints
from aigc_tf.training import devices
from aigc_tf.training import ema
from aigc_tf.training import step
from tests.cases import CASES

ROOT = pathlib.Path(__file__).parent.parent
STEPS, ROWS = 10, 8
# The CPU is cut before anything else asks for it, as the table of cases does.
PROGRAM = ("from aigc_tf.training import devices; devices.strategy('one', 2); "
           "from tests import test_models_training; test_models_training.train_on_devices()")
# Images go through whole commands, two processes included, in test_distribution.py.
ON_DEVICES = [case for case in CASES if case.spec["modality"] != "images"]


class Trained:
  """A case under the trainer's compiled steps, on the devices of a strategy."""

  def __init__(self, case, strategy):
    self.case, self.strategy = case, strategy
    with strategy.scope():
      self.model, twin = case.build(), case.build(compiled=False)
      ema.copy(twin, self.model)
    self.steps = step.CompiledSteps(strategy, self.model, twin, 0.9)

  def run(self, number):
    """So many updates from where it is.  Returns: list of {name: float}, one an update."""
    measured, start = [], int(self.steps.position)
    batches = [self.case.batch(ROWS, seed) for seed in range(start, start + number)]
    data = tf.data.Dataset.from_tensor_slices(
        {key: tf.stack([batch[key] for batch in batches]) for key in batches[0]})
    # A dataset whose element is the global batch, of which each replica gets its rows.
    iterator = iter(self.strategy.experimental_distribute_dataset(data))
    for _ in range(number):
      self.steps.reset()
      is_finite, _ = self.steps(iterator, 1)
      assert is_finite, self.steps.non_finite()
      measured.append(self.steps.means())
    return measured

  def checkpoints(self, folder):
    return checkpoints.Checkpoints(folder, tf.train.Checkpoint(**self.steps.variables()), 1)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_resuming_changes_no_bit(case, tmp_path):
  """Three updates, the last two once more by another instance, from a checkpoint."""
  first, second = (Trained(case, tf.distribute.get_strategy()) for _ in range(2))
  first.run(1)
  first.checkpoints(tmp_path).save(1, 0, {})
  measured = first.run(2)
  for weight in second.model.weights:  # what is not restored will be seen
    weight.assign(tf.ones_like(weight))
  second.checkpoints(tmp_path).restore_newest(print)
  assert second.run(2) == measured
  expected, found = (tf.nest.flatten(trained.steps.variables()) for trained in (first, second))
  for a, b in zip(expected, found, strict=True):
    np.testing.assert_array_equal(a, b, err_msg=a.name)


@pytest.fixture(scope="module")
def on_devices():
  """{case: [scalars on one device, the same on two], each a list of updates}."""
  process = subprocess.run(
      [sys.executable, "-c", PROGRAM], cwd=ROOT, timeout=600, text=True,
      stdout=subprocess.PIPE, stderr=subprocess.PIPE,
      env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"})
  assert process.returncode == 0, process.stderr
  return json.loads(process.stdout.splitlines()[-1])


@pytest.mark.parametrize("case", ON_DEVICES, ids=lambda case: case.name)
def test_two_devices_train_as_one(case, on_devices):
  """To 1e-5 of the loss's size: float32 sums in another order, through ten updates."""
  one, two = on_devices[case.name]
  assert one[0].keys() == two[0].keys() and len(one) == len(two) == STEPS
  for a, b in zip(one, two):
    for name, value in a.items():
      rtol = 1e-4 if name.endswith("gradient_norm") else 1e-5
      np.testing.assert_allclose(b[name], value, rtol=rtol, atol=1e-6, err_msg=name)


def train_on_devices():
  """What the fixture runs in a process of its own, whose CPU is cut in two."""
  strategies = tf.distribute.get_strategy(), devices.strategy("mirrored", 2)
  print(json.dumps({case.name: [Trained(case, strategy).run(STEPS) for strategy in strategies]
                    for case in ON_DEVICES}))
