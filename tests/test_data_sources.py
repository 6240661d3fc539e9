"""TFDS names and our own builders: small and large, prepared and offline, and their true counts."""

import collections
import subprocess
import sys

import ml_collections
import numpy as np
import pytest
import tensorflow_datasets as tfds

from aigc_tf import doctor
from aigc_tf.data import decoded
from aigc_tf.data import images
from aigc_tf.data import tfds_source
from aigc_tf.data.builders import fluent_emoji
from aigc_tf.errors import UserError

OFF = {"rotate_degrees": 0.0, "crop_pixels": 0, "flip": False, "colour": 0.0, "noise": 0.0}


class TinyPhotos(tfds.core.GeneratorBasedBuilder):
  """70 images of 12x10 with two classes, as a published builder would look."""

  name = "tiny_photos"
  VERSION = tfds.core.Version("1.0.0")

  def _info(self):
    return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict({
        "picture": tfds.features.Image(shape=(12, 10, 3)),
        "kind": tfds.features.ClassLabel(names=["day", "night"])}))

  def _split_generators(self, dl_manager):
    return {"train": self._generate_examples(0, 50), "test": self._generate_examples(50, 70)}

  def _generate_examples(self, start, end):
    for i in range(start, end):
      yield i, {"picture": tiny_photo(i), "kind": i % 2}


class FarPhotos(TinyPhotos):
  """Not prepared, and its host does not answer."""

  name = "far_photos"
  url_infos = {"https://localhost/photos.zip": None}


class NoPhotos(TinyPhotos):
  """Numbers only."""

  name = "no_photos"

  def _info(self):
    return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict({"x": np.int64}))

  def _split_generators(self, dl_manager):
    return {"train": ((i, {"x": i}) for i in range(3))}


def tiny_photo(i):
  return np.random.default_rng(i).integers(0, 256, (12, 10, 3), dtype=np.uint8)


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
  monkeypatch.setenv("AIGC_TF_CACHE", str(tmp_path / "cache"))
  monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "tfds"))


def config(name="tiny_photos", size=10, channels=3):
  return ml_collections.ConfigDict({"name": name, "split": "train", "size": size, "batch_size": 8,
                                    "channels": channels, "augment": OFF})


def take(cfg, count, position=0):
  return list(images.load(cfg, "train", 3, position).take(count).as_numpy_iterator())


def test_published_name_keeps_its_own_splits_classes_and_pixels():
  spec = images.spec(config())
  assert spec["class_names"] == ["day", "night"] and spec["num_examples"] == 50
  test = images.arrays(config(), "test")
  expected = {tiny_photo(i)[1:11].tobytes(): i % 2 for i in range(50, 70)}  # the centre square
  assert {image.tobytes(): label for image, label in zip(test["image"], test["label"])} == expected


def test_data_too_large_for_memory_gives_the_same_batches(tmp_path, monkeypatch):
  small, small_spec, small_test = take(config(), 9), images.spec(config()), images.arrays(
      config(), "test")
  monkeypatch.setattr(decoded, "MEMORY_LIMIT_BYTES", 1000)
  monkeypatch.setenv("AIGC_TF_CACHE", str(tmp_path / "other"))
  large = take(config(), 9)
  assert list((tmp_path / "other").glob("decoded/*/" + decoded.RECORDS))
  for one, other in zip(small, large):
    for key in one:
      np.testing.assert_array_equal(one[key], other[key])
  assert images.spec(config()) == small_spec
  np.testing.assert_array_equal(images.arrays(config(), "test")["image"], small_test["image"])
  for one, other in zip(take(config(), 2, position=7), large[7:]):
    np.testing.assert_array_equal(one["image"], other["image"])


def test_data_prepared_as_array_record_is_read_too(tmp_path):
  tfds.builder("tiny_photos", data_dir=str(tmp_path / "tfds"),
               file_format="array_record").download_and_prepare()
  assert len(images.arrays(config(), "all")["label"]) == 70


def test_grey_from_colour():
  grey = images.arrays(config(channels=1), "all")["image"]
  colour = images.arrays(config(), "all")["image"].astype(float)
  luma = colour @ [0.299, 0.587, 0.114]  # ITU-R 601-2
  assert grey.shape[-1] == 1 and np.abs(grey[..., 0] - luma).max() <= 1


