"""The decoding loop on a model whose next token depends on the last one, against plain Python."""

import numpy as np
import pytest
import tensorflow as tf

from aigc_tf.errors import UserError
from aigc_tf.nn import decoding

V = 12
TABLE = tf.constant(np.random.default_rng(2).normal(size=(V, V)) * 2.0, tf.float32)
PROMPT = tf.constant([[-1, 3, 4, 3], [1, 2, 3, 5], [-1, -1, -1, 7]])
SEED = tf.constant([5, 6, 2**40], tf.int64)


def step(state, token, slot):
  del slot
  return tf.gather(TABLE, token), state + 1


def run(seed=SEED, token=PROMPT, new=16, end_id=-1, **keywords):
  return decoding.generate(
      step, tf.zeros((token.shape[0], 2)), tf.gather(TABLE, token[:, -1]), seed=seed, token=token,
      max_new_tokens=new, end_id=end_id, **keywords).numpy()


def greedy(row, new, change=lambda scores, text: scores):
  """A row's likeliest tokens, one by one."""
  text = [t for t in row if t >= 0]
  for _ in range(new):
    text.append(int(np.argmax(change(TABLE.numpy()[text[-1]].copy(), text))))
  return text[-new:]


def test_temperature_zero_takes_the_likeliest():
  expected = [greedy(row, 16) for row in PROMPT.numpy()]
  np.testing.assert_array_equal(run(temperature=0), expected)
  np.testing.assert_array_equal(run(temperature=[0.0, 0.0, 0.0]), expected)


def test_repetition_penalty_is_the_formula():
  def penalised(scores, text):
    used = sorted(set(text))
    scores[used] = np.where(scores[used] > 0, scores[used] / 1.7, scores[used] * 1.7)
    return scores
  expected = [greedy(row, 16, penalised) for row in PROMPT.numpy()]
  np.testing.assert_array_equal(run(temperature=0, repetition_penalty=1.7), expected)
  assert expected != [greedy(row, 16) for row in PROMPT.numpy()]


@pytest.mark.parametrize("n", (1, 2, 3))
def test_no_repeat_ngram_bans_what_a_search_of_the_text_finds(n):
  def banned(scores, text):
    tail = text[len(text) - n + 1:]
    for i in range(len(text) - n + 1):
      if text[i:i + n - 1] == tail:
        scores[text[i + n - 1]] = -1e9
    return scores
  new = 16 if n > 1 else 7  # of 12 tokens, 4 stand in a prompt
  expected = [greedy(row, new, banned) for row in PROMPT.numpy()]
  np.testing.assert_array_equal(run(temperature=0, new=new, no_repeat_ngram=n), expected)


def test_filters_keep_what_a_sort_keeps():
  logits = np.random.default_rng(0).normal(size=(3, 500)).astype(np.float32) * 3
  k, p, m = [5, 0, 40], [0.9, 0.5, 0.0], [0.0, 0.01, 0.3]
  expected = np.exp(logits - logits.max(1, keepdims=True))
  for row, top_k, top_p, min_p in zip(expected, k, p, m):
    order = np.argsort(-row)
    if top_k:
      row[order[top_k:]] = 0
    if top_p:
      before = np.cumsum(row[order]) - row[order]
      row[order[before >= top_p * row.sum()]] = 0
    row[row < min_p] = 0
  found = decoding.weights(tf.constant(logits), top_k=tf.constant(k), top_p=tf.constant(p),
                           min_p=tf.constant(m))
  np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_samples_are_as_frequent_as_likely():
  weight = np.float32([[4, 0, 1, 3, 2]])
  noise = (np.arange(1000, dtype=np.float32) + 0.5) / 1000
  token = decoding.sample(tf.constant(weight.repeat(1000, 0)), tf.constant(noise))
  np.testing.assert_allclose(np.bincount(token, minlength=5), weight[0] * 100, atol=1)


