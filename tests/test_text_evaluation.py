"""What is measured of a model of texts, with tiny models on generated data and on own files."""

import json
import math
import sys

import keras
from ml_collections import ConfigDict
import numpy as np
import pytest
import tensorflow as tf

from aigc_tf.data import text as text_data
from aigc_tf.errors import UserError
from aigc_tf.metrics import text as text_metrics
from aigc_tf.models import bert
from aigc_tf.models import gpt
from aigc_tf.models import lstm
from aigc_tf.models import transformer
from aigc_tf.training import evaluation
from aigc_tf.training import text_evaluation

CLEAN = {"normalize": "NFC", "dedupe": True, "min_chars": 1, "max_chars": 0}
MODELS = {"lstm": (lstm.LSTM, {"width": 8, "num_layers": 1}),
          "gpt": (gpt.GPT, {"width": 8, "depth": 1, "heads": 2}),
          "bert": (bert.BERT, {"width": 8, "heads": 2, "num_layers": 1}),
          "transformer": (transformer.Transformer, {"width": 8, "depth": 1, "heads": 2})}


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
  monkeypatch.setenv("AIGC_TF_CACHE", str(tmp_path / "cache"))


def made(model, **changes):
  """A recipe, its spec and a model with random weights."""
  data = {"modality": "text", "name": "fake", "split": "train", "task": "language_model",
          "tokenizer": "char", "vocab_size": 32, "length": 16, "source_length": 0, "packed": False,
          "batch_size": 4, "clean": CLEAN, **changes}
  config = ConfigDict({"data": data})
  spec = text_data.spec(config.data)
  keras.utils.set_random_seed(1)
  kind, keywords = MODELS[model]
  return config, spec, kind(spec=spec, **keywords)


def values_of(measured):
  names = [m.name for m in measured]
  assert len(set(names)) == len(names)
  return {m.name: m for m in measured}


# --- likelihood


def loop_over_held_out(config, model):
  """-log p in nats of all predicted tokens, row by row and token by token, and their number.

  Rows come from `load`, whose first N rows are each held-out example once.
  """
  test = config.data.copy_and_resolve_references()
  test.split = "test"
  left, nats, count = text_data.spec(test)["num_examples"], 0.0, 0
  for batch in text_data.load(config.data, "test", 0, 0):
    for row in batch["token"].numpy()[:left]:
      row = row[row >= 0]
      for logits, token in zip(model(row[None, :-1])[0].numpy().astype(np.float64), row[1:]):
        nats += math.log(sum(math.exp(value) for value in logits)) - logits[token]
        count += 1
    left -= config.data.batch_size
    if left <= 0:
      return nats, count


@pytest.mark.parametrize("name, changes", [
  ("gpt", {}), ("lstm", {}), ("gpt", {"tokenizer": "byte"}),
  ("lstm", {"packed": True, "length": 7})],
  ids=["gpt", "lstm", "byte", "packed"])
def test_likelihood_equals_a_loop_over_tokens(monkeypatch, name, changes):
  config, spec, model = made(name, **changes)
  monkeypatch.setattr(text_evaluation, "LOGITS", 3 * 17 * model.tokenizer.vocab_size)
  nats, count = loop_over_held_out(config, model)
  values = values_of(text_evaluation.likelihood(model, config, spec, text_data))
  assert list(values) == ["perplexity", "bits_per_character", "bits_per_byte"]
  # float32 sums in another order: 1e-5 of a mean.
  assert values["perplexity"].value == pytest.approx(math.exp(nats / count), rel=1e-5)
  characters = len("".join(text_data.arrays(config.data, "test")["text"]))
  if config.data.packed:  # without the end of the last text, which fills no block
    rows = text_data.rows(config.data, "test")["token"]
    characters = int(np.sum(rows[:, 1:] > model.tokenizer.mask_id))
  assert values["bits_per_character"].value == pytest.approx(
    nats / math.log(2) / characters, rel=1e-5)
  assert values["bits_per_byte"].value == values["bits_per_character"].value  # all ASCII
  assert f"|tokens:{count}|" in values["perplexity"].signature
  assert f"|characters:{characters}|" in values["bits_per_character"].signature
  assert ("|block:7|" in values["perplexity"].signature) == config.data.packed


def write_documents(path, documents):
  path.write_text("".join(json.dumps({"text": text}) + "\n" for text in documents))
  return str(path)


@pytest.mark.parametrize("packed", [False, True])
def test_unknown_characters_count_as_text_and_are_noted(tmp_path, packed):
  documents = [chr(0x4e00 + i) * 3 + "好好好" for i in range(200)]
  name = write_documents(tmp_path / "rare.jsonl", documents)
  config, spec, model = made("gpt", name=name, vocab_size=8, packed=packed, length=10)
  values = values_of(text_evaluation.likelihood(model, config, spec, text_data))
  per_character, per_byte = values["bits_per_character"], values["bits_per_byte"]
  assert per_character.value == pytest.approx(3 * per_byte.value)  # Han: 3 bytes each
  characters = int(per_character.signature.split("characters:")[1].split("|")[0])
  held_out = text_data.arrays(config.data, "test")["text"]
  assert 6 * len(held_out) - (10 if packed else 0) <= characters <= 6 * len(held_out)
  assert "of the held-out tokens are unknown" in per_character.note


