"""Tokenised documents, made once and kept in the cache: what every source of text ends in.

All documents of the training split come first, then those held out, in one stream of tokens: each
is [begin] document [end] (document [end] where a tokenizer has one mark for both). The tokenizer is
learned from the training split. The folder appears by one rename, and its name is a hash of the
source, the cleaning and the tokenizer.

Axes: N documents, T tokens of all documents.
"""

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

from aigc_tf.data import packages
from aigc_tf.data import pipeline
from aigc_tf.data import text_clean
from aigc_tf.errors import UserError
from aigc_tf.nn import tokenizers

FORMAT = 1  # of the folders: raise it when the same source would be stored differently
KINDS = ("byte", "char", "bpe")
_CHUNK_BYTES = 2**20  # tokenised at once
_LEARN_CHARS = 50_000_000  # a tokenizer is learned from so many characters at most


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


class Store(NamedTuple):
  """token: {"text": int32[T], and "source" for pairs}.  first: the same keys, int64[N + 1].

  strings: the same keys, Strings.  label: int32[N], -1 without classes.  num_train: int.
  meta: dict with class_names, prompt_suffix, two_lines, tokenizer, fingerprint, begin_id, and
    begins: whether a document in `token` starts with it.
  """
  token: dict
  first: dict
  strings: dict
  label: np.ndarray
  num_train: int
  meta: dict


def open_or_make(source, cfg):
  """The documents of a source as tokens, from the cache if they are there.

  source: Source.  cfg: a recipe's `data` group.  Returns: Store.  Raises: UserError.
  """
  settings = {"format": [FORMAT, text_clean.FORMAT], "task": cfg.task,
              "clean": dict(cfg.clean), "tokenizer": tokenizer_key(cfg),
              "learned_from": "all" if cfg.split == "all" else "train", **source.key}
  text = json.dumps(settings, sort_keys=True)
  folder = packages.cache_dir() / "tokens" / hashlib.sha256(text.encode()).hexdigest()[:20]
  for _ in range(2):
    if not folder.exists():
      with packages.staged(folder) as temporary:
        _make(source, cfg, temporary, text)
    try:
      return _open(folder)
    except (OSError, ValueError, KeyError, IndexError, EOFError) as error:
      print(f"data: the cached {folder} is damaged ({error}) and is made again", file=sys.stderr)
      shutil.rmtree(folder)
  raise UserError(f"the cache folder {folder.parent} gives back other bytes than were written: "
                  "set AIGC_TF_CACHE to a folder on another disk")


def tokenizer_key(cfg):
  """What the tokenizer depends on besides the documents.  Returns: dict.  Raises: UserError."""
  code = hashlib.sha256(pathlib.Path(tokenizers.__file__).read_bytes()).hexdigest()
  if cfg.tokenizer in KINDS:
    return {"kind": cfg.tokenizer, "vocab_size": cfg.vocab_size, "code": code}
  return {"spec": _given_tokenizer(cfg.tokenizer), "code": code}


def _given_tokenizer(name):
  # The tokenizer of another run, so that its weights can be trained further on other data.
  path = pathlib.Path(name).expanduser()
  path = path / "recipe.json" if path.is_dir() else path
  try:
    held = json.loads(path.read_text(encoding="utf-8"))
    return held.get("spec", {}).get("tokenizer") or {"kind": held["kind"], **held}
  except (OSError, ValueError, KeyError, AttributeError) as error:
    raise UserError(f"data.tokenizer={name!r}: use {', '.join(KINDS)}, or the folder of a run "
                    f"whose tokenizer is to be used ({error})") from error


def _make(source, cfg, folder, text):
  opened = source.open(cfg.task)
  columns = ("source", "text") if cfg.task == "text_to_text" else ("text",)
  meta = _write_texts(opened, cfg, columns, folder)
  strings = {column: Strings(folder, column) for column in columns}
  spec = _learn(cfg, strings, meta)
  tokenizer = tokenizers.from_spec(spec)
  for column in columns:
    _write_tokens(strings[column], tokenizer, column == "text", folder, column)
  begin, end = tokenizer.begin_id, tokenizer.end_id
  meta = {"settings": json.loads(text), "tokenizer": spec, "begin_id": begin,
          "begins": begin != end, **meta}
  (folder / "meta.json").write_text(json.dumps(meta), encoding="utf-8")


