"""Tacotron 2: its pieces against loops in NumPy, its loops against each other; that it learns."""

import math

import keras
import numpy as np
import pytest
import tensorflow as tf

from aigc_tf.errors import UserError
from aigc_tf.models import tacotron2
from aigc_tf.nn import attention_decoder
from aigc_tf.nn import dropout
from aigc_tf.nn import location_attention
from aigc_tf.nn import masked_convolution
from aigc_tf.nn import recurrent
from aigc_tf.training import health
from tests.speech_cases import SMALL
from tests.speech_cases import SPEECH
from tests.speech_cases import speech_batch

NOISE = np.random.default_rng(0)
SEEDS = tf.constant([5, -6, 2**40], tf.int64)


def normal(*shape):
  return NOISE.normal(size=shape).astype(np.float32)


def build(spec=SPEECH, **keywords):
  keras.utils.set_random_seed(1)
  return tacotron2.Model(spec=spec, **{**SMALL, **keywords})


def batch(rows=3, spec=SPEECH):
  found = speech_batch(spec, rows, np.random.default_rng(1))
  return {**found, "seed": tf.range(rows, dtype=tf.int64)}


@pytest.fixture(scope="module", name="model")
def untrained():
  return build()


def sigmoid(x):
  return 1 / (1 + np.exp(-x))


# --- recurrent layers


def lstm_loop(heard, matrix, mask):
  """NumPy.  heard: [T, B, 4 H].  mask: [T, B].  Returns: [T, B, H]."""
  hidden = cell = np.zeros((heard.shape[1], matrix.shape[0]))
  said = []
  for z, known in zip(heard, mask):
    enter, forget, candidate, out = np.split(z + hidden @ matrix, 4, axis=-1)
    new = sigmoid(forget) * cell + sigmoid(enter) * np.tanh(candidate)
    hidden = np.where(known[:, None], sigmoid(out) * np.tanh(new), hidden)
    cell = np.where(known[:, None], new, cell)
    said.append(hidden)
  return np.stack(said)


def test_lstm_equals_a_loop():
  heard, matrix, mask = normal(5, 3, 16), normal(4, 16), NOISE.random((5, 3)) > 0.3
  made = recurrent.run(tf.constant(heard), tf.constant(matrix), tf.constant(mask))
  np.testing.assert_allclose(made, lstm_loop(heard, matrix, mask), atol=1e-5)


@pytest.mark.parametrize("graph", [False, True])
def test_deferred_gradients_are_those_of_a_plain_loop(graph):
  heard, matrix = tf.constant(normal(5, 3, 16)), tf.constant(normal(4, 16))

  def plain(heard, matrix):
    state, said = (tf.zeros([3, 4]), tf.zeros([3, 4])), []
    for z in tf.unstack(heard):
      state = recurrent.gates(z + tf.matmul(state[0], matrix), state[1])
      said.append(state[0])
    return tf.stack(said)

  def gradients(function):
    with tf.GradientTape() as tape:
      tape.watch([heard, matrix])
      loss = tf.reduce_sum(tf.sin(3.0 * function(heard, matrix)))
    return tape.gradient(loss, [heard, matrix])

  wrap = tf.function if graph else lambda function: function
  for mine, expected in zip(wrap(lambda: gradients(recurrent.run))(), gradients(plain)):
    np.testing.assert_allclose(mine, expected, rtol=1e-4, atol=1e-5)


def test_padding_reaches_neither_end_of_a_bidirectional_lstm():
  layer, x = recurrent.BidirectionalLSTM(6, 4), normal(2, 7, 6)
  mask = np.arange(7) < np.array([[7], [4]])
  made = layer(tf.constant(x), is_valid=tf.constant(mask)).numpy()
  alone = layer(tf.constant(x[1:, :4]), is_valid=tf.constant(mask[1:, :4])).numpy()
  np.testing.assert_allclose(made[1:, :4], alone, atol=1e-6)
  np.testing.assert_array_equal(made[1, 4:], 0)
  backward = layer.cells[1]
  heard = x[:1, ::-1] @ backward.kernel.numpy() + backward.bias.numpy()
  said = lstm_loop(heard.transpose(1, 0, 2), backward.recurrent.numpy(), np.ones((7, 1), bool))
  np.testing.assert_allclose(made[0, :, 4:], said[::-1, 0], atol=1e-5)