def test_a_row_alone_equals_the_row_in_a_batch_and_ends_do_not_matter():
  together = run()
  for i in range(3):
    alone = run(SEED[i:i + 1], PROMPT[i:i + 1])
    np.testing.assert_array_equal(alone[0], together[i])
    padded = tf.pad(PROMPT[i:i + 1], [[0, 0], [5, 0]], constant_values=-1)
    np.testing.assert_array_equal(run(SEED[i:i + 1], padded, new=9)[0], together[i][:9])


def test_xla_equals_the_graph_with_every_knob_a_row():
  def both():
    return decoding.generate(
        step, tf.zeros((3, 2)), tf.gather(TABLE, PROMPT[:, -1]), seed=SEED, token=PROMPT,
        max_new_tokens=tf.constant([12, 3, 0]), size=12, end_id=9, never=(0, -1),
        temperature=[0.0, 1.5, 1.0], top_k=[0, 5, 1], top_p=[0.9, 0.0, 1.0], min_p=[0.0, 0.1, 0.0],
        repetition_penalty=[1.3, 0.0, 1.0], no_repeat_ngram=[2, 0, 3])
  graph, jitted = tf.function(both)(), tf.function(both, jit_compile=True)()
  np.testing.assert_array_equal(graph, jitted)
  assert (graph.numpy()[:2, 0] > 0).all() and (graph.numpy()[1, 3:] == -1).all()
  assert (graph.numpy()[2] == -1).all()


def test_after_the_end_there_is_padding():
  free = run(new=16)
  end = int(free[0, 5])
  ended, first = run(new=16, end_id=end), list(free[0]).index(end)
  np.testing.assert_array_equal(ended[0], [*free[0, :first + 1], *[-1] * (15 - first)])


def test_pieces_of_the_loop_equal_the_whole():
  loop = decoding.Loop(step, end_id=-1)
  fixed, moving = loop.start(tf.zeros((3, 2)), tf.gather(TABLE, PROMPT[:, -1]), seed=SEED,
                             token=PROMPT, max_new_tokens=16, size=16, top_p=0.9)
  for _ in range(6):
    moving = loop.advance(fixed, moving, 3)
  np.testing.assert_array_equal(moving["token"][:, 4:], run(top_p=0.9))
  assert np.all(moving["is_done"])


def test_tokens_of_never_are_never_chosen():
  free = run(new=16)
  assert not np.isin(run(new=16, never=tuple(set(free[0]))), free[0]).any()


@pytest.mark.parametrize("knob, value", (
    ("temperature", -1), ("top_p", 1.5), ("top_k", -3), ("min_p", 2), ("temperature", float("nan")),
    ("warmth", 1)))
def test_knobs_that_cannot_be_are_one_line(knob, value):
  with pytest.raises(UserError, match=knob):
    run(**{knob: value})


def test_rows_move_to_either_side():
  right = tf.constant([[3, 4, -1], [1, 2, 3], [-1, -1, -1]])
  left = decoding.align_right(right)
  np.testing.assert_array_equal(left, [[-1, 3, 4], [1, 2, 3], [-1, -1, -1]])
  np.testing.assert_array_equal(decoding.align_left(left), right)
  np.testing.assert_array_equal(decoding.lengths(left), [2, 3, 0])


def test_buckets_are_few_and_a_third_empty_at_most():
  sizes = [decoding.bucket(n) for n in range(1, 2049)]
  assert all(n <= size for n, size in enumerate(sizes, 1))
  assert all(size <= 1.5 * n for n, size in enumerate(sizes, 1) if n > 16)
  assert sorted(set(sizes))[:5] == [16, 24, 32, 48, 64] and len(set(sizes)) == 15


@pytest.mark.parametrize("size", [1, 63, 64, 200])
def test_likeliest_is_the_first_of_the_largest(size):
  noise = np.random.default_rng(size)
  logits = noise.integers(-3, 3, (50, size)).astype(np.float32)  # with many ties
  logits[0] = -np.inf
  np.testing.assert_array_equal(decoding.likeliest(tf.constant(logits)), logits.argmax(axis=1))
  jitted = tf.function(decoding.likeliest, jit_compile=True)(tf.constant(logits))
  np.testing.assert_array_equal(jitted, logits.argmax(axis=1))
