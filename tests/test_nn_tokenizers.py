"""Tokenizers, against Python's own codecs and the tokenizers package."""

import collections
import json
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from aigc_tf.errors import UserError
from aigc_tf.nn import tokenizers

CORPUS = ["床前明月光，疑是地上霜。\n举头望明月，低头思故乡。", "The quick brown fox, the lazy dog."]
TEXTS = ["", "the dog", "明月", "", "a\x00b \u3000\ufeff😀\r\n", "鹅"]
BROKEN = [b"\xff", b"a\xe4\xbd", b"\xed\xa0\x80z", b"\xf0\x9f\x98ok\xc0\x80"]


def learned(kind, vocab_size=300):
  return tokenizers.from_spec(tokenizers.learn(kind, CORPUS, vocab_size))


@pytest.fixture(scope="module", params=tokenizers.KINDS)
def tokenizer(request):
  return learned(request.param)


# --- every kind


def test_no_rows(tokenizer):
  token = tokenizer.encode(tf.constant([], tf.string))
  assert token.dtype == tf.int32 and token.shape.rank == 2
  assert token.to_list() == []
  assert tokenizer.decode(tf.zeros([0, 3], tf.int32)).shape == [0]
  assert tokenizer.decode(tf.zeros([2, 0], tf.int32)).numpy().tolist() == [b"", b""]


def test_padding_specials_and_strangers_decode_to_nothing(tokenizer):
  size = tokenizer.vocab_size
  first = tokenizer.encode(["t"]).to_list()[0]
  row = [tokenizer.begin_id, *first, tokenizer.unknown_id, tokenizer.mask_id, -1, *first,
         tokenizer.end_id, size, 2**31 - 1, -7]
  assert tokenizer.decode([row]).numpy().tolist() == [b"tt"]


def test_decoding_any_ids_gives_valid_text(tokenizer):
  token = np.random.default_rng(0).integers(-1, tokenizer.vocab_size, (50, 40), np.int32)
  for text in tokenizer.decode(token).numpy():
    text.decode("utf-8")


def test_ids_are_specials_then_the_rest(tokenizer):
  assert (tokenizer.unknown_id, tokenizer.begin_id, tokenizer.end_id, tokenizer.mask_id) == (
      0, 1, 2, 3)
  token = tokenizer.encode(CORPUS).values.numpy()
  assert token.min() >= 4 and token.max() < tokenizer.vocab_size


def test_corpus_comes_back(tokenizer):
  token = tokenizer.encode(CORPUS).to_tensor(-1)
  assert [text.decode() for text in tokenizer.decode(token).numpy()] == CORPUS


def test_spec_survives_json(tokenizer):
  spec = json.loads(json.dumps(tokenizer.to_spec()))
  again = tokenizers.from_spec(spec)
  assert again.to_spec() == spec
  assert again.vocab_size == tokenizer.vocab_size
  assert again.encode(TEXTS).to_list() == tokenizer.encode(TEXTS).to_list()


def test_encode_all_is_encode(tokenizer, monkeypatch):
  monkeypatch.setattr(tokenizers, "BATCH_BYTES", 5)
  arrays = tokenizer.encode_all(TEXTS)
  assert [array.tolist() for array in arrays] == tokenizer.encode(TEXTS).to_list()
  assert {array.dtype for array in arrays} == {np.dtype(np.int32)}
  assert tokenizer.encode_all([]) == []


def test_one_graph_for_all_batches(tokenizer):
  traces = []

  @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
  def there_and_back(text):
    traces.append(text)
    return tokenizer.decode(tokenizer.encode(text).to_tensor(-1))

  for texts in (TEXTS, TEXTS[:1], [], TEXTS + BROKEN):
    expected = tokenizer.decode(tokenizer.encode(tf.constant(texts, tf.string)).to_tensor(-1))
    np.testing.assert_array_equal(there_and_back(tf.constant(texts, tf.string)), expected)
  assert len(traces) == 1


# --- bytes and characters


def test_bytes_are_bytes():
  tokenizer = learned("byte")
  rows = [text.encode() for text in TEXTS] + BROKEN
  token = tokenizer.encode(rows)
  assert token.to_list() == [[byte + 4 for byte in row] for row in rows]
  decoded = tokenizer.decode(token.to_tensor(-1)).numpy()
  assert [text.decode() for text in decoded] == [row.decode("utf-8", "replace") for row in rows]
  assert tokenizer.vocab_size == 260