# --- attention


def test_attention_is_equation_9():
  layer = location_attention.LocationAttention(6, 5, 4, filters=3, kernel_size=5)
  layer.bias.assign(normal(4))
  memory, query, last, total = normal(2, 7, 6), normal(2, 5), NOISE.random((2, 7)), normal(2, 7)
  mask = np.arange(7) < np.array([[7], [4]])
  made, summed = layer.step(*(tf.constant(x, tf.float32) for x in (query,)),
                            layer.remember(tf.constant(memory)), tf.constant(mask),
                            tf.constant(last, tf.float32), tf.constant(total))
  w, v, f, u, b, e = (x.numpy() for x in (layer.query, layer.memory, layer.filters,
                                          layer.location, layer.bias, layer.energy))
  for row in range(2):
    been = np.pad(np.stack([last[row], total[row]], axis=1), ((2, 2), (0, 0)))
    energy = [np.tanh(query[row] @ w + memory[row, i] @ v + b
                      + np.einsum("kc,kcf->f", been[i:i + 5], f) @ u) @ e[:, 0]
              for i in range(7)]
    weight = np.exp(energy) * mask[row]
    np.testing.assert_allclose(made[row], weight / weight.sum(), atol=1e-5)
  np.testing.assert_allclose(summed, total + made, atol=1e-6)


def test_what_is_seen_of_alignments_equals_loops_and_padding_does_not_count():
  steps, tokens = np.array([6, 4]), np.array([5, 3])
  alignment = np.zeros((2, 8, 7), np.float32)
  expected = np.zeros((2, 3))
  for b in range(2):
    for t in range(8):
      weight = NOISE.random(tokens[b])
      alignment[b, t, :tokens[b]] = weight / weight.sum()
      if t >= steps[b]:
        continue
      for i, share in enumerate(alignment[b, t, :tokens[b]]):
        distance = i / (tokens[b] - 1) - t / (steps[b] - 1)
        expected[b, 0] += share * (1 - math.exp(-distance**2 / (2 * 0.2**2)))
        expected[b, 1] += share * (abs(distance) <= location_attention.BAND)
        expected[b, 2] -= share * math.log(share) / math.log(tokens[b])
  given = tf.constant(alignment), tf.constant(steps, tf.int32), tf.constant(tokens, tf.int32)
  for i, function in enumerate((location_attention.guided_loss, location_attention.diagonality,
                                location_attention.entropy)):
    np.testing.assert_allclose(function(*given), expected[:, i] / steps, atol=1e-5)


def test_the_diagonal_and_the_uniform_attention():
  given = tf.constant([40]), tf.constant([40])
  diagonal, uniform = tf.eye(40)[None], tf.fill([1, 40, 40], 1 / 40)
  assert float(location_attention.diagonality(diagonal, *given)[0]) == 1.0
  assert float(location_attention.entropy(diagonal, *given)[0]) < 1e-5
  assert float(location_attention.guided_loss(diagonal, *given)[0]) < 1e-5
  assert abs(float(location_attention.diagonality(uniform, *given)[0]) - 0.36) < 0.03
  assert abs(float(location_attention.entropy(uniform, *given)[0]) - 1.0) < 1e-4


# --- noise and convolutions


