"""Decoded images, made once and kept in the cache: what every source of images ends in.

A source yields (pixels, label, is_test) one by one; here they become one array of uint8 (or, where
that would not fit into memory, one ArrayRecord file read by index) beside the labels. The folder
appears by one rename, and its name is a hash of the source and the settings.

Axes: N examples, H W pixels (H = W = size), C channels.
"""

import functools
import hashlib
import json
import sys
from typing import NamedTuple

import numpy as np

from aigc_tf.data import packages

FORMAT = 1  # of the decoded folders: raise it when the same source would decode differently


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
  """images: uint8[N, H, W, C].  labels: int32[N].  held_out: bool[N].  class_names: list of str."""
  images: object
  labels: np.ndarray
  held_out: np.ndarray
  class_names: list
  fingerprint: str


def open_or_make(source, size, channels):
  """Decoded images of a source, from the cache if they are there.

  source: Source of pixels that already have this size and these channels.
  Returns: Decoded.  Raises: UserError.
  """
  settings = {"format": FORMAT, "size": size, "channels": channels, **source.key}
  text = json.dumps(settings, sort_keys=True)
  name = hashlib.sha256(text.encode()).hexdigest()[:20]
  folder = packages.cache_dir() / "decoded" / name
  if not folder.exists():
    with packages.staged(folder) as temporary:
      _make(source, temporary, text)
  return _open(str(folder))


def _make(source, folder, text):
  images, labels, held_out = [], [], []
  opened = source.open()
  for image, label, is_test in opened.examples:
    images.append(image)
    labels.append(label)
    held_out.append(is_test)
  np.save(folder / "image.npy", np.stack(images))
  np.savez(folder / "rest.npz", label=np.array(labels, np.int32), held_out=np.array(held_out))
  _tell(opened.problems, len(images))
  (folder / "meta.json").write_text(json.dumps(
      {"settings": json.loads(text), "class_names": opened.class_names,
       "problems": opened.problems},
      indent=1))


def _tell(problems, num_kept):
  if problems:
    first = "; ".join(f"{name}: {why}" for name, why in problems[:5])
    more = f"; and {len(problems) - 5} more" if len(problems) > 5 else ""
    print(f"data: {num_kept} images kept, {len(problems)} files skipped ({first}{more})",
          file=sys.stderr)


@functools.lru_cache(maxsize=4)
def _open(folder):
  with open(f"{folder}/meta.json", encoding="utf-8") as file:
    meta = json.load(file)
  images = np.load(f"{folder}/image.npy", mmap_mode="r")
  with np.load(f"{folder}/rest.npz") as rest:
    labels, held_out = rest["label"], rest["held_out"]
  return Decoded(images, labels, held_out, meta["class_names"], fingerprint(images, labels))


def fingerprint(images, labels):
  """Hex SHA-256 of pixels and labels.  images: uint8[N, H, W, C].  labels: int32[N]."""
  digest = hashlib.sha256(np.ascontiguousarray(images).tobytes())
  digest.update(np.ascontiguousarray(labels).tobytes())
  return digest.hexdigest()
