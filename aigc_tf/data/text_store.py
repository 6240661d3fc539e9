"""Documents and their tokens, made once and kept in the cache: what every source of text ends in.

Three folders, each named by a hash of what it depends on and appearing by one rename: the cleaned
texts, a tokenizer learned from their training split, the tokens. All documents of the training
split come first, then those held out, in one stream of tokens: each is [begin] document [end]
(document [end] where a tokenizer has one mark for both).

Axes: N documents, T tokens of all documents.
"""

import contextlib
import functools
import hashlib
import itertools
import json
import pathlib
import shutil
import sys
from typing import NamedTuple

import numpy as np
import tensorflow as tf
import tqdm

from aigc_tf import recipe
from aigc_tf.data import cached
from aigc_tf.data import pipeline
from aigc_tf.data import text_clean
from aigc_tf.errors import UserError
from aigc_tf.nn import bpe
from aigc_tf.nn import tokenizers

FORMAT = 2  # of the folders: raise it when the same source would be stored differently
_CHUNK_BYTES = 2**20  # tokenised at once
_LEARN_BYTES = 200_000_000  # a tokenizer is learned from so much text at most


class Source(NamedTuple):
  """Where documents come from.

  key: what JSON can hold, the same as long as the documents are.
  open: function(task) -> Opened, called only where the tokens are not in the cache.
  """
  key: dict
  open: object


class Opened(NamedTuple):
  """rows: iterable of text_clean.Row.  class_names: list of str, None: those that occur, sorted.

  prompt_suffix: str put behind a prompt without it; None: "\\n" if each document has two lines.
  """
  rows: object
  class_names: list | None = None
  prompt_suffix: str | None = None


class Strings:
  """Texts in one file, read by index.  Like a tuple of str."""

  def __init__(self, folder, name):
    self._bytes = np.memmap(folder / f"{name}.utf8", np.uint8, "r")
    self.first = np.load(folder / f"{name}.npy")
    if self.first[-1] != self._bytes.size:
      raise ValueError(f"{name}.utf8 was cut")

  def __len__(self):
    return self.first.size - 1

  def __getitem__(self, index):
    return self._bytes[self.first[index]:self.first[index + 1]].tobytes().decode()


class Texts(NamedTuple):
  """strings: {"text": Strings, and "source" for pairs}.  label: int32[N], -1 without classes.

  num_train: int, documents not held out.  meta: dict with class_names, prompt_suffix, two_lines,
    fingerprint.
  """
  strings: dict
  label: np.ndarray
  num_train: int
  meta: dict


class Tokens(NamedTuple):
  """stream: {"text": int32[T], and "source" for pairs}.  first: the same keys, int64[N + 1]."""
  stream: dict
  first: dict


class Store(NamedTuple):
  """begin_id: int.  begins: whether a document in the stream starts with it."""
  texts: Texts
  tokens: Tokens
  tokenizer: dict
  begin_id: int
  begins: bool


def open_or_make(source, cfg):
  """The documents of a source as text and as tokens, from the cache if they are there.

  source: Source.  cfg: a recipe's `data` group.  Returns: Store.  Raises: UserError.
  """
  key = {"format": [FORMAT, text_clean.FORMAT], "task": cfg.task, "clean": dict(cfg.clean),
         **source.key}
  family = source.key.get("files")  # of the user's own, which may change time and again
  texts = cached.open_or_make(
      "texts", key, lambda folder: _write_texts(source, cfg, folder), _open_texts, family)
  _check_classes(texts, cfg)
  code = b"".join(pathlib.Path(module.__file__).read_bytes() for module in (tokenizers, bpe))
  code = hashlib.sha256(code).hexdigest()
  spec = _tokenizer_spec(texts, cfg, {"texts": key, "code": code}, family)
  tokenizer = tokenizers.from_spec(spec)
  tokens = cached.open_or_make(
      "tokens", {"texts": key, "code": code, "spec": spec},
      lambda folder: _write_all_tokens(texts, tokenizer, folder), _open_tokens, family)
  return Store(texts, tokens, spec, tokenizer.begin_id, tokenizer.begin_id != tokenizer.end_id)


def _check_classes(texts, cfg):
  present = np.unique(texts.label)
  if cfg.task == "classification" and present.size < 2:
    raise UserError(f"{cfg.name} has one class only, {texts.meta['class_names'][present[0]]!r}, "
                    "where a classifier needs two; in a folder each subfolder is a class")


def _tokenizer_spec(texts, cfg, key, family):
  given = cfg.get(recipe.TOKENIZER)
  if given:
    return json.loads(given)
  count = texts.label.size if cfg.split == "all" else texts.num_train
  if not count:
    raise UserError(f"data.name={cfg.name} has {texts.label.size} documents, all of which the "
                    "split by hash holds out: add documents, or use data.split=all")
  key = {**key, "kind": cfg.tokenizer, "vocab_size": cfg.vocab_size, "count": count}

  def learn(folder):
    spec = tokenizers.learn(cfg.tokenizer, _learned_from(texts, count), cfg.vocab_size)
    (folder / "tokenizer.json").write_text(json.dumps(spec), encoding="utf-8")
  return cached.open_or_make("tokenizers", key, learn, _open_tokenizer, family)


