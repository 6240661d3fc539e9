"""Documents of a TFDS builder: one of our own over a package's data, or any published name.

Importing this module imports TFDS, which takes seconds: it is imported only to read.
"""

import contextlib
import importlib

import tensorflow_datasets as tfds

from aigc_tf.data import packages
from aigc_tf.data import text_clean
from aigc_tf.data import text_store
from aigc_tf.data import tfds_source
from aigc_tf.errors import UserError

_READ = 1024  # examples read at once


def open_own(name, task):
  """One of our own builders.  name: a file in data/builders, perhaps with a "/config".

  Returns: text_store.Opened.  Raises: UserError.
  """
  plain, _, config = name.partition("/")
  module = importlib.import_module(f"aigc_tf.data.builders.{plain}")
  known = [each.name for each in module.Builder.BUILDER_CONFIGS]
  if config and config not in known:
    raise UserError(f"data.name={name}: write {plain}, or one of "
                    f"{', '.join(f'{plain}/{each}' for each in known)}")
  builder = tfds_source.own_builder(plain, config)
  return _open(builder, task, getattr(module, "CLASSIFIED", "text"))._replace(
      prompt_suffix=getattr(module, "PROMPT_SUFFIX", None))


def open_published(name, task):
  """Any TFDS data set with text.  Returns: text_store.Opened.  Raises: UserError."""
  builder = tfds_source.find(name)
  _columns(builder, task)  # before anything is downloaded
  return _open(tfds_source.prepare(builder), task)._replace(prompt_suffix="")


def tasks(name):
  """What a data set of TFDS, or one of our own, can be used for.

  Returns: list of data.task, best first; [] without any text.  Raises: UserError: no such set.
  """
  plain, _, config = name.partition("/")
  own = plain in packages.TEXT_SETS
  builder = tfds_source.own_builder(plain, config) if own else tfds_source.find(name)
  if any(isinstance(each, tfds.features.Image) for each in builder.info.features.values()):
    return []
  found = []
  for task in ("language_model", "text_to_text", "classification"):
    with contextlib.suppress(UserError):
      _columns(builder, task)
      found.append(task)
  is_plain = "text" in builder.info.features and "source" not in builder.info.features
  return found if is_plain else sorted(found, reverse=True)


def _open(builder, task, classified="text"):
  text, source, label = _columns(builder, task, classified)
  names = list(builder.info.features[label].names) if label else None
  return text_store.Opened(_rows(builder, text, source, label, names), names)


def _columns(builder, task, classified="text"):
  # Names of the features that hold the text, the source of a pair, the class.
  features = builder.info.features
  texts = [key for key, feature in features.items() if isinstance(feature, tfds.features.Text)]
  label = next((key for key, feature in features.items()
                if isinstance(feature, tfds.features.ClassLabel)), None)
  if task == "text_to_text":
    pair = [key for key in builder.info.supervised_keys or () if key in texts]
    pair = ["source", "target"] if {"source", "target"} <= set(texts) else pair
    if len(pair) != 2:
      raise UserError(f"{builder.name} has no pairs of texts for data.task=text_to_text: its "
                      f"features are {', '.join(features)}")
    return pair[1], pair[0], None
  if not texts or (task == "classification" and label is None):
    raise UserError(f"{builder.name} has no texts{' with classes' if texts else ''} for "
                    f"data.task={task}: its features are {', '.join(features)}")
  if task == "classification":
    return (classified if classified in texts else texts[0]), None, label
  return ("text" if "text" in texts else texts[0]), None, None


def _rows(builder, text, source, label, names):
  # A data set's own test split is kept, and read first: of two equal documents on both sides the
  # one to train on is left out. Without it a hash of the text decides.
  splits = sorted(builder.info.splits, key=lambda split: split != "test")
  for split in splits:
    is_test = (split == "test") if "test" in splits else None
    for example in _examples(builder, split):
      number = int(example[label]) if label else -1  # -1 also in an unlabelled split
      yield text_clean.Row(
          example[text].decode(errors="replace"),
          example[source].decode(errors="replace") if source else "",
          names[number] if number >= 0 else None, is_test)


def _examples(builder, split):
  # TFDS reads ArrayRecord by index only and TFRecord in order only, best many at once.
  if builder.info.file_format == tfds.core.FileFormat.ARRAY_RECORD:
    yield from builder.as_data_source(split=split)
    return
  for batch in tfds.as_numpy(builder.as_dataset(split=split, batch_size=_READ)):
    keys = [key for key, value in batch.items() if hasattr(value, "ndim") and value.ndim == 1]
    for values in zip(*(batch[key] for key in keys)):
      yield dict(zip(keys, values))
