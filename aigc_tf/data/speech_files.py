"""A user's own folder of recordings with their texts.

  LJSpeech layout  metadata.csv with the lines `id|text` or `id|text|text in words` (the last one
                   counts), and wavs/id.wav beside it, or id.wav
  pairs            any recording with a text file of the same name beside it: a.flac and a.txt

Any format and rate, any number of channels; texts are UTF-8. All recordings lie below the root (or
are linked there), each is used once; several folders below it are several speakers. The split is by
a hash of the text: nothing moves when files do.
"""

import functools
import os
import pathlib
from typing import NamedTuple
import unicodedata

import numpy as np

from aigc_tf.data import audio_files
from aigc_tf.data import folders
from aigc_tf.data import speech_source
from aigc_tf.errors import UserError

METADATA = "metadata.csv"
_HEADERS = ("id", "file", "file_name", "filename", "path", "audio", "wav", "name")
_LOUD, _MOST_CLIPPED = 0.999, 1e-3  # an amplitude at the limit; share of samples there
_QUIET_DBFS = -55.0
_CHARACTERS_A_SECOND = (2.0, 40.0)
LONGEST_SECONDS = 20.0  # of a sentence
_SHOWN = 60  # characters of an id


class Entry(NamedTuple):
  """A recording and its text, not opened yet.  speaker: name of a folder."""
  path: pathlib.Path
  text: str
  speaker: str


class Survey(NamedTuple):
  """What is in a user's folder.

  clips: list of audio_files.Clip that can be used.  seconds: list of float, one a clip.
  problems: list of str, "file: why it is left out".
  remarks: list of str, "file: what is suspicious", of clips that are used all the same.
  """
  clips: list
  seconds: list
  problems: list
  remarks: list


def clips(name):
  """All clips of a folder; `read` of one that cannot be used raises why.

  name: str, path of a folder.  Returns: list of audio_files.Clip.
  Raises: UserError: no folder, or nothing in it can be used.
  """
  root = _root(name)
  found = [clip for _, clip in _clips(root)]
  if not any(clip.sample_rate_hz for clip in found):
    raise UserError(f"the folder {root} holds no recording with its text{_first_reason(found)}: "
                    f"put {METADATA} with lines id|text beside wavs/id.wav, or a .txt beside each "
                    "recording")
  return found


def is_speech(root):
  """Whether a folder is one of recordings.  root: pathlib.Path.  Returns: bool."""
  return root.is_dir() and any(
      path.suffix.lower() in audio_files.SUFFIXES for path in root.rglob("*"))


def examine(root):
  """Matches recordings and texts, reading no sound.

  root: pathlib.Path of a folder.  Yields: (place as str, Entry or None, reason or None).
  Raises: audio_files.Unreachable: a text.
  """
  tables = [path for path in folders.files_below(root, (METADATA,))
            if path.name.lower() == METADATA]
  sounds = folders.files_below(root, audio_files.SUFFIXES)
  texts = {path.with_suffix(""): path for path in folders.files_below(root, (".txt",))}
  named, places = _named(sounds), {}
  for table in tables:
    for place, entry, reason in _table(root, table, named):
      if entry and places.setdefault(entry.path, place) != place:
        entry, reason = None, f"{entry.path.name} is already in {places[entry.path]}"
      yield place, entry, reason
  for path in sounds:
    if path not in places:
      yield _pair(root, path, texts.get(path.with_suffix("")), tables)
  used = {path.with_suffix("") for path in sounds}
  for name, path in () if tables else texts.items():
    if name not in used:
      yield str(path.relative_to(root)), None, "a text without a recording of the same name"


def survey(name, min_seconds=0.3, max_seconds=LONGEST_SECONDS, characters=None):
  """Reads everything.

  name: str, path of a folder.  characters: all that a text in lower case may hold, None: any.
  Returns: Survey.  Raises: UserError without a folder.
  """
  root = _root(name)
  found = Survey([], [], [], [])
  for place, clip in _clips(root):
    try:
      wave = clip.read()
    except UserError as error:
      found.problems.append(str(error))
      continue
    found.clips.append(clip)
    found.seconds.append(wave.size / clip.sample_rate_hz)
    found.remarks.extend(f"{place}: {remark}" for remark in [
        *remarks(wave, clip.sample_rate_hz, clip.text, min_seconds, max_seconds),
        *_outside(clip.text, characters)])
  return found


