"""BERT: what it hides, what it sees, and the way from one head to the other."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from aigc_tf.errors import UserError
from aigc_tf.models import bert
from aigc_tf.nn import bpe
from aigc_tf.nn import paths
from aigc_tf.nn import tokenizers
from tests.cases import CLASSES
from tests.cases import documents
from tests.cases import LETTERS
from tests.cases import SEEDS
from tests.cases import TEXT

SPEC = {**TEXT, "length": 12}
LABELLED = {**CLASSES, "length": 12}
MASK, FIRST = 3, 4
VOCAB_SIZE = FIRST + len(LETTERS)


def build(spec=SPEC, **keywords):
  keras.utils.set_random_seed(1)
  return bert.BERT(spec=spec, **{"width": 16, "heads": 2, "num_layers": 2, **keywords})


def token(rows=5, length=12):
  return documents(rows, length, np.random.default_rng(0))


def tokenizer():
  return tokenizers.from_spec(SPEC["tokenizer"])


# --- hiding


def hidden(given):
  """shown, place and told of rows with the seeds 0, 1, 2 ..."""
  hide = tf.function(lambda seed: bert.hide(seed, tf.constant(given), tokenizer()))
  return [part.numpy() for part in hide(tf.range(len(given), dtype=tf.int64))]


def test_fifteen_in_a_hundred_are_chosen_and_only_text():
  given = documents(40, 60, np.random.default_rng(0)).numpy()
  shown, place, told = hidden(given)
  for row in range(len(given)):
    chosen = place[row][place[row] >= 0]
    text = (given[row] >= FIRST).sum()
    assert len(chosen) == len(set(chosen)) == max(round(0.15 * text), 1)
    assert np.all(given[row, chosen] >= FIRST)
    np.testing.assert_array_equal(told[row][:len(chosen)], given[row, chosen])
    assert np.all(told[row][len(chosen):] == -1)
    others = np.setdiff1d(np.arange(given.shape[1]), chosen)
    np.testing.assert_array_equal(shown[row, others], given[row, others])


def test_eighty_are_masked_ten_replaced_ten_kept():
  given = np.random.default_rng(0).integers(FIRST, VOCAB_SIZE, (300, 80), np.int32)
  shown, place, told = hidden(given)
  row, column = np.nonzero(place >= 0)
  seen, true = shown[row, place[row, column]], told[row, column]
  masked = np.mean(seen == MASK)
  kept = np.mean(seen == true)
  # Standard error of a share: 0.5 / 60 at most. A replacement may be the token itself.
  assert len(seen) == 3600
  np.testing.assert_allclose(masked, 0.8, atol=0.03)
  np.testing.assert_allclose(kept, 0.1 + 0.1 / len(LETTERS), atol=0.03)
  replaced = seen[(seen != MASK) & (seen != true)]
  assert set(replaced) == set(range(FIRST, VOCAB_SIZE))


def test_what_is_hidden_depends_on_the_rows_seed_alone():
  given = token()
  seed = tf.constant([7, 8, 9, 10, 7], tf.int64)
  whole = bert.hide(seed, given, tokenizer())
  alone = bert.hide(seed[2:3], given[2:3], tokenizer())
  for a, b in zip(whole, alone):
    np.testing.assert_array_equal(a[2:3], b)
  again = bert.hide(seed + 1, given, tokenizer())
  assert np.any(again[1] != whole[1])


def test_a_row_without_text_hides_nothing():
  shown, place, told = bert.hide(SEEDS[:1], tf.constant([[1, 2, -1, -1]]), tokenizer())
  np.testing.assert_array_equal(shown, [[1, 2, -1, -1]])
  assert np.all(place == -1) and np.all(told == -1)


def test_a_tokenizer_without_mask_is_refused():
  gpt2 = {"kind": "bpe", "vocabulary": " ".join([*bpe.LETTERS, "<|endoftext|>"]), "merges": "",
          "specials": [256], "roles": {"begin": 256, "end": 256}}
  with pytest.raises(UserError, match="no token for what is hidden"):
    build({**SPEC, "tokenizer": gpt2})


# --- forward


def test_padding_changes_nothing_and_every_token_sees_all():
  model, given = build(), token(1, 8)
  bare = model(given)
  assert bare.shape == (1, 8, VOCAB_SIZE)
  padded = model(tf.pad(given, [[0, 0], [0, 4]], constant_values=-1))
  np.testing.assert_allclose(padded[:, :8], bare, atol=1e-5)
  changed = tf.tensor_scatter_nd_update(given, [[0, 7]], [MASK])
  assert np.all(np.abs(model(changed) - bare).max(axis=-1) > 1e-6)


def test_a_classified_row_depends_on_itself_alone():
  model, given = build(LABELLED), token()
  together = model(given)
  assert together.shape == (5, 2)
  for row in range(5):
    alone = model(given[row][given[row] >= 0][None])
    np.testing.assert_allclose(alone[0], together[row], atol=1e-5)


def test_training_sees_noise_by_seed():
  model, given, seed = build(dropout=0.5), token(), tf.range(5, dtype=tf.int64)
  first, again = (model(given, training=True, seed=seed) for _ in range(2))
  np.testing.assert_array_equal(first, again)
  assert np.any(np.abs(first - model(given)) > 1e-3)
  alone = model(given[2:3], training=True, seed=seed[2:3])
  np.testing.assert_allclose(alone[0], first[2], atol=1e-5)


# --- training


def test_the_loss_is_that_of_the_hidden_tokens_in_the_whole_output():
  model, given, seed = build(), token(5, 13), tf.range(5, dtype=tf.int64)
  told = model.test_step({"token": given, "seed": seed})
  shown, place, wanted = bert.hide(seed, given[:, :12], model.tokenizer)
  log_prob = tf.math.log_softmax(model(shown)).numpy()
  rows = [-np.mean([log_prob[i, p, w] for p, w in zip(place[i], wanted[i]) if p >= 0])
          for i in range(5)]
  np.testing.assert_allclose(told["loss"], np.mean(rows), rtol=1e-5)


def test_pretrained_encoder_fits_into_a_classifier():
  pretrained, classifier = (paths.variables(build(spec)) for spec in (SPEC, LABELLED))
  shared = {path for path in pretrained if not path.startswith("mask_head/")}
  assert shared == {path for path in classifier if not path.startswith("class_head/")}
  assert len(shared) > 20
  assert all(pretrained[path].shape == classifier[path].shape for path in shared)


def test_one_batch_is_learned_by_heart():
  model = build(dropout=0.0)
  model.compile(lr=1e-2)
  batch = {"token": token(4, 13), "seed": tf.range(4, dtype=tf.int64)}
  step = tf.function(model.train_step)
  for _ in range(60):
    scalars = step(batch)
  assert float(scalars["accuracy"]) == 1.0


def test_classifier_learns_one_batch_under_attack():
  model = build(LABELLED, dropout=0.0, attack_epsilon=0.02)
  model.compile(lr=5e-3, adversarial_epsilon=0.02)
  batch = {"token": token(6), "label": tf.constant([0, 1, 1, 0, 1, 0]),
           "seed": tf.range(6, dtype=tf.int64)}
  step = tf.function(model.train_step)
  first = step(batch)
  for _ in range(80):
    last = step(batch)
  assert float(last["accuracy"]) == 1.0  # the loss is that of the texts and of the attacked
  assert float(last["loss"]) < 0.5 * float(first["loss"])
  measured = model.test_step(batch)
  assert set(model.held_out_scalars) == set(measured) == {"loss", "accuracy", "robust_accuracy"}


# --- generation


def test_only_what_is_hidden_is_filled_by_the_likeliest():
  model, given = build(), token().numpy()
  given[:, 3] = MASK
  filled = model.generate(SEEDS, tf.constant(given))["token"].numpy()
  logits = model(tf.constant(given)).numpy()
  for row in range(5):
    assert filled[row, 3] == FIRST + logits[row, 3, FIRST:].argmax()
  filled[:, 3] = MASK
  np.testing.assert_array_equal(filled, given)


def test_with_a_temperature_seeds_choose():
  model, given = build(), tf.constant([[1, MASK, MASK, MASK, 2]] * 5)
  made = model.generate(SEEDS, given, temperature=5.0)["token"].numpy()
  alone = model.generate(SEEDS[1:2], given[1:2], temperature=5.0)["token"].numpy()
  np.testing.assert_array_equal(made[1:2], alone)
  assert len({tuple(row) for row in made}) > 1 and np.all(made[:, 1:4] >= FIRST)


def test_marks_in_a_text_are_filled_and_shown():
  model = build()
  texts = ["ab[MASK]d", "[MASK][MASK]", "abc", ""]
  filled = [text.decode() for text in model.fill(tf.constant(texts)).numpy()]
  assert [len(text) for text in filled] == [4, 2, 3, 0]
  assert filled[0][:2] == "ab" and filled[0][3] == "d" and filled[2] == "abc"
  rows = tf.constant([[1, 4, 5, MASK, 7, 2, -1], [1, MASK, MASK, 2, -1, -1, -1],
                      [1, 4, 5, 6, 2, -1, -1], [1, 2, -1, -1, -1, -1, -1]])
  assert [text.decode() for text in model._decode_marked(rows).numpy()] == texts


def test_previews_show_the_gap_the_filling_and_the_truth():
  batch = {"token": token(3, 13), "seed": SEEDS[:3]}
  model = build()
  for text in model.previews(batch, SEEDS)["samples"]["text"].numpy():
    shown, filled, true = text.decode().split("\n-> ")
    assert "[MASK]" in shown and len(filled) == len(true)
    assert len(shown.replace("[MASK]", "?")) == len(true)
