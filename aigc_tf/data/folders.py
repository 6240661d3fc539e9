"""A user's own folder of images: any size, grey or colour, a subfolder a class.

Files that cannot be used (unreadable, too small, the same picture twice) are named with the reason
and skipped. The key of an image, for the split, is a hash of its own pixels: renaming or moving a
file changes nothing.
"""

from concurrent import futures
import contextlib
import hashlib
import itertools
import os
import pathlib
from typing import NamedTuple
import warnings

import numpy as np
from PIL import Image

from aigc_tf.data import decoded
from aigc_tf.data import pipeline
from aigc_tf.data import pixels
from aigc_tf.errors import UserError

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".ppm", ".pgm")
_CHUNK = 256  # files decoded ahead: bounds the memory


class Picture(NamedTuple):
  """One readable file.  shape: (height, width) of the file.  pixels: uint8[size, size, channels].

  digest: bytes, SHA-256 of the file's own pixels.
  """
  shape: tuple
  pixels: np.ndarray
  digest: bytes


def source(folder, size, channels):
  """The folder as decoded.Source.  Raises: UserError without a folder or without images."""
  root = pathlib.Path(folder).expanduser().resolve()
  files = image_files(root)
  return decoded.Source({"folder": str(root), "listing": listing(root, files)},
                        lambda: _open(root, files, size, channels))


def image_files(root):
  """All images below a folder, sorted; hidden files and folders are left out.

  root: pathlib.Path.  Returns: list of pathlib.Path.  Raises: UserError.
  """
  if not root.exists():
    raise UserError(f"the image folder {root} does not exist")
  if not root.is_dir():
    raise UserError(f"{root} is a file: data.name takes a folder of images")
  found = files_below(root, SUFFIXES)
  if not found:
    raise UserError(f"the folder {root} holds no images ({' '.join(SUFFIXES)})")
  return found


def files_below(root, suffixes):
  """Files of a folder and its subfolders, links followed, hidden ones left out.

  A link that leads nowhere is among them: who reads it says so.
  root: pathlib.Path.  suffixes: tuple of str, lower case.  Returns: sorted list of pathlib.Path.
  """
  found, visited = [], set()
  for place, folders, names in os.walk(root, followlinks=True):
    status = os.stat(place)
    if (status.st_dev, status.st_ino) in visited:  # by a link, perhaps to a folder above
      folders.clear()
      continue
    visited.add((status.st_dev, status.st_ino))
    folders[:] = sorted(name for name in folders if not name.startswith("."))
    found += [pathlib.Path(place, name) for name in names
              if name.lower().endswith(suffixes) and not name.startswith(".")]
  # A pipe or a device might keep its reader waiting forever.
  return sorted(file for file in found if os.path.isfile(file) or not os.path.exists(file))


def listing(root, files):
  """What is another when a file is changed, added or removed.

  root: pathlib.Path.  files: list of pathlib.Path below it.  Returns: str, hex SHA-256.
  """
  digest = hashlib.sha256()
  for file in files:
    line = f"{file.relative_to(root)}\0"
    with contextlib.suppress(OSError):  # such as a link that leads nowhere
      status = file.stat()
      line += f"{status.st_size}\0{status.st_mtime_ns}"
    digest.update(os.fsencode(line + "\n"))  # a name may be no UTF-8
  return digest.hexdigest()


def class_names(root, files):
  """Names of the subfolders, if every image lies in one; else [].  Returns: list of str."""
  parts = [file.relative_to(root).parts for file in files]
  return sorted({part[0] for part in parts}) if all(len(part) > 1 for part in parts) else []


def read(file, size, channels):
  """One file, checked and fitted.

  Returns: Picture.  Raises: ValueError, why the file cannot be used.
  """
  try:
    with Image.open(file) as image:
      image.load()
      own = pixels.own(image)
      fitted = pixels.fit(image, size, channels)
  except Exception as error:  # a damaged file makes Pillow's decoders raise anything at all
    reason = str(error) or type(error).__name__
    raise ValueError("unreadable: " + reason.replace(str(file), "").strip(" '")) from error
  if min(own.shape[:2]) < size // 2:
    raise ValueError(f"too small: {own.shape[1]}x{own.shape[0]}, at least {size // 2} needed")
  return Picture(own.shape[:2], fitted,
                 hashlib.sha256(str(own.shape).encode() + own.tobytes()).digest())


def examine(root, files, size, channels):
  """Reads file by file, in order, several at a time.

  Yields: (file, Picture or None, reason or None); the second copy of a picture has a reason too.
  """
  def attempt(file):
    try:
      return read(file, size, channels), None
    except ValueError as error:
      return None, str(error)
  seen = {}
  with futures.ThreadPoolExecutor(os.cpu_count()) as pool:
    for start in range(0, len(files), _CHUNK):
      chunk = files[start:start + _CHUNK]
      with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's notes about odd files, such as a large picture
        results = list(pool.map(attempt, chunk))
      for file, (picture, reason) in zip(chunk, results):
        first = seen.setdefault(picture.digest, file) if picture else file
        if first != file:
          picture, reason = None, f"duplicate of {first.relative_to(root)}"
        yield file, picture, reason


def _open(root, files, size, channels):
  names, problems = class_names(root, files), []

  def examples():
    for file, picture, reason in examine(root, files, size, channels):
      name = str(file.relative_to(root))
      if picture is None:
        problems.append((name, reason))
      else:
        label = names.index(pathlib.Path(name).parts[0]) if names else 0
        yield picture.pixels, label, pipeline.is_test(picture.digest)
  found = examples()
  first = next(found, None)
  if first is None:
    raise UserError(f"none of the {len(files)} images below {root} can be used "
                    f"({problems[0][0]}: {problems[0][1]}); "
                    f"python -m aigc_tf.doctor --data={root} names each")
  return decoded.Opened(len(files), names, itertools.chain([first], found), problems)
