"""Averaged weights, kept in a second, uncompiled instance of the model: the twin."""

import tensorflow as tf


def copy(twin, model):
  """Makes the twin equal to the model, batch statistics included."""
  for average, weight in zip(twin.weights, model.weights, strict=True):
    average.assign(weight)


def decay_at(step, decay):
  """min(decay, (1 + n) / (10 + n)): the first averages forget the untrained weights soon."""
  step = tf.cast(step, tf.float32)
  return tf.minimum(decay, (1.0 + step) / (10.0 + step))


def update(strategy, twin, model, decay):
  """average += (1 - decay) (weight - average), for every weight, in cross-replica context.

  Returns: an op that is done when all averages are.
  """
  def assign(average, weight, decay):
    return average.assign_add((1.0 - tf.cast(decay, average.dtype)) * (weight - average))

  return tf.group(*(
      strategy.extended.update(average.value, assign, args=(weight.value, decay), group=True)
      for average, weight in zip(twin.weights, model.weights, strict=True)))
