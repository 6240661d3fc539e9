"""Chinese poems: whether they have the form that their first line asks for, and rhyme.

A poem is "五绝：title" and then clauses that end in punctuation or at a line's end. The form says
how many clauses there are and how many characters each of them has. Of a ci, "词：tune", the tune
says so, in one of several ways: those of the poems that were trained on.

Rhyme is judged by today's Mandarin: the finals of the even clauses fall into one of the 16 groups
of GF 0022-2019 (Zhonghua Tongyun) and into one tone class, level (tones 1 and 2) or oblique (3 and
4), in some reading that pypinyin knows. Tang poets rhymed by the sounds of their time, so good old
poems also miss: 81 % of 2,000 Tang quatrains pass this test, and 10 % of their line ends in random
order. Compare with the value of real poems, not with 1.
"""

import importlib
import importlib.metadata
import re

from aigc_tf.metrics import measurement

VERSION = 1  # part of each signature: raise it when a definition here changes
ENOUGH = 100  # poems below which a share moves by points from one set to the next

CI = "词"
FORMS = {"五绝": (4, 5), "七绝": (4, 7), "五律": (8, 5), "七律": (8, 7)}  # clauses, characters

_RHYME_NOTE = "rhyme is judged by modern Mandarin: compare it with test_rhyme, not with 1"
_CLAUSE_END = re.compile(r"[，。！？；、：,.!?;:\s]+")
_HEADER_END = re.compile("[：:]")
_FINAL_GROUPS = (
    "a ia ua", "o uo", "e ie ve", "i", "u", "v", "ai uai", "ei uei", "ao iao", "ou iou",
    "an ian uan van", "en in uen vn", "ang iang uang", "eng ing ueng", "ong iong", "er")
_GROUP = {final: number for number, group in enumerate(_FINAL_GROUPS) for final in group.split()}

# --- form


def form_of(document):
  """document: str.  Returns: (clauses, characters) that its first line asks for, or None."""
  return FORMS.get(_header(document)[0])


def tune_of(document):
  """document: str.  Returns: str, the tune that its first line asks for, or None if it is no ci."""
  kind, tune = _header(document)
  return tune if kind == CI else None


def _header(document):
  parts = _HEADER_END.split(document.partition("\n")[0], maxsplit=1)
  return parts[0].strip(), parts[-1].strip()


def clauses(document):
  """document: str.  Returns: list of str, the clauses below its first line."""
  return [part for part in _CLAUSE_END.split(document.partition("\n")[2]) if part]


def form_shares(documents):
  """How well poems keep the form their first line asks for; other documents are passed over.

  documents: list of str.  Returns: dict of floats in [0, 1]: form_accuracy (number and length of
  all clauses right), form_clauses (number right), form_characters (length right, of all clauses).
  """
  whole, number, length, total = 0, 0, 0, 0
  poems = [document for document in documents if form_of(document)]
  for document in poems:
    asked, characters = form_of(document)
    lengths = _lengths(document)
    number += len(lengths) == asked
    whole += lengths == (characters,) * asked
    length += sum(found == characters for found in lengths)
    total += len(lengths)
  return {"form_accuracy": whole / max(len(poems), 1), "form_clauses": number / max(len(poems), 1),
          "form_characters": length / max(total, 1)}


class Tunes:
  """The lengths of clauses that each tune was written with.  documents: list of str."""

  def __init__(self, documents):
    self.lengths = {}
    for document in documents:
      if tune_of(document):
        self.lengths.setdefault(tune_of(document), set()).add(_lengths(document))

  def share(self, documents):
    """Share of ci that have lengths known of their tune, of those whose tune is known.

    documents: list of str.  Returns: (float in [0, 1], int, how many ci were judged).
    """
    judged = [document for document in documents if tune_of(document) in self.lengths]
    right = sum(_lengths(document) in self.lengths[tune_of(document)] for document in judged)
    return right / max(len(judged), 1), len(judged)


def _lengths(document):
  return tuple(map(len, clauses(document)))


# --- rhyme


def rhyme_classes(character):
  """Group and tone class of each reading of a character.

  character: str.  Returns: set of (int group, bool oblique), empty for what has no reading.
  """
  pypinyin = importlib.import_module("pypinyin")
  readings = pypinyin.pinyin(
      character, style=pypinyin.Style.FINALS_TONE3, heteronym=True, strict=True, errors="ignore",
      neutral_tone_with_five=True)
  found = {(_GROUP.get(reading[:-1]), reading[-1:] in "34") for row in readings for reading in row}
  return {entry for entry in found if entry[0] is not None}


def rhymes(document):
  """Whether the ends of all even clauses share one rhyme class.

  document: str, a poem.  Returns: bool, False for less than 4 clauses or equal last characters.
  """
  ends = [clause[-1] for clause in clauses(document)[1::2]]
  if len(set(ends)) < 2:
    return False
  return bool(set.intersection(*map(rhyme_classes, ends)))


def _pypinyin_version():
  try:
    return importlib.metadata.version("pypinyin")
  except importlib.metadata.PackageNotFoundError:
    return None


# --- the whole report


def report(documents, tunes, prefix="", **conditions):
  """Form, and rhyme where pypinyin is installed, of those documents that ask for a form.

  documents: list of str.  tunes: Tunes of the training.  prefix: of the names, say "test_".
  conditions: more for the signature.  Returns: list of Measurement, empty without such documents.
  """
  measured = []
  share, count = tunes.share(documents)
  if count:
    measured.append(_measure(prefix + "tune_accuracy", share, count, tunes=len(tunes.lengths),
                             **conditions))
  poems = [document for document in documents if form_of(document)]
  if not poems:
    return measured
  measured += [_measure(prefix + name, value, len(poems), **conditions)
               for name, value in form_shares(poems).items()]
  version = _pypinyin_version()
  if version:
    share = sum(map(rhymes, poems)) / len(poems)
    measured.append(_measure(
        prefix + "rhyme", share, len(poems), _RHYME_NOTE, **conditions,
        rhyme="even-clauses-gf0022-tone-class", pypinyin=version))
  return measured


def _measure(name, value, num, note="", **conditions):
  few = f"only {num} poems, values from fewer than {ENOUGH} are rough" if num < ENOUGH else ""
  return measurement.signed(
      name, value, VERSION, "; ".join(filter(None, (few, note))), n=num, **conditions)
