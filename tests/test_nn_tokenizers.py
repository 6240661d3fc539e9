"""Tokenizers, against Python's own codecs and the tokenizers package."""

import collections
import json
import os
import subprocess
import sys
import time
import unicodedata

import keras
import numpy as np
import pytest
import tensorflow as tf
import tokenizers as reference

from aigc_tf.errors import UserError
from aigc_tf.nn import bpe
from aigc_tf.nn import tokenizers

CORPUS = ["床前明月光，疑是地上霜。\n举头望明月，低头思故乡。", "The quick brown fox, the lazy dog."]
TEXTS = ["", "the dog", "明月", "", "a\x00b \u3000\ufeff😀\r\n", "鹅"]
BROKEN = [b"\xff", b"a\xe4\xbd", b"\xed\xa0\x80z", b"\xf0\x9f\x98ok\xc0\x80"]


PIECES = (  # of text for the pre-tokenizer and the merges
    *"abc \t\n!'-1Aé½々。😀", "the", "dog", "  ", " \n", "'s", "'re", "'ll", "''", "'v", "'S", "aaaa",
    "床前", "明月光", "👨\u200d👩\u200d👧", "e\u0301", "１２", "\u3000", "\u00a0", "\x85", "\x00", "\x1c",
    "\u200b", "\u2028", "\r\n", "한국어", "ßẞ", "\ufeff", "\ufffe", "\U0010ffff", "<|endoftext|>")


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
  texts = tokenizer.decode(token).numpy()
  assert len(texts) == 50
  assert all(text.decode("utf-8").encode() == text for text in texts)  # strict: raises otherwise


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


# --- byte pairs


def reference_of(spec):
  """The same tokenizer by the tokenizers package."""
  vocabulary = {token: i for i, token in enumerate(spec["vocabulary"].split(" "))}
  merges = [tuple(line.split(" ")) for line in spec["merges"].split("\n") if line]
  made = reference.Tokenizer(reference.models.BPE(vocabulary, merges))
  made.pre_tokenizer = reference.pre_tokenizers.ByteLevel(add_prefix_space=False)
  made.decoder = reference.decoders.ByteLevel()
  return made


def mixtures(count, pieces, seed=0, longest=30):
  noise = np.random.default_rng(seed)
  return ["".join(pieces[i] for i in noise.integers(0, len(pieces), noise.integers(0, longest)))
          for _ in range(count)]


def assert_equal_to_reference(spec, texts):
  tokenizer, other = tokenizers.from_spec(spec), reference_of(spec)
  found = tokenizer.encode(texts)
  for text, ids, expected in zip(texts, found.to_list(), other.encode_batch(texts), strict=True):
    assert ids == expected.ids, repr(text)
  decoded = tokenizer.decode(found.to_tensor(-1)).numpy()
  assert [text.decode() for text in decoded] == texts


@pytest.mark.parametrize("vocab_size", [260, 320, 1000])
def test_byte_pairs_are_those_of_tokenizers(vocab_size):
  spec = tokenizers.learn("bpe", mixtures(200, PIECES, seed=1) + CORPUS * 3, vocab_size)
  assert_equal_to_reference(spec, mixtures(3000, PIECES))


def test_any_characters_are_those_of_tokenizers():
  # Old ones: the packages' tables of Unicode are of different years.
  category = unicodedata.ucd_3_2_0.category
  assigned = [chr(i) for i in range(0x110000) if category(chr(i)) not in ("Cn", "Cs")]
  texts = mixtures(2000, assigned + list("aa  \n\u3000'") * 10000, longest=20)
  assert_equal_to_reference(tokenizers.learn("bpe", CORPUS * 3, 300), texts)


def test_merges_in_any_order_are_those_of_tokenizers():
  noise = np.random.default_rng(0)
  for _ in range(10):
    made, pairs = list("abc"), []
    for _ in range(30):
      pair = [str(noise.choice(made)), str(noise.choice(made))]
      made.append("".join(pair))
      pairs.append(pair)
    tokens = list(dict.fromkeys(bpe.LETTERS + made))
    merges = [pairs[i] for i in noise.permutation(len(pairs))]
    assert_equal_to_reference(
        bpe.make_spec(tokens, merges, {}, []), mixtures(200, list("aabc"), longest=60))


def test_byte_pairs_keep_broken_bytes():
  spec = tokenizers.learn("bpe", CORPUS * 3, 300)
  _, _, pieces = bpe.read_spec(spec)
  noise = np.random.default_rng(0)
  rows = [noise.integers(0, 256, 30, np.uint8).tobytes() for _ in range(200)] + BROKEN
  token = tokenizers.from_spec(spec).encode(rows).to_list()
  assert [b"".join(pieces[i] for i in row) for row in token] == rows


def test_the_first_use_may_be_in_a_graph():
  tokenizer = learned("bpe")
  expected = tokenizer.encode(TEXTS)
  bpe._classes.cache_clear()
  data = tf.data.Dataset.from_tensors(TEXTS).map(tokenizer.encode)
  assert next(iter(data)).to_list() == expected.to_list()


def test_a_large_vocabulary_is_made_in_a_second():
  letters = bpe.LETTERS[:230]
  merges = [(a, b) for a in letters for b in letters][:50000]
  spec = bpe.make_spec(bpe.LETTERS + ["".join(pair) for pair in merges], merges, {}, [])
  begin = time.process_time()
  tokenizers.from_spec(spec)
  assert time.process_time() - begin < 1


# --- Hugging Face


