"""Dropout (JMLR 15:1929) by the rows' own seeds.

A Keras Dropout layer repeats its noise on every replica and differs between XLA and graph mode;
this one depends on (row's seed, site) alone.
"""

import math

import tensorflow as tf

from aigc_tf.nn import random

_STEPS = 2**16  # resolution of the rate: half a random word an element


def dropout(x, rate, seed, site):
  """Zeroes elements with probability `rate` and scales the others up, so that the mean stays.

  x: float[B, ...]; a row's noise depends on the other sizes.  rate: float in [0, 1); 0 costs
  nothing.
  seed: i64[B].  site: int, another one for each place in the network.  Returns: float[B, ...].
  """
  dropped = round(rate * _STEPS)
  if not dropped:
    return x
  shape = [size or tf.shape(x)[axis] for axis, size in enumerate(x.shape[1:], 1)]
  size = math.prod(shape)
  words = random.bits(seed, ((size + 1) // 2,), random.DROPOUT + 256 * site)
  halves = tf.concat([tf.bitwise.right_shift(words, tf.constant(16, tf.uint32)),
                      tf.bitwise.bitwise_and(words, tf.constant(0xFFFF, tf.uint32))], axis=1)
  halves = tf.reshape(tf.cast(halves[:, :size], tf.int32), (-1, *shape))
  scale = tf.cast(_STEPS / (_STEPS - dropped), x.dtype)
  return tf.where(halves >= dropped, x * scale, tf.zeros([], x.dtype))


def factors(seed, num_steps, width, rate, site):
  """What a sequence is multiplied with to be dropped out, when its length is not known ahead.

  A step's factors do not depend on how many steps there are: a padded row keeps its noise.

  seed: i64[B].  num_steps: int or i32[], T.  width: int.  rate: float in [0, 1).  site: as above.
  Returns: f32[B, T, width], 0 or 1 / (1 - rate).
  """
  dropped = round(rate * _STEPS)
  words = random.bits(seed, (num_steps, math.ceil(width / 2)), random.DROPOUT + 256 * site)
  halves = tf.concat([tf.bitwise.right_shift(words, tf.constant(16, tf.uint32)),
                      tf.bitwise.bitwise_and(words, tf.constant(0xFFFF, tf.uint32))], axis=2)
  is_kept = tf.cast(halves[..., :width], tf.int32) >= dropped
  return tf.cast(is_kept, tf.float32) * (_STEPS / (_STEPS - dropped))
