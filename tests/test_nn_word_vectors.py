"""Files of word vectors in the two formats, good and broken; the lookup with its gradient."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from aigc_tf.errors import UserError
from aigc_tf.nn import tokenizers
from aigc_tf.nn import word_vectors

GLOVE = "好 1 2 3\n. . 4 5 6\n坏 -0.5 1e-3 7\n"


def written(folder, text, encoding="utf-8"):
  path = folder / "vectors.txt"
  path.write_bytes(text.encode(encoding))
  return str(path)


@pytest.mark.parametrize("header", ["", "3 3\n"], ids=["glove", "word2vec"])
def test_both_formats_are_read(tmp_path, header):
  found = word_vectors.read(written(tmp_path, header + GLOVE), {"好", "坏", ". ."}, 3)
  assert set(found) == {"好", "坏", ". ."}  # GloVe has words with blanks
  np.testing.assert_allclose(found["坏"], [-0.5, 1e-3, 7], rtol=1e-6)


def test_only_wanted_words_are_kept_and_the_first_counts(tmp_path):
  found = word_vectors.read(written(tmp_path, "a 1 2\nb 3 4\na 5 6\n"), {"a", "c"}, 2)
  assert set(found) == {"a"}
  np.testing.assert_array_equal(found["a"], [1, 2])


@pytest.mark.parametrize("text, message", [
    ("a 1 2\nb 3\n", r"line 2: needs a word and 2 numbers, has 'b 3'; the file may be cut short"),
    ("a 1 2\nb 3 x\n", r"line 2: needs a word and 2 numbers"),
    ("a 1 2\nb 3 nan\n", r"line 2: needs a word and 2 numbers"),
    ("a 1 2 3\n", r"has vectors of 3 numbers, the model's have 2; set model.embedding_dim=3"),
    ("9 3\na 1 2 3\n", r"set model.embedding_dim=3"),
    ("\n", r"holds no vectors"),
    ("", r"holds no vectors"),
], ids=["short", "word", "nan", "width", "header", "blank", "empty"])
def test_broken_files_are_told_in_one_line(tmp_path, text, message):
  with pytest.raises(UserError, match=message) as error:
    word_vectors.read(written(tmp_path, text), {"a", "b"}, 2)
  assert "\n" not in str(error.value)


def test_files_that_are_no_text_or_missing(tmp_path):
  with pytest.raises(UserError, match="is not UTF-8 text"):
    word_vectors.read(written(tmp_path, "好 1 2\n", "gbk"), {"好"}, 2)
  with pytest.raises(UserError, match="cannot be read"):
    word_vectors.read(str(tmp_path / "none.txt"), {"a"}, 2)


def test_known_tokens_take_their_vector_and_others_stay(tmp_path):
  tokenizer = tokenizers.from_spec({"kind": "char", "characters": "坏 好x"})
  start = np.random.default_rng(0).normal(size=(tokenizer.vocab_size, 3)).astype(np.float32)
  table = keras.Variable(start)
  assert word_vectors.load(table, tokenizer, written(tmp_path, GLOVE)) == 2
  expected = start.copy()
  expected[4], expected[6] = [-0.5, 1e-3, 7], [1, 2, 3]
  np.testing.assert_allclose(table.numpy(), expected, rtol=1e-6)


def test_vectors_of_another_language_are_refused(tmp_path):
  tokenizer = tokenizers.from_spec({"kind": "char", "characters": "xyz"})
  with pytest.raises(UserError, match="none of its words is a token"):
    word_vectors.load(keras.Variable(np.zeros((7, 3), np.float32)), tokenizer,
                      written(tmp_path, GLOVE))


@pytest.mark.parametrize("jit", [False, True])
def test_lookup_gives_rows_and_their_gradient(jit):
  start = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
  table, token = keras.Variable(start), np.array([[1, 4, 1], [0, -1, -1]], np.int32)
  weight = np.random.default_rng(1).normal(size=(2, 3, 3)).astype(np.float32)

  @tf.function(jit_compile=jit)
  def both(token):
    with tf.GradientTape() as tape:
      found = word_vectors.lookup(table, token)
      loss = tf.reduce_sum(found * weight)
    return found, tape.gradient(loss, table.value)

  found, gradient = both(tf.constant(token))
  expected = np.zeros_like(start)
  for row, place in np.argwhere(token >= 0):
    np.testing.assert_array_equal(found[row, place], start[token[row, place]])
    expected[token[row, place]] += weight[row, place]
  np.testing.assert_array_equal(found[1, 1:], np.zeros((2, 3)))
  assert isinstance(gradient, tf.Tensor)
  np.testing.assert_allclose(gradient, expected, rtol=1e-6)
