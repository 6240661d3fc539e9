"""Multi-head attention, arXiv:1706.03762, for whole sequences and for one token at a time.

Eq. 1: softmax(Q K^T / sqrt(d)) V, on N heads of d = D / N each (section 3.2.2). One layer serves
an encoder, a causal decoder and cross-attention; the mask decides. Optionally with rotary
positions, arXiv:2104.09864.

A decoder that writes token after token keeps the keys and values of the slots it has seen in a
cache of fixed size, `prefill` starts it and `step` adds one slot to it. Scores and softmax are
float32 under any policy, and a query that may see nothing gets an average, never a NaN.

Differs from the paper:
  - Query, key and value are one matrix product (key and value only, in cross-attention).
  - Rotary positions turn the pairs (i, i + d/2) instead of (2i, 2i + 1): a fixed permutation.

Axes: B batch, L queries, M keys, S cache slots, D width, N heads.
"""

import math

import keras
from keras import layers
import tensorflow as tf

from aigc_tf.errors import UserError
from aigc_tf.nn import dropout

# --- masks, True where a query may look


def causal_mask(length):
  """Each position sees itself and what stands before it.  Returns: bool[1, L, L]."""
  place = tf.range(length)
  return (place[None, :] <= place[:, None])[None]


def padding_mask(token):
  """token: i32[B, M], -1 is padding.  Returns: bool[B, 1, M]."""
  return (token >= 0)[:, None]


# --- functions


def attend(query, key, value, mask=None, dropped=None):
  """Eq. 1 on separate heads.

  query: float[B, N, L, d].  key, value: float[B, N, M, d].
  mask: bool[B or 1, L or 1, M].  dropped: function of the weights f32[B, N, L, M] that drops some.
  Returns: float[B, N, L, d].
  """
  # The query is divided, not the scores: it is smaller.
  query = query * tf.cast(1.0 / math.sqrt(query.shape[-1]), query.dtype)
  score = tf.cast(tf.matmul(query, key, transpose_b=True), tf.float32)
  if mask is not None:
    score = tf.where(mask[:, None], score, -1e9)  # finite: all masked must not become 0 / 0
  weight = tf.nn.softmax(score)
  if dropped is not None:
    weight = dropped(weight)
  return tf.matmul(tf.cast(weight, value.dtype), value)


def rotate(x, position, base=10_000.0):
  """Rotary positions, arXiv:2104.09864, eq. 34: a product then depends on the distance alone.

  x: float[B, N, L, d], d even.  position: i32[B or 1, L].  Returns: float[B, N, L, d].
  """
  half = x.shape[-1] // 2
  rate = base**(-tf.range(half, dtype=tf.float32) / half)
  angle = tf.cast(position, tf.float32)[:, None, :, None] * rate
  cos, sin = tf.cast(tf.cos(angle), x.dtype), tf.cast(tf.sin(angle), x.dtype)
  a, b = x[..., :half], x[..., half:]
  return tf.concat([a * cos - b * sin, a * sin + b * cos], axis=-1)


def write(cache, slot, value):
  """Puts one slot into a cache; in place where the compiler or runtime can.

  cache: float[B, N, S, d].  slot: i32[].  value: float[B, N, 1, d].  Returns: the cache.
  """
  # One scatter of whole rows: XLA cannot assign a slice whose place it does not know beforehand.
  shape = tf.shape(cache)
  row = tf.range(shape[0] * shape[1]) * shape[2] + slot
  flat = tf.tensor_scatter_nd_update(
      tf.reshape(cache, (-1, cache.shape[-1])), row[:, None],
      tf.reshape(value, (-1, cache.shape[-1])))
  return tf.reshape(flat, shape)


# --- the layer


