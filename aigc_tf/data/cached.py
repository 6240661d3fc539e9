"""Folders of the cache, each named by a hash of what it depends on and appearing by one rename."""

import hashlib
import json
import shutil
import sys

from aigc_tf.data import packages
from aigc_tf.errors import UserError


def open_or_make(kind, key, make, read):
  """What `read` finds in the folder of this key, which `make` fills where there is none.

  kind: str, name of the folder above.  key: what JSON can hold.  make: function(pathlib.Path).
  read: function(pathlib.Path), raises where the folder is damaged.  Raises: UserError.
  """
  text = json.dumps(key, sort_keys=True)
  folder = packages.cache_dir() / kind / hashlib.sha256(text.encode()).hexdigest()[:20]
  for _ in range(2):
    if not folder.exists():
      with packages.staged(folder) as temporary:
        make(temporary)
    try:
      return read(folder)
    except (OSError, ValueError, KeyError, IndexError, EOFError) as error:
      print(f"data: the cached {folder} is damaged ({error}) and is made again", file=sys.stderr)
      shutil.rmtree(folder)
  raise UserError(f"the cache folder {folder.parent} gives back other bytes than were written: "
                  "set AIGC_TF_CACHE to a folder on another disk")
