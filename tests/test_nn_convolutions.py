"""Convolutions that halve and double an image's sides, against Keras's own."""

from keras import layers
import numpy as np
import pytest
import tensorflow as tf

from aigc_tf.nn import convolutions


def _images(*shape):
  return tf.constant(np.random.default_rng(0).normal(size=shape), tf.float32)


def _value_and_gradients(layer, x):
  """The layer's output and the gradients of a sum that weighs every number of it differently."""
  with tf.GradientTape() as tape:
    tape.watch(x)
    y = layer(x)
    loss = tf.reduce_sum(y * _images(*y.shape))
  return [y, *tape.gradient(loss, [x, *(v.value for v in layer.trainable_variables)])]


def _same_weights(layer, oracle, x):
  layer(x), oracle(x)
  oracle.set_weights(layer.get_weights())


@pytest.mark.parametrize("channels", (1, 2, 3, 4, 5))
@pytest.mark.parametrize("size", (8, 7))
def test_halving_is_keras_convolution(size, channels):
  x = _images(3, size, size, channels)
  ours = convolutions.Conv2D(6, bias_initializer="normal")
  keras_own = layers.Conv2D(6, 4, 2, "same")
  _same_weights(ours, keras_own, x)
  for found, expected in zip(_value_and_gradients(ours, x), _value_and_gradients(keras_own, x),
                             strict=True):
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("channels", (1, 2, 3, 4, 5))
@pytest.mark.parametrize("size", (8, 7))
def test_doubling_is_keras_transpose_less_a_row_and_a_column_where_the_side_is_odd(size, channels):
  x = _images(3, 4, 4, 6)
  ours = convolutions.Conv2DTranspose(channels, size, bias_initializer="normal", activation="tanh")
  keras_own = layers.Conv2DTranspose(channels, 4, 2, "same", activation="tanh")
  _same_weights(ours, keras_own, x)

  def cut(x):
    return keras_own(x)[:, :size, :size]

  cut.trainable_variables = keras_own.trainable_variables
  for found, expected in zip(_value_and_gradients(ours, x), _value_and_gradients(cut, x),
                             strict=True):
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_a_network_may_have_any_number_of_rows():
  maps = layers.Input((7, 7, 6))
  image = convolutions.Conv2DTranspose(1, 14)(maps)
  assert image.shape == (None, 14, 14, 1)
  assert convolutions.Conv2D(5)(image).shape == (None, 7, 7, 5)


def test_the_two_are_adjoint_so_that_gradients_of_gradients_are_right():
  """A gradient penalty differentiates the gradient: halve and double, each again and again."""
  image, maps, kernel = _images(2, 8, 8, 1), _images(2, 4, 4, 3), _images(4, 4, 1, 3)
  np.testing.assert_allclose(tf.reduce_sum(convolutions.halve(image, kernel) * maps),
                             tf.reduce_sum(image * convolutions.double(maps, kernel)), rtol=1e-4)

  def penalty(halve):
    with tf.GradientTape() as outer:
      outer.watch(kernel)
      with tf.GradientTape() as inner:
        inner.watch(image)
        score = tf.reduce_sum(tf.square(halve(image, kernel)))
      loss = tf.reduce_sum(tf.square(inner.gradient(score, image)))
    return outer.gradient(loss, kernel)

  expected = penalty(lambda x, kernel: tf.nn.conv2d(x, kernel, 2, "SAME"))
  np.testing.assert_allclose(penalty(convolutions.halve), expected, rtol=1e-3)


def test_compiled_by_xla_they_are_the_same():
  maps, kernel = _images(2, 4, 4, 3), _images(4, 4, 1, 3)
  compiled = tf.function(convolutions.double, jit_compile=True)
  np.testing.assert_allclose(compiled(maps, kernel), convolutions.double(maps, kernel), rtol=1e-4,
                             atol=1e-5)