def remarks(wave, sample_rate_hz, text, min_seconds, max_seconds):
  """What is suspicious about a recording.

  wave: f32[S].  text: str.  Yields: str.
  """
  seconds = wave.size / sample_rate_hz
  clipped = float(np.mean(np.abs(wave) >= _LOUD))
  level_db = 20 * np.log10(max(float(np.sqrt(np.mean(np.square(wave)))), 1e-10))
  rate = len(text) / seconds
  if clipped > _MOST_CLIPPED:
    yield f"clipped: {clipped:.1%} of its samples are at the limit"
  if level_db < _QUIET_DBFS:
    yield f"silence: its level is {level_db:.0f} dBFS"
  if not min_seconds <= seconds <= max_seconds:
    yield f"{seconds:.2f} s, where {min_seconds:g} to {max_seconds:g} s are taken"
  elif not _CHARACTERS_A_SECOND[0] <= rate <= _CHARACTERS_A_SECOND[1]:
    yield f"{len(text)} characters in {seconds:.2f} s: is this its text?"


def _outside(text, characters):
  unknown = sorted(set(text.lower()) - set(characters)) if characters is not None else []
  return [f"characters outside the set: {' '.join(unknown)}"] if unknown else []


def _root(name):
  root = pathlib.Path(name).expanduser().resolve()
  if not root.is_dir():
    raise UserError(f"{root} is {'a file' if root.exists() else 'not there'}: data.name takes a "
                    "folder of recordings")
  return root


def _clips(root):
  for place, entry, reason in examine(root):
    if entry is None:
      yield place, _unusable(place, UserError(f"{place}: {reason}"))
      continue
    try:
      rate = audio_files.sample_rate(entry.path)
    except UserError as error:
      yield place, _unusable(place, error)
      continue
    yield place, audio_files.Clip(
        str(entry.path.relative_to(root)), entry.text, entry.speaker, rate,
        functools.partial(_read, entry.path, rate), speech_source.is_test(entry.text))


def _unusable(place, error):
  def read():
    raise error
  return audio_files.Clip(place, "", "", 0, read, False)


def _first_reason(found):
  try:
    for clip in found:
      clip.read()
  except UserError as error:
    return f" ({error})"
  return ""


def _read(path, rate):
  return audio_files.decode(path, rate)[0]


def _bytes(path):
  try:
    return path.read_bytes()
  except OSError as error:
    raise audio_files.Unreachable(path, error) from error


def _table(root, table, named):
  # LJSpeech's own lines have no quoting: a quotation mark is a character like any other.
  for number, line in enumerate(_bytes(table).splitlines(), 1):
    place = f"{table.relative_to(root)}, line {number}"
    try:
      cells = [cell.strip() for cell in line.decode("utf-8-sig").split("|")]
    except UnicodeDecodeError:
      yield place, None, "not UTF-8: convert the file (iconv -t utf-8)"
      continue
    text = next((cell for cell in reversed(cells[1:3]) if cell), "")
    path = _recording(table.parent, cells[0], named)
    is_header = number == 1 and path is None and cells[0].lower() in _HEADERS
    if cells == [""] or is_header:
      continue
    if not text:
      yield place, None, "no text: lines are id|text or id|text|text in words, with | between"
    elif path is None:
      yield place, None, (f"no recording {cells[0][:_SHOWN]!r} in wavs/ or beside the table, or "
                          "elsewhere below this folder by its path")
    else:
      yield place, Entry(path, text, _speaker(root, table)), None


def _recording(folder, name, named):
  found = (named.get(_key(place)) for place in (folder / "wavs" / name, folder / name) if name)
  return next(filter(None, found), None)


def _named(sounds):
  # {as _key with or without its ending: path}; of one name the ending that comes first in SUFFIXES.
  def order(path):
    return -audio_files.SUFFIXES.index(path.suffix.lower())
  bare = {_key(path.with_suffix("")): path for path in sorted(sounds, key=order)}
  return {**bare, **{_key(path): path for path in sounds}}


def _key(path):
  # Systems differ in how they write an accented letter of a file's name.
  return unicodedata.normalize("NFC", os.path.normpath(path))


def _pair(root, path, written, tables):
  place = str(path.relative_to(root))
  if written is None:
    listed = f"not in {METADATA}" if tables else f"no {path.stem}.txt beside it"
    return place, None, f"a recording without text: {listed}"
  try:
    text = " ".join(_bytes(written).decode("utf-8-sig").split())
  except UnicodeDecodeError:
    return place, None, f"{written.name} is not UTF-8: convert it (iconv -t utf-8)"
  if not text:
    return place, None, f"{written.name} is empty"
  return place, Entry(path, text, _speaker(root, path)), None


def _speaker(root, path):
  parts = path.relative_to(root).parts
  return parts[0] if len(parts) > 1 else root.name