def _write_texts(opened, cfg, columns, folder):
  # Two files a column, so that the training split comes first, joined at the end.
  cleaner = text_clean.Cleaner(cfg.clean, cfg.task)
  sides = [_Side(folder, columns, side) for side in ("train", "test")]
  digest, two_lines = hashlib.sha256(), True
  for row in tqdm.tqdm(opened.rows, "reading documents", leave=False, delay=2, disable=None):
    kept = cleaner(row)
    if kept is None:
      continue
    held_out = row.is_test if row.is_test is not None else pipeline.is_test(text_clean.key(row))
    sides[held_out].add(kept)
    digest.update(f"{held_out}\0{kept.label}\0{kept.source}\0{kept.text}\0".encode())
    two_lines = two_lines and "\n" in kept.text
  counts = [side.close() for side in sides]
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
  return {"class_names": names, "prompt_suffix": opened.prompt_suffix, "two_lines": two_lines,
          "num_train": counts[0], "fingerprint": digest.hexdigest(),
          "left_out": dict(cleaner.reasons)}


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
    return len(self.labels)


def _join(folder, column, sides):
  with (folder / f"{column}.utf8").open("wb") as whole:
    for side in sides:
      with side.paths[column].open("rb") as part:
        shutil.copyfileobj(part, whole)
      side.paths[column].unlink()
  sizes = np.array(sides[0].sizes[column] + sides[1].sizes[column], np.int64)
  np.save(folder / f"{column}.npy", np.concatenate([[0], np.cumsum(sizes)]))


def _learn(cfg, strings, meta):
  if cfg.tokenizer not in KINDS:
    return _given_tokenizer(cfg.tokenizer)
  count = len(strings["text"]) if cfg.split == "all" else meta["num_train"]
  if not count:
    raise UserError(f"data.name={cfg.name} has a single document, which the split by hash holds "
                    "out: add documents, or use data.split=all")
  total = sum(int(each.first[count]) for each in strings.values())
  stride = -(-total // (4 * _LEARN_CHARS))  # bytes; at most 4 a character
  texts = (each[i] for each in strings.values() for i in range(0, count, stride))
  return tokenizers.learn(cfg.tokenizer, texts, cfg.vocab_size)


def _write_tokens(strings, tokenizer, marked, folder, column):
  sizes = []
  begin = [tokenizer.begin_id] if tokenizer.begin_id != tokenizer.end_id else []
  with (folder / f"{column}.i32").open("wb") as file:
    cuts = np.searchsorted(strings.first, np.arange(0, strings.first[-1], _CHUNK_BYTES))
    places = list(itertools.pairwise([*np.unique(cuts), len(strings)]))
    for start, end in tqdm.tqdm(places, "tokenizing", leave=False, delay=2, disable=None):
      chunk = [strings[i] for i in range(start, end)]
      token = tokenizer.encode(tf.constant(chunk))
      if marked:
        marks = [tf.RaggedTensor.from_tensor(tf.tile(tf.constant([mark], tf.int32),
                                                     [len(chunk), 1]))
                 for mark in (begin, [tokenizer.end_id])]
        token = tf.concat([marks[0], token, marks[1]], axis=1)
      sizes.append(token.row_lengths().numpy())
      token.flat_values.numpy().astype(np.int32).tofile(file)
  np.save(folder / f"{column}.first.npy", np.concatenate([[0], np.cumsum(np.concatenate(sizes))]))


def _why(reasons):
  listed = ", ".join(f"{count:,} {why}" for why, count in reasons.most_common())
  return f" ({listed})" if listed else ""


def _tell(name, kept, reasons):
  if reasons:
    print(f"data: {name}: {kept:,} documents kept, {sum(reasons.values()):,} left out"
          f"{_why(reasons)}", file=sys.stderr)


@functools.lru_cache(maxsize=4)
def _open(folder):
  meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
  columns = [column for column in ("source", "text") if (folder / f"{column}.i32").exists()]
  first = {column: np.load(folder / f"{column}.first.npy") for column in columns}
  token = {column: np.memmap(folder / f"{column}.i32", np.int32, "r") for column in columns}
  label = np.load(folder / "label.npy")
  for column in columns:
    if first[column][-1] != token[column].size or first[column].size != label.size + 1:
      raise ValueError(f"{column}.i32 was cut")
  strings = {column: Strings(folder, column) for column in columns}
  return Store(token, first, strings, label, meta["num_train"], meta)
