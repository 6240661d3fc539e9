"""Cleaning of documents: one document in, the cleaned one or the reason to leave it out.

Settings, a recipe's `data.clean` group: normalize ("NFC", "NFKC" or "" for none), dedupe (bool),
min_chars and max_chars (int; max_chars 0: no limit).
"""

import collections
import hashlib
import re
from typing import NamedTuple
import unicodedata

from aigc_tf.errors import UserError

FORMAT = 1  # raise it when the same settings would clean differently

# Control and format characters that carry no text; the joiners U+200C and U+200D, tab and line
# feed stay. Lone surrogates cannot be written as UTF-8 at all.
_NOISE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\xad\u200b\u200e\u200f\u202a-\u202e"
                    "\u2060-\u2064\ufeff\ud800-\udfff]")
_LINE_ENDS = re.compile("\r\n?|\u2028|\u2029")
_SPACES = re.compile(r"[^\S\n]+")
_SPACED_LINES = re.compile(" ?\n ?")
_EMPTY_LINES = re.compile("\n{3,}")
_ANY_SPACE = re.compile(r"\s+")
_DAMAGED = "\ufffd"  # what a decoder writes where the encoding was wrong


class Row(NamedTuple):
  """One example of a source.

  text: the document, or the target of a pair.  source: the other side of a pair, or "".
  label: name of its class, or None.  is_test: bool, or None: a hash of the text decides.
  """
  text: str
  source: str = ""
  label: str | None = None
  is_test: bool | None = None


class Cleaner:
  """Cleans row after row.  reasons: Counter of why rows were left out."""

  def __init__(self, settings, task):
    """settings: the `data.clean` group.  task: "text_to_text" has two texts a row."""
    check(settings)
    self.settings, self.task = settings, task
    self.reasons = collections.Counter()
    self._seen = set()

  def __call__(self, row):
    """row: Row.  Returns: Row, or None where it is left out."""
    pair = self.task == "text_to_text"
    row = row._replace(text=clean(row.text, self.settings.normalize),
                       source=clean(row.source, self.settings.normalize) if pair else "")
    texts = (row.text, row.source) if pair else (row.text,)
    reason = self._reason(row, texts)
    if reason:
      self.reasons[reason] += 1
      return None
    return row

  def _reason(self, row, texts):
    least, most = self.settings.min_chars, self.settings.max_chars
    if not all(texts):
      return "empty"
    if self.task == "classification" and row.label is None:
      return "without a label"
    if any(_DAMAGED in text for text in texts):
      return "wrongly decoded (U+FFFD)"
    if min(map(len, texts)) < least:
      return f"shorter than {least} characters"
    if most and max(map(len, texts)) > most:
      return f"longer than {most} characters"
    if self.settings.dedupe:
      digest = hashlib.blake2b("\0".join(texts).encode(), digest_size=12).digest()
      if digest in self._seen:
        return "duplicate"
      self._seen.add(digest)
    return ""


def check(settings):
  """Raises: UserError for settings that mean nothing."""
  if settings.normalize not in ("", "NFC", "NFKC"):
    raise UserError(f"data.clean.normalize={settings.normalize!r}: use NFC, NFKC, or '' for none")
  if settings.min_chars < 0 or 0 < settings.max_chars < settings.min_chars:
    raise UserError(f"data.clean.min_chars={settings.min_chars} and max_chars="
                    f"{settings.max_chars} leave nothing: max_chars=0 is no limit")


def clean(text, normalize="NFC"):
  """One document: normal form, no control characters, single spaces, at most one empty line.

  text, normalize: str.  Returns: str, "" where nothing is left.
  """
  text = _NOISE.sub("", _LINE_ENDS.sub("\n", text))
  if normalize and not unicodedata.is_normalized(normalize, text):
    text = unicodedata.normalize(normalize, text)
  text = _SPACED_LINES.sub("\n", _SPACES.sub(" ", text))
  return _EMPTY_LINES.sub("\n\n", text).strip()


def key(row):
  """What decides by its hash on which side of the split a row lies; no setting changes it.

  row: Row.  Returns: bytes.
  """
  text = f"{row.source}\0{row.text}" if row.source else row.text
  text = unicodedata.normalize("NFKC", _NOISE.sub("", text)).casefold()
  return _ANY_SPACE.sub("", text).encode()
