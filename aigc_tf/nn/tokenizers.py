"""Text to token ids and back, in the graph: bytes, characters, byte-pair encoding.

Only core TensorFlow operations, so that an export takes and gives strings on a stock server.
A tokenizer is made of its spec, a plain dict that JSON can hold; the spec is learned from texts.
Our own kinds begin with the ids 0 unknown, 1 begin, 2 end, 3 mask.

Axes: B rows, L tokens, V vocabulary.
"""

import collections
import json

import tensorflow as tf

from aigc_tf.errors import UserError
from aigc_tf.nn import bpe

KINDS = ("byte", "char", "bpe")
SPECIALS = {"unknown": 0, "begin": 1, "end": 2, "mask": 3}


def learn(kind, texts, vocab_size):
  """The spec of a tokenizer for texts like these.

  kind: byte, char (the most frequent characters) or bpe.  texts: iterable of str.
  vocab_size: int, the largest V, specials included; bytes are always 260.
  Returns: dict of plain JSON, for `from_spec`.  Raises: UserError.
  """
  _check_kind(kind)
  texts = [text for text in texts if text]
  if not texts:
    raise UserError("no text to learn a tokenizer from: the corpus is empty")
  if kind == "byte":
    return {"kind": "byte"}
  if kind == "bpe":
    return bpe.learn(texts, vocab_size, SPECIALS)
  return _learn_characters(texts, vocab_size)


def _learn_characters(texts, vocab_size):
  room = vocab_size - len(SPECIALS)
  if room < 1:
    raise UserError(f"vocab_size={vocab_size}: characters need at least {len(SPECIALS) + 1}")
  counts = collections.Counter()
  for text in texts:
    counts.update(text)
  ranked = sorted(counts, key=lambda character: (-counts[character], character))
  return {"kind": "char", "characters": "".join(ranked[:room])}


def from_spec(spec):
  """spec: what `learn` returned.  Returns: Tokenizer.  Raises: UserError for another kind."""
  _check_kind(spec["kind"])
  return {"byte": Bytes, "char": Characters, "bpe": BytePairs}[spec["kind"]](spec)


def from_hugging_face(folder):
  """The tokenizer of a GPT-2 style folder: tokenizer.json, or vocab.json and merges.txt.

  Special tokens within a text are text: "<|endoftext|>" is encoded letter by letter.

  Returns: dict, a spec for `from_spec`.  Raises: UserError if absent, broken, or not GPT-2's kind.
  """
  return bpe.read_hugging_face(folder)


def _check_kind(kind):
  if kind not in KINDS:
    raise UserError(f"tokenizer {kind!r}: choose one of {', '.join(KINDS)}")


class Tokenizer(tf.Module):
  """What all kinds share; a kind adds `encode`.

  vocab_size: V.  begin_id, end_id, mask_id, unknown_id: int, -1 if there is none.
  """

  def __init__(self, spec, pieces, specials):
    """pieces: list of bytes, id -> text, empty for specials.  specials: {role: id}."""
    super().__init__()
    self._json = json.dumps(spec)  # tf.Module would wrap a dict
    self.vocab_size = len(pieces)
    self.unknown_id, self.begin_id, self.end_id, self.mask_id = (
        specials.get(role, -1) for role in SPECIALS)
    self._pieces = tf.constant([*pieces, b""])  # the last is for what is no id

  def to_spec(self):
    """Returns: dict, such that `from_spec` makes the same tokenizer."""
    return json.loads(self._json)

  def encode(self, text):
    """text: string[B], UTF-8.  Returns: tf.RaggedTensor i32[B, None], no special among them."""
    raise AssertionError("a kind of tokenizer has its own encode")

  def pieces(self):
    """The bytes of each token, eagerly.  Returns: list of V bytes, b"" for special tokens."""
    return self._pieces.numpy()[:-1].tolist()

  def decode(self, token):
    """token: i32[B, L]; -1, specials and what is no id give nothing.

    Returns: string[B], valid UTF-8: broken sequences become U+FFFD.
    """
    token = tf.convert_to_tensor(token)
    known = tf.logical_and(token >= 0, token < self.vocab_size)
    pieces = tf.gather(self._pieces, tf.where(known, token, self.vocab_size))
    return tf.strings.unicode_transcode(
        tf.strings.reduce_join(pieces, axis=1), "UTF-8", "UTF-8", errors="replace")


class Bytes(Tokenizer):
  """Every byte is a token, valid UTF-8 or not: id = byte + 4."""

  def __init__(self, spec):
    pieces = [b""] * len(SPECIALS) + [bytes([byte]) for byte in range(256)]
    super().__init__(spec, pieces, SPECIALS)

  def encode(self, text):
    text = tf.convert_to_tensor(text, tf.string)
    values, lengths = bpe.raw_bytes(text)
    return tf.RaggedTensor.from_row_lengths(values + len(SPECIALS), lengths, validate=False)


class Characters(Tokenizer):
  """Every character is a token; those that were too rare to learn are unknown."""

  def __init__(self, spec):
    pieces = [b""] * len(SPECIALS) + [c.encode() for c in spec["characters"]]
    super().__init__(spec, pieces, SPECIALS)
    codes = tf.constant([ord(c) for c in spec["characters"]], tf.int64)
    ids = tf.range(len(SPECIALS), self.vocab_size, dtype=tf.int64)
    self.ids = tf.lookup.StaticHashTable(
        tf.lookup.KeyValueTensorInitializer(codes, ids), self.unknown_id)

  def encode(self, text):
    text = tf.convert_to_tensor(text, tf.string)
    codes = tf.strings.unicode_decode(text, "UTF-8", errors="replace")  # by U+FFFD
    ids = self.ids.lookup(tf.cast(codes.values, tf.int64))
    return codes.with_values(tf.cast(ids, tf.int32))


class BytePairs(Tokenizer):
  """Byte-pair encoding with GPT-2's pre-tokenizer; any bytes can be encoded."""

  def __init__(self, spec):
    vocabulary, merges, pieces = bpe.read_spec(spec)
    super().__init__(spec, pieces, spec["roles"])
    self.merges = bpe.merge_table(vocabulary, merges)
    self._byte_ids = tf.constant([vocabulary[letter] for letter in bpe.LETTERS], tf.int64)

  def encode(self, text):
    text = tf.convert_to_tensor(text, tf.string)
    unique, index, row = bpe.words(text)
    values, lengths = bpe.raw_bytes(unique)
    num_words = tf.size(unique)
    word = tf.repeat(tf.range(num_words), lengths)
    merged = bpe.merge(
        self.merges, self.vocab_size, tf.gather(self._byte_ids, values), word, num_words)
    kept = merged >= 0
    lengths = tf.math.unsorted_segment_sum(tf.cast(kept, tf.int64), word, num_words)
    tokens = tf.gather(tf.RaggedTensor.from_row_lengths(
        tf.boolean_mask(merged, kept), lengths, validate=False), index)
    lengths = tf.math.unsorted_segment_sum(tokens.row_lengths(), row, tf.size(text))
    return tf.RaggedTensor.from_row_lengths(tokens.values, lengths, validate=False)
