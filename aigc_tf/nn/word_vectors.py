"""Tables of word vectors: looking tokens up, and starting from vectors that others have trained.

The file is text, one word and its numbers a line, as GloVe writes it, or word2vec, which puts a
line with the number of words and of dimensions in front.

Axes: B batch, L tokens, V vocabulary, D width.
"""

import math

import numpy as np
import tensorflow as tf

from aigc_tf.errors import UserError


def lookup(table, token):
  """Rows of a table; zeros for padding.

  table: f32[V, D], keras.Variable.  token: i32[B, L] or [B], -1 is padding.
  Returns: f32[B, L, D] or [B, D].
  """
  return _lookup(tf.convert_to_tensor(table), token)


@tf.custom_gradient
def _lookup(table, token):
  found = tf.gather(table, tf.maximum(token, 0))

  def gradient(upstream):
    # A gather's own gradient is a list of slices, that every later sum must handle apart.
    flat = tf.reshape(upstream, (-1, table.shape[1]))
    return tf.math.unsorted_segment_sum(  # leaves negative tokens out
        flat, tf.reshape(token, (-1,)), table.shape[0]), None

  return tf.where((token >= 0)[..., None], found, 0.0), gradient


def load(table, tokenizer, path):
  """Puts a file's vectors into the rows of the tokens it knows; the others stay as they are.

  table: keras.Variable f32[V, D].  tokenizer: nn.tokenizers' kind.  path: str.
  Returns: int, rows that were found.  Raises: UserError.
  """
  size, width = table.shape
  words = [text.decode("utf-8", "replace").strip()
           for text in tokenizer.decode(tf.range(size, dtype=tf.int32)[:, None]).numpy()]
  vectors = read(path, set(words) - {""}, width)
  if not vectors:
    raise UserError(f"{path}: none of its words is a token of this {size}-token vocabulary; "
                    "take vectors of the same language and of words as long as the tokens")
  values = np.array(table)
  rows = [row for row, word in enumerate(words) if word in vectors]
  values[rows] = [vectors[words[row]] for row in rows]
  table.assign(values)
  return len(rows)


def read(path, words, width):
  """The vectors of some words.

  words: set of str.  width: int, D.  Returns: {str: f32[D]}.  Raises: UserError, one line.
  """
  vectors, number = {}, 0
  try:
    with open(path, encoding="utf-8") as lines:
      for number, line in enumerate(lines, 1):
        if number == 1 and _checked_header(path, line, width):
          continue
        # From the right, because GloVe has words with blanks in them.
        word, *numbers = line.rstrip().rsplit(" ", width)
        if len(numbers) != width or word in words and word not in vectors:
          vectors[word] = _vector(path, number, line, numbers, width)
  except OSError as error:
    raise UserError(f"{path}: cannot be read ({error.strerror})") from error
  except UnicodeDecodeError as error:
    raise UserError(f"{path}: is not UTF-8 text; word vectors are needed as text, one word and "
                    "its numbers a line") from error
  if not number:
    raise UserError(f"{path}: holds no vectors; the file is empty")
  return vectors


def _checked_header(path, line, width):
  # True for word2vec's first line; GloVe has words from the start.
  parts = line.split()
  if not parts:
    raise UserError(f"{path}: holds no vectors; its first line is empty")
  is_header = len(parts) == 2 and all(part.isdigit() for part in parts)
  found = int(parts[1]) if is_header else len(parts) - 1
  if found != width:
    raise UserError(f"{path}: has vectors of {found} numbers, the model's have {width}; "
                    f"set model.embedding_dim={found}")
  return is_header


def _vector(path, number, line, numbers, width):
  try:
    vector = np.array([float(item) for item in numbers], np.float32)
  except ValueError:
    vector = np.array([math.nan])
  if vector.shape != (width,) or not np.all(np.isfinite(vector)):
    raise UserError(f"{path}, line {number}: needs a word and {width} numbers, has "
                    f"{line.strip()[:40]!r}; the file may be cut short: fetch it again")
  return vector
