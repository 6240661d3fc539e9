"""Location-sensitive attention, arXiv:1506.07503, and how one sees whether it reads along a text.

The energy of a token depends on the query, on the token, and on where attention has been
(eq. 9 there): v^T tanh(W q + V h_l + U f_l + b), f = F * (last attention, the sum of all).

Axes: B batch, L tokens, N decoder steps, D memory, A width, Q query.
"""

from keras import layers
import tensorflow as tf

from aigc_tf.nn import recurrent

_NEVER = -1e9
BAND = 0.2  # of the text's length, to each side of the diagonal


class LocationAttention(layers.Layer):
  """memory_dim: D.  query_dim: Q.  width: A.  filters, kernel_size: of F, in tokens."""

  def __init__(self, memory_dim, query_dim, width, filters=32, kernel_size=31, name=None):
    super().__init__(name=name)
    add = self.add_weight
    self.query = add(name="query", shape=(query_dim, width))
    self.memory = add(name="memory", shape=(memory_dim, width))
    self.filters = add(name="filters", shape=(kernel_size, 2, filters))
    self.location = add(name="location", shape=(filters, width))
    self.bias = add(name="bias", shape=(width,), initializer="zeros")
    self.energy = add(name="energy", shape=(width, 1))
    self.built = True

  def remember(self, memory):
    """What of the energies does not depend on the step.  memory: f32[B, L, D] -> f32[B, L, A]."""
    matrix = tf.cast(self.memory, self.compute_dtype)
    return recurrent.product(memory, matrix) + tf.cast(self.bias, tf.float32)

  def start(self, mask):
    """Before the first step: on the first token.  mask: bool[B, L].  Returns: f32[B, L] twice."""
    first = tf.one_hot(tf.zeros_like(mask[:, 0], tf.int32), tf.shape(mask)[1])
    first = tf.ensure_shape(first, mask.shape)
    return first, tf.zeros_like(first)

  def step(self, query, keys, mask, last, total):
    """One step.  query: f32[B, Q].  keys: f32[B, L, A].  mask: bool[B, L], where it may look.
    last, total: f32[B, L], the attention of the step before, and the sum over all steps.

    Returns: the new last and total; each row of last has the sum 1.
    """
    dtype, width = self.compute_dtype, keys.shape[-1]
    been = tf.cast(tf.stack([last, total], axis=-1), dtype)
    features = tf.nn.conv1d(been, tf.cast(self.filters, dtype), 1, "SAME")
    places = recurrent.product(tf.reshape(features, (-1, features.shape[-1])),
                               tf.cast(self.location, dtype))
    asked = recurrent.product(query, tf.cast(self.query, dtype))
    heard = tf.tanh(keys + asked[:, None] + tf.reshape(places, tf.shape(keys)))
    energy = recurrent.product(tf.reshape(heard, (-1, width)), tf.cast(self.energy, dtype))
    energy = tf.where(mask, tf.reshape(energy, tf.shape(mask)), _NEVER)
    last = tf.nn.softmax(energy)
    return last, total + last


# --- what is seen of an alignment
# All take an alignment f32[B, N, L] with the numbers of each row's steps and tokens, i32[B], and
# return f32[B]: means over a row's own steps, so that padding does not count.


def guided_loss(alignment, num_steps, num_tokens, spread=0.2):
  """Attention far from the diagonal, arXiv:1710.08969, eq. 8, summed over tokens.

  spread: g there.  Returns: f32[B] in [0, 1].
  """
  distance = _distance(alignment, num_steps, num_tokens)
  penalty = 1.0 - tf.exp(-tf.square(distance) / (2.0 * spread**2))
  return _mean_over_steps(tf.reduce_sum(alignment * penalty, axis=2), num_steps)


def diagonality(alignment, num_steps, num_tokens):
  """Share of the attention within BAND of the diagonal; 1 - (1 - BAND)^2 = 0.36 if uniform."""
  is_near = tf.abs(_distance(alignment, num_steps, num_tokens)) <= BAND
  inside = tf.where(is_near, alignment, tf.zeros_like(alignment))
  return _mean_over_steps(tf.reduce_sum(inside, axis=2), num_steps)


def entropy(alignment, num_steps, num_tokens):
  """Of the attention of a step, over that of a uniform one: 1 looks everywhere, 0 at one token."""
  bits = -tf.reduce_sum(alignment * tf.math.log(alignment + 1e-9), axis=2)
  most = tf.math.log(tf.cast(tf.maximum(num_tokens, 2), tf.float32))
  return _mean_over_steps(bits, num_steps) / most


def _distance(alignment, num_steps, num_tokens):
  """Of each cell from the diagonal, in shares of the row's text: f32[B, N, L]."""
  def place(size, count):
    return tf.range(size, dtype=tf.float32) / tf.maximum(tf.cast(count, tf.float32) - 1.0, 1.0)[
        :, None]
  shape = tf.shape(alignment)
  return place(shape[2], num_tokens)[:, None, :] - place(shape[1], num_steps)[:, :, None]


def _mean_over_steps(values, num_steps):
  is_step = tf.sequence_mask(num_steps, tf.shape(values)[1], values.dtype)
  return tf.reduce_sum(values * is_step, axis=1) / tf.cast(num_steps, values.dtype)
