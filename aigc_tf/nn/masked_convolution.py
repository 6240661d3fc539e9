"""Convolutions over sequences of different lengths: padding is zero before each of them.

Axes: B batch, T steps, D width.
"""

from keras import layers
import tensorflow as tf

from aigc_tf.nn import dropout as drop


def convolution(inputs, filters, kernel_size, name, dtype=None):
  """A built Conv1D that keeps the length.  Returns: keras layer, f32[B, T, inputs] -> filters."""
  layer = layers.Conv1D(filters, kernel_size, 1, "same", name=name, dtype=dtype)
  layer.build((None, None, inputs))
  return layer


class Stack(layers.Layer):
  """Convolutions, each with its norm, nonlinearity and dropout.

  sizes: D of the input and of each layer.  activation: function.  norms: layer normalisation, of
  each step alone, before the activation.  dropout: rate.  site: int, the first of the numbers of
  the dropouts' noise, one for each layer.
  """

  def __init__(self, sizes, kernel_size, activation, *, norms=False, dropout=0.0, site=0,
               name=None):
    super().__init__(name=name, dtype="float32")
    self.activation, self.dropout, self.site = activation, dropout, site
    self.convolutions = [
        convolution(inputs, filters, kernel_size, f"convolution_{i}")
        for i, (inputs, filters) in enumerate(zip(sizes[:-1], sizes[1:]))]
    self.norms = []
    for i, size in enumerate(sizes[1:] if norms else ()):
      norm = layers.LayerNormalization(epsilon=1e-6, dtype="float32", name=f"norm_{i}")
      norm.build((None, size))
      self.norms.append(norm)
    self.built = True

  def call(self, x, is_valid, seed=None, training=False):
    """x: f32[B, T, D].  is_valid: bool[B, T].  seed: i64[B], for training's dropout.

    Returns: f32[B, T, D of the last], zeros elsewhere.
    """
    known = tf.cast(is_valid, tf.float32)[:, :, None]
    x = x * known
    for i, layer in enumerate(self.convolutions):
      x = tf.cast(layer(x), tf.float32)
      x = self.activation(self.norms[i](x) if self.norms else x)
      if training and self.dropout:
        steps = x.shape[1] or tf.shape(x)[1]
        x = x * drop.factors(seed, steps, x.shape[2], self.dropout, self.site + i)
      x = x * known
    return x
