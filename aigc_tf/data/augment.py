"""Augmentation of a batch of images, each row by its own seed: the same row is the same everywhere.

Axes: B batch, H W pixels, C channels.  Images are f32 in [-1, 1].
"""

import math

import tensorflow as tf

from aigc_tf.errors import UserError
from aigc_tf.nn import random

_COLUMNS = 8  # uniforms a row: angle, two shifts, flip, brightness, contrast, saturation, spare
_STREAM_NOISE = 105


def apply(image, seed, cfg):
  """Rotates, crops, flips, recolours and adds noise, as far as switched on.

  image: f32[B, H, W, C] in [-1, 1].  seed: i64[B].  cfg: a recipe's `data.augment` group:
    rotate_degrees (largest angle to either side), crop_pixels (largest shift to either side),
    flip (bool, left to right), colour (strength, 0.2 is mild), noise (standard deviation).
  Returns: f32[B, H, W, C] in [-1, 1].  Raises: UserError for a negative strength.
  """
  for key in ("rotate_degrees", "crop_pixels", "colour", "noise"):
    if cfg[key] < 0:
      raise UserError(f"data.augment.{key}={cfg[key]} is negative: use 0 to switch it off")
  if cfg.rotate_degrees or cfg.crop_pixels or cfg.flip or cfg.colour:
    unit = random.uniform(seed, (_COLUMNS,), random.AUGMENT)
    sign = 2.0 * unit - 1.0
  if cfg.rotate_degrees:
    image = rotate(image, sign[:, 0] * (cfg.rotate_degrees * math.pi / 180))
  if cfg.crop_pixels:
    image = shift(image, _steps(unit[:, 1], cfg.crop_pixels), _steps(unit[:, 2], cfg.crop_pixels))
  if cfg.flip:
    image = tf.where((unit[:, 3] < 0.5)[:, None, None, None], image[:, :, ::-1], image)
  if cfg.colour:
    image = recolour(image, *(cfg.colour * sign[:, column] for column in (4, 5, 6)))
  if cfg.noise:
    image += cfg.noise * random.normal(seed, tuple(image.shape[1:]), _STREAM_NOISE)
    image = tf.clip_by_value(image, -1.0, 1.0)
  return image


def rotate(image, radians):
  """Turns each row about its centre, counter-clockwise as seen; the border is mirrored.

  image: f32[B, H, W, C].  radians: f32[B].  Returns: f32[B, H, W, C], bilinear.
  """
  height, width = image.shape[1:3]
  cos, sin, zero = tf.cos(radians), tf.sin(radians), tf.zeros_like(radians)
  y, x = (height - 1) / 2, (width - 1) / 2
  # Output pixel (x, y) reads input pixel (cos x - sin y + ..., sin x + cos y + ...).
  matrix = tf.stack([cos, -sin, x - cos * x + sin * y,
                     sin, cos, y - sin * x - cos * y, zero, zero], axis=1)
  return tf.raw_ops.ImageProjectiveTransformV3(
      images=image, transforms=matrix, output_shape=[height, width], fill_value=0.0,
      interpolation="BILINEAR", fill_mode="REFLECT")


def shift(image, down, right):
  """A window of the mirrored image: padding by the shift and cropping in one.

  image: f32[B, H, W, C].  down, right: int32[B] pixels, either sign, below H and W.
  Returns: f32[B, H, W, C].
  """
  rows = _mirrored(tf.range(image.shape[1]) - down[:, None], image.shape[1])
  columns = _mirrored(tf.range(image.shape[2]) - right[:, None], image.shape[2])
  image = tf.gather(image, rows, axis=1, batch_dims=1)
  return tf.gather(image, columns, axis=2, batch_dims=1)


def recolour(image, brightness, contrast, saturation):
  """image: f32[B, H, W, C] in [-1, 1].  The rest f32[B]: an offset, and two changes of scale about
  the image's mean and about each pixel's grey.  All zero: nothing changes.  Returns: the same.
  """
  wide = lambda change: change[:, None, None, None]
  image += wide(brightness)
  mean = tf.reduce_mean(image, axis=(1, 2, 3), keepdims=True)
  image += wide(contrast) * (image - mean)
  image += wide(saturation) * (image - tf.reduce_mean(image, axis=3, keepdims=True))
  return tf.clip_by_value(image, -1.0, 1.0)


def _steps(unit, most):
  return tf.cast(tf.floor(unit * (2 * most + 1)), tf.int32) - most


def _mirrored(index, size):
  # ... 2 1 0 1 2 ... size-2 size-1 size-2 ...: the edge itself is not repeated.
  last = size - 1
  return last - tf.abs(last - tf.abs(index))
