"""4x4 convolutions of stride 2, which halve a map's sides, and their transposes, which double them.

Keras's layers, kernels and names. The larger side may be an image of one to four channels: oneDNN's
transposed convolution leaves most lanes of a CPU's vectors empty then, and takes two to three times
as long as the way taken here. Each of the two is the other's gradient.

Axes: B batch, H W pixels of the larger side, C its channels, F channels of the smaller side.
"""

from keras import layers
from keras import ops
import tensorflow as tf

_FEW_CHANNELS = 4  # where an image ends and maps begin: with 8 there is little to gain


@tf.custom_gradient
def halve(image, kernel):
  """image: f32[B, H, W, C], H and W even.  kernel: f32[4, 4, C, F].

  Returns: f32[B, H / 2, W / 2, F], the convolution of stride 2, padded by one pixel on each side.
  """
  def gradient(upstream):
    return double(upstream, kernel), _kernel_gradient(image, kernel, upstream)
  return tf.nn.conv2d(image, kernel, 2, "SAME"), gradient


@tf.custom_gradient
def double(maps, kernel):
  """maps: f32[B, H / 2, W / 2, F].  kernel: f32[4, 4, C, F].

  Returns: f32[B, H, W, C], the transposed convolution: its four kinds of pixels, by even and odd
  row and column, are four channels of a 2x2 convolution of stride 1 (arXiv:1609.07009, section 3).
  """
  def gradient(upstream):
    return halve(upstream, kernel), _kernel_gradient(upstream, kernel, maps)
  channels, filters = kernel.shape[2:]
  taps = tf.reverse(tf.reshape(kernel, (2, 2, 2, 2, channels, filters)), (0, 2))
  taps = tf.reshape(tf.transpose(taps, (0, 2, 5, 1, 3, 4)), (2, 2, filters, 4 * channels))
  pixels = tf.nn.conv2d(maps, taps, 1, [(0, 0), (1, 1), (1, 1), (0, 0)])
  return tf.nn.depth_to_space(pixels, 2)[:, 1:-1, 1:-1], gradient


def _kernel_gradient(image, kernel, maps):
  return tf.raw_ops.Conv2DBackpropFilter(
      input=image, filter_sizes=kernel.shape, out_backprop=maps, strides=(1, 2, 2, 1),
      padding="SAME")


class Conv2D(layers.Conv2D):
  """Keras's, 4x4 with stride 2: f32[B, H, W, C] -> f32[B, ceil(H / 2), ceil(W / 2), filters]."""

  def __init__(self, filters, **options):
    super().__init__(filters, 4, 2, "same", **options)

  def convolution_op(self, inputs, kernel):
    _, height, width, channels = inputs.shape
    if channels > _FEW_CHANNELS or height % 2 or width % 2:
      return super().convolution_op(inputs, kernel)
    return halve(inputs, tf.convert_to_tensor(kernel))


class Conv2DTranspose(layers.Conv2DTranspose):
  """Keras's, 4x4 with stride 2: f32[B, ceil(H / 2), ceil(W / 2), F] -> f32[B, H, W, filters].

  size: H and W, even or odd.
  """

  def __init__(self, filters, size, **options):
    super().__init__(filters, 4, 2, "same", **options)
    self.size = size

  def call(self, inputs):
    kernel = tf.convert_to_tensor(self.kernel)
    if self.filters > _FEW_CHANNELS or self.size % 2:
      shape = (ops.shape(inputs)[0], self.size, self.size, self.filters)
      image = tf.nn.conv2d_transpose(inputs, kernel, shape, 2, "SAME")
    else:
      image = double(inputs, kernel)
    return self.activation(image + self.bias if self.use_bias else image)

  def compute_output_shape(self, input_shape):
    return (input_shape[0], self.size, self.size, self.filters)
