"""Random numbers per row, from philox integer bits.

Row i depends on `seed[i]` and `stream` alone, so that a row gives the same sample alone, in any
batch, on any replica. Floats are made from integer bits here, because TensorFlow's own float noise
differs between XLA and graph mode for one seed while the bits are equal.

Axes: B batch.
"""

import math

import tensorflow as tf

# One constant for each independent use of a row's seed. Changing one changes every sample.
LATENT = 1
LABEL = 2
NOISE = 3
SAMPLING = 4
AUGMENT = 5
DROPOUT = 6


def bits(seed, shape, stream):
  """seed: int64[B].  shape: tuple of int; the first may be i32[], and what is drawn for an index of
  it does not depend on how many there are.  stream: int.  Returns: uint32[B, *shape].
  """
  static = [None if tf.is_tensor(size) else size for size in shape]

  def row(key):
    return tf.random.stateless_uniform(
        shape, seed=tf.stack([key, tf.constant(stream, tf.int64)]),
        minval=None, maxval=None, dtype=tf.uint32, alg="philox")
  return tf.map_fn(row, seed, fn_output_signature=tf.TensorSpec(static, tf.uint32))


def uniform(seed, shape, stream):
  """Uniform in the open interval (0, 1), 2^23 equal steps.  Returns: f32[B, *shape]."""
  return _to_unit(bits(seed, shape, stream))


def normal(seed, shape, stream):
  """Standard normal by the Box-Muller transform.  Returns: f32[B, *shape]."""
  unit = _to_unit(bits(seed, (2, *shape), stream))
  radius = tf.sqrt(-2.0 * tf.math.log(unit[:, 0]))
  return radius * tf.cos(2.0 * math.pi * unit[:, 1])


def integers(seed, shape, stream, maxval):
  """Uniform integers in [0, maxval), by the multiply-and-shift method.

  maxval: int below 2^31.  Returns: int32[B, *shape].
  """
  wide = tf.cast(bits(seed, shape, stream), tf.uint64) * tf.constant(maxval, tf.uint64)
  return tf.cast(tf.bitwise.right_shift(wide, tf.constant(32, tf.uint64)), tf.int32)


def _to_unit(words):
  # 23 bits and a half are exact in float32: with 24 the largest would round to 1. The half keeps
  # log() away from zero.
  upper = tf.cast(tf.bitwise.right_shift(words, tf.constant(9, tf.uint32)), tf.float32)
  return (upper + 0.5) * 2.0**-23
