"""Text: from a recipe's `data` group to batches of tokens.

Every source (a generated set, our own builders, files and folders, TFDS) is cleaned and tokenised
once; a batch is then one gather out of one stream of tokens. Padding is -1, at the right.

Tasks: "language_model" has rows [begin] document [end], or with `packed` blocks of the stream of
all documents; "text_to_text" has pairs; "classification" has a label a document, and documents cut
where they are too long. Longer ones are left out elsewhere.

Axes: B global rows a step, b rows of one batch here, N examples, L = length.
"""

import functools
import hashlib
import importlib.metadata
import importlib.util
import json
import os
import pathlib
import sys

import numpy as np
import tensorflow as tf

from aigc_tf.data import packages
from aigc_tf.data import pipeline
from aigc_tf.data import text_clean
from aigc_tf.data import text_files
from aigc_tf.data import text_store
from aigc_tf.errors import UserError

TASKS = ("language_model", "text_to_text", "classification")
_SPLITS = ("train", "test", "all")
_MEMORY_LIMIT_BYTES = 512 * 2**20  # of tokens; above it they are read from the disk
_WIDTHS = 8  # of batches by length
_FAKE_LETTERS, _FAKE_TIMES, _FAKE_CLASSES = "abcdefgh", 8, ("a to d", "e to h")


def spec(cfg):
  """What a model must know of the data, as plain JSON.

  cfg: a recipe's `data` group.  Returns: dict.  Raises: UserError.
  """
  store = _store(cfg)
  meta = store.texts.meta
  suffix = meta["prompt_suffix"]
  if suffix is None:
    suffix = "\n" if meta["two_lines"] and not cfg.packed else ""
  return {
      "modality": "text", "task": cfg.task, "tokenizer": store.tokenizer, "length": cfg.length,
      "source_length": cfg.source_length, "packed": cfg.packed,
      "normalize": cfg.clean.normalize,
      "prompt_suffix": suffix if cfg.task == "language_model" else "",
      "num_classes": len(meta["class_names"]), "class_names": meta["class_names"],
      "num_examples": _reader(store, cfg, cfg.split)[0], "fingerprint": meta["fingerprint"]}


def load(cfg, split, seed, position, context=None):
  """Training batches, forever, in an order that is a function of (seed, position) alone.

  split: "train", "test" or "all".  seed: int.  position: int, batches drawn before.
  context: tf.distribute.InputContext or None (see pipeline.batches).
  Returns: tf.data.Dataset of dicts with "seed" i64[b] and, by task: language_model "token"
    i32[b, L + 1]; text_to_text "source" i32[b, source_length] and "token" i32[b, L + 1];
    classification "token" i32[b, L] and "label" i32[b]. With cfg.buckets training rows of like
    length come together, in batches that are only as wide as they need.  Raises: UserError.
  """
  store, buckets = _store(cfg), cfg.get("buckets", 0)
  count, read = _reader(store, cfg, split)
  arrange = None
  if buckets and split != "test":
    arrange = pipeline.by_length(_lengths(store, cfg, split), cfg.batch_size, buckets, seed)
  order = pipeline.batches(count, cfg.batch_size, seed, position, context, arrange)

  def rows(row):
    found = read(row["index"], row["seed"])
    if arrange:
      found.update({key: _narrowed(found[key]) for key in ("source", "token") if key in found})
    return {**found, "seed": row["seed"]}
  return order.map(rows, num_parallel_calls=tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)


def rows(cfg, split, limit=None):
  """A split in order, as it is tokenised, for evaluation: packed blocks are not shifted.

  limit: int, at most so many rows, evenly spread over the split; None for all.
  Returns: dict of np.int32 arrays, the keys of `load` without "seed".  Raises: UserError.
  """
  count, read = _reader(_store(cfg), cfg, split)
  return {key: value.numpy() for key, value in read(_spread(count, limit), None).items()}


def arrays(cfg, split, limit=None):
  """The documents of a split as text, for evaluation.

  limit: int, at most so many, evenly spread over the split; None for all.
  Returns: {"text": list of str, "source": list of str (text_to_text only),
    "label": list of int (classification only)}.  Raises: UserError.
  """
  store = _store(cfg)
  members = _members(store, cfg, split)
  members = members[_spread(members.size, limit)]
  found = {key: [held[i] for i in members] for key, held in store.texts.strings.items()}
  if cfg.task == "classification":
    found["label"] = store.texts.label[members].tolist()
  return found


