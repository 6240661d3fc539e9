"""Recordings of a TFDS builder: one of our own, or any published name (ljspeech, vctk, ...).

Importing this module imports TFDS, which takes seconds: it is imported only to read. Sets are
prepared as ArrayRecord, so that a clip is read by its index and hours of sound stay on the disk.
"""

import functools
import importlib
import tempfile
from typing import NamedTuple

import numpy as np
import tensorflow_datasets as tfds

from aigc_tf.data import audio_files
from aigc_tf.data import speech_source
from aigc_tf.data import tfds_source
from aigc_tf.errors import UserError

_INDEXED = "array_record"
_TEXTS = ("text_normalized", "normalized_text", "text", "transcript", "sentence")


class SpeechBuilder(  # type: ignore[call-arg]
    tfds.core.GeneratorBasedBuilder, skip_registration=True):
  """Base of our builders.  audio: int16[S] at 16 kHz.  text, speaker, key: str."""

  SAMPLE_RATE_HZ = 16000

  def __init__(self, **keywords):
    super().__init__(file_format=_INDEXED, **keywords)

  def speech_info(self, description, licence, **features):
    """What `_info` returns.  features: further ones.  Returns: tfds.core.DatasetInfo."""
    text = tfds.features.Text()
    # Not an Audio feature: TFDS's own encodes only files as bytes, and arrays number by number.
    audio = tfds.features.Tensor(shape=(None,), dtype=np.int16, encoding="bytes")
    return tfds.core.DatasetInfo(
        builder=self, description=description, license=licence,
        features=tfds.features.FeaturesDict(
            {"audio": audio, "text": text, "speaker": text, "key": text, **features}))


def open_own(name):
  """One of our own builders.  name: a file in data/builders, perhaps with a "/config".

  Returns: list of audio_files.Clip.  Raises: UserError.
  """
  plain, _, config = name.partition("/")
  module = importlib.import_module(f"aigc_tf.data.builders.{plain}")
  known = [each.name for each in module.Builder.BUILDER_CONFIGS]
  if config and config not in known:
    raise UserError(f"data.name={name}: write {plain}"
                    + (f", or one of {', '.join(f'{plain}/{each}' for each in known)}"
                       if known else ", it has no configurations"))
  return _clips(tfds_source.own_builder(plain, config))


def open_published(name):
  """Any data set of TFDS with sound and text.  Returns: list of audio_files.Clip."""
  builder = tfds_source.find(name)
  _columns(builder)  # before anything is downloaded
  if not builder.info.splits:
    builder.info.set_file_format(_INDEXED, override=True)
  return _clips(tfds_source.prepare(builder))


def has_sound(name):
  """Whether a published data set has recordings.  Returns: bool.  Raises: UserError: no such."""
  return bool(_named(tfds_source.find(name).info.features, tfds.features.Audio))


class _Columns(NamedTuple):
  """Names of features.  speaker, key: or None.  rate: int in Hz."""
  audio: str
  text: str
  speaker: str | None
  key: str | None
  rate: int


def _columns(builder):
  features = builder.info.features
  if isinstance(builder, SpeechBuilder):
    return _Columns("audio", "text", "speaker", "key", builder.SAMPLE_RATE_HZ)
  audio, texts = (_named(features, kind) for kind in (tfds.features.Audio, tfds.features.Text))
  text = next((name for name in (*_TEXTS, *texts) if name in texts), None)
  if not audio or text is None:
    raise UserError(f"{builder.name} has no recordings with texts: its features are "
                    f"{', '.join(features)}")
  if not features[audio[0]].sample_rate:
    raise UserError(f"{builder.name} does not say the sample rate of {audio[0]}: export it to a "
                    "folder of recordings with metadata.csv")
  return _Columns(audio[0], text, next((name for name in features if "speaker" in name), None),
                  next((name for name in ("key", "id") if name in features), None),
                  features[audio[0]].sample_rate)


def _named(features, kind):
  return [name for name, feature in features.items() if isinstance(feature, kind)]


def _clips(builder):
  columns, found = _columns(builder), []
  for split in sorted(builder.info.splits):
    source, read = _indexed(builder, split, columns)
    for i, example in enumerate(source):
      text = _string(example[columns.text])
      held_out = (split == "test" if "test" in builder.info.splits else speech_source.is_test(text))
      key = _string(example[columns.key]) if columns.key else f"{split}-{i}"
      speaker = _speaker(builder, columns, example)
      found.append(audio_files.Clip(key, text, speaker, columns.rate,
                                    functools.partial(read, i), held_out))
  return found


def _speaker(builder, columns, example):
  if not columns.speaker:
    return builder.name
  value, feature = example[columns.speaker], builder.info.features[columns.speaker]
  if isinstance(feature, tfds.features.ClassLabel):
    return feature.int2str(int(value))
  return _string(value)


def _string(value):
  return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def _indexed(builder, split, columns):
  # (examples without sound, function: index -> f32[S])
  if builder.info.file_format.value == _INDEXED:
    whole = builder.as_data_source(split=split)
    silent = {columns.audio: tfds.decode.SkipDecoding()}
    return (builder.as_data_source(split=split, decoders=silent),
            lambda i: audio_files.from_int16(whole[i][columns.audio]))
  return _spooled(builder, split, columns)


def _spooled(builder, split, columns):
  # TFRecord is read in order only: its sound goes to a file without a name, out of the memory.
  first, examples = [0], []
  with tempfile.TemporaryFile() as spool:
    for example in tfds.as_numpy(builder.as_dataset(split=split)):
      samples = example.pop(columns.audio).astype(np.int16)
      spool.write(samples.tobytes())
      first.append(first[-1] + samples.size)
      examples.append(example)
    sound = np.memmap(spool, np.int16, "r")
  return examples, lambda i: audio_files.from_int16(sound[first[i]:first[i + 1]])
