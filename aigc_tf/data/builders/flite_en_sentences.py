"""The sentences of flite_en: plain everyday English of 3 to 15 words, out of four text sets.

Plain: letters, commas, apostrophes and hyphens, one mark at the end, no name, no capital inside,
every word among the common ones of the four sets together. Everything is ordered by hashes: the
same packages give the same sentences.
"""

import collections
import hashlib
import re

from aigc_tf.data import packages
from aigc_tf.data.builders import austen
from aigc_tf.data.builders import chatterbot_dialogue
from aigc_tf.data.builders import customer_service
from aigc_tf.data.builders import libreoffice_help_en_zh as help_pages

WORDS = (3, 15)

_COMMON = 8  # how often a word occurs, at least
_ENDS = re.compile(r"(?<=[.!?])(?<!\bMr\.)(?<!\bMrs\.)(?<!\bDr\.)(?<!\bSt\.)\s+")
_PLAIN = re.compile(r"[A-Z][a-z']*(,? (I|I'[a-z]+|[a-z]+(['-][a-z]+)*))+[.!?]")
_WORD = re.compile(r"[A-Za-z]+(?:['-][a-z]+)*")
_INNER_WORD = re.compile(r"(?<=[a-z,] )(?:[a-z]+(?:['-][a-z]+)*|I(?:'[a-z]+)?)(?![a-z])")
_OPENING = re.compile(r"^\w+( \w+)?, ")
_QUOTES = re.compile('["_\u201c\u201d]')


def sentences(number):
  """The first `number` sentences, as evenly from the four sets as these have them.

  number: int.  Returns: list of str, fewer where there are no more.  Raises: UserError.
  """
  lines = [list(each) for each in (_austen(), _help(), _chatterbot(), _customer_service())]
  common = common_words(line for each in lines for line in each)
  sets = [ordered(each, common) for each in lines]
  taken, used = [], set()
  for left, each in zip(range(len(sets), 0, -1), sorted(sets, key=len)):
    fresh = [sentence for sentence in each if key(sentence) not in used]
    share = fresh[:max(0, number - len(taken)) // left]
    used.update(map(key, share))
    taken += share
  return sorted(taken, key=_hash)


def ordered(lines, common):
  """Plain sentences of some lines, of those that differ in their opening only the first.

  lines: iterable of str.  common: set of str.  Returns: list of str in the order of their hashes.
  """
  found = {}
  for line in lines:
    for sentence in split(line):
      words = _WORD.findall(sentence)
      if all(word in common or word.lower() in common for word in words):
        found.setdefault(key(sentence), sentence)
  return sorted(found.values(), key=_hash)


def split(line):
  """The plain sentences of a line of text.  line: str.  Yields: str."""
  for sentence in _ENDS.split(_QUOTES.sub("", line)):
    if _PLAIN.fullmatch(sentence) and WORDS[0] <= len(sentence.split()) <= WORDS[1]:
      yield sentence


def common_words(lines):
  """Words that occur often, counted behind another in lower case: first words may be names.

  lines: iterable of str.  Returns: set of str, lower case but for "I".
  """
  count = collections.Counter()
  for line in lines:
    count.update(_INNER_WORD.findall(line))
  return {word for word, times in count.items() if times >= _COMMON}


def key(sentence):
  """What decides on which side of the split a sentence lies: its letters, without "Hello, ".

  sentence: str.  Returns: str.
  """
  return "".join(re.findall("[a-z]", _OPENING.sub("", sentence).lower()))


def _hash(sentence):
  return hashlib.sha256(f"{key(sentence)}\0{sentence}".encode()).digest()


def _austen():
  path, = _members("r-cran-janeaustenr")
  for book in austen.read_rdb(path.read_bytes()):
    yield from "\n".join(austen.chapters(book)).split("\n")


def _help():
  english, chinese = (packages.fetch(f"libreoffice-help-{code.lower()}")
                      / f"usr/share/libreoffice/help/{code}/text" for code in ("en-US", "zh-CN"))
  for source, _ in help_pages.pairs(english, chinese):
    yield source


def _chatterbot():
  for path in _members("chatterbot-corpus"):
    for lines in chatterbot_dialogue.conversations(path.read_text(encoding="utf-8")):
      yield from lines


def _customer_service():
  for _, _, lines in customer_service.dialogues("english"):
    yield from lines


def _members(name):
  # The files that a package's first pattern is about.
  return sorted(packages.fetch(name).glob(packages.PACKAGES[name].members[0]))
