"""A synthetic Mandarin teacher: plain sentences, spoken by espeak-ng.

The sentences are the Chinese side of customer_service and of the LibreOffice help: 4 to 20 Han
characters and their marks, nothing else. The voice is made of formants, by rule: it is understood,
it is not beautiful, and nobody recorded it. espeak-ng comes in the package espeakng-loader (GPL-3,
extra `speech`) and speaks at 22,050 Hz. One sentence in ten is held out, by a hash of its
characters.
"""

import hashlib
import re

import tensorflow_datasets as tfds

from aigc_tf.data import audio_files
from aigc_tf.data import packages
from aigc_tf.data import pipeline
from aigc_tf.data import speech_text
from aigc_tf.data import speech_tfds
from aigc_tf.data.builders import customer_service
from aigc_tf.data.builders import espeak_zh_speaker
from aigc_tf.data.builders import libreoffice_help_en_zh as help_pages
from aigc_tf.data.builders import speaking
from aigc_tf.errors import UserError

NUM_SENTENCES = 3000
CHARACTERS = (4, 20)

_SENTENCE = re.compile(r"[^。？！\n]+[。？！]")
_PLAIN = re.compile(r"[一-龥]+([，、；][一-龥]+)*[。？！]")
_OPENING = re.compile(r"^[一-龥]{1,3}，")
_HAN = re.compile("[一-龥]")


class EspeakZh(speech_tfds.SpeechBuilder):
  """audio, text, key; pinyin: the text in syllables with tones; speaker: espeak-ng."""

  name = "espeak_zh"
  VERSION = tfds.core.Version("1.0.0")

  def _info(self):
    return self.speech_info(
        "Plain Mandarin sentences, spoken by espeak-ng.",
        "spoken by espeak-ng (GPL-3); sentences Apache-2.0 and "
        + packages.PACKAGES["libreoffice-help-zh-cn"].licence, pinyin=tfds.features.Text())

  def _split_generators(self, dl_manager):
    sides = {"train": [], "test": []}
    for sentence in sentences(NUM_SENTENCES):
      sides["test" if pipeline.is_test(key(sentence).encode()) else "train"].append(sentence)
    return {split: self._generate_examples(rows) for split, rows in sides.items()}

  def _generate_examples(self, rows):
    for sentence, samples in zip(rows, spoken(rows)):
      wave = audio_files.resample(audio_files.from_int16(samples),
                                  espeak_zh_speaker.SAMPLE_RATE_HZ, self.SAMPLE_RATE_HZ)
      yield key(sentence), {
          "audio": audio_files.to_int16(wave), "text": sentence, "speaker": "espeak-ng",
          "key": key(sentence), "pinyin": speech_text.normalize(sentence, "zh")}


def spoken(rows):
  """Speaks sentences.

  rows: list of str.  Returns: iterator of int16[S] at 22,050 Hz.  Raises: UserError.
  """
  try:
    import espeakng_loader
  except ImportError as error:
    raise UserError("espeak_zh needs espeak-ng: pip install espeakng-loader, or pip install "
                    "'aigc_tf[speech]'") from error
  paths = [str(espeakng_loader.get_library_path()), str(espeakng_loader.get_data_path())]
  return speaking.spoken(espeak_zh_speaker.__file__, paths, rows)


def sentences(number):
  """The first `number` sentences, half of them from each set where both have enough.

  number: int.  Returns: list of str, fewer where there are no more.  Raises: UserError.
  """
  sets = sorted((ordered(lines) for lines in (_customer_service(), _help())), key=len)
  taken = sets[0][:number // 2]
  used = set(map(key, taken))
  fresh = [sentence for sentence in sets[1] if key(sentence) not in used]
  return sorted(taken + fresh[:number - len(taken)], key=_hash)


def ordered(lines):
  """Plain sentences of some lines, of those that differ in their opening or marks only the first.

  lines: iterable of str.  Returns: list of str in the order of their hashes.
  """
  found = {}
  for line in lines:
    for sentence in _SENTENCE.findall(line):
      plain = _PLAIN.fullmatch(sentence)
      if plain and CHARACTERS[0] <= len(_HAN.findall(sentence)) <= CHARACTERS[1]:
        found.setdefault(key(sentence), sentence)
  return sorted(found.values(), key=_hash)


def key(sentence):
  """What decides on which side of the split a sentence lies.  Returns: str, Han characters."""
  return "".join(_HAN.findall(_OPENING.sub("", sentence)))


def _hash(sentence):
  return hashlib.sha256(f"{key(sentence)}\0{sentence}".encode()).digest()


def _customer_service():
  for _, _, lines in customer_service.dialogues("chinese"):
    yield from lines


def _help():
  english, chinese = (packages.fetch(f"libreoffice-help-{code.lower()}")
                      / f"usr/share/libreoffice/help/{code}/text" for code in ("en-US", "zh-CN"))
  for _, target in help_pages.pairs(english, chinese):
    yield target


Builder = EspeakZh
