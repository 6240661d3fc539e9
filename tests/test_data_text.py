"""Text data: rows and blocks, order, the tokenizer, TFDS sets, the cache, one-line errors."""

import collections
import json
import pathlib

import ml_collections
import numpy as np
import pytest
import tensorflow_datasets as tfds

from aigc_tf import doctor
from aigc_tf.data import pipeline
from aigc_tf.data import text
from aigc_tf.data import text_clean
from aigc_tf.data import text_store
from aigc_tf.errors import UserError
from aigc_tf.nn import bpe
from aigc_tf.nn import tokenizers

CLEAN = {"normalize": "NFC", "dedupe": True, "min_chars": 1, "max_chars": 0}


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
  monkeypatch.setenv("AIGC_TF_CACHE", str(tmp_path / "cache"))
  monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "tfds"))
  return tmp_path / "cache"


def config(name="fake", **changes):
  return ml_collections.ConfigDict({
      "modality": "text", "name": str(name), "split": "train", "batch_size": 8,
      "task": "language_model", "tokenizer": "char", "vocab_size": 500, "length": 16,
      "source_length": 0, "packed": False, "clean": CLEAN, **changes})


PAIRS = {"task": "text_to_text", "source_length": 4}


def take(cfg, count, position=0, split="train", seed=3):
  return list(text.load(cfg, split, seed, position).take(count).as_numpy_iterator())


def words(cfg, token):
  """Rows of tokens as str."""
  decoded = tokenizers.from_spec(text.spec(cfg)["tokenizer"]).decode(token).numpy()
  return [row.decode() for row in decoded]


def write(path, content):
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_bytes(content if isinstance(content, bytes) else content.encode())
  return path


# --- rows


def test_language_model_rows_hold_begin_document_end_and_padding():
  cfg = config()
  documents = set(text.arrays(cfg, "train")["text"])
  tokenizer = tokenizers.from_spec(text.spec(cfg)["tokenizer"])
  seen = []
  for batch in take(cfg, 14):
    assert batch["token"].shape == (8, 17) and batch["token"].dtype == np.int32
    for row, said in zip(batch["token"], words(cfg, batch["token"])):
      length = int((row >= 0).sum())
      assert (row[length:] == -1).all() and row[0] == tokenizer.begin_id
      assert row[length - 1] == tokenizer.end_id and length == len(said) + 2
      seen.append(said)
  assert set(seen) == documents and len(documents) == text.spec(cfg)["num_examples"]


def test_order_is_a_function_of_seed_and_position():
  for cfg in (config(), config(packed=True), config(**PAIRS), config(task="classification")):
    whole, rest = take(cfg, 6), take(cfg, 3, position=3)
    for one, other in zip(whole[3:], rest):
      for key in one:
        np.testing.assert_array_equal(one[key], other[key])
    assert any((a["token"] != b["token"]).any() for a, b in zip(whole, take(cfg, 6, seed=4)))


def test_long_documents_are_left_out_and_counted(capsys):
  cfg = config(length=8)  # begin, at most 7 characters, end
  kept = text.arrays(cfg, "train")["text"]
  assert {len(said) for said in kept} == {4, 5, 6, 7}
  assert text.spec(cfg)["num_examples"] == len(kept)
  said = capsys.readouterr().err
  assert said.count("\n") == 1 and f"{55 - len(kept)} of 55 documents" in said


def test_pairs():
  cfg = config(**PAIRS)
  pairs = dict(zip(*(text.arrays(cfg, "train")[key] for key in ("source", "text"))))
  for batch in take(cfg, 5):
    assert batch["source"].shape == (8, 4) and batch["token"].shape == (8, 17)
    for source, target in zip(words(cfg, batch["source"]), words(cfg, batch["token"])):
      assert pairs[source] == target == source[0] * int(source[1])


def test_long_sources_are_left_out(tmp_path):
  path = write(tmp_path / "a.tsv", "".join(f"{'x' * i}\tto {i}\n" for i in range(1, 21)))
  cfg = config(path, task="text_to_text", source_length=9, split="all")
  assert sorted(map(len, text.arrays(cfg, "all")["source"])) == list(range(1, 10))