def test_a_step_keeps_its_dropout_however_many_there_are():
  many = dropout.factors(SEEDS, 9, 5, 0.25, site=3).numpy()
  for run in (tf.function(dropout.factors), tf.function(dropout.factors, jit_compile=True)):
    np.testing.assert_array_equal(run(SEEDS, 4, 5, 0.25, site=3), many[:, :4])
  few = tf.function(lambda steps: dropout.factors(SEEDS[1:2], steps, 5, 0.25, site=3))
  np.testing.assert_array_equal(few(tf.constant(4)), many[1:2, :4])
  assert not np.array_equal(many, dropout.factors(SEEDS, 9, 5, 0.25, site=4))
  wide = dropout.factors(SEEDS, 50, 500, 0.25, site=0).numpy()
  assert set(np.unique(wide)) == {0.0, np.float32(4 / 3)}
  assert abs(wide.mean() - 1.0) < 0.01  # three standard deviations of 75,000 draws are 0.006


def test_convolutions_do_not_see_padding():
  stack = masked_convolution.Stack([3, 4, 5], 3, tf.tanh, norms=True, dropout=0.5)
  x, mask = normal(2, 8, 3), np.arange(8) < np.array([[8], [5]])
  for training in (False, True):
    made = stack(tf.constant(x), is_valid=tf.constant(mask), seed=SEEDS[:2],
                 training=training).numpy()
    alone = stack(tf.constant(x[1:, :5]), is_valid=tf.constant(mask[1:, :5]), seed=SEEDS[1:2],
                  training=training).numpy()
    np.testing.assert_allclose(made[1:, :5], alone, atol=1e-6)
    np.testing.assert_array_equal(made[1, 5:], 0)


# --- losses


def test_losses_equal_loops():
  length, steps = [5, 2], [7, 5]
  coarse, fine, target, logit = normal(2, 6, 4), normal(2, 6, 4), normal(2, 6, 4), normal(2, 8)
  mel = tacotron2.mel_loss(*(tf.constant(x) for x in (coarse, fine, target, length)))
  stop, is_right = tacotron2.stop_losses(tf.constant(logit), tf.constant(steps), 3.0)
  for b in range(2):
    errors = [abs(x - y) + (x - y)**2 for made in (coarse, fine)
              for x, y in zip(made[b, :length[b]].ravel(), target[b, :length[b]].ravel())]
    np.testing.assert_allclose(mel[b], 2 * np.mean(errors), rtol=1e-5)
    end = steps[b] - tacotron2.CLOSING_STEPS - 1
    paid = [-3.0 * math.log(sigmoid(x)) if i >= end else -math.log(sigmoid(-x))
            for i, x in enumerate(logit[b, :steps[b]])]
    np.testing.assert_allclose(stop[b], np.mean(paid), rtol=1e-5)
    says = [i for i, x in enumerate(logit[b]) if x > 0]
    assert is_right[b] == float(bool(says) and end <= says[0] < steps[b])


def test_a_stop_too_early_too_late_or_never_is_wrong():
  logit = -np.ones((4, 8), np.float32)
  logit[0, 3], logit[1, 2], logit[2, 7] = 1, 1, 1
  _, is_right = tacotron2.stop_losses(tf.constant(logit), tf.constant([7] * 4), 1.0)
  np.testing.assert_array_equal(is_right, [1, 0, 0, 0])


def test_a_row_alone_has_the_losses_it_has_in_a_batch():
  model, whole = build(), batch()
  model.compile()
  rows = []
  for i in range(3):
    tokens, frames = int(np.sum(whole["token"][i] >= 0)), int(whole["length"][i])
    row = {key: value[i:i + 1] for key, value in whole.items()}
    rows.append(model.losses_for(
        {**row, "token": row["token"][:, :tokens], "mel": row["mel"][:, :frames]}, True))
  together = model.losses_for(whole, True)
  for name, value in together.items():
    np.testing.assert_allclose(np.mean([row[name] for row in rows]), value, rtol=1e-4, atol=1e-5,
                               err_msg=name)


# --- generation


