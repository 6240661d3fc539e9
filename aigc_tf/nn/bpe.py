"""Byte-pair encoding as GPT-2 does it, vectorised over all words of a batch.

Text -> words (pre-tokenizer) -> bytes -> merges, always the pair of the lowest rank first. Tokens
are written in GPT-2's notation, in which every byte has a printable letter (space is U+0120).

Axes: B rows, N characters, W words, T tokens or bytes, V vocabulary.
"""

import functools
import json
import os

import numpy as np
import tensorflow as tf

from aigc_tf.errors import UserError

# --- bytes as letters


def _byte_letters():
  """GPT-2's letters.  Returns: list of 256 str; unprintable bytes are moved beyond Latin-1."""
  printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
  moved = {byte: 256 + i for i, byte in enumerate(sorted(set(range(256)) - set(printable)))}
  return [chr(moved.get(byte, byte)) for byte in range(256)]


LETTERS = _byte_letters()
BYTES = {letter: byte for byte, letter in enumerate(LETTERS)}


def spell(token):
  """token: str in GPT-2's notation.  Returns: bytes."""
  try:
    return bytes([BYTES[letter] for letter in token])
  except KeyError as error:
    raise UserError(f"token {token!r} is not in GPT-2's notation of bytes: only byte-level "
                    "byte-pair vocabularies can be read") from error


# --- words

OTHER, LETTER, NUMBER, SPACE, EDGE = range(5)
# The class of all that is left when its complement is taken out. RE2's \s is ASCII only.
COMPLEMENTS = {LETTER: r"\P{L}+", NUMBER: r"\P{N}+", SPACE: r"[^\t\n\v\f\r \x{85}\p{Z}]+"}
BLANK, QUOTE = ord(" "), ord("'")
SHORT_ENDINGS, LONG_ENDINGS = "stmd", ("re", "ve", "ll")  # of 's 't 'm 'd, 're 've 'll


@functools.cache
def _classes():
  """Ranges of characters of one class, by TensorFlow's Unicode tables.

  Returns: the first code point of each range and its class, i32 arrays.
  """
  codes = np.delete(np.arange(0x110000), slice(0xD800, 0xE000))
  every = codes.astype("<u4").tobytes().decode("utf-32-le").encode("utf-8")
  classes = np.full(0x110000, OTHER, np.int32)
  for number, complement in COMPLEMENTS.items():
    with tf.init_scope():  # now, even if first asked for while a graph is traced
      kept = tf.strings.regex_replace(every, complement, "").numpy().decode("utf-8")
    classes[np.frombuffer(kept.encode("utf-32-le"), np.uint32)] = number
  first = np.flatnonzero(np.diff(classes, prepend=-1))
  return first.astype(np.int32), classes[first]


def _shift(x, by, fill):
  """x[i - by], `fill` beyond the ends.  x: [N].  by: a small int."""
  padding = tf.fill([tf.minimum(abs(by), tf.size(x))], tf.cast(fill, x.dtype))
  return tf.concat([padding, x[:-by]] if by > 0 else [x[-by:], padding], 0)


def _word_starts(code, row):
  r"""Where the matches of GPT-2's pattern begin:

    's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+

  A run of one class is a word; a blank before it belongs to it; of several spaces the last one is
  apart from the others if text follows.

  code, row: i32[N], Unicode and the row it stands in.  Returns: bool[N].
  """
  ranges, classes = _classes()
  kind = tf.gather(classes, tf.searchsorted(ranges, code, side="right") - 1)
  is_first, is_last = row != _shift(row, 1, -1), row != _shift(row, -1, -1)
  before = tf.where(is_first, EDGE, _shift(kind, 1, EDGE))
  after = tf.where(is_last, SPACE, _shift(kind, -1, SPACE))
  begins = kind != before
  after_blank = ~is_first & (_shift(code, 1, 0) == BLANK)

  quote = (code == QUOTE) & (before != OTHER) & ~after_blank  # where a word may begin
  next_code = tf.where(is_last, 0, _shift(code, -1, 0))
  next_but_one = tf.where(is_last | _shift(is_last, -1, True), 0, _shift(code, -2, 0))
  short = quote & _any(next_code == ord(a) for a in SHORT_ENDINGS)
  long = quote & _any((next_code == ord(a)) & (next_but_one == ord(b)) for a, b in LONG_ENDINGS)
  inside = _shift(short | long, 1, False) | _shift(long, 2, False)
  behind = _shift(short, 2, False) | _shift(long, 3, False)

  text_starts = (begins & ~after_blank) | behind
  return tf.where(kind == SPACE, begins | (after != SPACE), text_starts) & ~inside


