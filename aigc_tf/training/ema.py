"""Averaged weights, kept in a second, uncompiled instance of the model: the twin."""

import tensorflow as tf

from aigc_tf.nn import paths


def copy(twin, model):
  """Makes the twin equal to the model, batch statistics included."""
  for average, weight in _pairs(twin, model):
    average.assign(weight)


def decay_at(step, decay):
  """min(decay, (1 + n) / (10 + n)): the first averages forget the untrained weights soon."""
  step = tf.cast(step, tf.float32)
  return tf.minimum(decay, (1.0 + step) / (10.0 + step))


def update(strategy, twin, model, decay):
  """average += (1 - decay) (weight - average), for all the twin has, in cross-replica context.

  Returns: an op that is done when all averages are.
  """
  def assign(average, weight, decay):
    return average.assign_add((1.0 - tf.cast(decay, average.dtype)) * (weight - average))

  return tf.group(*(
      strategy.extended.update(average.value, assign, args=(weight.value, decay), group=True)
      for average, weight in _pairs(twin, model)))


def _pairs(twin, model):
  """(average, weight) of all that the twin has; the model may have more, for training only."""
  weights = paths.variables(model)
  return [(average, weights[path]) for path, average in paths.variables(twin).items()]
