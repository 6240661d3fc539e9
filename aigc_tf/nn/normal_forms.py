"""Characters in the forms that a model learned from, within a graph.

Unicode's NFC and NFKC as far as they turn one character into one: full-width letters and marks, the
ideographic space, compatibility ideographs. Texts to learn from are cleaned whole, in Python.
"""

import functools
import unicodedata

import numpy as np
import tensorflow as tf

_END = 0x10000  # of the basic plane; beyond it are a few ideographs
_SURROGATES = range(0xD800, 0xE000)


def usual(text, form):
  """text: string[B], valid UTF-8.  form: "NFC", "NFKC" or "", for no change.  Returns: the same."""
  if not form:
    return text
  keys, values = map(tf.constant, _table(form))
  codes = tf.strings.unicode_decode(text, "UTF-8")
  flat = codes.flat_values
  place = tf.minimum(tf.searchsorted(keys, flat), tf.size(keys) - 1)
  usual_codes = tf.where(tf.gather(keys, place) == flat, tf.gather(values, place), flat)
  return tf.strings.unicode_encode(codes.with_flat_values(usual_codes), "UTF-8")


@functools.lru_cache(maxsize=None)
def _table(form):
  """Returns: i32[N] ascending code points, and i32[N] what they become."""
  pairs = []
  for code in range(_END):
    if code not in _SURROGATES:
      becomes = unicodedata.normalize(form, chr(code))
      if len(becomes) == 1 and becomes != chr(code):
        pairs.append((code, ord(becomes)))
  return tuple(np.array(column, np.int32) for column in zip(*pairs))
