"""The LSTM and GRU model, against Keras's own layers and loops in NumPy."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from aigc_tf.errors import UserError
from aigc_tf.models import lstm
from tests.cases import CLASSES
from tests.cases import documents
from tests.cases import SEEDS
from tests.cases import TEXT

SPEC = {**TEXT, "length": 12}
LABELLED = {**CLASSES, "length": 12}


def build(spec=SPEC, **keywords):
  keras.utils.set_random_seed(1)
  return lstm.LSTM(spec=spec, **{"width": 16, **keywords})


def token(rows=5, length=12):
  return documents(rows, length, np.random.default_rng(0))


# --- layers


@pytest.mark.parametrize("kind, theirs", [("lstm", keras.layers.LSTM), ("gru", keras.layers.GRU)])
def test_cells_are_those_of_keras(kind, theirs):
  generator = np.random.default_rng(0)
  cell = lstm.CELLS[kind](3, 5, "cell")
  layer = theirs(5, return_sequences=True)
  layer.build((None, None, 3))
  values = [generator.normal(size=w.shape).astype(np.float32) for w in layer.get_weights()]
  layer.set_weights(values)
  biases = values[2][None] if values[2].ndim == 1 else values[2]
  for variable, value in zip([cell.kernel, cell.recurrent, *cell.biases],
                             [*values[:2], *biases], strict=True):
    variable.assign(value)
  x = tf.constant(generator.normal(size=(4, 7, 3)), tf.float32)
  mask = tf.sequence_mask([7, 3, 1, 5], 7)
  said, state = cell.run(x, mask, cell.start(4))
  expected = layer(x, mask=mask)
  np.testing.assert_allclose(said, expected, atol=1e-5)
  np.testing.assert_allclose(state[0], expected[:, -1], atol=1e-5)  # held through the padding


def test_a_new_lstm_remembers():
  bias = lstm.LSTMCell(3, 5, "cell").biases[0].numpy()
  np.testing.assert_array_equal(bias, [0.0] * 5 + [1.0] * 5 + [0.0] * 10)


# --- forward


@pytest.mark.parametrize("cell", lstm.CELLS)
def test_token_by_token_is_as_all_at_once(cell):
  model, given = build(cell=cell, num_layers=2), token()
  whole = model(given)
  state = tuple(layer.start(given.shape[0]) for layer in model.cells)
  for place in range(given.shape[1]):
    logits, state = model.step(state, given[:, place], place)
    shown = given[:, place] >= 0
    np.testing.assert_allclose(logits[shown], whole[:, place][shown], atol=1e-5)


def test_padding_on_either_side_changes_nothing():
  model, given = build(), token(1, 6)
  bare = model(given)
  padded = [[0, 0], [2, 3]]
  np.testing.assert_allclose(
      model(tf.pad(given, padded, constant_values=-1))[:, 2:-3], bare, atol=1e-6)


@pytest.mark.parametrize("pooling", lstm.POOLINGS)
def test_a_classified_row_depends_on_itself_alone(pooling):
  model, given = build(LABELLED, pooling=pooling), token()
  together = model(given)
  assert together.shape == (5, 2)
  for row in range(5):
    alone = model(given[row][given[row] >= 0][None])
    np.testing.assert_allclose(alone[0], together[row], atol=1e-6)


def test_dropout_is_for_training_and_by_seed():
  model, given, seed = build(dropout=0.5), token(), tf.range(5, dtype=tf.int64)
  np.testing.assert_array_equal(model(given), model(given, seed=seed))
  first, again = (model(given, training=True, seed=seed) for _ in range(2))
  np.testing.assert_array_equal(first, again)
  assert np.any(np.abs(first - model(given)) > 1e-3)
  alone = model(given[2:3], training=True, seed=seed[2:3])
  np.testing.assert_allclose(alone[0], first[2], atol=1e-6)


def test_unknown_choices_are_refused():
  with pytest.raises(UserError, match="model.cell='rnn': choose one of lstm, gru"):
    build(cell="rnn")
  with pytest.raises(UserError, match="model.pooling='max'"):
    build(pooling="max")


# --- training


def test_one_batch_is_learned_by_heart_and_written_down():
  model = build(width=32, num_layers=1)
  model.compile(lr=2e-2)
  batch = {"token": token(4, 13), "seed": tf.range(4, dtype=tf.int64)}
  step = tf.function(model.train_step)
  for _ in range(120):
    scalars = step(batch)
  assert float(scalars["accuracy"]) > 0.85  # a first letter cannot be known
  written = model.generate(batch["seed"], batch["token"][:, :3], 10, temperature=0.0)["token"]
  np.testing.assert_array_equal(written, batch["token"])


def test_classifier_learns_one_batch_under_attack():
  model = build(LABELLED, attack_epsilon=0.02)
  model.compile(lr=2e-2, adversarial_epsilon=0.02)
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


def test_compile_starts_from_pretrained_vectors(tmp_path):
  path = tmp_path / "vectors.txt"
  path.write_text("a 1 2 3\nc 4 5 6\nzebra 7 8 9\n")
  model, untouched = build(LABELLED, embedding_dim=3), build(LABELLED, embedding_dim=3)
  model.compile(vectors=str(path))
  expected = untouched.embedding.embeddings.numpy()
  expected[4], expected[6] = [1, 2, 3], [4, 5, 6]  # after four specials
  np.testing.assert_array_equal(model.embedding.embeddings.numpy(), expected)


# --- generation


def test_greedy_text_is_that_of_a_loop_over_whole_texts():
  model, prompt = build(), token(3, 6)
  made = model.generate(SEEDS[:3], prompt, 5, temperature=0.0)["token"].numpy()
  never = [0, 1, 3]
  for row in range(3):
    text = [int(t) for t in prompt[row] if t >= 0]
    for _ in range(5):
      logits = model(tf.constant([text]))[0, -1].numpy()
      logits[never] = -np.inf
      text.append(int(logits.argmax()))
      if text[-1] == 2:
        break
    assert [t for t in made[row] if t >= 0] == text


def test_a_sampled_row_is_the_same_alone():
  model, prompt = build(), token()
  together = model.generate(SEEDS, prompt[:, :5], 6)["token"]
  alone = model.generate(SEEDS[2:3], prompt[2:3, :5], 6)["token"]
  np.testing.assert_array_equal(alone[0], together[2])
  begun = model.generate(SEEDS)["token"]
  assert np.all(begun[:, 0] == 1) and begun.shape[0] == 5


# --- serving


def test_a_classifier_answers_texts():
  model = build(LABELLED)
  function, _ = model.endpoints()["serving_default"]
  told = tf.function(function)(text=tf.constant(["abc", "", "j" * 50, "?"]))
  np.testing.assert_allclose(tf.reduce_sum(told["probability"], axis=1), np.ones(4), rtol=1e-6)
  for label, probability in zip(told["label"].numpy(), told["probability"].numpy()):
    assert label.decode() == ["bad", "good"][probability.argmax()]
  logits = model(tf.constant([[1, 4, 5, 6, 2]]))  # begin, a, b, c, end
  np.testing.assert_allclose(told["probability"][0], tf.nn.softmax(logits)[0], rtol=1e-5)


def test_previews_show_text_answer_and_truth():
  model = build(LABELLED)
  batch = {"token": tf.constant([[1, 4, 5, 2]]), "label": tf.constant([1])}
  text, = model.previews(batch, SEEDS)["samples"]["text"].numpy()
  first, second = text.decode().split("\n")
  assert first == "ab" and second.startswith("-> ") and second.endswith("it is good")
