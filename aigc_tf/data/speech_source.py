"""Recordings with their texts, from wherever a recipe's data.name says.

A name is one of our own builders ("flite_en/rms", "asterisk_en"), a folder of recordings, or a data
set of TFDS ("ljspeech").
"""

import os
import re
import unicodedata

from aigc_tf.data import packages
from aigc_tf.data import pipeline


def open(name):
  """All clips of a set, in an order that stays.

  name: str, a recipe's data.name.  Returns: list of audio_files.Clip; nothing is decoded yet.
  Raises: UserError: no such set, or nothing in it that can be used.
  """
  own = name.partition("/")[0] in packages.SPEECH_SETS
  if not own and (name.startswith((".", "~", os.sep)) or os.path.exists(name)):
    from aigc_tf.data import speech_files
    return speech_files.clips(name)
  from aigc_tf.data import speech_tfds  # takes seconds to import
  return speech_tfds.open_own(name) if own else speech_tfds.open_published(name)


def is_test(text):
  """Whether the clips of this text are held out, by a hash of its letters and digits alone.

  text: str.  Returns: bool.
  """
  letters = re.sub(r"[\W_]+", "", unicodedata.normalize("NFKC", text).casefold())
  return pipeline.is_test(letters.encode())
