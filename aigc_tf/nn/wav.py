"""WAV files written in the graph, so that an endpoint answers with what a player opens.

Axes: B batch, S samples.
"""

import tensorflow as tf


def encode(wave, length, sample_rate_hz):
  """16-bit mono WAV files.

  wave: f32[B, S] in [-1, 1]; what lies outside is clipped.  length: i32[B] samples of each row that
    are written.  sample_rate_hz: int.  Returns: string[B].
  """
  def row(each):
    samples = tf.clip_by_value(each[0][:each[1]], -1.0, 1.0)
    return tf.audio.encode_wav(samples[:, None], sample_rate_hz)
  rows = (tf.convert_to_tensor(wave), tf.convert_to_tensor(length))
  return tf.map_fn(row, rows, fn_output_signature=tf.TensorSpec([], tf.string))
