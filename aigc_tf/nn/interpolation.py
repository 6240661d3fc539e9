"""Paths between latent vectors."""

import tensorflow as tf


def slerp(a, b, t):
  """Spherical linear interpolation (arXiv:1609.04468, section 2.1).

  a, b: f32[B, Z].  t: f32[B] in [0, 1].  Returns: f32[B, Z], a where t = 0 and b where t = 1.
  """
  t = t[:, None]
  cosine = tf.reduce_sum(tf.math.l2_normalize(a, -1) * tf.math.l2_normalize(b, -1), -1)
  angle = tf.acos(tf.clip_by_value(cosine, -1.0, 1.0))[:, None]
  sine = tf.sin(angle)
  curved = (tf.sin((1.0 - t) * angle) * a + tf.sin(t * angle) * b) / tf.maximum(sine, 1e-6)
  return tf.where(sine > 1e-4, curved, (1.0 - t) * a + t * b)


def closed_path(latent, num_frames):
  """From each latent to the next, and from the last to the first.

  latent: f32[B, Z].  num_frames: int, frames from one latent to the next.
  Returns: f32[B * num_frames, Z]; frame i * num_frames is latent i.
  """
  t = tf.tile(tf.range(num_frames, dtype=tf.float32) / num_frames, [tf.shape(latent)[0]])
  start = tf.repeat(latent, num_frames, axis=0)
  end = tf.repeat(tf.roll(latent, -1, axis=0), num_frames, axis=0)
  return slerp(start, end, t)
