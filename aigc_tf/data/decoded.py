"""Decoded images, made once and kept in the cache: what every source of images ends in.

A source yields (pixels, label, is_test) one by one; here they become one array of uint8 (or, where
that would not fit into memory, one ArrayRecord file read by index) beside the labels.

Axes: N examples, H W pixels (H = W = size), C channels.
"""

import functools
import hashlib
import json
import os
import sys
from typing import NamedTuple
import zipfile

from array_record.python import array_record_module
import numpy as np
import tqdm

from aigc_tf.data import cached

FORMAT = 2  # of the decoded folders: raise it when the same source would decode differently
MEMORY_LIMIT_BYTES = 512 * 2**20  # of uint8 pixels; above it they are read from the disk
RECORDS = "image.arrayrecord"


class Source(NamedTuple):
  """Where images come from.

  key: what JSON can hold, the same as long as the examples are.
  open: function() -> Opened, called only where the decoded images are not in the cache.
  """
  key: dict
  open: object


class Opened(NamedTuple):
  """num_examples: int, at most.  class_names: list of str, [] without labels.

  examples: iterable of (uint8[H, W, C], int label, bool is_test).
  problems: list of (file, why it was skipped), complete after `examples` is read.
  """
  num_examples: int
  class_names: list
  examples: object
  problems: list = []


class Decoded(NamedTuple):
  """images: uint8[N, H, W, C], an array or Records.  labels: int32[N].  held_out: bool[N].

  class_names: list of str.  fingerprint: hex SHA-256 of all pixels, then all labels.
  """
  images: object
  labels: np.ndarray
  held_out: np.ndarray
  class_names: list
  fingerprint: str


class Records:
  """An ArrayRecord file that is indexed like uint8[N, H, W, C], by an array of row numbers."""

  def __init__(self, path, shape):
    """path: str.  shape: (N, H, W, C)."""
    self.shape = tuple(shape)
    self._reader = array_record_module.ArrayRecordReader(path, "readahead_buffer_size:0")
    if self._reader.num_records() != self.shape[0]:
      raise ValueError(f"{RECORDS} holds {self._reader.num_records()} of {self.shape[0]} images")

  def __getitem__(self, index):
    """index: int64[b].  Returns: uint8[b, H, W, C]."""
    rows = self._reader.read([int(row) for row in index])
    return np.frombuffer(b"".join(rows), np.uint8).reshape(-1, *self.shape[1:])


def open_or_make(source, size, channels):
  """Decoded images of a source, from the cache if they are there.

  source: Source of pixels that already have this size and these channels.
  Returns: Decoded.  Raises: UserError.
  """
  settings = {"format": FORMAT, "size": size, "channels": channels, **source.key}
  return cached.open_or_make("decoded", settings, lambda folder: _make(source, folder, settings),
                             _read, source.key.get("folder"))


def _make(source, folder, settings):
  opened = source.open()
  size, channels = settings["size"], settings["channels"]
  large = opened.num_examples * size * size * channels > MEMORY_LIMIT_BYTES
  labels, held_out, digest = [], [], hashlib.sha256()

  def images():
    for image, label, is_test in tqdm.tqdm(opened.examples, "decoding images",
                                           opened.num_examples, leave=False, delay=2, disable=None):
      labels.append(label)
      held_out.append(is_test)
      digest.update(image.tobytes())
      yield image
  (_write_records if large else _write_array)(images(), folder)
  labels = np.array(labels, np.int32)
  digest.update(labels.tobytes())
  _tell(opened.problems, len(labels))
  np.savez(folder / "rest.npz", label=labels, held_out=np.array(held_out))
  (folder / "meta.json").write_text(json.dumps({
      "settings": settings, "shape": [len(labels), size, size, channels],
      "class_names": opened.class_names, "fingerprint": digest.hexdigest(),
      "problems": opened.problems}, indent=1), encoding="utf-8")


def _write_array(images, folder):
  np.save(folder / "image.npy", np.stack(list(images)))


def _write_records(images, folder):
  # One record a group: read by index, never in order. Pixels hardly compress.
  writer = array_record_module.ArrayRecordWriter(
      str(folder / RECORDS), "group_size:1,uncompressed")
  for image in images:
    writer.write(image.tobytes())
  writer.close()


def _tell(problems, num_kept):
  if problems:
    first = "; ".join(f"{name}: {why}" for name, why in problems[:5])
    more = f"; and {len(problems) - 5} more" if len(problems) > 5 else ""
    print(f"data: {num_kept} images kept, {len(problems)} files skipped ({first}{more})",
          file=sys.stderr)


def _read(folder):
  try:
    return _open(folder)
  except (RuntimeError, zipfile.BadZipFile) as error:  # what the libraries make of a cut file
    raise ValueError(str(error)) from error


@functools.lru_cache(maxsize=4)
def _open(folder):
  with open(f"{folder}/meta.json", encoding="utf-8") as file:
    meta = json.load(file)
  with open(f"{folder}/rest.npz", "rb") as file, np.load(file) as rest:
    labels, held_out = rest["label"], rest["held_out"]
  records = f"{folder}/{RECORDS}"
  images = (Records(records, meta["shape"]) if os.path.exists(records)
            else np.load(f"{folder}/image.npy", mmap_mode="r"))
  return Decoded(images, labels, held_out, meta["class_names"], meta["fingerprint"])


def fingerprint(images, labels):
  """Hex SHA-256 of pixels and labels.  images: uint8[N, H, W, C].  labels: int32[N]."""
  return hashlib.sha256(images.tobytes() + labels.tobytes()).hexdigest()