def test_writing_is_following_what_was_written():
  decoder = build(attention_window=0).decoder
  memory = tf.constant(normal(2, 6, 16))
  mask = tf.sequence_mask([6, 4], 6)
  limit = tf.constant([5, 5])
  frames, steps, alignment = decoder.write(memory, mask, SEEDS[:2], limit, 2, 0)
  before = np.concatenate([np.full((2, 1, 8), attention_decoder.SILENCE, np.float32),
                           frames.numpy()[:, :-1, -8:]], axis=1)
  followed, stop, alignment_2 = decoder.follow(tf.constant(before), memory, mask, SEEDS[:2])
  np.testing.assert_allclose(frames, followed, atol=1e-5)
  np.testing.assert_allclose(alignment, alignment_2, atol=1e-5)
  says = np.concatenate([stop.numpy() > 0, np.ones((2, 1), bool)], axis=1).argmax(axis=1) + 1
  np.testing.assert_array_equal(steps, np.minimum(says, 5))


def test_a_row_alone_is_spoken_as_in_a_batch(model):
  token = batch()["token"]
  limit = tf.constant([12, 9, 4])  # rows that end at different times
  together = model.generate(SEEDS, token, max_frames=limit)
  np.testing.assert_array_equal(together["length"], [12, 10, 4])
  for i in range(3):
    row = token[i:i + 1, :int(np.sum(token[i] >= 0))]
    alone = model.generate(SEEDS[i:i + 1], row, max_frames=limit[i:i + 1])
    frames = int(alone["length"][0])
    assert frames == together["length"][i]
    np.testing.assert_allclose(alone["mel"][0], together["mel"][i, :frames], atol=1e-4)
    np.testing.assert_array_equal(together["mel"][i, frames:], np.float32(math.log(1e-5)))
    np.testing.assert_array_equal(together["alignment"][i, frames // 2:], 0)
    np.testing.assert_allclose(np.sum(together["alignment"][i, :frames // 2], axis=1), 1, atol=1e-5)


def test_length_is_bounded_by_the_text_and_seeds_are_heard():
  silent_stop = build()
  silent_stop.decoder.stop.bias.assign([-100.0])
  token = batch()["token"]
  made = silent_stop.generate(SEEDS, token)
  tokens = np.sum(token >= 0, axis=1)
  second = 1600 // 16
  np.testing.assert_array_equal(made["length"], np.maximum(np.ceil(3.0 * tokens), second))
  again = silent_stop.generate(SEEDS, token)["mel"].numpy()
  other = silent_stop.generate(SEEDS + 1, token)["mel"].numpy()
  np.testing.assert_array_equal(made["mel"], again)
  assert np.abs(other - again).max() > 1e-4
  farthest = np.maximum.accumulate(np.argmax(made["alignment"][0], axis=1))
  for before, step in zip(farthest, made["alignment"][0][1:]):
    looked = np.flatnonzero(step)
    assert before - 1 <= looked.min() and looked.max() <= before + 4


# --- training


def test_one_batch_is_learned_attention_turns_diagonal_and_it_stops_by_itself():
  model, one = build(), batch(8)
  model.compile(lr=1e-2)
  step = tf.function(model.train_step)
  first = {name: float(value) for name, value in step(one).items()}
  for _ in range(120):
    last = step(one)
  assert last["mel_loss"] < 0.3 * first["mel_loss"]
  assert first["diagonality"] < 0.6 and first["attention_entropy"] > 0.9
  assert last["diagonality"] > 0.95 and last["attention_entropy"] < 0.4
  assert last["stop_accuracy"] == 1.0
  made = model.generate(one["seed"], one["token"])
  assert np.abs(made["length"] - one["length"]).max() <= 4
  assert np.mean(np.abs(made["mel"][0, :20] - one["mel"][0, :20])) < 1.5  # nats, of a span of 8


def test_frames_a_step_fall_and_the_guidance_fades():
  model, one = build(first_reduction=4), batch()
  model.compile(reduction_steps=30, guided_steps=20, guided_weight=2.0)
  seen = []
  for step in (0, 9, 10, 20, 29, 100):
    model.adam.iterations.assign(step)
    seen.append((int(model._reduction_now()), round(float(model._guidance()), 3)))
  assert seen == [(4, 2.0), (4, 1.1), (3, 1.0), (2, 0.0), (2, 0.0), (2, 0.0)]
  losses = []
  run = tf.function(lambda: model.losses_for(one, True)["mel_loss"])
  for step in (0, 10, 20):
    model.adam.iterations.assign(step)
    losses.append(float(run()))  # one graph for all
  fixed = [model(**tacotron2._inputs(one), reduction=r, training=True) for r in (4, 3, 2)]
  for found, made, r in zip(losses, fixed, (4, 3, 2)):
    frames = made["num_steps"] * r
    expected = tacotron2.mel_loss(made["coarse"], made["fine"], made["target"], frames)
    np.testing.assert_allclose(found, np.mean(expected), rtol=1e-4)
  model.gradient_step.jit = True
  with pytest.raises(UserError, match="train.jit=off"):
    model.losses_for(one, True)


def test_an_alarm_when_attention_is_late():
  model, one, alarms = build(), batch(), health.Alarms()
  model.compile(aligned_by_step=5)
  said = []
  for step in (4, 5, 6):
    model.adam.iterations.assign(step)
    losses = {name: float(value) for name, value in model.losses_for(one, True).items()}
    said.append(alarms.check(losses))
  assert not said[0] and not said[2]
  assert "trim_db" in said[1][0] and "batch_size" in said[1][0]
  assert "unaligned" not in model.test_step(one)


def test_one_graph_for_batches_of_all_widths():
  model, one = build(), batch()
  model.compile()
  shapes = {key: tf.TensorSpec([None] * value.shape.rank, value.dtype)
            for key, value in one.items()} | {"mel": tf.TensorSpec([None, None, 8])}
  step = tf.function(lambda given: model.losses_for(given, True), input_signature=[shapes])
  narrow = {**one, "token": one["token"][1:, :11], "mel": one["mel"][1:, :23],
            **{key: one[key][1:] for key in ("length", "label", "seed")}}
  for given in (one, narrow):
    for name, value in model.losses_for(given, True).items():
      np.testing.assert_allclose(step(given)[name], value, rtol=1e-4, atol=1e-5)


def test_previews_are_waves_mels_and_alignments(model):
  shown = model.previews(batch(6), tf.range(64, dtype=tf.int64))
  assert set(shown) == {"samples", "mel", "alignment", "forced_mel", "forced_alignment"}
  wave = shown["samples"]
  assert wave["wave"].shape[0] == 4 and wave["sample_rate_hz"] == 1600
  assert np.all(wave["length"] <= wave["wave"].shape[1]) and np.abs(wave["wave"]).max() <= 1
  for name in ("mel", "alignment", "forced_mel", "forced_alignment"):
    image = shown[name]["image"]
    assert image.shape[0] == 4 and image.shape[3] == 3 and np.abs(image).max() <= 1.0001


def test_speakers_sound_different_and_one_has_no_variable():
  assert build().speakers is None
  two = build({**SPEECH, "speakers": ["one", "two"]})
  token = batch()["token"][:1]
  mels = [two.generate(SEEDS[:1], token, label=[label], max_frames=6)["mel"].numpy()
          for label in (0, 1)]
  assert np.abs(mels[0] - mels[1]).max() > 1e-3


@pytest.mark.parametrize("keywords,message", [
    ({"reduction": 0}, "model.reduction=0"), ({"postnet_depth": 1}, "model.postnet_depth=1"),
    ({"width": 15}, "model.width=15"), ({"first_reduction": 1}, "model.first_reduction=1"),
    ({"spec": {**SPEECH, "task": "vocoder"}}, "data.task=vocoder")])
def test_what_cannot_be_built(keywords, message):
  with pytest.raises(UserError, match=message):
    build(**keywords)
