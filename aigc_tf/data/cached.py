"""Folders of the cache, each named by a hash of what it depends on and appearing by one rename."""

import contextlib
import hashlib
import json
import shutil
import sys
import time

from aigc_tf.data import packages
from aigc_tf.errors import UserError

_KEPT = 3  # folders of one family
_IN_USE_SECONDS = 24 * 3600  # after its last opening a folder may belong to a living process


def open_or_make(kind, key, make, read, family=None):
  """What `read` finds in the folder of this key, which `make` fills where there is none.

  kind: str, name of the folder above.  key: what JSON can hold.  make: function(pathlib.Path).
  read: function(pathlib.Path), raises where the folder is damaged.
  family: str, what the folders of many keys have in common, such as a source that changes: when
    one is made, all but the newest three go that nobody opened for a day. None: all stay.
  Raises: UserError.
  """
  prefix = f"{_hash(family)[:8]}-" if family else ""
  folder = packages.cache_dir() / kind / (prefix + _hash(json.dumps(key, sort_keys=True))[:20])
  for _ in range(2):
    if not folder.exists():
      with packages.staged(folder) as temporary:
        make(temporary)
      if family:
        _prune(folder.parent.glob(f"{prefix}*"))
    with contextlib.suppress(OSError):  # a cache that cannot be written serves as well
      folder.touch()
    try:
      return read(folder)
    except (OSError, ValueError, KeyError, IndexError, EOFError) as error:
      print(f"data: the cached {folder} is damaged ({error}) and is made again", file=sys.stderr)
      shutil.rmtree(folder)
  raise UserError(f"the cache folder {folder.parent} gives back other bytes than were written: "
                  "set AIGC_TF_CACHE to a folder on another disk")


def _hash(text):
  return hashlib.sha256(text.encode()).hexdigest()


def _prune(folders):
  with contextlib.suppress(OSError):  # another process is at it
    opened = {folder: folder.stat().st_mtime for folder in folders}
    for folder in sorted(opened, key=opened.get)[:-_KEPT]:
      if time.time() - opened[folder] > _IN_USE_SECONDS:
        shutil.rmtree(folder)
