"""Six novels of Jane Austen by chapters, out of the Debian package r-cran-janeaustenr.

The package keeps each book as R does, a vector of printed lines. A document is one chapter, its
paragraphs one a line; one chapter in ten is held out, by a hash of its text.
"""

import re
import struct
import zlib

import tensorflow_datasets as tfds

from aigc_tf.data import packages
from aigc_tf.data import pipeline

PROMPT_SUFFIX = ""  # a prompt is the beginning of a sentence

_FOLDER = "usr/lib/R/site-library/janeaustenr/data"
_BOOKS = ("emma", "mansfieldpark", "northangerabbey", "persuasion", "prideprejudice",
          "sensesensibility")
_CHAPTER = re.compile(r"chapter\s+([ivxlc]+|\d+)\.?", re.IGNORECASE)
_NO_TEXT = re.compile(r"volume\s+[ivxlc\d]+\.?|finis\.?|the end\.?", re.IGNORECASE)
_R_STRINGS, _R_STRING = 16, 9  # types of R's serialization: a vector of strings, a string
_R_MISSING = 0xFFFFFFFF


class Austen(tfds.core.GeneratorBasedBuilder):
  """text: a chapter.  book: which novel it is of."""

  name = "austen"
  VERSION = tfds.core.Version("1.0.0")

  def _info(self):
    return tfds.core.DatasetInfo(
        builder=self,
        description="Six novels of Jane Austen, by chapters.",
        homepage="https://github.com/juliasilge/janeaustenr",
        license=packages.PACKAGES["r-cran-janeaustenr"].licence,
        features=tfds.features.FeaturesDict({
            "text": tfds.features.Text(), "book": tfds.features.ClassLabel(names=_BOOKS)}))

  def _split_generators(self, dl_manager):
    blob = (packages.fetch("r-cran-janeaustenr") / _FOLDER / "Rdata.rdb").read_bytes()
    rows = [(book, i, text) for book, lines in zip(_BOOKS, read_rdb(blob))
            for i, text in enumerate(chapters(lines))]
    return {
        split: self._generate_examples(
            [row for row in rows if pipeline.is_test(row[2].encode()) == held_out])
        for split, held_out in (("train", False), ("test", True))}

  def _generate_examples(self, rows):
    for book, i, text in rows:
      yield f"{book}-{i:03}", {"text": text, "book": book}


def read_rdb(blob):
  """The string vectors of R's file of lazily loaded data, in order.

  blob: bytes: for each vector 4 bytes (its size, unpacked) and a zlib stream.
  Yields: list of str.  Raises: ValueError where something else is inside.
  """
  while blob:
    stream = zlib.decompressobj()
    data = stream.decompress(blob[4:])
    blob = stream.unused_data
    yield _strings(data)


def _strings(data):
  # R's serialization, version 2 or 3, big endian: header, type, length; each string: flags, size.
  if data[:2] != b"X\n":
    raise ValueError("not R's binary serialization")
  place = 2 + 12
  if struct.unpack_from(">i", data, 2) == (3,):
    place += 4 + struct.unpack_from(">i", data, place)[0]  # the name of the encoding
  flags, count = struct.unpack_from(">Ii", data, place)
  place, found = place + 8, []
  for _ in range(count):
    kind, size = struct.unpack_from(">II", data, place)
    place += 8
    if flags & 0xFF != _R_STRINGS or kind & 0xFF != _R_STRING or size == _R_MISSING:
      raise ValueError("not a vector of strings")
    found.append(data[place:place + size].decode("utf-8"))
    place += size
  return found


def chapters(lines):
  """Chapters of a book, each paragraph on one line, without headings, title page and FINIS.

  lines: list of str as printed, paragraphs separated by empty lines.  Returns: list of str.
  """
  found, paragraph = [], []
  for line in [*(line.strip() for line in lines), ""]:
    if _CHAPTER.fullmatch(line):
      found.append([])
    elif line and not _NO_TEXT.fullmatch(line):
      paragraph.append(line)
    elif paragraph:
      if found:
        found[-1].append(" ".join(paragraph))
      paragraph = []
  return ["\n".join(chapter) for chapter in found if chapter]


Builder = Austen
