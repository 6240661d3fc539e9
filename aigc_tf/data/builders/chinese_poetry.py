"""Chinese poems in simplified characters, with their titles: the npm package chinese-poetry.

Quatrains of the Tang and Song (5 or 7 characters a line) and ci of the Song by their tunes:
  五绝：题目\\n第一句，第二句。\\n第三句，第四句。    七绝：... in the same way    词：词牌\\n...
The first line of a document is the condition a poem is written to. Traditional characters are
converted by OpenCC's tables. Poems with missing characters are left out; one in ten is held out, by
a hash of the poem without its title.
"""

import json
import re

import tensorflow_datasets as tfds

from aigc_tf.data import packages
from aigc_tf.data import pipeline

PROMPT_SUFFIX = "\n"  # a prompt is the condition

_CONFIGS = {
    "all": "quatrains of the Tang and Song, and ci",
    "quatrains": "quatrains of the Tang and Song",
    "tang_quatrains": "quatrains of the Tang",
    "ci": "ci of the Song",
}
_KINDS = {5: "五绝", 7: "七绝"}
_LONGEST_TITLE = 20  # characters
_MARKS = re.compile("[，。！？；、]")
_HAN = "\u3400-\u4dbf\u4e00-\u9fff\U00020000-\U0003ffff〇"
_PLAIN_TITLE = re.compile(f"[{_HAN}· ]{{1,{_LONGEST_TITLE}}}")
_PLAIN_CI = re.compile(f"[{_HAN}，。！？；、]+")
_NOTE = re.compile(r"[（(〖\[{].*?[）)〗\]}]")
# Which poem of a cycle: "... 其三", "... 一○七".
_ORDINAL = re.compile(r"\s+其?[一二三四五六七八九十百千○〇]+$|\s*其[一二三四五六七八九十百]+$")


def config_for(name):
  """The builder config of this name, "" for all poems."""
  listed = {config.name: config for config in ChinesePoetry.BUILDER_CONFIGS}
  return listed[name or "all"]


class ChinesePoetry(tfds.core.GeneratorBasedBuilder):
  """text: kind and title, then the poem.  kind, title, author: as they are in it."""

  name = "chinese_poetry"
  VERSION = tfds.core.Version("1.0.0")
  BUILDER_CONFIGS = [tfds.core.BuilderConfig(name=name, description=description)
                     for name, description in _CONFIGS.items()]

  def _info(self):
    return tfds.core.DatasetInfo(
        builder=self,
        description="Tang and Song quatrains and Song ci in simplified characters.",
        homepage="https://github.com/chinese-poetry/chinese-poetry",
        license=packages.PACKAGES["chinese-poetry"].licence,
        features=tfds.features.FeaturesDict({
            "text": tfds.features.Text(), "kind": tfds.features.Text(),
            "title": tfds.features.Text(), "author": tfds.features.Text()}))

  def _split_generators(self, dl_manager):
    folder = packages.fetch("chinese-poetry") / "dist"
    tables = packages.fetch("opencc-python-reimplemented") / "opencc/dictionary"
    rows = _rows(folder, self.builder_config.name, Simplifier(tables))
    sides = {"train": [], "test": []}
    for row in rows:
      sides["test" if pipeline.is_test(row[0].encode()) else "train"].append(row)
    return {split: self._generate_examples(rows) for split, rows in sides.items()}

  def _generate_examples(self, rows):
    for body, kind, title, author in rows:
      yield body, {"text": f"{kind}：{title}\n{body}", "kind": kind, "title": title,
                   "author": author}


class Simplifier:
  """Traditional to simplified characters: phrases first, then character by character."""

  def __init__(self, folder):
    """folder: pathlib.Path with OpenCC's TSCharacters.txt and TSPhrases.txt."""
    characters, self._phrases = (_table(folder / f"TS{name}.txt")
                                 for name in ("Characters", "Phrases"))
    self._characters = str.maketrans(characters)
    longest_first = sorted(self._phrases, key=len, reverse=True)
    self._split = re.compile(f"({'|'.join(map(re.escape, longest_first))})").split

  def __call__(self, text):
    """text: str.  Returns: str of the same length."""
    return "".join(self._phrases.get(piece) or piece.translate(self._characters)
                   for piece in self._split(text))


def _table(path):
  rows = (line.split() for line in path.read_text(encoding="utf-8").splitlines())
  return {row[0]: row[1] for row in rows if len(row) > 1}


def quatrain(paragraphs):
  """(kind, poem on two lines) of four lines of 5 or 7 characters, else None.

  paragraphs: list of str, as in the package.
  """
  lines = [line for line in _MARKS.split("".join(paragraphs)) if line]
  width = len(lines[0]) if lines else 0
  if len(lines) != 4 or width not in _KINDS or {len(line) for line in lines} != {width}:
    return None
  body = "{}，{}。\n{}，{}。".format(*lines)
  return (_KINDS[width], body) if _PLAIN_CI.fullmatch(body.replace("\n", "")) else None


def plain_title(title):
  """A title without notes and its place in a cycle; "" where it is odd or too long."""
  title = " ".join(_ORDINAL.sub("", _NOTE.sub("", title).strip()).split())
  return title if _PLAIN_TITLE.fullmatch(title) else ""


def _rows(folder, config, simplify):
  # Each poem once, the first to come: Tang, Song, ci.
  sources = {"tang_quatrains": ("tang",), "quatrains": ("tang", "song"), "ci": (),
             "all": ("tang", "song")}[config]
  seen = set()
  found = [_quatrains(folder / "quantangshi", dynasty, simplify) for dynasty in sources]
  if config in ("ci", "all"):
    found.append(_ci(folder / "songci", simplify))
  for rows in found:
    for row in rows:
      if row[0] not in seen:
        seen.add(row[0])
        yield row


def _entries(folder, pattern):
  for path in sorted(folder.glob(pattern)):
    yield from json.loads(path.read_text(encoding="utf-8"))


def _quatrains(folder, dynasty, simplify):
  for entry in _entries(folder, f"poet.{dynasty}.*.json"):
    found = quatrain(entry["paragraphs"])
    title = plain_title(entry["title"])
    if found and title:
      yield simplify(found[1]), found[0], simplify(title), simplify(entry["author"])


def _ci(folder, simplify):
  for entry in _entries(folder, "ci.song.*.json"):
    body = simplify("".join(entry["paragraphs"]))
    # "凤栖梧・蝶恋花" names the tune by another name first.
    tune = plain_title(simplify(entry["rhythmic"]).rpartition("・")[2])
    if tune and _PLAIN_CI.fullmatch(body) and body.count("。") > 1:
      yield body, "词", tune, simplify(entry["author"])


Builder = ChinesePoetry