# --- language models


def test_language_model_report():
  config, spec, model = made("gpt")
  values = values_of(text_evaluation.evaluate(model, config, spec, 10, text_data))
  variety = ["distinct_2", "repetition_rate", "self_bleu", "copied", "copied_whole"]
  assert list(values) == ["perplexity", "bits_per_character", "bits_per_byte", *variety,
                          *(f"test_{name}" for name in variety)]
  assert values["distinct_2"].signature.startswith(
    "distinct_2|unit:han-and-words|n:10|prompts:first-lines|temperature:1|")
  assert all(np.isfinite(m.value) for m in values.values())
  config.data.split = "all"
  values = values_of(evaluation.evaluate(model, config, spec, 10))
  assert list(values) == variety  # nothing is held out


def test_written_texts_follow_their_prompts_and_seeds(monkeypatch):
  _, spec, model = made("gpt")
  prompts = ["a1\n", "b2\n", "c10\n"]
  whole, new = text_evaluation.write(model, spec, prompts, 7)
  assert whole == [prompts[i % 3] + text for i, text in enumerate(new)] and len(new) == 7
  monkeypatch.setattr(text_evaluation, "GENERATED_ROWS", 3)
  assert text_evaluation.write(model, spec, prompts, 7)[1] == new
  assert len(set(new)) > 4
  expected = model.generate_text(
    seed=tf.range(3, dtype=tf.int64) + text_evaluation.FIRST_SEED, prompt=prompts,
    temperature=1.0)["text"].numpy()
  assert [text.encode() for text in whole[:3]] == expected.tolist()


def test_poems_are_judged_by_their_form(tmp_path):
  ends = "光霜乡望月"
  poems = [f"五绝：题{chr(0x4e00 + i)}\n床前明月{ends[i % 5]}，疑是地上{chr(0x5e00 + i)}。"
           "举头望明月，低头思故乡。" for i in range(120)]
  config, spec, model = made("lstm", name=write_documents(tmp_path / "poems.jsonl", poems),
                             length=40, vocab_size=300)
  values = values_of(text_evaluation.evaluate(model, config, spec, 6, text_data))
  assert values["test_form_accuracy"].value == 1 == values["test_form_characters"].value
  assert values["form_accuracy"].value < 1
  assert "|n:6|" in values["form_accuracy"].signature
  assert values["test_copied"].value > values["copied"].value  # half of each poem is one text


def test_packed_models_write_from_nothing_and_compare_with_blocks():
  config, spec, model = made("gpt", packed=True, length=7)
  values = values_of(text_evaluation.evaluate(model, config, spec, 6, text_data))
  assert "|prompts:none|" in values["copied"].signature and "test_distinct_2" in values


def test_a_model_that_fills_gaps_has_no_perplexity():
  config, spec, model = made("bert")
  assert text_evaluation.evaluate(model, config, spec, 6, text_data) == []
  assert [m.name for m in evaluation.evaluate(model, config, spec, 6)] == [
    "test_loss", "test_accuracy"]


# --- text to text


def test_text_to_text_report():
  config, spec, model = made("transformer", task="text_to_text", source_length=8)
  values = values_of(text_evaluation.evaluate(model, config, spec, 5, text_data))
  assert list(values) == [prefix + name for prefix in ("", "baseline_", "beam_")
                          for name in ("bleu", "chrf", "rouge_l")]
  assert "|decoding:greedy|" in values["bleu"].signature
  held_out = text_data.arrays(config.data, "test", 5)
  made_texts = text_evaluation.answer(
    model, text_data.rows(config.data, "test", 5)["source"], temperature=0.0)
  assert values["chrf"].value == text_metrics.chrf(made_texts, held_out["text"])[0]
  config.data.split = "all"
  assert text_evaluation.evaluate(model, config, spec, 5, text_data) == []


def test_a_training_asks_for_its_packages_at_once(monkeypatch):
  config, _, _ = made("transformer", task="text_to_text", source_length=8)
  monkeypatch.setitem(sys.modules, "sacrebleu.metrics", None)
  with pytest.raises(UserError, match="pip install sacrebleu"):
    evaluation.check(config, text_data)


# --- classification


@pytest.mark.parametrize("name", ["lstm", "bert"])
def test_classification_report(name):
  config, spec, model = made(name, task="classification")
  values = values_of(text_evaluation.evaluate(model, config, spec, 5, text_data))
  assert list(values) == ["accuracy", "macro_f1", "baseline_accuracy"]
  held_out = text_data.rows(config.data, "test")
  right = [int(np.argmax(model(row[None])) == label)
           for row, label in zip(held_out["token"], held_out["label"])]
  assert values["accuracy"].value == pytest.approx(np.mean(right))
  found = evaluation.confusion(model, config, spec)
  assert found["class_names"] == ["a to d", "e to h"]
  assert np.trace(found["matrix"]) == sum(right) and found["matrix"].sum() == len(right)
  assert found["picture"].dtype == np.uint8 and found["picture"].ndim == 3


def test_only_classifiers_confuse_classes():
  config, spec, model = made("lstm")
  assert evaluation.confusion(model, config, spec) is None
  assert evaluation.confusion(model, ConfigDict({"data": {"modality": "images"}}), {}) is None
