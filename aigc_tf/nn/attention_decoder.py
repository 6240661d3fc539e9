"""The decoder of Tacotron 2 (arXiv:1712.05884, section 2.2): frames of a mel, step by step.

A step: the prenet hears the last frame; an LSTM hears that and what was read; attention moves along
the memory; a second LSTM hears the first and what is read now; from both come r frames and a stop.
Attention does not wait for the second LSTM, so that in training, where all frames are known, only
the first LSTM and attention are one loop over the steps, and all else are few large products.

Axes: B batch, L tokens, N steps, M mel bins, R frames a step at most, D memory, H width, P prenet.
"""

import keras
from keras import layers
import tensorflow as tf

from aigc_tf.nn import dropout as drop
from aigc_tf.nn import location_attention
from aigc_tf.nn import recurrent

SILENCE = -2.0  # a silent mel bin, in the units of the network
STOP_LOGIT = 0.0  # at even odds it stops
_PRENET_SITE = 0  # of the dropout's noise


def _dense(inputs, units, name, **keywords):
  dense = layers.Dense(units, name=name, **keywords)
  dense.build((None, inputs))
  return dense


class Prenet(layers.Layer):
  """Two layers whose dropout is never off: a frame that is known too well would teach to copy it
  instead of to read.
  """

  def __init__(self, num_mels, width, name):
    super().__init__(name=name, dtype="float32")
    self.width = width
    self.dense = [_dense(size, width, f"dense_{i}", activation="relu")
                  for i, size in enumerate((num_mels, width))]
    self.built = True

  def noise(self, seed, num_steps, dropout):
    """seed: i64[B].  num_steps: int or i32[].  Returns: f32[B, N, 2 P], for `call`."""
    return drop.factors(seed, num_steps, 2 * self.width, dropout, _PRENET_SITE)

  def call(self, frame, noise):
    """frame: f32[..., M].  noise: f32[..., 2 P].  Returns: f32[..., P]."""
    for dense, factor in zip(self.dense, tf.split(noise, 2, axis=-1)):
      frame = tf.cast(dense(frame), tf.float32) * factor
    return frame


