"""Augmentation of a batch of images, each row by its own seed: the same row is the same everywhere.

"The same" means bit for bit, in a batch of any size: only additions, products, gathers and tables
made by NumPy are used, because TensorFlow's vectorized cos, log and mean differ in the last bit
between the lanes and the rest of a vector, and so with the place of a row in its batch.

Axes: B batch, H W pixels, C channels.  Images are f32 in [-1, 1].
"""

import statistics

import numpy as np
import tensorflow as tf

from aigc_tf.errors import UserError
from aigc_tf.nn import random

_COLUMNS = 7  # uniforms a row: angle, two shifts, flip, brightness, contrast, saturation
_ANGLES = 4097  # steps of the angle, the middle one is none
_NORMAL_BITS = 12
_STREAM_NOISE = 100 + random.AUGMENT  # a second use of the rows' seeds here


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
    angles = np.deg2rad(np.linspace(-cfg.rotate_degrees, cfg.rotate_degrees, _ANGLES))
    step = tf.cast(unit[:, 0] * _ANGLES, tf.int32)
    cosine, sine = (tf.gather(tf.constant(table, tf.float32), step)
                    for table in (np.cos(angles), np.sin(angles)))
    image = rotate(image, cosine, sine)
  if cfg.crop_pixels:
    image = shift(image, _steps(unit[:, 1], cfg.crop_pixels), _steps(unit[:, 2], cfg.crop_pixels))
  if cfg.flip:
    image = tf.where((unit[:, 3] < 0.5)[:, None, None, None], image[:, :, ::-1], image)
  if cfg.colour:
    image = recolour(image, *(cfg.colour * sign[:, column] for column in (4, 5, 6)))
  if cfg.noise:
    image = tf.clip_by_value(image + cfg.noise * _normal(seed, image.shape[1:]), -1.0, 1.0)
  return image


def rotate(image, cosine, sine):
  """Turns each row about its centre, counter-clockwise as seen; the border is mirrored.

  image: f32[B, H, W, C].  cosine, sine: f32[B] of the angles.  Returns: f32[B, H, W, C], bilinear.
  """
  height, width = image.shape[1:3]
  y, x, zero = (height - 1) / 2, (width - 1) / 2, tf.zeros_like(cosine)
  # Output pixel (x, y) reads input pixel (cos x - sin y + ..., sin x + cos y + ...).
  matrix = tf.stack([cosine, -sine, x - cosine * x + sine * y,
                     sine, cosine, y - sine * x - cosine * y, zero, zero], axis=1)
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
  """An offset, and two changes of scale: about middle grey and about each pixel's own grey.

  image: f32[B, H, W, C] in [-1, 1].  The rest f32[B], zero for no change.  Returns: like image.
  """
  wide = lambda change: change[:, None, None, None]
  image = (1.0 + wide(contrast)) * image + wide(brightness)
  if image.shape[-1] == 3:
    grey = (image[..., :1] + image[..., 1:2] + image[..., 2:]) / 3.0
    image += wide(saturation) * (image - grey)
  return tf.clip_by_value(image, -1.0, 1.0)


def _normal(seed, shape):
  # Standard normal by its quantiles, f32[B, *shape]: exact lookups where log and cos are not.
  steps = 2**_NORMAL_BITS
  inverse = statistics.NormalDist().inv_cdf
  table = tf.constant([inverse((step + 0.5) / steps) for step in range(steps)], tf.float32)
  words = random.bits(seed, tuple(shape), _STREAM_NOISE)
  return tf.gather(table, tf.cast(tf.bitwise.right_shift(words, 32 - _NORMAL_BITS), tf.int32))


def _steps(unit, most):
  return tf.cast(tf.floor(unit * (2 * most + 1)), tf.int32) - most


def _mirrored(index, size):
  # ... 2 1 0 1 2 ... size-2 size-1 size-2 ...: the edge itself is not repeated.
  last = size - 1
  return last - tf.abs(last - tf.abs(index))
