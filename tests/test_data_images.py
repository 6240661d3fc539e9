"""Images: batches, splits, resuming and augmentation, on the generated set and against NumPy."""

import json

import ml_collections
import numpy as np
import pytest
import tensorflow as tf

from aigc_tf.data import augment
from aigc_tf.data import images
from aigc_tf.errors import UserError

ALL_ON = {"rotate_degrees": 20.0, "crop_pixels": 2, "flip": True, "colour": 0.2, "noise": 0.1}


def config(**change):
  cfg = ml_collections.ConfigDict({
      "modality": "images", "name": "fake", "split": "train", "size": 12, "channels": 3,
      "batch_size": 8, "augment": {"rotate_degrees": 0.0, "crop_pixels": 0, "flip": False,
                                   "colour": 0.0, "noise": 0.0}})
  cfg.update(change)
  return cfg


def take(cfg, count, position=0, context=None, split="train"):
  loaded = images.load(cfg, split, 7, position, context)
  return list(loaded.take(count).as_numpy_iterator())


def picture(rows=5, size=9, channels=3):
  return np.random.default_rng(0).uniform(-1, 1, (rows, size, size, channels)).astype(np.float32)


@pytest.mark.parametrize("channels", [1, 3])
def test_batches_are_the_arrays_in_float(channels):
  cfg = config(channels=channels)
  rows = images.arrays(cfg, "train")
  pool = {row.tobytes() for row in (rows["image"].astype(np.float32) / 127.5 - 1)}
  for batch in take(cfg, 3):
    assert batch["image"].shape == (8, 12, 12, channels) and batch["image"].dtype == np.float32
    assert batch["label"].dtype == np.int32 and batch["seed"].dtype == np.int64
    assert {row.tobytes() for row in batch["image"]} <= pool
  labels = dict(zip([row.tobytes() for row in rows["image"]], rows["label"]))
  back = np.round((batch["image"] + 1) * 127.5).astype(np.uint8)
  assert [labels[row.tobytes()] for row in back] == batch["label"].tolist()


def test_spec_is_plain_json_and_follows_the_pixels():
  spec = images.spec(config())
  assert json.loads(json.dumps(spec)) == spec
  assert spec["num_classes"] == len(spec["class_names"]) == 10
  assert spec["num_examples"] == len(images.arrays(config(), "train")["label"])
  assert spec["fingerprint"] != images.spec(config(size=16))["fingerprint"]


def test_splits_are_disjoint_and_whole():
  parts = {split: {row.tobytes() for row in images.arrays(config(), split)["image"]}
           for split in ("train", "test", "all")}
  assert len(parts["all"]) == 64 and parts["train"] | parts["test"] == parts["all"]
  assert parts["test"] and not parts["train"] & parts["test"]
  with pytest.raises(UserError, match="train, test, all"):
    images.arrays(config(), "valid")


@pytest.mark.parametrize("position", [1, 9, 40])
def test_resumed_batches_are_bit_equal(position):
  cfg = config(augment=ALL_ON)
  for whole, rest in zip(take(cfg, position + 3)[position:], take(cfg, 3, position)):
    for key in whole:
      np.testing.assert_array_equal(rest[key], whole[key])


def test_two_pipelines_make_the_single_batch():
  cfg = config(augment=ALL_ON)
  contexts = [tf.distribute.InputContext(2, i, 2) for i in range(2)]
  halves = [take(cfg, 4, position=5, context=context) for context in contexts]
  for whole, *parts in zip(take(cfg, 4, position=5), *halves):
    for key in whole:
      np.testing.assert_array_equal(np.concatenate([part[key] for part in parts]), whole[key])


