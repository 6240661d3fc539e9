"""The Transformer: formulas in NumPy, the decoder with a cache against whole passes, strings."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from aigc_tf.errors import UserError
from aigc_tf.models import transformer
from aigc_tf.nn import beam_search

LETTERS = "abcdefghij"
SPEC = {"modality": "text", "task": "text_to_text", "length": 10, "source_length": 12,
        "tokenizer": {"kind": "char", "characters": LETTERS}}
BEGIN, END = 1, 2
SEED = tf.range(6, dtype=tf.int64)


def build(**keywords):
  keras.utils.set_random_seed(3)
  return transformer.Model(
      spec=SPEC, **{"width": 16, "depth": 1, "heads": 2, "hidden_dim": 32, **keywords})


def in_graph(model, *arguments, **keywords):
  """generate as an export runs it: without the time that XLA needs to compile."""
  return tf.function(lambda: model.generate(*arguments, **keywords)["token"])().numpy()


def sources(rows=6):
  """i32[rows, 9], of 9, 8, 7 ... letters."""
  noise = np.random.default_rng(0).integers(4, 14, (rows, 9))
  return tf.constant(np.where(np.arange(9) < 9 - np.arange(rows)[:, None], noise, -1), tf.int32)


def reversed_pairs():
  """A task: the target is the source from behind."""
  source = sources().numpy()
  target = np.full((6, SPEC["length"] + 1), -1)
  for row, letters in zip(target, source):
    letters = letters[letters >= 0]
    row[:len(letters) + 2] = [BEGIN, *letters[::-1], END]
  return {"source": tf.constant(source), "token": tf.constant(target, tf.int32), "seed": SEED}


@pytest.fixture(scope="module", name="trained")
def fixture_trained():
  model, batch = build(dropout=0.0, width=32), reversed_pairs()
  model.compile(warmup_steps=60, label_smoothing=0.0)
  step = tf.function(model.train_step)
  for _ in range(250):
    loss = step(batch)["loss"]
  assert float(loss) < 0.05
  return model


# --- formulas


def test_sinusoids_are_those_of_section_3_5():
  got = transformer.sinusoids(tf.constant([0, 1, 7, 300]), 10).numpy()
  for row, position in zip(got, [0, 1, 7, 300]):
    for i in range(5):
      angle = position / 10_000**(2 * i / 10)
      # float32 angles: 300 has an absolute error of 2e-5.
      np.testing.assert_allclose(row[2 * i:2 * i + 2], [np.sin(angle), np.cos(angle)], atol=3e-5)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_loss_is_the_cross_entropy_with_the_smoothed_target(smoothing):
  noise = np.random.default_rng(1)
  logits = noise.normal(size=(2, 4, 5)).astype(np.float32)
  target = np.array([[3, 0, 2, 4], [1, 1, -1, -1]])
  rows, rights = [], []
  for scores, words in zip(logits, target):
    paid, right = [], []
    for score, word in zip(scores, words):
      if word >= 0:
        wanted = np.full(5, smoothing / 5)
        wanted[word] += 1 - smoothing
        paid.append(-np.sum(wanted * (score - np.log(np.sum(np.exp(score))))))
        right.append(np.argmax(score) == word)
    rows.append(np.mean(paid))
    rights.append(np.mean(right))
  got = transformer.token_losses(tf.constant(logits), tf.constant(target, tf.int32), smoothing)
  np.testing.assert_allclose(got["loss"], np.mean(rows), rtol=1e-5)
  np.testing.assert_allclose(got["accuracy"], np.mean(rights), rtol=1e-6)


def test_default_learning_rate_is_equation_3():
  model = build()
  model.compile(warmup_steps=50)
  model.adam.iterations.assign(3)
  np.testing.assert_allclose(model.adam.learning_rate, 16**-0.5 * 4 * 50**-1.5, rtol=1e-5)


def test_one_table_of_vectors_for_source_target_and_output():
  model = build()
  tables = [v for v in model.trainable_variables if 14 in v.shape]
  assert [tuple(v.shape) for v in tables] == [(14, 16)]


# --- what sees what


def test_a_target_sees_only_what_stands_before_it():
  model, source = build(), sources()
  token = tf.constant(np.random.default_rng(2).integers(4, 14, (6, 8)), tf.int32)
  other = tf.concat([token[:, :5], token[:, 5:] % 10 + 4], axis=1)
  a, b = model(source, token).numpy(), model(source, other).numpy()
  np.testing.assert_allclose(a[:, :5], b[:, :5], atol=1e-6)
  assert np.abs(a[:, 5:] - b[:, 5:]).min(axis=(1, 2)).max() > 1e-6


def test_padding_changes_nothing_and_every_source_token_something():
  model, source = build(), sources(4)
  token = tf.fill([4, 3], 5)
  logits = model(source, token).numpy()
  wider = tf.pad(source, [[0, 0], [0, 3]], constant_values=-1)
  np.testing.assert_allclose(model(wider, token), logits, atol=1e-6)
  for place in range(6):
    changed = tf.where(tf.range(9) == place, (source - 3) % 10 + 4, source)
    assert np.all(np.abs(model(changed, token) - logits).max(axis=(1, 2)) > 1e-5)


def test_dropout_follows_the_seeds_and_only_in_training():
  model, batch = build(dropout=0.3), reversed_pairs()
  model.compile()
  losses = [float(model.losses_for({**batch, "seed": SEED + shift}, training)["loss"])
            for shift, training in ((0, True), (0, True), (9, True), (0, False), (9, False))]
  assert losses[0] == losses[1] != losses[2]
  assert losses[3] == losses[4] != losses[0]


# --- generation


def greedy(model, source, length):
  """By whole passes, without a cache.  Returns: i32[B, length]."""
  token, never = np.full((len(source), 1), BEGIN), [0, 1, 3]
  for _ in range(length):
    logits = model(source, tf.constant(token, tf.int32)).numpy()[:, -1]
    logits[:, never] = -np.inf
    token = np.concatenate([token, np.argmax(logits, axis=1)[:, None]], axis=1)
  after_end = np.cumsum(token == END, axis=1) - (token == END) > 0
  return np.where(after_end, -1, token)[:, 1:]


def test_the_cache_gives_what_whole_passes_give():
  model, source = build(depth=2), sources()
  got = in_graph(model, SEED, source)
  np.testing.assert_array_equal(got, greedy(model, source, 10))


def test_a_trained_one_reverses_by_steps_and_by_beams(trained):
  batch = reversed_pairs()
  for knobs in ({}, {"beam_size": 3}):
    made = in_graph(trained, SEED, batch["source"], **knobs)
    np.testing.assert_array_equal(made, batch["token"][:, 1:])


def test_beams_find_the_best_of_the_rule_with_whole_passes():
  model, source = build(), sources(3)
  made = in_graph(model, SEED[:3], source, 5, beam_size=3, length_penalty=0.9)

  def step(state, token, slot):
    state = tf.where(tf.range(7) == slot, token[:, None], state)
    logits = model(tf.gather(source, state[:, 6]), state[:, :6])
    return tf.gather(logits, slot, axis=1) - model._never, state

  state = tf.concat([tf.fill([3, 6], BEGIN), tf.range(3)[:, None]], axis=1)
  logits, state = step(state, tf.fill([3], BEGIN), tf.constant(0))
  expected = tf.function(lambda: beam_search.search(
      step, state, logits, first_slot=1, max_new_tokens=5, end_id=END, beam_size=3, alpha=0.9))()
  np.testing.assert_array_equal(made, expected)


def test_new_lengths_compile_nothing_new_and_rows_do_not_depend_on_them():
  model, source = build(), sources()
  whole = model.generate(SEED, source, max_new_tokens=6)["token"]
  narrow = model.generate(SEED, source[:, :7], max_new_tokens=5)["token"]
  np.testing.assert_array_equal(narrow[2:], whole[2:, :5])
  np.testing.assert_array_equal(whole, in_graph(model, SEED, source, 6))
  assert model._compiled["draw"].experimental_get_tracing_count() == 1


def test_drawn_targets_follow_the_seeds():
  model, source = build(), sources(1)
  draw = tf.function(lambda seed: model.generate(
      seed, tf.repeat(source, 6, axis=0), temperature=1.0)["token"])
  a, b = draw(SEED).numpy(), draw(tf.reverse(SEED, [0])).numpy()
  np.testing.assert_array_equal(a, b[::-1])
  assert len({row.tobytes() for row in a}) > 3


@pytest.mark.parametrize("keywords,words", [
    ({"beam_size": 2, "temperature": 0.7}, "temperature"),
    ({"beam_size": 0}, "beam_size=0"), ({"max_new_tokens": -1}, "max_new_tokens=-1"),
    ({"source": tf.fill([1, 13], 5)}, "at most 12"), ({"top_q": 1}, "top_q")])
def test_what_cannot_be_is_said_in_one_line(keywords, words):
  keywords = {"source": sources(1), **keywords}
  with pytest.raises((UserError, TypeError), match=words) as info:
    build().generate(SEED[:1], **keywords)
  assert "\n" not in str(info.value)


@pytest.mark.parametrize("make,words", [
    (lambda: build(width=15, heads=3), "model.width=15"),
    (lambda: build(heads=3), "model.heads"),
    (lambda: transformer.Model(spec={**SPEC, "task": "language_model"}), "data.task=text_to_text"),
    (lambda: build().compile(warmup_steps=0), "warmup_steps=0")])
def test_settings_that_cannot_be_are_refused(make, words):
  with pytest.raises(UserError, match=words):
    make()


# --- strings


def test_previews_show_source_output_and_reference(trained):
  text = trained.previews(reversed_pairs(), tf.range(16, dtype=tf.int64))["samples"]["text"]
  source, made, wanted = text[5].numpy().decode().split("\n")
  assert made == f"-> {source[::-1]}" and wanted == f"({source[::-1]})" and len(source) == 4


def test_endpoints_take_and_give_strings(trained):
  source = sources()
  text = trained.tokenizer.decode(source)
  default = tf.function(trained.endpoints()["serving_default"][0])
  expected = [line[::-1] for line in text.numpy()]
  assert default(text=text)["text"].numpy().tolist() == expected
  assert default(text=tf.constant([""]))["text"].shape == (1,)  # nothing to read: no error


def test_rows_bring_their_own_beam_size():
  model, source = build(), sources()
  text, sizes = model.tokenizer.decode(source), [1, 2, 3, 4, 1, 2]
  penalty = np.array([0.0, 0.6, 1.0, 0.6, 3.0, -1.0], np.float32)
  endpoint = tf.function(model.endpoints()["generate"][0], input_signature=[
      tf.TensorSpec([None], dtype) for dtype in (tf.string, tf.int32, tf.float32)])
  together = endpoint(text, tf.constant(sizes), penalty)["text"]
  for i in range(6):
    alone = endpoint(text[i:i + 1], tf.constant(sizes[i:i + 1]), penalty[i:i + 1])["text"]
    assert alone[0] == together[i]
  default = tf.function(model.endpoints()["serving_default"][0])(text=text)["text"]
  assert together[0] == default[0] and together[4] == default[4]  # one place is greedy


@pytest.mark.parametrize("text,size,penalty,words", [
    ("ab", 5, 0.6, "choose 1 to 4"), ("ab", 0, 0.6, "choose 1 to 4"),
    ("ab", 2, float("nan"), "length_penalty"), ("a" * 13, 1, 0.6, "at most 12 tokens"),
    (b"a\xff", 1, 0.6, "nvalid")])
def test_a_bad_request_is_refused(text, size, penalty, words):
  endpoint = tf.function(build(depth=1).endpoints()["generate"][0])
  with pytest.raises(tf.errors.InvalidArgumentError, match=words):
    endpoint(text=tf.constant([text]), beam_size=tf.constant([size]),
             length_penalty=tf.constant([penalty]))