def _any(conditions):
  return functools.reduce(tf.logical_or, conditions)


def raw_bytes(text):
  """text: string[B].  Returns: i32[T], the bytes of all rows, and i64[B], the rows' lengths."""
  values = tf.io.decode_raw(tf.strings.reduce_join(text), tf.uint8)
  return tf.cast(values, tf.int32), tf.cast(tf.strings.length(text), tf.int64)


def words(text):
  """text: string[B]; what is no valid UTF-8 counts as signs, its bytes are kept.

  Returns: the different words, string[U]; which of them each word is, i32[W]; its row, i64[W].
  """
  code, offset = tf.strings.unicode_decode_with_offsets(text, "UTF-8", errors="replace")
  row = code.value_rowids()
  starts = _word_starts(code.values, row)
  row = tf.boolean_mask(row, starts)
  values, lengths = raw_bytes(text)
  first = tf.boolean_mask(offset.values, starts) + tf.gather(
      tf.cumsum(lengths, exclusive=True), row)
  every_byte = tf.constant([bytes([byte]) for byte in range(256)])
  size = tf.size(values, tf.int64)
  lengths = tf.concat([first[1:], tf.fill([tf.minimum(tf.size(first), 1)], size)], 0) - first
  word = tf.repeat(tf.range(tf.size(first)), lengths)
  found = tf.strings.unsorted_segment_join(tf.gather(every_byte, values), word, tf.size(first))
  unique, index = tf.unique(found)
  return unique, index, row


# --- merges

NO_MERGE = np.iinfo(np.int64).max


def merge_table(vocabulary, merges):
  """What may be merged: left * V + right -> (rank * V + merged) * 2 + whether only one at a time.

  Merges of one rank are done together, unless the token that they make begins or ends a merge of
  a lower rank: that one would come in between.

  vocabulary: {token: id}.  merges: list of (left, right) in order of their rank.
  Returns: tf.lookup.StaticHashTable.
  """
  try:
    ids = np.array([(vocabulary[left], vocabulary[right], vocabulary[left + right])
                    for left, right in merges], np.int64).reshape(-1, 3)
  except KeyError as error:
    raise UserError(f"a merge needs the token {error}, which the vocabulary lacks") from error
  left, right, merged = ids.T
  size, rank = len(vocabulary), np.arange(len(merges))
  lowest = np.full(size, NO_MERGE)
  np.minimum.at(lowest, left, rank)
  np.minimum.at(lowest, right, rank)
  values = (rank * size + merged) * 2 + (lowest[merged] <= rank)
  last = {-1: NO_MERGE}  # a table may not be empty
  last.update(zip((left * size + right).tolist(), values.tolist()))  # a pair may stand twice
  return tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(
      np.array([*last], np.int64), np.array([*last.values()], np.int64)), NO_MERGE)


def merge(table, size, token, word, num_words):
  """Merges within words until nothing can be merged.

  table: as above.  size: int, V.  token, word: i64[T], i32[T], bytes' ids and their words.
  Returns: i32[T], merged tokens where their first bytes were and -1 elsewhere.
  """
  everywhere = tf.ones_like(word, tf.bool)
  state = (token, word, tf.range(tf.size(word)),
           _pairs(table, size, token, word, tf.fill(tf.shape(token), NO_MERGE), everywhere),
           tf.fill(tf.shape(word), -1))
  one_axis = tf.TensorShape([None])
  return tf.while_loop(
      lambda token, *_: tf.size(token) > 0,
      lambda *state: _merge_once(table, size, num_words, *state),
      state, shape_invariants=(one_axis,) * len(state))[-1]


