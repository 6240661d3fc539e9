"""The promises that every image model keeps, beside those of all models."""

import numpy as np
import pytest
import tensorflow as tf

from aigc_tf.nn import image_codec
from tests.cases import CASES
from tests.cases import SEEDS

each_case = pytest.mark.parametrize(
    "case", [case for case in CASES if case.spec["modality"] == "images"],
    ids=lambda case: case.name)


def knobs(case, rows):
  return {"label": tf.range(rows, dtype=tf.int32)} if case.keywords.get("conditional") else {}


@each_case
def test_generate_gives_images_of_the_spec_in_range(case):
  image = case.build().generate(SEEDS)["image"]
  assert image.shape == (5, case.spec["size"], case.spec["size"], case.spec["channels"])
  assert image.dtype == tf.float32
  assert -1 <= float(tf.reduce_min(image)) < float(tf.reduce_max(image)) <= 1


@each_case
def test_a_row_alone_equals_the_row_in_a_batch(case):
  model = case.build()
  together = model.generate(SEEDS, **knobs(case, 5))["image"]
  for i in range(5):
    label = {key: value[i:i + 1] for key, value in knobs(case, 5).items()}
    alone = model.generate(SEEDS[i:i + 1], **label)["image"]
    # Matrix products of one row and of five may differ in the last bits.
    np.testing.assert_allclose(alone[0], together[i], atol=2e-6)


@each_case
def test_same_seed_same_sample_other_seed_other_sample(case):
  model = case.build()
  a, b = (model.generate([3, 4], **knobs(case, 2))["image"].numpy() for _ in range(2))
  np.testing.assert_array_equal(a, b)
  assert np.abs(a[0] - a[1]).max() > 1e-3


@each_case
def test_zero_truncation_makes_all_latents_one(case):
  model = case.build()
  label = {key: value[:1].numpy().repeat(2) for key, value in knobs(case, 1).items()}
  image = model.generate([3, 4], truncation=0.0, **label)["image"]
  np.testing.assert_array_equal(image[0], image[1])


@each_case
def test_interpolation_passes_through_its_seeds(case):
  model = case.build()
  label = knobs(case, 3)
  path = model.interpolate([1, 2, 3], 4, **label)["image"]
  assert path.shape[0] == 12
  np.testing.assert_allclose(path[::4], model.generate([1, 2, 3], **label)["image"], atol=1e-5)


@each_case
def test_serving_default_is_generate_as_png(case):
  model = case.build()
  function, inputs = model.endpoints()["serving_default"]
  label = knobs(case, 5)
  assert inputs.keys() == {"seed", *label}
  answer = function(seed=SEEDS, **label)
  expected = image_codec.to_uint8(model.generate(SEEDS, **label)["image"])
  np.testing.assert_array_equal(answer["image"], expected)
  np.testing.assert_array_equal(tf.io.decode_png(answer["image_bytes"][4]), expected[4])


@each_case
def test_previews_are_named_images(case):
  model, batch = case.build(), case.batch()
  previews = model.previews(batch, SEEDS)
  assert previews["samples"]["image"].shape[0] == 5
  assert all(outputs["image"].shape.rank == 4 for outputs in previews.values())
