"""Pictures of matrices, against an explicit loop over colours."""

import numpy as np
import pytest
import tensorflow as tf

from aigc_tf.nn import pictures


def looped(matrix, zoom):
  """One matrix, cell by cell.  Returns: float[A * zoom, B * zoom, 3] in 0..255."""
  tall, wide = matrix.shape
  image = np.zeros((tall * zoom, wide * zoom, 3))
  for y in range(tall * zoom):
    for x in range(wide * zoom):
      value = matrix[tall - 1 - y // zoom, x // zoom]
      place = (value - matrix.min()) / (matrix.max() - matrix.min()) * 9
      image[y, x] = [np.interp(place, range(10), channel) for channel in zip(*pictures.COLOURS)]
  return image


@pytest.mark.parametrize("zoom", [1, 3])
def test_heat_equals_a_loop(zoom):
  matrix = np.random.default_rng(0).normal(size=(2, 5, 7)).astype(np.float32)
  image = pictures.heat(matrix, zoom).numpy()
  assert image.shape == (2, 5 * zoom, 7 * zoom, 3)
  for made, one in zip(image, matrix):
    # A twentieth of a level: float32 against double.
    np.testing.assert_allclose((made + 1) * 127.5, looped(one, zoom), atol=0.05)


def test_ends_of_the_scale_lie_where_they_should():
  ramp = np.arange(6, dtype=np.float32)[:, None] * np.ones(4, np.float32)
  image = (pictures.heat(ramp[None], zoom=1)[0].numpy() + 1) * 127.5
  np.testing.assert_allclose(image[-1, 0], pictures.COLOURS[0], atol=0.01)  # row 0 at the bottom
  np.testing.assert_allclose(image[0, 0], pictures.COLOURS[-1], atol=0.01)
  assert np.all(np.diff(image[::-1].sum(axis=-1), axis=0) > 0)  # brighter at each step


def test_each_picture_has_its_own_scale_and_one_value_is_dark():
  small = np.random.default_rng(1).uniform(size=(1, 4, 4)).astype(np.float32)
  both = np.concatenate([small, 100 * small, np.full_like(small, 7.0)])
  image = pictures.heat(both).numpy()
  np.testing.assert_allclose(image[0], image[1], atol=1e-5)
  darkest = np.array(pictures.COLOURS[0]) / 127.5 - 1
  np.testing.assert_allclose(image[2], np.broadcast_to(darkest, (8, 8, 3)), atol=1e-6)


def test_graph_of_unknown_shape_gives_the_same():
  matrix = tf.constant(np.random.default_rng(2).normal(size=(2, 3, 4)), tf.float32)
  graph = tf.function(pictures.heat, input_signature=[tf.TensorSpec([None, None, None])])
  np.testing.assert_allclose(graph(matrix), pictures.heat(matrix), atol=1e-6)
