"""Sentences of the LibreOffice help in English and simplified Chinese, out of two Debian packages.

Every paragraph has the same id in all languages. Kept are pairs of 3 to 30 English words whose
other side is really Chinese; of equal English sentences the first. One in ten is held out, by a
hash of the English letters alone, so that sentences that differ in numbers stay on one side.
"""

import html
import re

import tensorflow_datasets as tfds

from aigc_tf.data import packages
from aigc_tf.data import pipeline

_WORDS = (3, 30)
_HAN_SHARE = 0.3  # of the characters of a translation: below it most of it was left in English
_CHARS_A_WORD = (0.5, 8.0)
_PARAGRAPH = re.compile(r'<(p|h\d)\b[^>]*\bid="((?:par|hd)_[^"]+)"[^>]*>(.*?)</\1>', re.DOTALL)
_TAG = re.compile(r"(<[^>]*>)")
_HAN, _LATIN = re.compile("[\u3400-\u9fff]"), re.compile("[A-Za-z]")
_CODE = re.compile(r"[<>{}\\_|=]|\w\(")  # placeholders and formulas
# Words that depend on the application or system: dropped for the Mac, else with the paragraph.
_SWITCH = re.compile(r'class="(?:WRITER|CALC|IMPRESS|DRAW|CHART|MATH|BASE|WIN|UNIX|bug)"')


class LibreofficeHelpEnZh(tfds.core.GeneratorBasedBuilder):
  """source: English.  target: Chinese.  text: one below the other."""

  name = "libreoffice_help_en_zh"
  VERSION = tfds.core.Version("1.1.0")

  def _info(self):
    return tfds.core.DatasetInfo(
        builder=self,
        description="Paragraphs of the LibreOffice help in English and simplified Chinese.",
        homepage="https://help.libreoffice.org",
        license=packages.PACKAGES["libreoffice-help-en-us"].licence,
        features=tfds.features.FeaturesDict({
            "source": tfds.features.Text(), "target": tfds.features.Text(),
            "text": tfds.features.Text()}),
        supervised_keys=("source", "target"))

  def _split_generators(self, dl_manager):
    english, chinese = (
        packages.fetch(f"libreoffice-help-{code.lower()}")
        / f"usr/share/libreoffice/help/{code}/text" for code in ("en-US", "zh-CN"))
    sides = {"train": [], "test": []}
    for source, target in pairs(english, chinese):
      letters = "".join(re.findall("[a-z]", source.lower()))
      sides["test" if pipeline.is_test(letters.encode()) else "train"].append((source, target))
    return {split: self._generate_examples(rows) for split, rows in sides.items()}

  def _generate_examples(self, rows):
    for source, target in rows:
      yield source, {"source": source, "target": target, "text": f"{source}\n{target}"}


def pairs(english, chinese):
  """Good pairs of the pages that both languages have.

  english, chinese: pathlib.Path of the folder of pages.  Yields: (str, str).
  """
  seen = set()
  for path in sorted(english.rglob("*.html")):
    other = chinese / path.relative_to(english)
    if not other.exists():
      continue
    targets = paragraphs(other.read_text(encoding="utf-8"))
    for key, source in paragraphs(path.read_text(encoding="utf-8")).items():
      target = targets.get(key, "")
      if source not in seen and is_good(source, target):
        seen.add(source)
        yield source, target


def paragraphs(page):
  """page: str, HTML.  Returns: {id: plain text}."""
  return {key: _plain(inner) for _, key, inner in _PARAGRAPH.findall(page)
          if not _SWITCH.search(inner)}


def _plain(inner):
  # Text between the tags, but not inside a span for the Mac.
  kept, hidden = [], 0
  for piece in _TAG.split(inner):
    if hidden:
      hidden += piece.startswith("<span") - piece.startswith("</span")
    elif piece.startswith("<span") and 'class="MAC"' in piece:
      hidden = 1
    else:
      kept.append(" " if piece.startswith("<br") else "" if piece.startswith("<") else piece)
  return " ".join(html.unescape("".join(kept)).split())


def is_good(source, target):
  """Whether a pair is a sentence and its translation.  source, target: str.  Returns: bool."""
  words = len(source.split())
  if not (_WORDS[0] <= words <= _WORDS[1] and _LATIN.search(source)) or _CODE.search(source):
    return False
  least, most = (limit * words for limit in _CHARS_A_WORD)
  return (least <= len(target) <= most
          and len(_HAN.findall(target)) >= _HAN_SHARE * len(target.replace(" ", "")))


Builder = LibreofficeHelpEnZh
