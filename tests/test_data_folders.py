"""A user's own folder: odd files are fitted, bad ones are named and skipped; and the doctor."""

import hashlib
import os
import subprocess
import sys
import time

from array_record.python import array_record_module
import ml_collections
import numpy as np
from PIL import Image
import pytest

from aigc_tf import doctor
from aigc_tf.data import decoded
from aigc_tf.data import folders
from aigc_tf.data import images
from aigc_tf.data import pixels
from aigc_tf.errors import UserError


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
  monkeypatch.setenv("AIGC_TF_CACHE", str(tmp_path / "cache"))


def config(folder, **change):
  return ml_collections.ConfigDict({
      "name": str(folder), "split": "all", "size": 16, "channels": 3, "batch_size": 4,
      "augment": {"rotate_degrees": 0.0, "crop_pixels": 0, "flip": False, "colour": 0.0,
                  "noise": 0.0}, **change})


def picture(seed, height=20, width=20, channels=3):
  shape = (height, width, channels)[:2 if channels == 1 else 3]
  return Image.fromarray(np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8))


@pytest.fixture
def photos(tmp_path):
  """Six good images in two classes, and one bad file of each kind."""
  root = tmp_path / "photos"
  for name in ("cats", "dogs", "dogs/.hidden"):
    (root / name).mkdir(parents=True)
  picture(0).save(root / "cats/a.png")
  picture(1, 40, 21).convert("CMYK").save(root / "cats/b.jpg")
  picture(2, 33, 64, 1).save(root / "cats/c.png")
  picture(3, 16, 16, 4).save(root / "dogs/d.webp", lossless=True)
  picture(4).convert("P").save(root / "dogs/e.GIF")
  Image.fromarray(np.full((18, 18), 40000, np.uint16)).save(root / "dogs/f.tif")
  picture(9).save(root / "dogs/.hidden/never.png")
  (root / "notes.txt").write_text("not an image")
  (root / "cats/empty.png").write_bytes(b"")
  (root / "cats/text.jpg").write_text("no image at all")
  whole = (root / "cats/a.png").read_bytes()
  (root / "dogs/torn.png").write_bytes(whole[:len(whole) // 2])
  picture(5, 7, 90).save(root / "dogs/tiny.png")
  picture(0).save(root / "dogs/again.bmp")
  return root


def test_good_files_are_used_and_bad_ones_named(photos, capsys):
  found = images.arrays(config(photos), "all")
  assert found["image"].shape == (6, 16, 16, 3) and found["image"].dtype == np.uint8
  assert found["label"].tolist() == [0, 0, 0, 1, 1, 1]
  spec = images.spec(config(photos))
  assert spec["class_names"] == ["cats", "dogs"] and spec["num_examples"] == 6
  said = capsys.readouterr().err
  assert "6 images kept, 5 files skipped" in said and said.count("data:") == 1
  assert "cats/empty.png: unreadable" in said and "duplicate of cats/a.png" in said
  assert (found["image"][5] == 40000 // 256).all()  # 16 bits of grey


def test_doctor_names_each_bad_file_and_why(photos, capsys):
  assert doctor.main(["doctor", f"--data={photos}"]) == 0
  lines = capsys.readouterr().out.splitlines()
  skipped = {line.split(": ")[1]: line.split(": ", 2)[2] for line in lines if "skipped: " in line}
  assert sorted(skipped) == ["cats/empty.png", "cats/text.jpg", "dogs/again.bmp", "dogs/tiny.png",
                             "dogs/torn.png"]
  assert skipped["dogs/tiny.png"].startswith("too small: 90x7")
  assert skipped["dogs/again.bmp"] == "duplicate of cats/a.png"
  assert all(skipped[f"{name}"].startswith("unreadable")
             for name in ("cats/empty.png", "cats/text.jpg", "dogs/torn.png"))
  assert "6 images can be used, 5 are skipped; shorter sides 16 to 33 pixels" in lines[5]
  assert lines[6] == "2 classes: cats 3, dogs 3"


def test_decoded_once_and_again_when_a_file_changes(photos, capsys):
  before = images.spec(config(photos))["fingerprint"]
  assert capsys.readouterr().err
  assert images.spec(config(photos))["fingerprint"] == before
  assert not capsys.readouterr().err  # nothing was read again
  picture(6).save(photos / "cats/g.png")
  assert images.spec(config(photos))["num_examples"] == 7


def test_damaged_cache_is_made_again(photos, tmp_path, capsys):
  before = images.arrays(config(photos), "all")["image"].copy()
  for name in ("image.npy", "rest.npz", "meta.json"):
    decoded._open.cache_clear()  # as in a new process
    (file,) = tmp_path.glob(f"cache/decoded/*/{name}")
    file.write_bytes(file.read_bytes()[:100])
    np.testing.assert_array_equal(images.arrays(config(photos), "all")["image"], before)
    assert "is damaged" in capsys.readouterr().err


def test_damaged_records_are_made_again(photos, tmp_path, capsys, monkeypatch):
  monkeypatch.setattr(decoded, "MEMORY_LIMIT_BYTES", 0)
  index = np.arange(6)
  before = images.arrays(config(photos), "all")["image"][index]
  (file,) = tmp_path.glob(f"cache/decoded/*/{decoded.RECORDS}")
  whole = file.read_bytes()
  writer = array_record_module.ArrayRecordWriter(f"{tmp_path}/less", "group_size:1,uncompressed")
  writer.write(before[0].tobytes())
  writer.close()
  for damaged in (b"", whole[:100], whole[:-1], (tmp_path / "less").read_bytes()):
    decoded._open.cache_clear()
    file.write_bytes(damaged)
    np.testing.assert_array_equal(images.arrays(config(photos), "all")["image"][index], before)
    assert "is damaged" in capsys.readouterr().err and file.read_bytes() == whole


def test_only_the_newest_states_of_a_folder_are_kept(photos, tmp_path):
  for number in range(5):
    picture(10 + number).save(photos / f"dogs/{number}.png")
    images.spec(config(photos))
    for folder in tmp_path.glob("cache/decoded/*"):
      os.utime(folder, (time.time() - 2 * 86400 + number,) * 2)
  assert len(list(tmp_path.glob("cache/decoded/*"))) == 3


def test_the_cache_of_a_published_set_keeps_its_name(tmp_path):
  opened = decoded.Opened(1, [], [(np.zeros((8, 8, 1), np.uint8), 0, False)])
  decoded.open_or_make(decoded.Source({"tfds": "toy", "version": "1"}, lambda: opened), 8, 1)
  settings = '{"channels": 1, "format": 2, "size": 8, "tfds": "toy", "version": "1"}'
  (folder,) = tmp_path.glob("cache/decoded/*")
  assert folder.name == hashlib.sha256(settings.encode()).hexdigest()[:20]


@pytest.mark.parametrize("change", [{"size": 0}, {"channels": 2}])
def test_impossible_shapes_are_refused(photos, change):
  with pytest.raises(UserError, match="data.size=.*data.channels="):
    images.spec(config(photos, **change))


def test_full_disk_is_one_line_and_leaves_nothing(photos, tmp_path):
  code = ("import resource, sys\n"
          "from aigc_tf.command import guarded\n"
          "from aigc_tf.data import images\n"
          "from ml_collections import ConfigDict\n"
          f"cfg = ConfigDict({{'name': {str(photos)!r}, 'size': 16, 'channels': 3}})\n"
          "resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))\n"
          "sys.exit(guarded(lambda: images.spec(cfg)))\n")
  done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
  assert done.returncode == 1 and done.stderr.splitlines()[-1].startswith("error: cannot write")
  assert not list((tmp_path / "cache/decoded").iterdir())


def test_split_follows_the_pixels_not_the_names(tmp_path):
  for place, prefix in (("one", "x"), ("two", "y")):
    (tmp_path / place).mkdir()
    for seed in range(40):
      picture(seed, 8, 8).save(tmp_path / place / f"{prefix}{(seed * 7) % 40}.png")
  held_out = [{row.tobytes() for row in images.arrays(config(tmp_path / place, size=8), "test")
               ["image"]} for place in ("one", "two")]
  assert held_out[0] and held_out[0] == held_out[1]
  assert images.spec(config(tmp_path / "one"))["class_names"] == []


def test_deep_grey_is_told_apart_and_the_same_in_any_format(tmp_path):
  root = tmp_path / "deep"
  root.mkdir()
  for name, value in (("a.png", 300), ("b.png", 40_000), ("c.tif", 40_000), ("d.tif", 50_000)):
    Image.fromarray(np.full((18, 18), value, np.uint16)).save(root / name)
  Image.fromarray(np.full((18, 18), 60_000, np.int32)).save(root / "e.tif")
  Image.fromarray(np.full((18, 18), 0.5, np.float32)).save(root / "f.tif")
  found = list(folders.examine(root, folders.image_files(root), 16, 1))
  assert [reason for *_, reason in found] == [
      None, None, "duplicate of b.png", None, None,
      "unreadable: floating-point pixels of no known range: convert them to 8 or 16 bits"]
  kept = [picture for _, picture, _ in found if picture]
  assert [int(picture.pixels[0, 0, 0]) for picture in kept] == [1, 156, 195, 234]
  assert len({picture.digest for picture in kept}) == 4


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P"])
def test_keys_of_ordinary_pictures_never_move(tmp_path, mode):
  file = tmp_path / "a.png"
  picture(7, 20, 24, 4).convert(mode).save(file)
  own = np.asarray(Image.open(file).convert("RGBA"))
  expected = hashlib.sha256(b"(20, 24, 4)" + own.tobytes()).digest()
  assert folders.read(file, 16, 3).digest == expected


def test_links_that_lead_nowhere_and_files_that_fail_are_named(photos, capfd):
  before = images.spec(config(photos))["fingerprint"]
  (photos / "dogs/lost.png").symlink_to(photos / "nowhere.png")
  (photos / "dogs/failing.png").symlink_to("/proc/self/mem")
  os.mkfifo(photos / "dogs/pipe.png")
  (photos / os.fsdecode(b"cats/\xff.png")).write_bytes(b"no UTF-8")
  assert images.spec(config(photos))["fingerprint"] == before
  assert "6 images kept, 8 files skipped" in capfd.readouterr().err
  (photos / os.fsdecode(b"cats/\xff.png")).unlink()
  assert doctor.main(["doctor", f"--data={photos}"]) == 0
  said = capfd.readouterr().out
  assert "skipped: dogs/lost.png: unreadable: [Errno 2] No such file" in said
  assert "skipped: dogs/failing.png: unreadable: [Errno 5]" in said and "pipe" not in said
  picture(8).save(photos / "nowhere.png")
  (photos / "nowhere.png").rename(photos / "cats/found.png")
  (photos / "dogs/lost.png").unlink()
  (photos / "dogs/lost.png").symlink_to(photos / "cats/found.png")
  assert images.spec(config(photos))["num_examples"] == 7


def test_each_folder_is_visited_once_whatever_links_to_it(photos):
  before = folders.files_below(photos, folders.SUFFIXES)
  for name in ("up", "again"):
    (photos / "dogs" / name).symlink_to(photos)
  (photos / "dogs/more").symlink_to(photos / "cats")
  assert folders.files_below(photos, folders.SUFFIXES) == before


def test_training_batches_from_a_folder(photos):
  batch = next(iter(images.load(config(photos, channels=1), "all", 0, 0)))
  assert batch["image"].shape == (4, 16, 16, 1)


def test_what_cannot_be_used_is_one_line(tmp_path, capsys):
  (tmp_path / "empty").mkdir()
  (tmp_path / "bad").mkdir()
  (tmp_path / "bad/a.png").write_text("no")
  for name, message in (("empty", "holds no images"), ("bad", "none of the 1 images"),
                        ("absent", "does not exist"), ("bad/a.png", "is a file")):
    with pytest.raises(UserError, match=message):
      images.spec(config(tmp_path / name))
    assert doctor.main(["doctor", f"--data={tmp_path / name}"]) == 1
    said = capsys.readouterr().err
    assert said.startswith("error: ") and len(said.splitlines()) == 1


def test_alpha_lies_on_white_and_the_centre_is_kept():
  clear = Image.new("RGBA", (10, 10), (255, 0, 0, 0))
  assert (pixels.fit(clear, 10, 3) == 255).all()
  half = np.asarray(pixels.fit(Image.new("RGBA", (10, 10), (0, 0, 0, 128)), 10, 1))
  assert abs(int(half[0, 0, 0]) - 127) <= 1  # Pillow blends in integers
  wide = np.zeros((8, 24, 1), np.uint8)
  wide[:, 8:16] = 200
  assert (pixels.fit_array(wide, 8, 1) == 200).all()


def test_shrinking_is_antialiased():
  stripes = np.tile(np.array([0, 255], np.uint8), (64, 32))[..., None]
  assert abs(pixels.fit_array(stripes, 16, 1).astype(int) - 127.5).max() < 12  # else 0 or 255
