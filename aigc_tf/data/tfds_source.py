"""Images of a TFDS builder: one of our own over a package's data, or any published name.

Importing this module imports TFDS, which takes seconds: it is imported only to decode.
"""

import contextlib
import importlib
import io

from absl import logging
import tensorflow_datasets as tfds

from aigc_tf.data import packages
from aigc_tf.data import pixels


def own_examples(name, size, channels):
  """Examples of one of our own builders, prepared first where needed.

  name: a file in data/builders.  Yields: (uint8[size, size, channels], int label, bool is_test).
  """
  module = importlib.import_module(f"aigc_tf.data.builders.{name}")
  builder = module.Builder(data_dir=str(packages.cache_dir() / "tfds"))
  _prepare_quietly(builder)
  for split in ("train", "test"):
    for example in tfds.as_numpy(builder.as_dataset(split=split)):
      yield (pixels.fit_array(example["image"], size, channels), int(example["label"]),
             split == "test")


def _prepare_quietly(builder):
  # TFDS prints bars and boxes even for data that takes a second.
  level = logging.get_verbosity()
  logging.set_verbosity(logging.ERROR)
  tfds.disable_progress_bar()
  try:
    with contextlib.redirect_stdout(io.StringIO()):
      builder.download_and_prepare()
  finally:
    tfds.enable_progress_bar()
    logging.set_verbosity(level)
