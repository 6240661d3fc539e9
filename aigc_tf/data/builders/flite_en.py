"""A synthetic English teacher: everyday sentences, spoken by four voices of flite.

The sentences come from four text sets (flite_en_sentences.py), the voices out of the Debian package
libflite1: rms, slt and awb are statistical voices built from the CMU ARCTIC recordings, kal16 joins
diphones. Nobody recorded these sentences: a network trained here speaks like flite, not like a
person. The same package says the same samples. One sentence in ten is held out, by a hash of its
letters, in all voices alike.
"""

import ctypes.util

import tensorflow_datasets as tfds

from aigc_tf.data import packages
from aigc_tf.data import pipeline
from aigc_tf.data import speech_tfds
from aigc_tf.data.builders import flite_en_sentences
from aigc_tf.data.builders import flite_en_speaker
from aigc_tf.data.builders import speaking

VOICES = ("rms", "slt", "awb", "kal16")
NUM_SENTENCES = 3000

_PARTS = ("flite", "flite_usenglish", "flite_cmulex")  # each after those that it needs


def config_for(name):
  """The builder config of this name: a voice, "all" of them, or "" for rms."""
  listed = {config.name: config for config in FliteEn.BUILDER_CONFIGS}
  return listed[name or VOICES[0]]


class FliteEn(speech_tfds.SpeechBuilder):
  """audio, text, key; speaker: the voice."""

  name = "flite_en"
  VERSION = tfds.core.Version("1.0.0")
  BUILDER_CONFIGS = [tfds.core.BuilderConfig(name=name, description=f"voice: {name}")
                     for name in (*VOICES, "all")]

  def _info(self):
    return self.speech_info("Everyday English sentences, spoken by flite.",
                            packages.PACKAGES["libflite1"].licence)

  def _split_generators(self, dl_manager):
    chosen = self.builder_config.name
    voices = VOICES if chosen == "all" else (chosen,)
    sides = {"train": [], "test": []}
    for sentence in flite_en_sentences.sentences(NUM_SENTENCES):
      held_out = pipeline.is_test(flite_en_sentences.key(sentence).encode())
      sides["test" if held_out else "train"] += [(voice, sentence) for voice in voices]
    return {split: self._generate_examples(jobs) for split, jobs in sides.items()}

  def _generate_examples(self, jobs):
    for (voice, sentence), samples in zip(jobs, spoken(jobs)):
      key = f"{voice}-{flite_en_sentences.key(sentence)}"
      yield key, {"audio": samples, "text": sentence, "speaker": voice, "key": key}


def spoken(jobs):
  """Speaks sentences, in processes of their own.

  jobs: list of (voice, sentence).  Returns: iterator of int16[S] at 16 kHz, in their order.
  Raises: UserError.
  """
  paths = libraries({voice for voice, _ in jobs})
  lines = [f"{voice}\t{sentence}" for voice, sentence in jobs]
  return speaking.spoken(flite_en_speaker.__file__, paths, lines)


def libraries(voices):
  """Paths of the shared libraries of flite, fetched where they are not installed.

  voices: iterable of str.  Returns: list of str, each after those that it needs.
  Raises: UserError: no such package here.
  """
  folder = packages.fetch("libflite1")
  names = [*_PARTS, *(f"flite_cmu_us_{voice}" for voice in sorted(voices))]
  found = [str(sorted(folder.glob(f"usr/lib/*/lib{name}.so.*"))[0]) for name in names]
  return [*_sound_library(), *found]


def _sound_library():
  # flite is linked to ALSA, which it needs only to play; few servers have it.
  if ctypes.util.find_library("asound"):
    return []
  return [str(sorted(packages.fetch("libasound2").glob("usr/lib/*/libasound.so.*"))[0])]


Builder = FliteEn