def fake(cfg):
  """A small generated set of 64 documents, the same for the same task: letters repeated.

  language_model: "c3\\nccc"; text_to_text: "c3" to "ccc"; classification: "ccc" by the letter.
  Returns: as `arrays`.
  """
  pairs = [(letter, times) for letter in _FAKE_LETTERS for times in range(1, _FAKE_TIMES + 1)]
  names, bodies = [f"{a}{n}" for a, n in pairs], [a * n for a, n in pairs]
  if cfg.task == "text_to_text":
    return {"text": bodies, "source": names}
  if cfg.task == "classification":
    return {"text": bodies, "label": [int(a > "d") for a, _ in pairs]}
  return {"text": [f"{name}\n{body}" for name, body in zip(names, bodies)]}


def class_names(cfg):
  """Names of the classes, in the order of their labels.  Returns: list of str."""
  return _store(cfg).texts.meta["class_names"]


# --- rows


def _reader(store, cfg, split):
  # (number of rows, function (index i64[b], seed i64[b] or None) -> dict without "seed").
  if cfg.packed:
    return _block_reader(store, cfg, split)
  members = tf.constant(_members(store, cfg, split))
  label, columns = tf.constant(store.texts.label), {}
  width = cfg.length if cfg.task == "classification" else cfg.length + 1
  columns["token"] = _row_gatherer(store, "text", width)
  if cfg.task == "text_to_text":
    columns["source"] = _row_gatherer(store, "source", cfg.source_length)

  def read(index, seed):
    del seed
    index = tf.gather(members, index)
    row = {key: gather(index) for key, gather in columns.items()}
    return {**row, "label": tf.gather(label, index)} if cfg.task == "classification" else row
  return members.shape[0], read


def _row_gatherer(store, column, width):
  # Function i64[b] documents -> i32[b, width].
  first = tf.constant(store.tokens.first[column])
  tokens = _gatherer(store.tokens.stream[column])
  begin, lead = store.begin_id, int(column == "text" and not store.begins)

  def gather(index):
    start, end = tf.gather(first, index)[:, None], tf.gather(first, index + 1)[:, None]
    place = start - lead + tf.range(width, dtype=tf.int64)
    token = tokens(tf.clip_by_value(place, start, end - 1))
    return tf.where(place >= end, -1, tf.where(place < start, begin, token))
  return gather


def _lengths(store, cfg, split):
  # int64[N]: tokens of each example, as they are padded.
  members = _members(store, cfg, split)
  tokens = [np.diff(store.tokens.first[column])[members]
            for column in ("source", "text") if column == "text" or cfg.task == "text_to_text"]
  return np.minimum(sum(tokens), cfg.length + cfg.source_length)