def test_classes_and_documents_that_are_cut():
  cfg = config(task="classification", length=6)
  spec = text.spec(cfg)
  assert spec["num_classes"] == 2 and spec["class_names"] == ["a to d", "e to h"]
  for batch in take(cfg, 8):
    assert batch["token"].shape == (8, 6)
    for said, label in zip(words(cfg, batch["token"]), batch["label"]):
      assert 1 <= len(said) <= 5 and label == int(said[0] > "d")


@pytest.mark.parametrize("changes", [PAIRS, {"task": "classification"}])
def test_buckets_narrow_the_batches_and_leave_no_row_out(changes):
  plain, cfg = config(**changes), config(buckets=7, **changes)
  whole = 7 * text.spec(cfg)["num_examples"]  # batches, so whole epochs and whole buckets
  sorted_, batches = take(cfg, whole), take(plain, whole)
  assert {batch["token"].shape[1] for batch in batches} == {batches[0]["token"].shape[1]}
  widths = {batch["token"].shape[1] for batch in sorted_}
  assert 1 < len(widths) <= 8 and max(widths) <= batches[0]["token"].shape[1]
  counts = [collections.Counter(row for batch in found for row in words(cfg, batch["token"]))
            for found in (sorted_, batches)]
  assert counts[0] == counts[1]
  for position in (1, 9):
    for key, value in take(cfg, 1, position)[0].items():
      np.testing.assert_array_equal(value, sorted_[position][key])
  assert take(cfg, 1, split="test")[0]["token"].shape == batches[0]["token"].shape


def test_blocks_tile_the_stream():
  cfg = config(packed=True, length=7)
  tokenizer = tokenizers.from_spec(text.spec(cfg)["tokenizer"])
  for split in ("train", "test"):
    stream = []
    for document in text.arrays(cfg, split)["text"]:
      stream += [tokenizer.begin_id, *tokenizer.encode([document]).flat_values.numpy(),
                 tokenizer.end_id]
    rows = text.rows(cfg, split)["token"]
    assert len(rows) == (len(stream) - 1) // 7
    for i, row in enumerate(rows):
      assert row.tolist() == stream[7 * i:7 * i + 8]


def test_blocks_are_shifted_for_training_alone():
  cfg = config(packed=True, length=7)
  blocks = {tuple(row) for row in text.rows(cfg, "test")["token"]}
  assert {tuple(row) for batch in take(cfg, 9, split="test") for row in batch["token"]} == blocks
  stream = text.rows(cfg, "train")["token"]
  whole = [*stream[:, :-1].flatten().tolist(), stream[-1, -1]]
  windows = collections.defaultdict(list)
  for start in range(len(whole) - 7):
    windows[tuple(whole[start:start + 8])].append(start % 7)
  drawn = [tuple(row) for batch in take(cfg, 60) for row in batch["token"]]
  found = [windows[row][0] for row in drawn if len(windows[row]) == 1]
  assert len(found) > 300  # the others lie behind the last whole block, or occur twice
  counts = np.bincount(found, minlength=7) / len(found)
  assert counts.min() > 0.5 / 7 and counts.max() < 2 / 7


