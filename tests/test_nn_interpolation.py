"""Paths between latents, and how often an image is halved."""

import numpy as np
import pytest
import tensorflow as tf

from aigc_tf.errors import UserError
from aigc_tf.nn import interpolation
from aigc_tf.nn import pyramid


def latents(rows, width=16, seed=0):
  return np.random.default_rng(seed).normal(size=(rows, width)).astype(np.float32)


def on_sphere(rows, width=16, seed=0):
  x = latents(rows, width, seed)
  return x / np.linalg.norm(x, axis=-1, keepdims=True)


def slerp_of_one(a, b, t):
  """The textbook form for one pair, in float64."""
  a, b = a.astype(np.float64), b.astype(np.float64)
  angle = np.arccos(a @ b / np.linalg.norm(a) / np.linalg.norm(b))
  return (np.sin((1 - t) * angle) * a + np.sin(t * angle) * b) / np.sin(angle)


def test_it_equals_the_formula_pair_by_pair():
  a, b = latents(8, seed=1), latents(8, seed=2)
  t = np.linspace(0, 1, 8, dtype=np.float32)
  expected = [slerp_of_one(*row) for row in zip(a, b, t)]
  np.testing.assert_allclose(interpolation.slerp(a, b, t), expected, atol=2e-6)


def test_its_ends_are_the_ends():
  a, b = latents(5, seed=1), latents(5, seed=2)
  np.testing.assert_allclose(interpolation.slerp(a, b, tf.zeros(5)), a, atol=1e-6)
  np.testing.assert_allclose(interpolation.slerp(a, b, tf.ones(5)), b, atol=1e-6)


def test_it_stays_on_the_sphere_at_even_angles():
  a, b = on_sphere(1, seed=3), on_sphere(1, seed=4)
  t = tf.linspace(0.0, 1.0, 11)
  path = interpolation.slerp(np.repeat(a, 11, 0), np.repeat(b, 11, 0), t).numpy()
  np.testing.assert_allclose(np.linalg.norm(path, axis=-1), 1.0, atol=1e-6)
  steps = np.linalg.norm(np.diff(path, axis=0), axis=-1)
  np.testing.assert_allclose(steps, steps.mean(), rtol=1e-4)


@pytest.mark.parametrize("other", [1.0, 2.0, -1.0])
def test_parallel_and_opposite_vectors_give_the_straight_line(other):
  a = on_sphere(3)
  middle = interpolation.slerp(a, other * a, tf.fill([3], 0.25)).numpy()
  # 1e-4: acos near +-1 in float32 is good to about its square root, 3e-4 of an angle.
  np.testing.assert_allclose(middle, (0.75 + 0.25 * other) * a, atol=1e-4)


def test_a_closed_path_visits_each_latent_and_returns():
  latent = latents(3)
  path = interpolation.closed_path(tf.constant(latent), 4).numpy()
  assert path.shape == (12, 16)
  for i in range(3):
    for frame in range(4):
      expected = slerp_of_one(latent[i], latent[(i + 1) % 3], frame / 4)
      np.testing.assert_allclose(path[4 * i + frame], expected, atol=2e-6)


def test_a_path_through_one_latent_stands_still():
  latent = latents(1)
  path = interpolation.closed_path(tf.constant(latent), 5)
  np.testing.assert_allclose(path, np.repeat(latent, 5, 0), atol=1e-6)


@pytest.mark.parametrize("size,levels", [
    (8, [8, 4]), (12, [12, 6, 3]), (28, [28, 14, 7, 4]), (64, [64, 32, 16, 8, 4])])
def test_sizes_of_a_pyramid(size, levels):
  assert pyramid.sizes(size) == levels


def test_every_level_doubled_covers_the_one_above():
  for size in range(8, 513, 4):
    levels = pyramid.sizes(size)
    assert levels[0] == size and 3 <= levels[-1] <= 4
    for large, small in zip(levels, levels[1:]):
      assert large <= 2 * small <= large + 1  # one row is cropped at most


@pytest.mark.parametrize("size,better", [(30, 32), (4, 8), (7, 8), (27, 28), (0, 8)])
def test_other_sizes_are_refused_with_a_better_one(size, better):
  with pytest.raises(UserError, match=f"data.size={size}.*try --recipe.data.size={better}$"):
    pyramid.sizes(size)