def test_characters_are_code_points():
  characters = "月a😀\n\ufffd"
  tokenizer = tokenizers.from_spec({"kind": "char", "characters": characters})
  rows = [text.encode() for text in ("a月月😀", "鹅\na", "")] + BROKEN
  expected = [[4 + characters.find(c) if c in characters else 0
               for c in row.decode("utf-8", "replace")] for row in rows]
  assert tokenizer.encode(rows).to_list() == expected


def test_the_most_frequent_characters_are_learned():
  spec = tokenizers.learn("char", CORPUS, 9)
  counts = collections.Counter("".join(CORPUS))
  assert len(spec["characters"]) == 5
  assert min(counts[c] for c in spec["characters"]) >= sorted(counts.values())[-5]
  assert tokenizers.from_spec(spec).vocab_size == 9


# --- mistakes


@pytest.mark.parametrize("kind, texts, vocab_size, word", [
    ("word", CORPUS, 300, "char"),
    ("char", CORPUS, 4, "at least 5"),
    ("char", ["", ""], 300, "empty"),
    ("byte", [], 300, "empty"),
])
def test_mistakes(kind, texts, vocab_size, word):
  with pytest.raises(UserError, match=word):
    tokenizers.learn(kind, texts, vocab_size)


def test_a_strange_spec():
  with pytest.raises(UserError, match="wordpiece"):
    tokenizers.from_spec({"kind": "wordpiece"})


# --- in a model


class Holder(keras.Model):
  """A model with a tokenizer, and a weight."""

  def __init__(self, tokenizer):
    super().__init__()
    self.tokenizer = tokenizer
    self.dense = keras.layers.Dense(2)
    self.dense.build((None, 3))
    self.built = True


def test_a_model_holds_it(tokenizer, tmp_path):
  model = Holder(tokenizer)
  tables = [found for found in tf.train.TrackableView(model).descendants()
            if isinstance(found, tf.lookup.StaticHashTable)]
  function = tf.function(tokenizer.encode).get_concrete_function(tf.TensorSpec([None], tf.string))
  captured = {id(x) for x in function.captured_inputs if x.dtype == tf.resource}
  assert captured == {id(table.resource_handle) for table in tables}

  kernel = model.dense.kernel.numpy()
  model.save_weights(tmp_path / "a.weights.h5")
  checkpoint = tf.train.Checkpoint(model=model)
  path = checkpoint.write(str(tmp_path / "checkpoint"))
  other = Holder(tokenizers.from_spec(tokenizer.to_spec()))
  other.load_weights(tmp_path / "a.weights.h5")
  np.testing.assert_array_equal(other.dense.kernel, kernel)
  another = Holder(tokenizers.from_spec(tokenizer.to_spec()))
  tf.train.Checkpoint(model=another).read(path).assert_consumed()
  np.testing.assert_array_equal(another.dense.kernel, kernel)


ELSEWHERE = """
import sys
import tensorflow as tf
loaded = tf.saved_model.load(sys.argv[1])
text = tf.constant(["the dog", "", "明月"] * 2)
token = loaded.encode(text)
print(token.numpy().tolist(), "aigc_tf" in sys.modules)
print([x.decode() for x in loaded.decode(token).numpy()])
"""


def test_a_saved_model_needs_nothing_of_ours(tokenizer, tmp_path):
  module = tf.Module()
  module.tokenizer = tokenizer
  signature = [tf.TensorSpec([None], tf.string)]
  module.encode = tf.function(lambda x: tokenizer.encode(x).to_tensor(-1), signature)
  module.decode = tf.function(tokenizer.decode, [tf.TensorSpec([None, None], tf.int32)])
  tf.saved_model.save(module, str(tmp_path))
  done = subprocess.run([sys.executable, "-c", ELSEWHERE, str(tmp_path)], cwd=tmp_path,
                        capture_output=True, check=True)
  first, second = done.stdout.decode("utf-8").splitlines()
  token = tokenizer.encode(["the dog", "", "明月"] * 2).to_tensor(-1)
  assert first == f"{token.numpy().tolist()} False"
  assert second == repr([x.decode() for x in tokenizer.decode(token).numpy()])
