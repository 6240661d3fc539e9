"""When two answers count as equal."""

import numpy as np
import pytest
import tensorflow as tf

from aigc_tf.serving import verify

GREY = np.full([1, 4, 4, 1], 100, np.uint8)


def png(pixels):
  return np.array([tf.io.encode_png(image).numpy() for image in pixels], object)


def wav(samples):
  return np.array([tf.audio.encode_wav(samples[:, None], 16000).numpy()], object)


SINE = np.sin(np.arange(400, dtype=np.float32) / 10) / 2


@pytest.mark.parametrize("name, expected, actual, equal", [
    ("score", np.float32([1e3, 0.0]), np.float32([1e3 + 0.05, 0.05]), True),
    ("score", np.float32([1e3, 0.0]), np.float32([1e3 + 0.2, 0.0]), False),
    ("score", np.float32([np.nan, np.inf]), np.float32([np.nan, np.inf]), True),
    ("score", np.float32([1.0, np.nan]), np.float32([1.0, 2.0]), False),
    ("score", np.zeros([0, 3], np.float32), np.zeros([0, 3], np.float32), True),
    ("score", np.float32([1.0]), np.array([1.0]), False),
    ("score", np.float32([1.0]), np.float32([[1.0]]), False),
    ("image", GREY, GREY + 1, True),
    ("image", GREY, GREY - 2, False),
    ("image_bytes", png(GREY), png(GREY + 1), True),
    ("image_bytes", png(GREY), png(GREY + 2), False),
    ("image_bytes", png(GREY), png(GREY[:, :2]), False),
    ("audio_bytes", wav(SINE), wav(SINE + np.float32(2**-15)), True),
    ("audio_bytes", wav(SINE), wav(SINE * np.float32(0.99)), False),
    ("num_tokens", np.int32([3]), np.int32([4]), False),
    ("text", np.array([b"a"], object), np.array([b"b"], object), False),
    ("text", np.array([b"a", b""], object), np.array([b"a", b""], object), True),
])
def test_difference(name, expected, actual, equal):
  assert (verify.difference(name, expected, actual) == "") == equal
