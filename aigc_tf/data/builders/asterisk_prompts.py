"""What the builders of telephone prompts share: asterisk_en, _es, _fr, _it and _ru.

Debian's packages of Asterisk hold a transcript ("name: text" lines) in asterisk-core-sounds-X and
recordings of one speaker in asterisk-core-sounds-X-g722 (G.722: 16 kHz, sound up to 7 kHz). Kept
are prompts that have both and whose text is all speech: no "[beep]", no "(see above)", and not
more characters than anybody could say in that time. One text in ten is held out, by its hash.
"""

import gzip
import re

import tensorflow_datasets as tfds

from aigc_tf.data import audio_files
from aigc_tf.data import packages
from aigc_tf.data import speech_source
from aigc_tf.data import speech_tfds

_NOT_SPEECH = re.compile(r"[\[\]()<>]")
_ELLIPSIS = re.compile(r"^(\.\.\.|\u2026)\s*|\s*(\.\.\.|\u2026)$")
_MOST_CHARACTERS_A_SECOND = 30
_BYTES_A_SECOND = 8000  # of G.722, at its 64 kbit/s


class Prompts(  # type: ignore[call-arg]
    speech_tfds.SpeechBuilder, skip_registration=True):
  """audio, text; speaker: as the package calls the voice; key: the prompt's name."""

  VERSION = tfds.core.Version("1.0.0")
  LANGUAGE = ""  # "en", ... in the subclasses

  def _info(self):
    package = packages.PACKAGES[f"asterisk-core-sounds-{self.LANGUAGE}-g722"]
    return self.speech_info(f"{package.purpose}, with their texts.", package.licence)

  def _split_generators(self, dl_manager):
    folder = packages.fetch(f"asterisk-core-sounds-{self.LANGUAGE}")
    table, = folder.glob(packages.PACKAGES[f"asterisk-core-sounds-{self.LANGUAGE}"].members[0])
    sounds = packages.fetch(f"asterisk-core-sounds-{self.LANGUAGE}-g722")
    root = sorted(sounds.glob(f"usr/share/asterisk/sounds/{self.LANGUAGE}_*"))[0]
    speaker = root.name.rpartition("_")[2]  # en_US_f_Allison
    rows = list(prompts(transcripts(gzip.decompress(table.read_bytes())), root))
    return {
        split: self._generate_examples(
            speaker, [row for row in rows if speech_source.is_test(row[1]) == held_out])
        for split, held_out in (("train", False), ("test", True))}

  def _generate_examples(self, speaker, rows):
    for key, text, path in rows:
      wave, _ = audio_files.decode(path, self.SAMPLE_RATE_HZ)
      yield key, {"audio": audio_files.to_int16(wave), "text": text, "speaker": speaker,
                  "key": key}


def transcripts(data):
  """The table of a package.  data: bytes, UTF-8.  Returns: {name of a prompt: its text}."""
  lines = data.decode("utf-8-sig").splitlines()
  pairs = (line.partition(":") for line in lines if not line.startswith(";"))
  return {name.strip(): _ELLIPSIS.sub("", " ".join(text.split())) for name, _, text in pairs}


def prompts(texts, root):
  """Prompts that have a recording and a text that is all speech.

  texts: {name: text}.  root: pathlib.Path of the speaker's folder.
  Yields: (name, text, path of the recording), sorted by name.
  """
  for name, text in sorted(texts.items()):
    path = root / f"{name}.g722"
    if not path.is_file() or not re.search(r"\w", text) or _NOT_SPEECH.search(text):
      continue
    if len(text) <= _MOST_CHARACTERS_A_SECOND * path.stat().st_size / _BYTES_A_SECOND:
      yield name, text, path
