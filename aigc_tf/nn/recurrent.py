"""Long short-term memory over whole sequences, whose matrices learn from one product for all steps.

Left to itself, autodiff adds x_t^T dz_t to a sum as large as the matrix at each step of a loop.
Here the loop sees the matrix as a constant, and the gradient dW = sum_t x_t^T dz_t is one product
behind it.

Axes: B batch, T steps, D input, H width, C what else the loop feeds back.
"""

from keras import layers
import tensorflow as tf


def deferred(terms, matrix, equation):
  """Takes a matrix's gradient out of a loop that multiplies with it.

  The loop computes x_t times the matrix, plus terms_t; so the gradient of terms is that of the
  product at every step.

  terms: f32[T, ...].  matrix: float[...].  equation: str of einsum, from all x and all gradients to
    the matrix's: "tbi,tbo->io".
  Returns: terms and the matrix, both for use in the loop, and a function to be told all x after
    the loop, f32[T, ...].
  """
  told = []

  @tf.custom_gradient
  def link(terms, matrix):
    def gradient(d_terms):
      return d_terms, tf.cast(tf.einsum(equation, told[0], d_terms), matrix.dtype)
    return tf.identity(terms), gradient

  return link(terms, tf.convert_to_tensor(matrix)), tf.stop_gradient(matrix), told.append


def product(x, matrix):
  """In the matrix's dtype; what is carried through many steps is float32.  Returns: f32[..., N]."""
  return tf.cast(tf.matmul(tf.cast(x, matrix.dtype), matrix), tf.float32)


def gates(z, cell):
  """arXiv:1409.2329, eq. 3 to 8.  z: f32[..., 4 H].  cell: f32[..., H].  Returns: both states."""
  enter, forget, candidate, out = tf.split(z, 4, axis=-1)
  cell = tf.sigmoid(forget) * cell + tf.sigmoid(enter) * tf.tanh(candidate)
  return tf.sigmoid(out) * tf.tanh(cell), cell


def forget_bias(shape, dtype=None):
  """Zeros, and ones for the forget gate: a new layer remembers (jmlr v37, jozefowicz15)."""
  return tf.one_hot(tf.range(shape[0]) // (shape[0] // 4), 4, dtype=dtype)[:, 1]


class LSTMCell(layers.Layer):
  """Weights of one layer: `kernel` for what is known ahead of the loop, `recurrent` for the rest.

  input_dim: D.  width: H.  fed_back: C, values besides the layer's own output that only the loop
  knows; `recurrent` takes [fed back, own output].
  """

  def __init__(self, input_dim, width, fed_back=0, name=None):
    super().__init__(name=name)
    self.width = width
    self.kernel = self.add_weight(name="kernel", shape=(input_dim, 4 * width))
    self.recurrent = self.add_weight(
        name="recurrent", shape=(fed_back + width, 4 * width), initializer="orthogonal")
    self.bias = self.add_weight(name="bias", shape=(4 * width,), initializer=forget_bias)
    self.built = True

  def hear(self, x):
    """What the inputs say to the gates, for all steps at once.  x: f32[..., D] -> f32[..., 4 H]."""
    return product(x, tf.cast(self.kernel, self.compute_dtype)) + tf.cast(self.bias, tf.float32)

  def matrix(self):
    """The recurrent weights in the policy's dtype."""
    return tf.cast(self.recurrent, self.compute_dtype)

  def start(self, rows):
    """The state before the first step, two of f32[B, H]."""
    return tf.zeros([rows, self.width]), tf.zeros([rows, self.width])


def run(heard, matrix, mask=None):
  """A layer over all steps, from a state of zeros.

  heard: f32[T, ..., B, 4 H].  matrix: float[..., H, 4 H].  mask: bool[T, ..., B], False leaves a
  row's state as it was; absent: all are steps.  Returns: f32[T, ..., B, H].
  """
  heard, matrix, tell = deferred(heard, matrix, "t...bi,t...bo->...io")

  def step(state, inputs):
    moved = gates(inputs[0] + product(state[0], matrix), state[1])
    if mask is None:
      return moved
    return tuple(tf.where(inputs[1][..., None], new, old) for new, old in zip(moved, state))

  start = tf.zeros_like(tf.split(heard[0], 4, axis=-1)[0])
  elements = (heard,) if mask is None else (heard, mask)
  hidden, _ = tf.scan(step, elements, (start, start))
  tell(tf.concat([start[None], hidden[:-1]], axis=0))
  return hidden


class BidirectionalLSTM(layers.Layer):
  """Two layers, one from each end; padding at the right reaches neither.

  input_dim: D.  width: H of each.
  """

  def __init__(self, input_dim, width, name=None):
    super().__init__(name=name, dtype="float32")
    self.cells = [LSTMCell(input_dim, width, name=f"cell_{i}") for i in range(2)]
    self.built = True

  def call(self, x, is_valid):
    """x: f32[B, T, D].  is_valid: bool[B, T].  Returns: f32[B, T, 2 H], zeros elsewhere."""
    x, steps = tf.transpose(x, (1, 0, 2)), tf.transpose(is_valid)
    heard = tf.stack([self.cells[0].hear(x), self.cells[1].hear(x[::-1])], axis=1)
    both = run(heard, tf.stack([cell.matrix() for cell in self.cells]),
               tf.stack([steps, steps[::-1]], axis=1))
    said = tf.concat([both[:, 0], both[::-1, 1]], axis=-1)
    return tf.transpose(said, (1, 0, 2)) * tf.cast(is_valid, tf.float32)[:, :, None]
