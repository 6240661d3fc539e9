"""Images of a TFDS builder: one of our own over a package's data, or any published name.

Importing this module imports TFDS, which takes seconds: it is imported only to decode.
"""

import contextlib
import importlib
import io

from absl import logging
import tensorflow_datasets as tfds

from aigc_tf.data import decoded
from aigc_tf.data import packages
from aigc_tf.data import pipeline
from aigc_tf.data import pixels


def open_own(name, size, channels):
  """One of our own builders, prepared first where needed.

  name: a file in data/builders.  Returns: decoded.Opened.
  """
  module = importlib.import_module(f"aigc_tf.data.builders.{name}")
  config = module.config_for(size) if hasattr(module, "config_for") else None
  builder = module.Builder(data_dir=str(packages.cache_dir() / "tfds"), config=config)
  with _quiet():
    builder.download_and_prepare()
  return _open(builder, size, channels)


def _open(builder, size, channels):
  features = builder.info.features
  label = next((key for key, feature in features.items()
                if isinstance(feature, tfds.features.ClassLabel)), None)
  return decoded.Opened(
      num_examples=sum(split.num_examples for split in builder.info.splits.values()),
      class_names=list(features[label].names) if label else [],
      examples=_examples(builder, label, size, channels))


def _examples(builder, label, size, channels):
  own_test = "test" in builder.info.splits
  for split in builder.info.splits:
    for example in tfds.as_numpy(builder.as_dataset(split=split)):
      image = example["image"]
      is_test = split == "test" if own_test else pipeline.is_test(image.tobytes())
      yield pixels.fit_array(image, size, channels), int(example[label]) if label else 0, is_test


@contextlib.contextmanager
def _quiet():
  # TFDS prints bars and boxes even for data that takes a second.
  level = logging.get_verbosity()
  logging.set_verbosity(logging.ERROR)
  tfds.disable_progress_bar()
  try:
    with contextlib.redirect_stdout(io.StringIO()):
      yield
  finally:
    tfds.enable_progress_bar()
    logging.set_verbosity(level)
