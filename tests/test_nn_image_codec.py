"""Pixels and PNG files, against NumPy and Pillow."""

import io

import numpy as np
from PIL import Image
import pytest
import tensorflow as tf

from aigc_tf.nn import image_codec


def test_every_level_survives_the_way_to_float_and_back():
  levels = np.arange(256, dtype=np.uint8)
  floats = image_codec.to_float(levels).numpy()
  np.testing.assert_allclose(floats, levels / 127.5 - 1, atol=1e-7)
  np.testing.assert_array_equal(image_codec.to_uint8(floats), levels)


def test_to_uint8_rounds_to_the_nearest_level_and_clips():
  values = np.array([-3.0, -1.0, -0.999, 0.5, 1.0, 7.0], np.float32)
  np.testing.assert_array_equal(image_codec.to_uint8(values), [0, 0, 0, 191, 255, 255])


@pytest.mark.parametrize("channels", [1, 3])
def test_encode_png_is_lossless_for_pillow(channels):
  pixels = np.random.default_rng(0).integers(0, 256, (3, 5, 7, channels), np.uint8)
  files = image_codec.encode_png(pixels).numpy()
  for file, expected in zip(files, pixels, strict=True):
    decoded = np.asarray(Image.open(io.BytesIO(file))).reshape(expected.shape)
    np.testing.assert_array_equal(decoded, expected)


def test_outputs_of_no_rows_in_a_graph():
  function = tf.function(image_codec.outputs,
                         input_signature=[tf.TensorSpec([None, 4, 4, 1], tf.float32)])
  answer = function(tf.zeros([0, 4, 4, 1]))
  assert answer["image_bytes"].shape == [0]
  assert answer["image"].shape == [0, 4, 4, 1]