class Decoder(layers.Layer):
  """memory_dim: D.  prenet_dim: P.  width: H.  num_mels: M.  most_frames: R.

  prenet_dropout, generation_dropout: of the prenet, along a teacher's frames and along its own.
  """

  def __init__(self, memory_dim, *, prenet_dim, width, attention_dim, num_mels, most_frames,
               prenet_dropout, generation_dropout, name):
    super().__init__(name=name, dtype="float32")
    self.num_mels = num_mels
    self.prenet_dropout, self.generation_dropout = prenet_dropout, generation_dropout
    self.prenet = Prenet(num_mels, prenet_dim, "prenet")
    self.first = recurrent.LSTMCell(prenet_dim, width, fed_back=memory_dim, name="first")
    self.second = recurrent.LSTMCell(width + memory_dim, width, name="second")
    self.attention = location_attention.LocationAttention(
        memory_dim, width, attention_dim, name="attention")
    self.frames = _dense(width + memory_dim, most_frames * num_mels, "frames", dtype="float32")
    self.stop = _dense(width + memory_dim, 1, "stop", dtype="float32",
                       bias_initializer=keras.initializers.Constant(-2.0))  # few steps are the last
    self.built = True

  # --- along a teacher's frames

  def follow(self, teacher, memory, mask, seed):
    """teacher: f32[B, N, M], the frame before each step.  memory: f32[B, L, D].  mask: bool[B, L].

    seed: i64[B].  Returns: frames f32[B, N, R M], stop logits f32[B, N], alignment f32[B, N, L].
    """
    steps = teacher.shape[1] or tf.shape(teacher)[1]
    noise = self.prenet.noise(seed, steps, self.prenet_dropout)
    heard = self.first.hear(self.prenet(teacher, noise))
    x, alignment = self._attend(tf.transpose(heard, (1, 0, 2)), memory, mask)
    said = recurrent.run(self.second.hear(x), self.second.matrix())
    frames, stop = self._outputs(said, x[..., self.first.width:])
    return (tf.transpose(frames, (1, 0, 2)), tf.transpose(stop),
            tf.transpose(alignment, (1, 0, 2)))

  def _attend(self, heard, memory, mask):
    """heard: f32[N, B, 4 H], what the prenet says to the first LSTM.

    Returns: f32[N, B, H + D], what that LSTM says and what was read; alignment f32[N, B, L].
    """
    keys, start = self.attention.remember(memory), self._start(memory, mask)
    heard, matrix, tell = recurrent.deferred(heard, self.first.matrix(), "tbi,tbo->io")
    # What is read is a product with the memory: its gradient waits until behind the loop too.
    nothing = tf.zeros_like(heard[:, :, :1]) + tf.zeros_like(memory[None, :, 0])
    nothing, memory, tell_memory = recurrent.deferred(
        nothing, tf.cast(memory, matrix.dtype), "tbl,tbd->bld")

    def step(state, inputs):
      return self._step(state, inputs[0], matrix, memory, keys, mask, inputs[1])

    said, _, read, alignment, _ = tf.scan(step, (heard, nothing), start)
    tell(tf.concat([_shifted(start[2], read), _shifted(start[0], said)], axis=2))
    tell_memory(alignment)
    return tf.concat([said, read], axis=2), alignment

  def _start(self, memory, mask):
    return (*self.first.start(tf.shape(memory)[0]), tf.zeros_like(memory[:, 0]),
            *self.attention.start(mask))

  def _step(self, state, heard, matrix, memory, keys, mask, terms=0.0):
    """What is one loop in training.  heard: f32[B, 4 H].  matrix: of the first LSTM.

    memory: float[B, L, D].  keys: f32[B, L, A].  mask: bool[B, L].  terms: f32[B, D], for
      recurrent.deferred.
    Returns: the state: what the LSTM says and its cell, f32[B, H], what was read f32[B, D], the
      attention and its sum over the steps, f32[B, L].
    """
    said, cell, read, last, total = state
    said, cell = recurrent.gates(
        heard + recurrent.product(tf.concat([read, said], axis=1), matrix), cell)
    last, total = self.attention.step(said, keys, mask, last, total)
    read = tf.squeeze(recurrent.product(last[:, None], memory), 1) + terms
    return said, cell, read, last, total

  def _outputs(self, said, read):
    """said: f32[..., H] of the second LSTM.  Returns: f32[..., R M] and stop logits f32[...]."""
    x = tf.concat([said, read], axis=-1)
    return self.frames(x), tf.squeeze(self.stop(x), -1)

  # --- along its own

  def write(self, memory, mask, seed, limit, reduction, window):
    """Steps until every row has said stop.

    limit: i32[B], steps at most.  reduction: int, frames of a step.  window: int, tokens ahead of
    the farthest attended one that a step may look at, 0: any.
    Returns: frames f32[B, N, reduction M], the number of each row's steps i32[B], and the alignment
      f32[B, N, L]; what stands behind a row's last step means nothing.
    """
    rows, num_outputs = tf.shape(memory)[0], reduction * self.num_mels
    noise = self.prenet.noise(seed, tf.reduce_max(limit), self.generation_dropout)
    keys = self.attention.remember(memory)
    matrix, matrix_2 = self.first.matrix(), self.second.matrix()
    memory_low = tf.cast(memory, matrix.dtype)

    def step(i, state, second, frame, place, ended, frames, alignments):
      heard = self.first.hear(self.prenet(frame, noise[:, i]))
      state = self._step(state, heard, matrix, memory_low, keys, _within(mask, place, window))
      said, _, read, last, _ = state
      heard = self.second.hear(tf.concat([said, read], axis=1))
      second = recurrent.gates(heard + recurrent.product(second[0], matrix_2), second[1])
      made, stop = self._outputs(second[0], read)
      made = made[:, :num_outputs]
      is_last = (ended == 0) & ((stop > STOP_LOGIT) | (i + 1 >= limit))
      farthest = tf.maximum(place, tf.argmax(last, axis=1, output_type=tf.int32))
      return (i + 1, state, second, made[:, -self.num_mels:], farthest,
              tf.where(is_last, i + 1, ended), frames.write(i, made), alignments.write(i, last))

    arrays = [tf.TensorArray(tf.float32, 0, dynamic_size=True, element_shape=[None, size])
              for size in (num_outputs, None)]
    none = tf.zeros([rows], tf.int32)
    *_, ended, frames, alignments = tf.while_loop(
        lambda i, state, second, frame, place, ended, *_: tf.reduce_any(ended == 0), step,
        (0, self._start(memory, mask), self.second.start(rows),
         tf.fill([rows, self.num_mels], SILENCE), none, none, *arrays))
    return (tf.transpose(frames.stack(), (1, 0, 2)), ended,
            tf.transpose(alignments.stack(), (1, 0, 2)))


def _shifted(first, all_steps):
  """What the steps found.  first: f32[B, D].  all_steps: f32[N, B, D], what they left."""
  return tf.concat([first[None], all_steps[:-1]], axis=0)


def _within(mask, place, window):
  """The tokens from the one before `place` on, i32[B].  Returns: bool[B, L]."""
  if not window:
    return mask
  ahead = tf.range(tf.shape(mask)[1])[None] - place[:, None]
  return mask & (ahead >= -1) & (ahead <= window)