@pytest.mark.parametrize("name,message", [
    ("far_photos", "host localhost cannot be reached"), ("no_photos", "has no images"),
    ("minst_5k", "did you mean mnist_5k"), ("cifar_10", "cifar10"),
    ("photos/of/cats", "no folder")])
def test_what_cannot_be_had_is_one_line(name, message, capsys):
  with pytest.raises(UserError, match=message):
    images.spec(config(name))
  assert doctor.main(["doctor", f"--data={name}"]) == 1
  said = capsys.readouterr().err.strip().splitlines()
  assert len(said) == 1 and said[0].startswith("error: ")


def test_doctor_counts_a_data_set(capsys):
  assert doctor.main(["doctor", "--data=tiny_photos"]) == 0
  assert capsys.readouterr().out.splitlines()[-2:] == [
      "tiny_photos: 70 images, 50 to train on and 20 held out", "2 classes: day 35, night 35"]


def test_doctor_checks_the_installation(capsys, tmp_path, monkeypatch):
  assert doctor.main(["doctor"]) == 0
  lines = capsys.readouterr().out.splitlines()
  assert all(line.startswith("ok ") for line in lines)
  for word in ("Python", "tensorflow", "keras", "tensorboard", "CPU:0", "cache", "npm", "models"):
    assert any(word in line for line in lines)
  (tmp_path / "file").write_text("")
  monkeypatch.setenv("AIGC_TF_CACHE", str(tmp_path / "file" / "below"))
  assert doctor.main(["doctor"]) == 1
  assert "BAD   cache folder" in capsys.readouterr().out


def test_codes_of_both_icon_packages_meet():
  for written, plain in (("0023-FE0F-20E3", "23-20e3"), ("00a9-fe0f", "a9"),
                         ("1f3f4-e0067_e0062", "1f3f4-e0067-e0062"),
                         ("1F3F4-E0067-E0062-E007F", "1f3f4-e0067-e0062")):
    assert fluent_emoji.plain_code(written) == plain


@pytest.mark.network
def test_processes_may_start_at_once():
  code = ("from aigc_tf.data import images\n"
          "from ml_collections import ConfigDict\n"
          "cfg = ConfigDict({'name': 'mnist_5k', 'split': 'all', 'size': 28, 'channels': 1})\n"
          "print(images.spec(cfg)['num_examples'])\n")
  started = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
             for _ in range(3)]
  assert [process.communicate()[0] for process in started] == ["5000\n"] * 3


@pytest.mark.network
def test_mnist_5k_counts(capfd):
  cfg = config("mnist_5k", 28, 1)
  whole = images.arrays(cfg, "all")
  assert whole["image"].shape == (5000, 28, 28, 1)
  assert np.bincount(whole["label"]).tolist() == [500] * 10
  held_out = len(images.arrays(cfg, "test")["label"])
  assert abs(held_out - 500) < 4 * np.sqrt(5000 * 0.1 * 0.9)  # four standard errors
  assert len({image.tobytes() for image in whole["image"]}) == 5000
  said = capfd.readouterr()
  assert said.out == ""  # TFDS's boxes are held back


@pytest.mark.network
def test_fluent_emoji_counts():
  cfg = config("fluent_emoji", 16)
  whole = images.arrays(cfg, "all")
  assert whole["image"].shape == (3391, 16, 16, 3)
  counts = dict(zip(fluent_emoji.GROUPS, np.bincount(whole["label"], minlength=10).tolist()))
  assert counts == {
      "smileys-emotion": 167, "people-body": 1881, "component": 0, "animals-nature": 157,
      "food-drink": 128, "travel-places": 218, "activities": 85, "objects": 261, "symbols": 238,
      "flags": 256}
  builder = tfds_source.own_builder("fluent_emoji", 16)
  sides = collections.defaultdict(set)
  for split in ("train", "test"):
    for row in tfds.as_numpy(builder.as_dataset(split=split)):
      assert row["english"] and row["chinese"]
      sides[row["english"].decode().partition(":")[0]].add(split)
      if row["code"] == b"1f44b":
        assert row["english"] == b"waving hand" and row["chinese"].decode() == "挥手"
  assert len(sides["waving hand"]) == 1  # all skin tones on one side of the split
