"""Images: from a recipe's `data` group to batches in [-1, 1].

Every source (a generated set, our own builders, a folder, TFDS) is decoded once to uint8; a batch
is then one gather by index, a conversion and the augmentations that are switched on.

Axes: B global rows a step, b rows of one batch here, N examples, H W pixels, C channels.
"""

import hashlib
import importlib.metadata
import importlib.util
import os
import pathlib

import numpy as np
import tensorflow as tf

from aigc_tf.data import augment
from aigc_tf.data import decoded
from aigc_tf.data import folders
from aigc_tf.data import packages
from aigc_tf.data import pipeline
from aigc_tf.errors import UserError

_FAKE_EXAMPLES = 64
_FAKE_CLASSES = 10
_SPLITS = ("train", "test", "all")


def spec(cfg):
  """What a model must know of the data, as plain JSON.

  cfg: a recipe's `data` group.  Returns: dict.  Raises: UserError.
  """
  whole = _decoded(cfg)
  return {
      "modality": "images", "size": cfg.size, "channels": cfg.channels,
      "num_classes": len(whole.class_names), "class_names": list(whole.class_names),
      "num_examples": int(_members(whole, cfg.split).size), "fingerprint": whole.fingerprint}


def load(cfg, split, seed, position, context=None):
  """Training batches, forever, in an order that is a function of (seed, position) alone.

  split: "train", "test" or "all".  seed: int.  position: int, batches drawn before.
  context: tf.distribute.InputContext or None (see pipeline.batches).
  Returns: tf.data.Dataset of {"image": f32[b, H, W, C] in [-1, 1], "label": i32[b],
    "seed": i64[b]}.  Raises: UserError.
  """
  whole = _decoded(cfg)
  members, labels = tf.constant(_members(whole, split), tf.int64), tf.constant(whole.labels)
  gather = _gatherer(whole.images)

  def read(row):
    index = tf.gather(members, row["index"])
    image = augment.apply(to_float(gather(index)), row["seed"], cfg.augment)
    return {"image": image, "label": tf.gather(labels, index), "seed": row["seed"]}
  order = pipeline.batches(members.shape[0], cfg.batch_size, seed, position, context)
  return order.map(read, num_parallel_calls=tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)


def arrays(cfg, split, limit=None):
  """A split without augmentation, for evaluation.

  limit: int, at most so many examples, evenly spread over the split; None for all.
  Returns: {"image": uint8[N, H, W, C], "label": int32[N]}.  Raises: UserError.
  """
  whole = _decoded(cfg)
  members = _members(whole, split)
  if limit and members.size > limit:
    members = members[np.arange(limit) * members.size // limit]
  return {"image": whole.images[members], "label": whole.labels[members]}


def fake(cfg):
  """A small generated set, the same for the same size and channels: one blob a class, and noise.

  Returns: {"image": uint8[64, H, W, C], "label": int32[64] in [0, 10)}.
  """
  generator = np.random.Generator(np.random.PCG64(0))
  label = np.arange(_FAKE_EXAMPLES, dtype=np.int32) % _FAKE_CLASSES
  angle = 2 * np.pi * label / _FAKE_CLASSES
  centre = 0.5 + 0.3 * np.stack([np.sin(angle), np.cos(angle)], axis=1)  # (N, 2) in image sides
  side = (np.arange(cfg.size) + 0.5) / cfg.size
  square = ((side[None, :, None] - centre[:, 0, None, None])**2
            + (side[None, None, :] - centre[:, 1, None, None])**2)  # (N, H, W)
  light = 255 * np.exp(-square / 0.02)[..., None] * np.linspace(1.0, 0.5, cfg.channels)
  noise = generator.uniform(0, 8, light.shape)
  return {"image": np.clip(light + noise, 0, 255).astype(np.uint8), "label": label}


def to_float(image):
  """image: uint8 in 0..255.  Returns: f32 in [-1, 1]."""
  return tf.cast(image, tf.float32) / 127.5 - 1.0


def _gatherer(images):
  # Function i64[b] -> uint8[b, H, W, C]: from memory, or from a file that is read by index.
  if isinstance(images, np.ndarray):
    held = tf.constant(images)
    return lambda index: tf.gather(held, index)

  def read(index):
    rows = tf.numpy_function(images.__getitem__, [index], tf.uint8)
    return tf.ensure_shape(rows, (index.shape[0], *images.shape[1:]))
  return read


def _members(whole, split):
  if split not in _SPLITS:
    raise UserError(f"split={split!r}: use one of {', '.join(_SPLITS)}")
  held_out = whole.held_out
  members = np.flatnonzero({"train": ~held_out, "test": held_out}.get(split, held_out | True))
  if not members.size:
    raise UserError(f"the {split} split is empty: there are only {held_out.size} images; "
                    "add images, or train with data.split=all")
  return members


def _decoded(cfg):
  if cfg.size < 1 or cfg.channels not in (1, 3):
    raise UserError(f"data.size={cfg.size} and data.channels={cfg.channels}: images have a side of "
                    "1 pixel or more and 1 (grey) or 3 (colour) channels")
  if cfg.name == "fake":
    made = fake(cfg)
    held_out = np.array([pipeline.is_test(image.tobytes()) for image in made["image"]])
    return decoded.Decoded(made["image"], made["label"], held_out,
                           [str(digit) for digit in range(_FAKE_CLASSES)],
                           decoded.fingerprint(made["image"], made["label"]))
  return decoded.open_or_make(_source(cfg), cfg.size, cfg.channels)


def _source(cfg):
  name = cfg.name
  if name in packages.DATA_SETS:
    return _builder_source(cfg, "open_own", {"name": name, "builder": _builder_hash(name)})
  if name.startswith((".", "~", os.sep)) or os.path.isdir(name):
    return folders.source(name, cfg.size, cfg.channels)
  version = importlib.metadata.version("tensorflow-datasets")
  return _builder_source(cfg, "open_published", {"tfds": name, "version": version})


def _builder_source(cfg, function, key):
  def open_source():
    from aigc_tf.data import tfds_source  # takes seconds to import, and only decoding needs it
    return getattr(tfds_source, function)(cfg.name, cfg.size, cfg.channels)
  return decoded.Source(key, open_source)


def _builder_hash(name):
  # The builder's text and its packages' versions: what its examples depend on.
  file = pathlib.Path(importlib.util.find_spec(f"aigc_tf.data.builders.{name}").origin)
  versions = [packages.PACKAGES[package].version for package in packages.DATA_SETS[name]]
  return hashlib.sha256(file.read_bytes() + " ".join(versions).encode()).hexdigest()
