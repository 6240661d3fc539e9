"""Matrices as pictures: mel spectrograms, attention maps.

Axes: N pictures, A rows of a matrix, B columns.
"""

import numpy as np
import tensorflow as tf

# Dark blue over green to yellow, brighter at each step, so that it also reads in grey and by the
# colour-blind: ten colours of matplotlib's viridis (Smith and van der Walt, 2015), in 0..255.
COLOURS = ((68, 1, 84), (72, 40, 120), (62, 74, 137), (49, 104, 142), (38, 130, 142),
           (31, 158, 137), (53, 183, 121), (109, 205, 89), (180, 222, 44), (253, 231, 37))


def heat(matrix, zoom=2):
  """Each matrix in colours, from its own least value (dark) to its own largest (bright).

  matrix: f32[N, A, B]; A goes upwards, index 0 at the bottom, B to the right.
  zoom: pixels a side for each value.
  Returns: f32[N, A * zoom, B * zoom, 3] in [-1, 1]. A matrix of one value is all dark.
  """
  matrix = tf.cast(matrix, tf.float32)
  least = tf.reduce_min(matrix, axis=(1, 2), keepdims=True)
  span = tf.reduce_max(matrix, axis=(1, 2), keepdims=True) - least
  place = tf.math.divide_no_nan(matrix - least, span) * (len(COLOURS) - 1)
  lower = tf.clip_by_value(tf.cast(place, tf.int32), 0, len(COLOURS) - 2)
  share = (place - tf.cast(lower, tf.float32))[..., None]
  table = tf.constant(np.array(COLOURS) / 127.5 - 1.0, tf.float32)
  image = (1.0 - share) * tf.gather(table, lower) + share * tf.gather(table, lower + 1)
  return tf.repeat(tf.repeat(image[:, ::-1], zoom, axis=1), zoom, axis=2)