def test_a_row_is_augmented_alike_in_any_batch():
  cfg = ml_collections.ConfigDict(ALL_ON)
  seed = tf.range(11, 50, dtype=tf.int64)
  rows = tf.constant(picture(39))
  whole = augment.apply(rows, seed, cfg).numpy()
  for size in (1, 2, 13):  # places within a vector register that differ from the whole batch's
    parts = [augment.apply(rows[i:i + size], seed[i:i + size], cfg) for i in range(0, 39, size)]
    np.testing.assert_array_equal(np.concatenate(parts), whole)
  assert np.abs(whole - rows).max() > 0.1 and np.abs(whole).max() <= 1


def test_everything_switched_off_is_the_identity():
  cfg = config().augment
  np.testing.assert_array_equal(augment.apply(picture(), tf.zeros(5, tf.int64), cfg), picture())
  nothing = tf.zeros(5)
  whole = tf.ones(5)
  np.testing.assert_array_equal(augment.recolour(picture(), nothing, nothing, nothing), picture())
  np.testing.assert_allclose(augment.rotate(picture(), whole, nothing), picture(), atol=1e-6)
  still = tf.zeros(5, tf.int32)
  np.testing.assert_array_equal(augment.shift(picture(), still, still), picture())


def test_shift_is_a_window_of_the_mirrored_image():
  down, right = np.array([[2, -3, 0, 1, -1], [-2, 0, 3, 1, -1]], np.int32)
  found = augment.shift(tf.constant(picture()), tf.constant(down), tf.constant(right))
  for row, image in enumerate(picture()):
    padded = np.pad(image, ((3, 3), (3, 3), (0, 0)), mode="reflect")
    top, left = 3 - down[row], 3 - right[row]
    np.testing.assert_array_equal(found[row], padded[top:top + 9, left:left + 9])


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_quarter_turns_are_exact(turns):
  radians = np.full(5, turns * np.pi / 2, np.float32)
  expected = np.rot90(picture(), turns, axes=(1, 2))
  found = augment.rotate(picture(), tf.cos(radians), tf.sin(radians))
  np.testing.assert_allclose(found, expected, atol=1e-5)


def test_flip_takes_half_of_the_rows():
  cfg = ml_collections.ConfigDict({**config().augment, "flip": True})
  rows = np.repeat(picture(1), 1000, axis=0)
  found = augment.apply(rows, tf.range(1000, dtype=tf.int64), cfg).numpy()
  flipped = (found == rows[:, :, ::-1]).all(axis=(1, 2, 3))
  kept = (found == rows).all(axis=(1, 2, 3))
  assert (flipped ^ kept).all() and abs(flipped.mean() - 0.5) < 0.064  # four standard errors


def test_recolour_against_numpy():
  brightness, contrast, saturation = (np.linspace(-0.2, 0.2, 5, dtype=np.float32) * sign
                                      for sign in (1, -1, 0.5))
  found = augment.recolour(picture(), brightness, contrast, saturation)
  for row, image in enumerate(picture()):
    image = (1 + contrast[row]) * image + brightness[row]
    grey = image.mean(axis=2, keepdims=True)
    image = grey + (1 + saturation[row]) * (image - grey)
    np.testing.assert_allclose(found[row], image.clip(-1, 1), atol=1e-6)


def test_noise_has_the_strength_asked_for():
  cfg = ml_collections.ConfigDict({**config().augment, "noise": 0.1})
  found = augment.apply(tf.zeros((200, 9, 9, 3)), tf.range(200, dtype=tf.int64), cfg).numpy()
  assert abs(found.std() - 0.1) < 4 * 0.1 / np.sqrt(2 * found.size)
  assert abs(found.mean()) < 4 * 0.1 / np.sqrt(found.size)


def test_negative_strength_is_refused():
  with pytest.raises(UserError, match="augment.noise=-1"):
    images.load(config(augment={"noise": -1.0}), "train", 0, 0)


def test_a_limit_spreads_over_the_split():
  whole, some = images.arrays(config(), "all"), images.arrays(config(), "all", 16)
  np.testing.assert_array_equal(some["label"], whole["label"][::4])  # 16 of 64
