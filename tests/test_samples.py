"""Pictures of samples: layout against a loop, rounding, files."""

import numpy as np
from PIL import Image
from PIL import ImageSequence
import pytest

from aigc_tf import generate
from aigc_tf import recipe
from aigc_tf import runs
from aigc_tf import samples
from aigc_tf.data import images as data
from aigc_tf.generation import images


def pictures(number, height=5, width=4, channels=3):
  return np.random.default_rng(0).integers(0, 256, (number, height, width, channels), np.uint8)


@pytest.mark.parametrize("number,columns,gap", [
    (1, None, 2), (4, None, 2), (7, None, 2), (7, 2, 1), (6, 6, 0), (3, 5, 2)])
def test_grid_equals_an_explicit_loop(number, columns, gap):
  shown = pictures(number)
  sheet = samples.grid(shown, columns, gap)
  wide = columns or int(np.ceil(np.sqrt(number)))
  tall = -(-number // wide)
  assert sheet.shape == (tall * (5 + gap) - gap, wide * (4 + gap) - gap, 3)
  expected = np.full(sheet.shape, 255, np.uint8)
  for n in range(number):
    for y in range(5):
      for x in range(4):
        expected[n // wide * (5 + gap) + y, n % wide * (4 + gap) + x] = shown[n, y, x]
  np.testing.assert_array_equal(sheet, expected)


def test_to_uint8_is_the_inverse_of_the_range_conversion():
  every = np.arange(256, dtype=np.uint8)
  np.testing.assert_array_equal(samples.to_uint8(every / 127.5 - 1), every)
  np.testing.assert_array_equal(samples.to_uint8([-9.0, 9.0]), [0, 255])
  assert samples.to_uint8(every) is every


@pytest.mark.parametrize("channels,mode", [(1, "L"), (3, "RGB")])
def test_png_holds_the_pixels_and_nothing_else_is_left(tmp_path, channels, mode):
  image = pictures(1, channels=channels)[0]
  samples.write_png(tmp_path / "x.png", image)
  with Image.open(tmp_path / "x.png") as read:
    assert read.mode == mode
    np.testing.assert_array_equal(np.asarray(read).reshape(image.shape), image)
  assert [p.name for p in tmp_path.iterdir()] == ["x.png"]


def test_gif_has_every_frame_at_its_speed(tmp_path):
  flat = np.stack([np.full((6, 6, 1), shade, np.uint8) for shade in (0, 80, 160, 240)])
  samples.write_gif(tmp_path / "x.gif", flat, frames_per_second=10)
  with Image.open(tmp_path / "x.gif") as read:
    assert read.n_frames == 4 and read.info["duration"] == 100 and read.info["loop"] == 0
    for i, shade in enumerate((0, 80, 160, 240)):
      read.seek(i)
      assert abs(int(np.asarray(read.convert("L"))[3, 3]) - shade) <= 1


def test_preview_is_one_grid_in_a_new_folder(tmp_path):
  image = pictures(4).astype(np.float32) / 127.5 - 1
  samples.write_preview(tmp_path / "samples" / "step_000010", {"image": image})
  with Image.open(tmp_path / "samples" / "step_000010.png") as read:
    np.testing.assert_array_equal(np.asarray(read), samples.grid(pictures(4)))


def test_preview_of_texts_is_one_file_in_order(tmp_path):
  texts = np.array(["静夜思\n床前明月光".encode(), b"two\n\n", b"broken \xff"], object)
  samples.write_preview(tmp_path / "samples" / "step_000010", {"text": texts})
  file, = (tmp_path / "samples").iterdir()
  assert file.name == "step_000010.txt"
  written = file.read_text(encoding="utf-8").split("-" * 40)
  assert [part.strip("\n") for part in written] == ["静夜思\n床前明月光", "two", "broken �"]


# --- many images, made in parts


@pytest.fixture(scope="module")
def config():
  return recipe.load("vae_mnist:tiny")


@pytest.fixture(scope="module")
def model(config):
  return runs.build_model(config, data.spec(config.data))


def made(mode, model, config, folder):
  """What a mode writes of 5 samples, as arrays."""
  folder.mkdir()
  images.MODES[mode](model, config, generate.Options(5, 7, folder, {}, None, ()))
  written = {}
  for path in folder.iterdir():
    with Image.open(path) as image:
      frames = [np.asarray(frame.convert("L"), int) for frame in ImageSequence.Iterator(image)]
      written[path.name] = np.stack(frames)
  return written


@pytest.mark.parametrize("mode,setting,rows", [
    ("interpolate", "WALK_SEEDS", [3, 3, 2]),  # each with the first of the next
    ("reconstruct", "BATCH_ROWS", [2, 2, 1]),
])
def test_parts_make_the_same_pictures(mode, setting, rows, model, config, tmp_path, monkeypatch):
  whole = made(mode, model, config, tmp_path / "whole")
  function, seen = getattr(model, mode), []

  def watched(given, *rest, **knobs):
    seen.append(len(given))
    return function(given, *rest, **knobs)
  monkeypatch.setattr(model, mode, watched)
  monkeypatch.setattr(images, setting, 2)
  parts = made(mode, model, config, tmp_path / "parts")
  assert seen == rows and parts.keys() == whole.keys()
  for name, pixels in parts.items():
    assert np.abs(pixels - whole[name]).max() <= 1, name
