"""Beam search against brute force over all sequences, and against a NumPy loop of the same rule."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

from aigc_tf.nn import beam_search

END = 2


def table(seed, rows, vocab, sharpness=1.0):
  """Logits f32[rows, V, V] of the token after the next: a row's own random Markov chain."""
  noise = np.random.default_rng(seed)
  return (sharpness * noise.normal(size=(rows, vocab, vocab))).astype(np.float32)


def run(logits, *, jit=False, **knobs):
  """Beam search on Markov chains, each started from token 1. The state tells the row, and checks
  that it moves with its hypothesis: it sums the tokens, which shifts the next logits."""
  logits = tf.constant(logits)
  rows = logits.shape[0]

  def step(state, token, slot):
    total = state["sum"] + tf.cast(token * (slot + 1), tf.float32)
    found = tf.gather(tf.gather(logits, state["row"]), token, batch_dims=1)
    return shifted(found, total), {"row": state["row"], "sum": total}

  def shifted(found, total):
    return found + tf.sin(total[:, tf.newaxis] * tf.range(1.0, found.shape[1] + 1))

  def search():
    zero = tf.zeros([rows])
    return beam_search.search(
        step, {"row": tf.range(rows), "sum": zero}, shifted(logits[:, 1], zero),
        first_slot=0, end_id=END, **knobs)

  return tf.function(search, jit_compile=jit)().numpy()


def log_probs(logits, prefix):
  """The same model in NumPy: log p of each next token.  logits: f32[V, V] of one row."""
  total = np.float32(sum(token * (slot + 1) for slot, token in enumerate(prefix)))
  found = logits[prefix[-1] if prefix else 1] + np.sin(total * np.arange(1.0, len(logits) + 1))
  return found - np.log(np.sum(np.exp(found)))


def score(logits, sequence, alpha):
  total = sum(log_probs(logits, sequence[:i])[token] for i, token in enumerate(sequence))
  return total / ((5 + len(sequence)) / 6)**alpha


def brute_force(logits, length, alpha):
  """The best of all sequences that end, or reach the length."""
  words = [token for token in range(len(logits)) if token != END]
  whole = [(*words_before, last) for n in range(length)
           for words_before in itertools.product(words, repeat=n)
           for last in (range(len(logits)) if n == length - 1 else [END])]
  return max(whole, key=lambda sequence: score(logits, sequence, alpha))


def reference(logits, length, beam_size, alpha):
  """The module's rule in plain Python, without an early stop."""
  alive, ended, places = [((), 0.0)], [], beam_size
  for t in range(length):
    grown = [((*sequence, token), total + step) for sequence, total in alive
             for token, step in enumerate(log_probs(logits, sequence))]
    grown = sorted(grown, key=lambda item: -item[1])[:places]
    done = [item for item in grown if item[0][-1] == END or t == length - 1]
    alive = [item for item in grown if item not in done]
    ended, places = ended + done, places - len(done)
  return max(ended, key=lambda item: item[1] / ((5 + len(item[0])) / 6)**alpha)[0]


def padded(sequence, length):
  return np.array([*sequence, *[-1] * (length - len(sequence))])


@pytest.mark.parametrize("alpha", [0.0, 0.6, 2.0, -1.0])
def test_as_many_places_as_words_at_depth_two_is_brute_force(alpha):
  logits = table(0, 20, 6)
  got = run(logits, max_new_tokens=2, beam_size=6, alpha=alpha)
  for row, chain in zip(got, logits):
    np.testing.assert_array_equal(row, padded(brute_force(chain, 2, alpha), 2))


def test_enough_places_are_brute_force_at_depth_four():
  logits = table(1, 6, 4)
  got = run(logits, max_new_tokens=4, beam_size=4**4, alpha=0.6)
  for row, chain in zip(got, logits):
    np.testing.assert_array_equal(row, padded(brute_force(chain, 4, 0.6), 4))


@pytest.mark.parametrize("beam_size", [1, 2, 3, 5])
@pytest.mark.parametrize("alpha", [0.0, 0.6, 1.5, -0.5])
def test_every_row_follows_the_rule(beam_size, alpha):
  """The early stop, which the reference has not, changes nothing."""
  logits = table(2, 12, 7, sharpness=2.0)
  got = run(logits, max_new_tokens=9, beam_size=beam_size, alpha=alpha)
  for row, chain in zip(got, logits):
    np.testing.assert_array_equal(row, padded(reference(chain, 9, beam_size, alpha), 9))


def test_one_place_is_greedy_whatever_the_penalty():
  logits = table(3, 12, 7)
  got = run(logits, max_new_tokens=8, beam_size=1, alpha=3.0)
  for row, chain in zip(got, logits):
    greedy = []
    while len(greedy) < 8 and END not in greedy:
      greedy.append(int(np.argmax(log_probs(chain, greedy))))
    np.testing.assert_array_equal(row, padded(greedy, 8))


def test_rows_of_different_sizes_and_penalties_go_in_one_batch():
  logits, sizes, alphas = table(4, 8, 7), [1, 2, 3, 4] * 2, [0.0] * 4 + [1.0] * 4
  got = run(logits, max_new_tokens=8, beam_size=tf.constant(sizes), max_places=4,
            alpha=tf.constant(alphas))
  for i, row in enumerate(got):
    alone = run(logits[i:i + 1], max_new_tokens=8, beam_size=sizes[i], alpha=alphas[i])
    np.testing.assert_array_equal(row, alone[0])
  assert len({len(row[row >= 0]) for row in got}) > 1  # some stopped earlier than others


def test_more_places_find_likelier_sequences():
  logits = table(5, 40, 8)
  totals = [sum(score(chain, tuple(row[row >= 0]), 0.0) for row, chain in zip(
      run(logits, max_new_tokens=6, beam_size=size, alpha=0.0), logits)) for size in (1, 4, 64)]
  assert totals[0] < totals[1] < totals[2]


def test_a_larger_penalty_gives_longer_answers():
  logits = table(6, 40, 6)
  lengths = [np.sum(run(logits, max_new_tokens=12, beam_size=4, alpha=alpha) >= 0)
             for alpha in (-1.0, 0.0, 3.0)]
  assert lengths[0] < lengths[1] < lengths[2]


def test_it_stops_when_all_rows_have_ended():
  logits = table(7, 3, 5)
  logits[..., END] += 30.0
  calls = tf.Variable(0)

  def step(state, token, slot):
    del slot
    calls.assign_add(1)
    return tf.gather(tf.gather(logits, state), token, batch_dims=1), state

  first = tf.constant(logits[:, 1])
  got = tf.function(lambda: beam_search.search(
      step, tf.range(3), first, first_slot=0, max_new_tokens=50, end_id=END, beam_size=3))()
  np.testing.assert_array_equal(got[:, 0], [END] * 3)
  assert int(calls) <= 2


def test_xla_finds_the_same():
  logits = table(8, 6, 7)
  knobs = {"max_new_tokens": 8, "beam_size": 3}
  np.testing.assert_array_equal(run(logits, jit=True, **knobs), run(logits, **knobs))


def test_penalty_is_equation_14():
  np.testing.assert_allclose(beam_search.length_penalty(tf.constant([1.0, 7.0]), 0.5),
                             [1.0, (12 / 6)**0.5], rtol=1e-6)