def test_a_limit_is_spread_evenly():
  cfg = config()
  whole, some = text.arrays(cfg, "train")["text"], text.arrays(cfg, "train", 5)["text"]
  assert some == [whole[i * 55 // 5] for i in range(5)]
  assert text.rows(cfg, "train", 5)["token"].shape == (5, 17)


def test_tokens_too_many_for_memory_give_the_same_batches(monkeypatch):
  for cfg in (config(), config(packed=True)):
    small = take(cfg, 5)
    with monkeypatch.context() as patch:
      patch.setattr(text, "_MEMORY_LIMIT_BYTES", 10)
      for one, other in zip(small, take(cfg, 5)):
        np.testing.assert_array_equal(one["token"], other["token"])


def test_tokens_are_the_same_in_any_chunks(monkeypatch):
  whole = text.rows(config(), "train")["token"]
  for size in (1, 5, 40):  # one byte: every document is longer, the last one too
    monkeypatch.setattr(text_store, "_CHUNK_BYTES", size)
    monkeypatch.setattr(text_store, "FORMAT", -size)
    np.testing.assert_array_equal(text.rows(config(), "train")["token"], whole)


def test_a_tokenizer_with_one_mark_for_begin_and_end(monkeypatch):
  class OneMark(tokenizers.Bytes):
    """Like GPT-2's."""

    def __init__(self, spec):
      super().__init__(spec)
      self.begin_id = self.end_id
  cfg = config(tokenizer="byte")
  expected = {said: len(said) + 2 for said in text.arrays(cfg, "train")["text"]}
  monkeypatch.setattr(tokenizers, "from_spec", OneMark)
  monkeypatch.setattr(text_store, "FORMAT", -1)
  for row, said in zip(*(lambda rows: (rows, words(cfg, rows)))(text.rows(cfg, "train")["token"])):
    assert row[0] == row[expected[said] - 1] == 2 and (row[expected[said]:] == -1).all()
  assert text.rows(config(tokenizer="byte", packed=True), "train")["token"][0, 0] != 2


# --- the tokenizer


def test_tokenizer_is_learned_from_the_training_split(tmp_path):
  lines = [f"{chr(0x4e00 + i)}{chr(0x4e00 + i)}" for i in range(80)]
  path = write(tmp_path / "a.txt", "\n".join(lines))
  cfg = config(path)
  test = {said[0] for said in text.arrays(cfg, "test")["text"]}
  known = set(text.spec(cfg)["tokenizer"]["characters"])
  assert test and len(test) < 40 and not test & known
  assert test < set(text.spec(config(path, split="all"))["tokenizer"]["characters"])
  assert text.spec(config(path, split="test"))["tokenizer"] == text.spec(cfg)["tokenizer"]


def test_a_given_tokenizer_is_used():
  given = {"kind": "char", "characters": "hgfedcba12345678\n"}
  cfg = config(tokenizer_spec=json.dumps(given))
  assert text.spec(cfg)["tokenizer"] == given
  row = text.rows(cfg, "train", 1)["token"][0]
  first = text.arrays(cfg, "train", 1)["text"][0]
  assert row[1] == 4 + given["characters"].index(first[0])


@pytest.mark.parametrize("packed,suffix", [(False, "\n"), (True, "")])
def test_first_lines_are_conditions_where_each_document_has_two(packed, suffix):
  assert text.spec(config(packed=packed))["prompt_suffix"] == suffix


# --- one-line errors


@pytest.mark.parametrize("changes,message", [
    ({"task": "poems"}, "data.task='poems'"), ({"length": 1}, "2 tokens or more"),
    ({"source_length": 3}, "source_length is for"), ({"task": "text_to_text"}, "is for data.task"),
    ({"packed": True, **PAIRS}, "packed=True is for"), ({"split": "dev"}, "split='dev'"),
    ({"packed": True, "length": 4000}, "too few for one block"), ({"length": 2}, "fits into"),
    ({"clean": {**CLEAN, "normalize": "NFX"}}, "NFX"), ({"name": "./nowhere"}, "does not exist"),
    ({"clean": {**CLEAN, "max_chars": 2}}, "holds no documents"),
    ({"name": "imbd_reviews"}, "imdb_reviews"), ({"name": "austen/emma"}, "data.name=austen/emma"),
    ({"name": "mine.TXT"}, "mine.TXT does not exist"), ({"name": "my poems"}, "unknown data 'my p"),
    ({"buckets": 4}, "data.buckets=4"), ({"buckets": 1, **PAIRS}, "data.buckets=1"),
    ({"name": "mine.doc"}, "unknown data 'mine.doc'")])
def test_bad_settings_are_one_line(changes, message):
  with pytest.raises(UserError, match=message) as caught:
    text.spec(config(**{"name": "fake", **changes}))
  assert "\n" not in str(caught.value)


def test_one_document_that_is_held_out(tmp_path):
  name = next(f"only {i}" for i in range(99)
              if pipeline.is_test(text_clean.key(text_clean.Row(f"only {i}"))))
  path = write(tmp_path / "a.txt", name)
  with pytest.raises(UserError, match="data.split=all"):
    text.spec(config(path))
  assert text.spec(config(path, split="all"))["num_examples"] == 1


def test_one_class_is_refused(tmp_path):
  path = write(tmp_path / "a.tsv", "".join(f"text {i}\tgood\n" for i in range(30)))
  for _ in ("read", "cached"):
    with pytest.raises(UserError, match="a.tsv has one class only, 'good'") as caught:
      text.spec(config(path, task="classification"))
  assert "\n" not in str(caught.value)


# --- TFDS


class TinyMails(tfds.core.GeneratorBasedBuilder):
  """60 mails with two classes and an unlabelled split, as imdb_reviews has them."""

  name = "tiny_mails"
  VERSION = tfds.core.Version("1.0.0")

  def _info(self):
    return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict({
        "text": tfds.features.Text(), "label": tfds.features.ClassLabel(names=["ham", "spam"])}))

  def _split_generators(self, dl_manager):
    return {split: self._generate_examples(*ends) for split, ends in (
        ("train", (0, 40)), ("test", (30, 50)), ("unsupervised", (50, 60)))}

  def _generate_examples(self, start, end):
    for i in range(start, end):
      yield i, {"text": f"mail {i}", "label": -1 if end == 60 else i % 2}


class TinyTranslate(tfds.core.GeneratorBasedBuilder):
  """30 pairs, as wmt14_translate has them."""

  name = "tiny_translate"
  VERSION = tfds.core.Version("1.0.0")

  def _info(self):
    return tfds.core.DatasetInfo(
        builder=self, features=tfds.features.Translation(languages=("de", "en")),
        supervised_keys=("de", "en"))

  def _split_generators(self, dl_manager):
    return {"train": self._generate_examples()}

  def _generate_examples(self):
    for i in range(30):
      yield i, {"de": f"zahl {i}", "en": f"number {i}"}


def test_published_classes_keep_their_splits_and_do_not_leak():
  cfg = config("tiny_mails", task="classification")
  train, test = text.arrays(cfg, "train"), text.arrays(cfg, "test")
  assert sorted(test["text"]) == [f"mail {i}" for i in range(30, 50)]
  assert sorted(train["text"]) == sorted(f"mail {i}" for i in range(30))  # 10 are in the test split
  assert all(label == int(said.split()[1]) % 2
             for said, label in zip(train["text"], train["label"]))
  assert text.spec(cfg)["class_names"] == ["ham", "spam"]
  assert len(text.arrays(config("tiny_mails"), "train")["text"]) == 40  # the unlabelled ones too


def test_published_pairs():
  found = text.arrays(config("tiny_translate", task="text_to_text", source_length=16), "train")
  assert len(found["text"]) > 20
  assert all(source.replace("zahl", "number") == target
             for source, target in zip(found["source"], found["text"]))
  with pytest.raises(UserError, match="tiny_translate has no texts with classes"):
    text.spec(config("tiny_translate", task="classification"))
  with pytest.raises(UserError, match="tiny_mails has no pairs"):
    text.spec(config("tiny_mails", **PAIRS))


def test_doctor_counts_published_text(capsys):
  assert doctor.main(["doctor", "--data=tiny_mails"]) == 0
  said = capsys.readouterr().out.splitlines()
  assert said[-3].startswith("tiny_mails: 60 documents, 40 to train on and 20 held out")
  assert said[-1] == "2 classes: ham 25, spam 25"


# --- the cache


def test_a_damaged_cache_is_made_again(own_cache, capsys):
  before = text.spec(config()), take(config(), 2)
  for name in ("texts/*/text.utf8", "tokens/*/text.i32", "tokenizers/*/tokenizer.json",
               "texts/*/meta.json", "tokens/*/text.npy"):
    damaged, = own_cache.glob(name)
    damaged.write_bytes(damaged.read_bytes()[:-4])
    text_store._open_texts.cache_clear()
    text_store._open_tokens.cache_clear()
    assert text.spec(config()) == before[0]
    np.testing.assert_array_equal(take(config(), 2)[1]["token"], before[1][1]["token"])
    assert "is damaged" in capsys.readouterr().err


@pytest.mark.parametrize("module", [tokenizers, bpe])
def test_changed_code_makes_the_tokens_again(own_cache, tmp_path, monkeypatch, module):
  text.spec(config())
  changed = write(tmp_path / "code.py", pathlib.Path(module.__file__).read_bytes() + b"#")
  monkeypatch.setattr(module, "__file__", str(changed))
  text.spec(config())
  for kind, count in (("texts", 1), ("tokenizers", 2), ("tokens", 2)):
    assert len(list((own_cache / kind).iterdir())) == count


def test_other_tokens_share_the_texts(own_cache):
  for tokenizer in ("char", "byte"):
    text.spec(config(tokenizer=tokenizer))
  assert len(list((own_cache / "texts").iterdir())) == 1
  assert len(list((own_cache / "tokens").iterdir())) == 2