def _narrowed(token):
  # i32[b, W] without columns that are all padding, but for a few: so there are few widths.
  width = token.shape[1]
  step = -(-width // _WIDTHS)
  used = tf.reduce_max(tf.reduce_sum(tf.cast(token >= 0, tf.int32), axis=1))
  return token[:, :tf.minimum(-(-used // step) * step, width)]


def _block_reader(store, cfg, split):
  low, high = (int(store.tokens.first["text"][i]) for i in _bounds(store, split))
  count = (high - low - 1) // cfg.length
  if count < 1:
    raise UserError(f"the {split} split of {cfg.name} has {high - low} tokens, too few for one "
                    f"block of data.length={cfg.length} + 1: take a smaller length, more text, or "
                    "data.split=all")
  tokens = _gatherer(store.tokens.stream["text"])

  def read(index, seed):
    start = low + index * cfg.length
    if seed is not None and split != "test":
      # Other cuts in each epoch. The seed of a row is well mixed: its upper bits are uniform.
      start += tf.math.floormod(tf.bitwise.right_shift(seed, tf.constant(33, tf.int64)), cfg.length)
      start = tf.minimum(start, high - cfg.length - 1)
    return {"token": tokens(start[:, None] + tf.range(cfg.length + 1, dtype=tf.int64))}
  return count, read


def _gatherer(stream):
  # Function i64[b, L] places -> i32[b, L]: from memory, or from a file that is read by index.
  if stream.nbytes <= _MEMORY_LIMIT_BYTES:
    held = tf.constant(stream)
    return lambda place: tf.gather(held, place)

  def read(place):
    return tf.ensure_shape(tf.numpy_function(stream.__getitem__, [place], tf.int32), place.shape)
  return read


def _bounds(store, split):
  # First document of a split, and the one behind its last.
  if split not in _SPLITS:
    raise UserError(f"split={split!r}: use one of {', '.join(_SPLITS)}")
  num_train, count = store.texts.num_train, store.texts.label.size
  low, high = {"train": (0, num_train), "test": (num_train, count), "all": (0, count)}[split]
  if low == high:
    raise UserError(f"the {split} split is empty: there are only {count} documents; add some, or "
                    "train with data.split=all")
  return low, high


def _members(store, cfg, split):
  # int64[N]: the documents of a split that fit.
  low, high = _bounds(store, split)
  fits = np.ones(high - low, bool)
  if cfg.task != "classification" and not cfg.packed:
    unmarked = 0 if store.begins else 1
    fits &= np.diff(store.tokens.first["text"][low:high + 1]) + unmarked <= cfg.length + 1
    if cfg.task == "text_to_text":
      fits &= np.diff(store.tokens.first["source"][low:high + 1]) <= cfg.source_length
  if not fits.any():
    raise UserError(f"no document of {cfg.name} fits into data.length={cfg.length} tokens "
                    f"(source_length={cfg.source_length}): make it larger, or set data.packed=True")
  _tell_long(cfg.name, split, int((~fits).sum()), fits.size, cfg.length, cfg.source_length)
  return low + np.flatnonzero(fits)


@functools.lru_cache(maxsize=None)
def _tell_long(name, split, count, total, length, source_length):
  # Cached, so that it is said once.
  if count:
    limits = f"data.length={length}" + (f", source_length={source_length}" if source_length else "")
    print(f"data: {name}: {count:,} of {total:,} documents ({split}) are longer than {limits} "
          "tokens and left out", file=sys.stderr)


def _spread(count, limit):
  if limit and count > limit:
    return np.arange(limit) * count // limit
  return np.arange(count)


# --- sources


def _store(cfg):
  _check(cfg)
  return text_store.open_or_make(_source(cfg), cfg)


def _check(cfg):
  if cfg.task not in TASKS:
    raise UserError(f"data.task={cfg.task!r}: use one of {', '.join(TASKS)}")
  if cfg.packed and cfg.task != "language_model":
    raise UserError(f"data.packed=True is for data.task=language_model, not {cfg.task}")
  buckets = cfg.get("buckets", 0)
  if buckets and (buckets < 2 or cfg.task == "language_model"):
    raise UserError(f"data.buckets={buckets}: 2 or more batches among which rows are sorted by "
                    "length, for data.task=text_to_text or classification; 0 for none")
  if cfg.length < 2 or (cfg.source_length < 1) == (cfg.task == "text_to_text"):
    raise UserError(f"data.length={cfg.length} and data.source_length={cfg.source_length}: length "
                    "is 2 tokens or more; source_length is for data.task=text_to_text, else 0")


def _source(cfg):
  name, plain = cfg.name, cfg.name.partition("/")[0]
  if name == "fake":
    made = fake(cfg)
    digest = hashlib.sha256(json.dumps(made).encode()).hexdigest()
    return text_store.Source({"fake": digest}, lambda task: _open_fake(made))
  if plain in packages.DATA_SETS:
    return _builder_source("open_own", name, {"name": name, "builder": _builder_hash(plain)})
  looks_like_file = name.startswith((".", "~", os.sep)) or name.lower().endswith(
      text_files.SUFFIXES)
  if looks_like_file or os.path.exists(name):
    return text_files.source(name)
  version = importlib.metadata.version("tensorflow-datasets")
  return _builder_source("open_published", name, {"tfds": name, "version": version})


def _open_fake(made):
  sources = made.get("source", [""] * len(made["text"]))
  labels = [_FAKE_CLASSES[label] for label in made["label"]] if "label" in made else [None] * len(
      made["text"])
  return text_store.Opened([text_clean.Row(*row) for row in zip(made["text"], sources, labels)])


def _builder_source(function, name, key):
  def open_source(task):
    from aigc_tf.data import text_tfds  # takes seconds to import, and only reading needs it
    return getattr(text_tfds, function)(name, task)
  return text_store.Source(key, open_source)


def _builder_hash(name):
  # The builder's code and its packages' versions: what its examples depend on.
  file = pathlib.Path(importlib.util.find_spec(f"aigc_tf.data.builders.{name}").origin)
  code = b"".join(path.read_bytes() for path in sorted(file.parent.glob(f"{name}*.py")))
  versions = [packages.PACKAGES[package].version for package in packages.DATA_SETS[name]]
  return hashlib.sha256(code + " ".join(versions).encode()).hexdigest()
