"""Learning-rate schedules against their closed form, and inside an optimizer."""

import math

import keras
import numpy as np
import pytest
import tensorflow as tf

from aigc_tf.nn.schedules import InverseSquareRoot
from aigc_tf.nn.schedules import WarmupCosine


def closed_form(step, peak, warmup, decay):
  if warmup and step + 1 < warmup:
    return peak * (step + 1) / warmup
  if not decay or step <= warmup:
    return peak
  return peak * (1 + math.cos(math.pi * min((step - warmup) / (decay - warmup), 1))) / 2


@pytest.mark.parametrize("peak,warmup,decay", [
    (1e-3, 0, 0), (2e-4, 10, 0), (0.5, 0, 100), (1.0, 10, 100), (3e-4, 1, 7)])
def test_every_step_equals_the_closed_form(peak, warmup, decay):
  schedule = WarmupCosine(peak, warmup_steps=warmup, decay_steps=decay)
  steps = range(0, 130)
  got = [float(schedule(tf.constant(step, tf.int64))) for step in steps]
  expected = [closed_form(step, peak, warmup, decay) for step in steps]
  # float32 cosine: absolute to the peak, since the last rates are differences near zero.
  np.testing.assert_allclose(got, expected, rtol=0, atol=2e-7 * peak)


def test_it_never_wastes_the_first_step_and_ends_at_zero():
  schedule = WarmupCosine(1.0, warmup_steps=4, decay_steps=20)
  rates = np.array([float(schedule(step)) for step in range(30)])
  assert rates[0] == 0.25 and rates[3] == rates[4] == 1.0
  assert np.all(np.diff(rates[4:21]) < 0) and np.all(np.abs(rates[20:]) < 1e-7)


def test_config_round_trip():
  schedule = WarmupCosine(0.1, warmup_steps=3, decay_steps=9)
  again = WarmupCosine.from_config(schedule.get_config())
  assert [float(again(s)) for s in range(12)] == [float(schedule(s)) for s in range(12)]


def test_an_optimizer_steps_by_it():
  """Plain descent with gradient 1 moves a weight by exactly the rates."""
  optimizer = keras.optimizers.SGD(WarmupCosine(1.0, warmup_steps=2, decay_steps=4))
  weight = keras.Variable(0.0)
  optimizer.build([weight])
  apply = tf.function(lambda: optimizer.apply([tf.constant(1.0)], [weight]))
  for _ in range(5):
    apply()
  expected = -sum(closed_form(step, 1.0, 2, 4) for step in range(5))
  np.testing.assert_allclose(weight.numpy(), expected, rtol=1e-6)


@pytest.mark.parametrize("width,warmup", [(512, 4000), (8, 1), (64, 10)])
def test_inverse_square_root_is_equation_3_of_the_transformer(width, warmup):
  schedule = InverseSquareRoot((width * warmup)**-0.5, warmup_steps=warmup)
  steps = [1, 2, 5, 9, 10, 11, 3999, 4000, 4001, 100_000]  # the paper counts from one
  got = [float(schedule(tf.constant(step - 1, tf.int64))) for step in steps]
  expected = [width**-0.5 * min(step**-0.5, step * warmup**-1.5) for step in steps]
  np.testing.assert_allclose(got, expected, rtol=1e-6)
  assert np.argmax([float(schedule(step)) for step in range(20)]) == min(warmup - 1, 19)
  again = InverseSquareRoot.from_config(schedule.get_config())
  assert float(again(7)) == float(schedule(7))