def _learned_from(texts, count):
  total = sum(int(each.first[count]) for each in texts.strings.values())
  stride = -(-total // _LEARN_BYTES)
  return (each[i] for each in texts.strings.values() for i in range(0, count, stride))


# --- texts


def _write_texts(source, cfg, folder):
  # Two files a column, so that the training split comes first, joined at the end.
  opened = source.open(cfg.task)
  columns = ("source", "text") if cfg.task == "text_to_text" else ("text",)
  cleaner = text_clean.Cleaner(cfg.clean, cfg.task)
  sides = [_Side(folder, columns, side) for side in ("train", "test")]
  digest, two_lines = hashlib.sha256(), True
  with contextlib.closing(sides[0]), contextlib.closing(sides[1]):
    for row in tqdm.tqdm(opened.rows, "reading documents", leave=False, delay=2, disable=None):
      kept = cleaner(row)
      if kept is None:
        continue
      held_out = row.is_test if row.is_test is not None else pipeline.is_test(text_clean.key(row))
      sides[held_out].add(kept)
      digest.update(f"{held_out}\0{kept.label}\0{kept.source}\0{kept.text}\0".encode())
      two_lines = two_lines and "\n" in kept.text
  counts = [len(side.labels) for side in sides]
  if not sum(counts):
    raise UserError(f"data.name={cfg.name} holds no documents that can be used"
                    f"{_why(cleaner.reasons)}")
  _tell(cfg.name, sum(counts), cleaner.reasons)
  for column in columns:
    _join(folder, column, sides)
  labels = sides[0].labels + sides[1].labels
  classified = cfg.task == "classification"
  names = (opened.class_names or sorted(set(labels))) if classified else []
  number = {name: i for i, name in enumerate(names)}
  np.save(folder / "label.npy", np.array([number.get(label, -1) for label in labels], np.int32))
  (folder / "meta.json").write_text(json.dumps({
      "class_names": names, "prompt_suffix": opened.prompt_suffix, "two_lines": two_lines,
      "num_train": counts[0], "fingerprint": digest.hexdigest(), "columns": columns}),
                                    encoding="utf-8")


class _Side:
  """The texts of one side of the split on their way to the disk."""

  def __init__(self, folder, columns, side):
    self.paths = {column: folder / f"{side}-{column}" for column in columns}
    self.sizes = {column: [] for column in columns}
    self.labels = []
    self._files = {column: path.open("wb") for column, path in self.paths.items()}

  def add(self, row):
    for column, file in self._files.items():
      self.sizes[column].append(file.write(getattr(row, column).encode()))
    self.labels.append(row.label)

  def close(self):
    for file in self._files.values():
      file.close()


def _join(folder, column, sides):
  with (folder / f"{column}.utf8").open("wb") as whole:
    for side in sides:
      with side.paths[column].open("rb") as part:
        shutil.copyfileobj(part, whole)
      side.paths[column].unlink()
  sizes = np.array(sides[0].sizes[column] + sides[1].sizes[column], np.int64)
  np.save(folder / f"{column}.npy", np.concatenate([[0], np.cumsum(sizes)]))


def _why(reasons):
  listed = ", ".join(f"{count:,} {why}" for why, count in reasons.most_common())
  return f" ({listed})" if listed else ""


def _tell(name, kept, reasons):
  if reasons:
    print(f"data: {name}: {kept:,} documents kept, {sum(reasons.values()):,} left out"
          f"{_why(reasons)}", file=sys.stderr)


@functools.lru_cache(maxsize=4)
def _open_texts(folder):
  meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
  strings = {column: Strings(folder, column) for column in meta["columns"]}
  label = np.load(folder / "label.npy")
  if any(len(each) != label.size for each in strings.values()):
    raise ValueError("label.npy does not fit")
  return Texts(strings, label, meta["num_train"], meta)


# --- tokens


def _open_tokenizer(folder):
  return json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))


def _write_all_tokens(texts, tokenizer, folder):
  for column, strings in texts.strings.items():
    _write_tokens(strings, tokenizer, column == "text", folder, column)


def _write_tokens(strings, tokenizer, marked, folder, column):
  sizes = []
  begin = [tokenizer.begin_id] if tokenizer.begin_id != tokenizer.end_id else []
  with (folder / f"{column}.i32").open("wb") as file:
    cuts = np.searchsorted(strings.first, np.arange(0, strings.first[-1], _CHUNK_BYTES))
    places = list(itertools.pairwise(np.unique([*cuts, len(strings)])))
    for start, end in tqdm.tqdm(places, "tokenizing", leave=False, delay=2, disable=None):
      token = tokenizer.encode(tf.constant([strings[i] for i in range(start, end)]))
      if marked:
        before, after = (_marks(mark, end - start) for mark in (begin, [tokenizer.end_id]))
        token = tf.concat([before, token, after], axis=1)
      sizes.append(token.row_lengths().numpy())
      token.flat_values.numpy().astype(np.int32).tofile(file)
  np.save(folder / f"{column}.npy", np.concatenate([[0], np.cumsum(np.concatenate(sizes))]))


def _marks(mark, count):
  return tf.RaggedTensor.from_tensor(tf.tile(tf.constant([mark], tf.int32), [count, 1]))


@functools.lru_cache(maxsize=4)
def _open_tokens(folder):
  columns = [path.stem for path in sorted(folder.glob("*.i32"))]
  first = {column: np.load(folder / f"{column}.npy") for column in columns}
  stream = {column: np.memmap(folder / f"{column}.i32", np.int32, "r") for column in columns}
  for column in columns:
    if first[column][-1] != stream[column].size:
      raise ValueError(f"{column}.i32 was cut")
  if "text" not in stream:
    raise ValueError("text.i32 is not there")
  return Tokens(stream, first)
