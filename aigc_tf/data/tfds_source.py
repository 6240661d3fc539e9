"""Images of a TFDS builder: one of our own over a package's data, or any published name.

Importing this module imports TFDS, which takes seconds: it is imported only to decode.
"""

import contextlib
import difflib
import importlib
import io
import os
import socket
import urllib.parse
import urllib.request

from absl import logging
import tensorflow_datasets as tfds

from aigc_tf.data import decoded
from aigc_tf.data import packages
from aigc_tf.data import pipeline
from aigc_tf.data import pixels
from aigc_tf.errors import UserError

_CONNECT_SECONDS = 10


def open_own(name, size, channels):
  """One of our own builders.  name: a file in data/builders.  Returns: decoded.Opened."""
  return _open(own_builder(name, size), size, channels)


def own_builder(name, size):
  """One of our own builders, prepared below the cache folder.

  name: a file in data/builders.  size: int pixels, where the builder has a choice.
  Returns: tfds.core.DatasetBuilder.  Raises: UserError.
  """
  module = importlib.import_module(f"aigc_tf.data.builders.{name}")
  config = module.config_for(size) if hasattr(module, "config_for") else None
  kind = config.name if config else "only"
  folder = packages.cache_dir() / "tfds" / f"{name}-{kind}-{module.Builder.VERSION}"
  if not folder.exists():
    # TFDS itself fails where two processes prepare one folder: each worker has its own here.
    with packages.staged(folder) as temporary, _quiet():
      builder = module.Builder(data_dir=str(temporary), config=config)
      try:
        builder.download_and_prepare()
      except (OSError, RuntimeError) as error:  # how a TFDS writer says that the disk is full
        raise UserError(f"cannot prepare {name} in {folder.parent}: {_line(error)}") from error
  return module.Builder(data_dir=str(folder), config=config)


def open_published(name, size, channels):
  """Any image data set of TFDS.  Returns: decoded.Opened.  Raises: UserError, as `prepare`."""
  builder = find(name)
  if _first(builder.info.features, tfds.features.Image) is None:
    raise UserError(f"{name} has no images: its features are {', '.join(builder.info.features)}")
  return _open(prepare(builder), size, channels)


def find(name):
  """The builder of a published name, not prepared yet.

  name: as TFDS writes it, "cifar10" or "cifar10:3.0.2".  Returns: tfds.core.DatasetBuilder.
  Raises: UserError for an unknown or impossible name, with the nearest ones.
  """
  plain = name.partition(":")[0].partition("/")[0]
  try:
    tfds.builder_cls(plain)
  except ValueError as error:  # not found, or a name that no data set can have
    raise UserError(f"unknown data {name!r}: {_nearest(plain)}") from error
  try:
    return tfds.builder(name, data_dir=os.environ.get("TFDS_DATA_DIR"))
  except Exception as error:  # a wrong version or config, each by another class of TFDS
    raise UserError(f"TFDS cannot open {name}: {_line(error)}") from error


def prepare(builder):
  """Prepares a published builder, from the network unless the user has it already.

  Returns: the builder.  Raises: UserError: no network, or whatever a host makes TFDS raise.
  """
  if not builder.info.splits:
    _check_network(builder)
  try:
    builder.download_and_prepare()
  except Exception as error:  # a moved file, a full disk, a download that needs a login
    raise UserError(f"TFDS cannot prepare {builder.name}: {_line(error)}") from error
  return builder


def _line(error):
  return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


def _nearest(name):
  known = ["fake", *packages.DATA_SETS, *tfds.list_builders(with_community_datasets=False)]
  close = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
  guess = f"did you mean {' or '.join(close)}? Take" if close else "take"
  return (f"no folder and no data set has this name; {guess} "
          f"{', '.join(packages.DATA_SETS)}, fake, a name of TFDS, or a folder such as ./photos")


def _check_network(builder):
  # Without a network TFDS retries in silence for minutes: one look at a host says it in seconds.
  hosts = {urllib.parse.urlparse(url).hostname for url in builder.url_infos or ()}
  hosts.discard(None)
  if not hosts or urllib.request.getproxies():
    return
  host = min(hosts)
  try:
    socket.create_connection((host, 443), timeout=_CONNECT_SECONDS).close()
  except OSError as error:
    raise UserError(f"{builder.name} is not prepared yet and its host {host} cannot be reached "
                    f"({error}): connect to the network, or train on mnist_5k, fluent_emoji or "
                    "your own folder of images") from error


def _open(builder, size, channels):
  features = builder.info.features
  image, label = (_first(features, kind)
                  for kind in (tfds.features.Image, tfds.features.ClassLabel))
  return decoded.Opened(
      num_examples=sum(split.num_examples for split in builder.info.splits.values()),
      class_names=list(features[label].names) if label else [],
      examples=_examples(builder, image, label, size, channels))


def _first(features, kind):
  return next((key for key, feature in features.items() if isinstance(feature, kind)), None)


def _examples(builder, image, label, size, channels):
  # A data set's own test split is kept; without one, a hash of the pixels decides.
  own_test = "test" in builder.info.splits
  for split in builder.info.splits:
    for example in _read(builder, split):
      pixel = example[image]
      is_test = split == "test" if own_test else pipeline.is_test(pixel.tobytes())
      number = max(0, int(example[label])) if label else 0  # -1: an unlabelled test split
      yield pixels.fit_array(pixel, size, channels), number, is_test


def _read(builder, split):
  # TFDS reads ArrayRecord by index only and TFRecord in order only.
  if builder.info.file_format == tfds.core.FileFormat.ARRAY_RECORD:
    return iter(builder.as_data_source(split=split))
  return iter(tfds.as_numpy(builder.as_dataset(split=split)))


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