@pytest.fixture(name="folder")
def gpt2_folder(tmp_path):
  """A folder with all files of a GPT-2 style tokenizer."""
  made = reference.Tokenizer(reference.models.BPE())
  made.pre_tokenizer = reference.pre_tokenizers.ByteLevel(add_prefix_space=False)
  made.train_from_iterator(CORPUS * 3, reference.trainers.BpeTrainer(
      vocab_size=300, show_progress=False, initial_alphabet=bpe.LETTERS,
      special_tokens=["<|endoftext|>"]))
  made.model.save(str(tmp_path))
  made.save(str(tmp_path / "tokenizer.json"))
  return tmp_path


@pytest.mark.parametrize("absent", ["tokenizer.json", "merges.txt"])
def test_hugging_face_folders(folder, absent):
  other = reference.Tokenizer.from_file(str(folder / "tokenizer.json"))
  (folder / absent).unlink()
  tokenizer = tokenizers.from_spec(tokenizers.from_hugging_face(folder))
  texts = mixtures(300, PIECES[:-1])
  assert tokenizer.encode(texts).to_list() == [row.ids for row in other.encode_batch(texts)]
  assert tokenizer.begin_id == tokenizer.end_id == other.token_to_id("<|endoftext|>")
  assert tokenizer.mask_id == tokenizer.unknown_id == -1
  assert tokenizer.vocab_size == other.get_vocab_size()
  row = [tokenizer.begin_id, *other.encode("the dog").ids, tokenizer.end_id, -1]
  assert tokenizer.decode([row]).numpy().tolist() == [b"the dog"]


def test_special_tokens_of_other_names(folder):
  whole = json.loads((folder / "tokenizer.json").read_text())
  size = len(whole["model"]["vocab"])
  whole["added_tokens"] += [{"id": size, "content": "< end >"}]
  (folder / "tokenizer.json").write_text(json.dumps(whole))
  (folder / "tokenizer_config.json").write_text(json.dumps({"eos_token": {"content": "< end >"}}))
  tokenizer = tokenizers.from_spec(tokenizers.from_hugging_face(folder))
  assert (tokenizer.begin_id, tokenizer.end_id, tokenizer.vocab_size) == (0, size, size + 1)
  assert tokenizer.decode([[size, 0]]).numpy().tolist() == [b""]


def spoil(name, old, new):
  def change(folder):
    text = (folder / name).read_text(encoding="utf-8")
    assert old in text
    (folder / name).write_text(text.replace(old, new), encoding="utf-8")
    if name != "tokenizer.json":
      (folder / "tokenizer.json").unlink()
  return change


@pytest.mark.parametrize("change, words", [
    (lambda folder: [path.unlink() for path in folder.iterdir()], "vocab.json does not exist"),
    (spoil("tokenizer.json", "{", "["), "tokenizer.json is broken"),
    (spoil("tokenizer.json", '"merges"', '"other"'), "tokenizer.json is broken"),
    (spoil("tokenizer.json", '"use_regex": true', '"use_regex": false'), "only byte-level"),
    (spoil("tokenizer.json", '"BPE"', '"WordPiece"'), "only byte-level"),
    (spoil("vocab.json", '"!":1,', '"!":1000,'), "are not 0, 1, 2"),
    (spoil("vocab.json", '"!"', '"!月"'), "all 256 bytes"),
    (spoil("merges.txt", "h e\n", "h e x\n"), "'h e x' is not two tokens"),
    (spoil("merges.txt", "h e\n", "h ez\n"), "vocabulary lacks"),
])
def test_broken_folders(folder, change, words):
  change(folder)
  with pytest.raises(UserError, match=words) as raised:
    tokenizers.from_spec(tokenizers.from_hugging_face(folder))
  assert "\n" not in str(raised.value)


# --- mistakes


@pytest.mark.parametrize("kind, texts, vocab_size, word", [
    ("word", CORPUS, 300, "char"),
    ("char", CORPUS, 4, "at least 5"),
    ("bpe", CORPUS, 259, "at least 260"),
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
for endpoint in sys.argv[2:]:
  answer = getattr(loaded, endpoint)(tf.constant(["the dog", "", "明月"] * 2))
  print(answer[0].numpy().tolist(), [text.decode() for text in answer[1].numpy()])
print("aigc_tf" in sys.modules)
"""


def endpoint_of(tokenizer):
  """Ids and the text of them."""
  def there_and_back(text):
    token = tokenizer.encode(text).to_tensor(-1)
    return token, tokenizer.decode(token)
  return tf.function(there_and_back, [tf.TensorSpec([None], tf.string)])


def test_a_saved_model_needs_nothing_of_ours(tmp_path):
  module = tf.Module()
  expected = []
  for kind in tokenizers.KINDS:
    tokenizer = learned(kind)
    setattr(module, f"{kind}_tokenizer", tokenizer)
    setattr(module, kind, endpoint_of(tokenizer))
    token, text = getattr(module, kind)(["the dog", "", "明月"] * 2)
    expected.append(f"{token.numpy().tolist()} {[x.decode() for x in text.numpy()]}")
  tf.saved_model.save(module, str(tmp_path))
  done = subprocess.run([sys.executable, "-c", ELSEWHERE, str(tmp_path), *tokenizers.KINDS],
                        cwd=tmp_path, capture_output=True, check=True,
                        env={**os.environ, "PYTHONIOENCODING": "utf-8"})
  assert done.stdout.decode("utf-8").splitlines() == [*expected, "False"]
