"""Between the model's images, f32 in [-1, 1], and what people store: uint8 pixels and PNG files.

All functions are graph operations for any batch size, 0 included, so that the endpoints serve them.
Axes: B batch, H W pixels, C channels (1 grey, 3 colour).
"""

import tensorflow as tf


def to_uint8(image):
  """image: float[...] in [-1, 1]; what lies outside is clipped.  Returns: uint8[...] in 0..255."""
  scaled = (tf.cast(image, tf.float32) + 1.0) * 127.5  # -1 -> 0, 1 -> 255
  return tf.cast(tf.round(tf.clip_by_value(scaled, 0.0, 255.0)), tf.uint8)


def to_float(image):
  """image: uint8[...] in 0..255.  Returns: f32[...] in [-1, 1], the inverse of `to_uint8`."""
  return tf.cast(image, tf.float32) / 127.5 - 1.0


def encode_png(image):
  """image: uint8[B, H, W, C].  Returns: string[B], one PNG file a row."""
  return tf.map_fn(tf.io.encode_png, image, fn_output_signature=tf.TensorSpec([], tf.string))


def outputs(image):
  """What every image endpoint answers.

  image: float[B, H, W, C] in [-1, 1].
  Returns: {"image": uint8[B, H, W, C], "image_bytes": string[B], one PNG file a row}.
  """
  pixels = to_uint8(image)
  return {"image": pixels, "image_bytes": encode_png(pixels)}