class MultiHeadAttention(layers.Layer):
  """Attention with its projections.

  width: D of input and output.  heads: N, a divisor of D.
  cross: keys and values come from a memory, which every call then gives.
  rotary: turn queries and keys by their positions.  dropout: rate on the weights.
  site: int, a number of the layer's own in its network, for the dropout's noise.
  output_scale: shrinks the first values of the output matrix (GPT-2: 1 / sqrt(2 depth)).
  """

  def __init__(self, width, heads, *, cross=False, rotary=False, dropout=0.0, site=0,
               output_scale=1.0, **keywords):
    super().__init__(**keywords)
    self.supports_masking = True  # else Keras warns of a keyword named `mask`
    if width % heads or rotary and width // heads % 2:
      raise UserError(f"width {width} cannot be cut into {heads} heads"
                      f"{' of an even width' if rotary else ''}: "
                      "set model.heads to a divisor of model.width")
    self.width, self.heads = width, heads
    self.cross, self.rotary, self.dropout, self.site = cross, rotary, dropout, site
    if cross:
      self.query = self._matrix(width, "query")
    self.projection = self._matrix(*((2 * width, "key_value") if cross else
                                     (3 * width, "query_key_value")))
    self.output_projection = self._matrix(width, "output", 0.02 * output_scale)

  def _matrix(self, width, name, deviation=0.02):
    normal = keras.initializers.RandomNormal(stddev=deviation)
    return layers.Dense(width, kernel_initializer=normal, dtype=self.dtype_policy, name=name)

  def build(self, shape=None):
    for part in self._flatten_layers(include_self=False):
      part.build((None, None, self.width))
    self.built = True

  def compute_mask(self, x, mask=None):
    """Keras hands on no mask: whoever needs one gives it."""

  # --- whole sequences

  def call(self, x, memory=None, mask=None, position=None, seed=None, training=False):
    """x: float[B, L, D].  memory: float[B, M, D] if cross.  mask: bool[B or 1, L or 1, M].

    position: i32[B or 1, L] for rotary, default 0, 1, 2 ...  seed: i64[B], for the dropout.
    Returns: float[B, L, D].
    """
    query, key, value = self._heads(x, memory, position)
    return self._joined(attend(query, key, value, mask, self._dropped(seed, training)))

  def prefill(self, x, size, mask=None, position=None):
    """A call on a prompt that also starts a cache with room for S slots.

    Returns: float[B, L, D] and the cache, a pair of float[B, N, S, d].
    """
    query, key, value = self._heads(x, None, position)
    room = [[0, 0], [0, 0], [0, size - tf.shape(x)[1]], [0, 0]]
    cache = tf.pad(key, room), tf.pad(value, room)
    return self._joined(attend(query, key, value, mask)), cache

  def start_cache(self, batch_size, size):
    """An empty cache with room for S slots, of a decoder that begins with no prompt."""
    shape = (batch_size, self.heads, size, self.width // self.heads)
    return tf.zeros(shape, self.compute_dtype), tf.zeros(shape, self.compute_dtype)

  # --- one token at a time

  def step(self, x, cache, slot, mask, position=None):
    """Self-attention of one new token to all slots so far, itself included.

    x: float[B, D].  cache: from prefill, start_cache or step.  slot: i32[], where to write.
    mask: bool[B or 1, S], True for the slots in use, `slot` included.
    position: i32[B] for rotary, default the slot.
    Returns: float[B, D] and the cache.
    """
    if position is None:
      position = tf.reshape(slot, (1,))
    query, key, value = self._heads(x[:, None], None, position[:, None])
    cache = write(cache[0], slot, key), write(cache[1], slot, value)
    return self._joined(attend(query, *cache, mask[:, None]))[:, 0], cache

  def remember(self, memory):
    """Keys and values of a memory, computed once for all steps.

    memory: float[B, M, D].  Returns: a pair of float[B, N, M, d].
    """
    return tuple(self._split(part) for part in tf.split(self.projection(memory), 2, axis=-1))

  def step_memory(self, x, remembered, mask=None):
    """Cross-attention of one new token.  x: float[B, D].  mask: bool[B or 1, M].

    Returns: float[B, D].
    """
    query = self._split(self.query(x[:, None]))
    mask = None if mask is None else mask[:, None]
    return self._joined(attend(query, *remembered, mask))[:, 0]

  # --- pieces

  def _heads(self, x, memory, position):
    if self.cross:
      return self._split(self.query(x)), *self.remember(memory)
    parts = tf.split(self.projection(x), 3, axis=-1)
    query, key, value = (self._split(part) for part in parts)
    if self.rotary:
      if position is None:
        position = tf.range(tf.shape(x)[1])[None]
      query, key = rotate(query, position), rotate(key, position)
    return query, key, value

  def _split(self, x):
    """float[B, L, D] -> float[B, N, L, d]."""
    shape = tf.shape(x)
    x = tf.reshape(x, (shape[0], shape[1], self.heads, self.width // self.heads))
    return tf.transpose(x, (0, 2, 1, 3))

  def _joined(self, x):
    """float[B, N, L, d] -> float[B, L, D], mixed by the output matrix."""
    shape = tf.shape(x)
    x = tf.reshape(tf.transpose(x, (0, 2, 1, 3)), (shape[0], shape[2], self.width))
    return self.output_projection(x)

  def _dropped(self, seed, training):
    if not training or not self.dropout:
      return None
    return lambda weight: dropout.dropout(weight, self.dropout, seed, self.site)
