"""A user's own folder of recordings with their texts.

  LJSpeech layout  metadata.csv with the lines `id|text` or `id|text|text in words` (the last one
                   counts), and wavs/id.wav beside it, or id.wav
  pairs            any recording with a text file of the same name beside it: a.flac and a.txt

Any format and rate, any number of channels; texts are UTF-8. Several folders below the root are
several speakers. The split is by a hash of the text: nothing moves when files do.
"""

import functools
import pathlib
import sys
from typing import NamedTuple

import numpy as np

from aigc_tf.data import audio_files
from aigc_tf.data import folders
from aigc_tf.data import speech_source
from aigc_tf.errors import UserError

METADATA = "metadata.csv"
_LOUD, _MOST_CLIPPED = 0.999, 1e-3  # an amplitude at the limit; share of samples there
_QUIET_DBFS = -55.0
_CHARACTERS_A_SECOND = (2.0, 40.0)


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
  """All clips of a folder that can be used.

  name: str, path of a folder.  Returns: list of audio_files.Clip.  Raises: UserError.
  """
  root, found, problems = _root(name), [], []
  for place, entry, reason in examine(root):
    if entry is None:
      problems.append(f"{place}: {reason}")
      continue
    try:
      found.append(_clip(root, entry))
    except UserError as error:
      problems.append(str(error))
  if not found:
    reason = f" ({problems[0]})" if problems else ""
    raise UserError(f"the folder {root} holds no recording with its text{reason}: put {METADATA} "
                    "with lines id|text beside wavs/id.wav, or a .txt beside each recording")
  if problems:
    print(f"data: {root}: {len(found):,} recordings, {len(problems):,} left out ({problems[0]}); "
          f"python -m aigc_tf.doctor --data={root} names each", file=sys.stderr)
  return found


def is_speech(root):
  """Whether a folder is one of recordings.  root: pathlib.Path.  Returns: bool."""
  return root.is_dir() and any(
      path.suffix.lower() in audio_files.SUFFIXES for path in root.rglob("*"))


def examine(root):
  """Matches recordings and texts, reading no sound.

  root: pathlib.Path of a folder.  Yields: (place as str, Entry or None, reason or None).
  """
  tables = folders.files_below(root, (METADATA,))
  sounds = folders.files_below(root, audio_files.SUFFIXES)
  matched = set()
  for table in tables:
    for place, entry, reason in _table(root, table):
      if entry:
        matched.add(entry.path)
      yield place, entry, reason
  used = {path.with_suffix("") for path in sounds}
  for path in sounds:
    if path not in matched:
      yield _pair(root, path, tables)
  for path in folders.files_below(root, (".txt",)) if not tables else ():
    if path.with_suffix("") not in used:
      yield str(path.relative_to(root)), None, "a text without a recording of the same name"


def survey(name, min_seconds=0.3, max_seconds=20.0, characters=None):
  """Reads everything.

  name: str, path of a folder.  characters: all that a text in lower case may hold, None: any.
  Returns: Survey.  Raises: UserError without a folder.
  """
  root = _root(name)
  found = Survey([], [], [], [])
  for place, entry, reason in examine(root):
    try:
      if entry is None:
        raise UserError(f"{place}: {reason}")
      clip = _clip(root, entry)
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


def _clip(root, entry):
  rate = audio_files.sample_rate(entry.path)
  return audio_files.Clip(
      str(entry.path.relative_to(root)), entry.text, entry.speaker, rate,
      functools.partial(_read, entry.path, rate), speech_source.is_test(entry.text))


def _read(path, rate):
  return audio_files.decode(path, rate)[0]


def _table(root, table):
  # LJSpeech's own lines have no quoting: a quotation mark is a character like any other.
  for number, line in enumerate(table.read_bytes().splitlines(), 1):
    place = f"{table.relative_to(root)}, line {number}"
    try:
      cells = [cell.strip() for cell in line.decode("utf-8-sig").split("|")]
    except UnicodeDecodeError:
      yield place, None, "not UTF-8: convert the file (iconv -t utf-8)"
      continue
    text = next((cell for cell in reversed(cells[1:3]) if cell), "")
    path = _recording(table.parent, cells[0]) if cells[0] else None
    if cells == [""]:
      continue
    if not text:
      yield place, None, "no text: lines are id|text or id|text|text in words"
    elif path is None:
      yield place, None, f"no recording {cells[0]!r} in wavs/ or beside the table"
    else:
      yield place, Entry(path, text, _speaker(root, table)), None


def _recording(folder, name):
  for place in (folder / "wavs" / name, folder / name):
    for path in (place, *(place.parent / (place.name + suffix) for suffix in audio_files.SUFFIXES)):
      if path.is_file() and path.suffix.lower() in audio_files.SUFFIXES:
        return path
  return None


def _pair(root, path, tables):
  place, written = str(path.relative_to(root)), path.with_suffix(".txt")
  if not written.is_file():
    listed = f"not in {METADATA}" if tables else f"no {written.name} beside it"
    return place, None, f"a recording without text: {listed}"
  try:
    text = " ".join(written.read_text(encoding="utf-8-sig").split())
  except UnicodeDecodeError:
    return place, None, f"{written.name} is not UTF-8: convert it (iconv -t utf-8)"
  if not text:
    return place, None, f"{written.name} is empty"
  return place, Entry(path, text, _speaker(root, path)), None


def _speaker(root, path):
  parts = path.relative_to(root).parts
  return parts[0] if len(parts) > 1 else root.name