def _merge_once(table, size, num_words, token, word, place, pair, done):
  """One rank in each word; what is in words without merges goes to `done`.

  pair: i64[T], the table's value for a token and its right neighbour.  place: index in `done`.
  """
  best = tf.gather(tf.math.unsorted_segment_min(pair, word, num_words), word)
  finished = best == NO_MERGE
  done = tf.tensor_scatter_nd_update(
      done, tf.boolean_mask(place, finished)[:, None],
      tf.cast(tf.boolean_mask(token, finished), tf.int32))
  left = _separate(tf.where(~finished & (pair == best))[:, 0], word, best)
  merged = tf.gather(best, left) // 2 % size
  token = tf.tensor_scatter_nd_update(token, left[:, None], merged)
  yes = tf.ones_like(left, tf.bool)
  removed = tf.scatter_nd(left[:, None] + 1, yes, tf.shape(token, tf.int64))
  changed = tf.scatter_nd(left[:, None], yes, tf.shape(token, tf.int64))
  token, word, place, pair, changed = (
      tf.boolean_mask(x, ~(finished | removed)) for x in (token, word, place, pair, changed))
  changed |= _shift(changed, -1, False)
  return token, word, place, _pairs(table, size, token, word, pair, changed), done


def _separate(left, word, best):
  """Of pairs that overlap, as in "aaa", every other one; only a word's first if so marked.

  left: i64[P], ascending indices of pairs of the lowest rank.  Returns: i64[Q].
  """
  run_begins = left != _shift(left, 1, -2) + 1
  run = tf.cumsum(tf.cast(run_begins, tf.int32)) - 1
  offset = left - tf.gather(tf.boolean_mask(left, run_begins), run)
  own = tf.gather(word, left)
  together = tf.gather(best, left) % 2 == 0
  return tf.boolean_mask(left, (offset % 2 == 0) & (together | (own != _shift(own, 1, -1))))


def _pairs(table, size, token, word, pair, changed):
  """`pair` with new values where `changed`: bool[T]."""
  where = tf.where(changed)
  neighbour = _shift(token, -1, 0)
  key = tf.gather(token * size + neighbour, where[:, 0])
  same_word = tf.gather(word == _shift(word, -1, -1), where[:, 0])
  return tf.tensor_scatter_nd_update(
      pair, where, tf.where(same_word, table.lookup(key), NO_MERGE))


# --- specs


def learn(texts, vocab_size, specials):
  """texts: list of str.  vocab_size: V at most.  specials: {role: id}, the first ids.

  Returns: a spec.  Raises: UserError.
  """
  try:
    import tokenizers  # pylint: disable=import-outside-toplevel
  except ImportError as error:
    raise UserError("the merges of byte-pair encoding are learned by a package: "
                    "pip install tokenizers") from error
  smallest = len(specials) + 256
  if vocab_size < smallest:
    raise UserError(f"vocab_size={vocab_size}: byte-pair encoding needs at least {smallest}")
  learner = tokenizers.Tokenizer(tokenizers.models.BPE())
  learner.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
  learner.train_from_iterator(texts, tokenizers.trainers.BpeTrainer(
      vocab_size=vocab_size - len(specials), min_frequency=2, show_progress=False,
      initial_alphabet=LETTERS))
  model = json.loads(learner.to_str())["model"]
  tokens = [f"<{role}>" for role in specials] + sorted(model["vocab"], key=model["vocab"].get)
  return make_spec(tokens, model["merges"], specials, [*specials.values()])


def make_spec(tokens, merges, roles, specials):
  """tokens: list of str in order of ids.  merges: list of [left, right].  roles: {role: id}.
  specials: list of ids that are no text.  Returns: dict of plain JSON.
  """
  return {"kind": "bpe", "vocabulary": " ".join(tokens),
          "merges": "\n".join(" ".join(pair) for pair in merges),
          "roles": dict(roles), "specials": list(specials)}


def read_spec(spec):
  """Returns: {token: id}, [(left, right)], and the list of bytes of each id, empty if special."""
  tokens = spec["vocabulary"].split(" ")
  vocabulary = {token: i for i, token in enumerate(tokens)}
  if len(vocabulary) != len(tokens) or not set(LETTERS) <= vocabulary.keys():
    raise UserError("a byte-pair vocabulary needs all 256 bytes, and no token twice")
  merges = [tuple(line.split(" ")) for line in spec["merges"].split("\n") if line]
  specials = set(spec["specials"])
  pieces = [b"" if i in specials else spell(token) for i, token in enumerate(tokens)]
  return vocabulary, merges, pieces


# --- files of Hugging Face

DEFAULT_END = "<|endoftext|>"


def read_hugging_face(folder):
  """A GPT-2 style folder: tokenizer.json, or vocab.json and merges.txt.

  Returns: a spec.  Raises: UserError if files are absent, broken, or of another style.
  """
  path = os.path.join(folder, "tokenizer.json")
  if os.path.exists(path):
    vocabulary, merges, added = _read_tokenizer_json(path)
  else:
    vocabulary = _read_json(os.path.join(folder, "vocab.json"))
    merges = _read_merges(os.path.join(folder, "merges.txt"))
    added = {}
  names = _special_names(folder)
  vocabulary = {**vocabulary, **added}
  roles = {role: vocabulary[name] for role, name in names.items() if name in vocabulary}
  by_id = {i: token for token, i in vocabulary.items()}
  if by_id.keys() != set(range(len(vocabulary))):
    raise UserError(f"{folder}: the ids of the vocabulary are not 0, 1, 2, ...")
  specials = sorted({*roles.values(), *added.values()})
  for i in specials:
    by_id[i] = "_".join(by_id[i].split())  # the spec is separated by spaces
  return make_spec([by_id[i] for i in range(len(by_id))], merges, roles, specials)


def _read_tokenizer_json(path):
  """Returns: {token: id}, [[left, right]], {added token: id}."""
  whole = _read_json(path)
  try:
    model, before = whole["model"], whole["pre_tokenizer"] or {}
    plain = (model.get("type", "BPE") == "BPE" and whole["normalizer"] is None
             and before.get("type") == "ByteLevel" and before.get("use_regex", True)
             and not before["add_prefix_space"]
             and not any(model.get(key) for key in (
                 "dropout", "continuing_subword_prefix", "end_of_word_suffix", "ignore_merges")))
    merges = [pair.split(" ") if isinstance(pair, str) else pair for pair in model["merges"]]
    merges = [[left, right] for left, right in merges]
    added = {token["content"]: token["id"] for token in whole["added_tokens"]}
    vocabulary = dict(model["vocab"])
  except (KeyError, TypeError, ValueError, AttributeError) as error:
    raise UserError(f"{path} is broken: {error!r}") from error
  if not plain:
    raise UserError(f"{path}: only byte-level byte-pair encoding as GPT-2's can be read")
  return vocabulary, merges, added


def _special_names(folder):
  """Names of the begin and end tokens.  Returns: {role: token}."""
  path = os.path.join(folder, "tokenizer_config.json")
  config = _read_json(path) if os.path.exists(path) else {}
  names = {"begin": config.get("bos_token"), "end": config.get("eos_token")}
  names = {role: name["content"] if isinstance(name, dict) else name
           for role, name in names.items()}
  return {role: name or DEFAULT_END for role, name in names.items()}


def _read_json(path):
  try:
    value = json.loads(_read(path))
  except ValueError as error:
    raise UserError(f"{path} is broken: {error}") from error
  if not isinstance(value, dict):
    raise UserError(f"{path} is broken: not a JSON object")
  return value


def _read_merges(path):
  lines = [line for line in _read(path).split("\n") if line and not line.startswith("#version")]
  merges = [line.split(" ") for line in lines]
  wrong = [line for line, pair in zip(lines, merges) if len(pair) != 2]
  if wrong:
    raise UserError(f"{path} is broken: {wrong[0]!r} is not two tokens")
  return merges


def _read(path):
  try:
    with open(path, encoding="utf-8", newline="\n") as f:
      return f.read().replace("\r\n", "\n")
  except FileNotFoundError as error:
    raise UserError(f"{path} does not exist: a GPT-2 style folder has tokenizer.json, or "
                    "vocab.json and merges.txt") from error
  except (OSError, UnicodeDecodeError) as error:
    raise UserError(f"cannot read {path}: {error}") from error
