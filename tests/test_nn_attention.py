"""Attention against eq. 1 in NumPy; the cache against whole sequences."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from aigc_tf.errors import UserError
from aigc_tf.nn import attention
from aigc_tf.nn import dropout

RNG = np.random.default_rng(0)


def floats(*shape):
  return tf.constant(RNG.normal(size=shape), tf.float32)


def layer(**keywords):
  keras.utils.set_random_seed(1)
  built = attention.MultiHeadAttention(16, 4, **keywords)
  built.build()
  for variable in built.weights:  # 0.02 would hide what a wrong softmax does
    variable.assign(floats(*variable.shape))
  return built


def test_attend_is_equation_1():
  q, k, v = floats(2, 3, 5, 4), floats(2, 3, 7, 4), floats(2, 3, 7, 4)
  mask = RNG.random((2, 5, 7)) < 0.6
  mask[:, :, 0] = True
  expected = np.zeros((2, 3, 5, 4))
  for b, n, i in np.ndindex(2, 3, 5):
    score = k.numpy()[b, n] @ q.numpy()[b, n, i] / 2.0
    weight = np.where(mask[b, i], np.exp(score), 0.0)
    expected[b, n, i] = weight @ v.numpy()[b, n] / weight.sum()
  np.testing.assert_allclose(attention.attend(q, k, v, tf.constant(mask)), expected, atol=1e-5)


def test_a_query_that_sees_nothing_gets_a_finite_answer():
  x = floats(1, 1, 3, 4)
  assert np.all(np.isfinite(attention.attend(x, x, x, tf.zeros((1, 3, 3), tf.bool))))


def test_rotation_keeps_lengths_and_products_know_only_the_distance():
  q, k = floats(1, 1, 1, 8), floats(1, 1, 1, 8)

  def product(i, j):
    a, b = (attention.rotate(x, tf.constant([[place]])) for x, place in ((q, i), (k, j)))
    np.testing.assert_allclose(tf.norm(a), tf.norm(q), rtol=1e-5)
    return float(tf.reduce_sum(a * b))

  assert product(3, 1) == pytest.approx(product(12, 10), abs=1e-4)
  assert abs(product(3, 1) - product(4, 1)) > 1e-3


def test_rotation_turns_each_pair_by_its_angle():
  x, place = RNG.normal(size=6), 5
  turned = [(x[i] + 1j * x[i + 3]) * np.exp(1j * place * 10_000.0**(-i / 3)) for i in range(3)]
  found = attention.rotate(tf.constant(x[None, None, None], tf.float32), tf.constant([[place]]))
  np.testing.assert_allclose(found[0, 0, 0], [*np.real(turned), *np.imag(turned)], atol=1e-5)


def test_the_future_does_not_change_the_past():
  mha, x = layer(), floats(2, 6, 16)
  changed = tf.concat([x[:, :4], floats(2, 2, 16)], axis=1)
  a, b = (mha(y, mask=attention.causal_mask(6)) for y in (x, changed))
  np.testing.assert_allclose(a[:, :4], b[:, :4], atol=1e-5)
  assert np.abs(a[:, 4:] - b[:, 4:]).max() > 0.1


@pytest.mark.parametrize("rotary", (False, True))
@pytest.mark.parametrize("jit", (False, True))
def test_steps_with_a_cache_equal_the_whole_sequence(rotary, jit):
  mha, x = layer(rotary=rotary), floats(2, 7, 16)
  whole = mha(x, mask=attention.causal_mask(7))

  @tf.function(jit_compile=jit)
  def by_steps(x):
    read, cache = mha.prefill(x[:, :3], 10, attention.causal_mask(3))
    parts = [read]
    for i in range(3, 7):
      slot = tf.constant(i)
      out, cache = mha.step(x[:, i], cache, slot, (tf.range(10) <= slot)[None])
      parts.append(out[:, None])
    return tf.concat(parts, axis=1)

  np.testing.assert_allclose(by_steps(x), whole, atol=1e-4)


def test_an_empty_cache_begins_a_sequence():
  mha, x = layer(), floats(2, 1, 16)
  out, _ = mha.step(x[:, 0], mha.start_cache(2, 4), tf.constant(0), (tf.range(4) <= 0)[None])
  np.testing.assert_allclose(out, mha(x)[:, 0], atol=1e-5)


def test_cross_attention_steps_equal_the_whole_and_hide_padding():
  mha, x, memory = layer(cross=True), floats(2, 3, 16), floats(2, 5, 16)
  token = tf.constant([[1, 2, 3, -1, -1], [1, 2, 3, 4, 5]])
  mask = attention.padding_mask(token)
  whole = mha(x, memory, mask)
  np.testing.assert_allclose(whole[:1], mha(x[:1], memory[:1, :3]), atol=1e-5)
  remembered = mha.remember(memory)
  for i in range(3):
    step = mha.step_memory(x[:, i], remembered, mask[:, 0])
    np.testing.assert_allclose(step, whole[:, i], atol=1e-5)


def test_bfloat16_stays_near_float32():
  exact, x = layer(), floats(2, 6, 16)
  rounded = layer(dtype="mixed_bfloat16")
  for a, b in zip(rounded.weights, exact.weights, strict=True):
    b.assign(b / 4.0)  # scores of a size at which 8 bits of mantissa decide little
    a.assign(b)
  mask = attention.causal_mask(6)
  found, cache = rounded.prefill(tf.cast(x, tf.bfloat16), 8, mask)
  assert found.dtype == cache[0].dtype == tf.bfloat16
  np.testing.assert_allclose(tf.cast(found, tf.float32), exact(x, mask=mask), atol=0.05)


def test_heads_must_divide_the_width():
  with pytest.raises(UserError, match="model.heads"):
    attention.MultiHeadAttention(16, 3)


def test_dropout_drops_its_share_keeps_the_mean_and_knows_row_and_site():
  seed = tf.range(64, dtype=tf.int64)
  x = tf.ones((64, 100))
  out = dropout.dropout(x, 0.25, seed, 0).numpy()
  assert set(np.unique(out)) == {0.0, np.float32(4 / 3)}
  assert np.mean(out == 0) == pytest.approx(0.25, abs=0.02)  # 6,400 draws: 4 deviations
  jitted = tf.function(lambda: dropout.dropout(x, 0.25, seed, 0), jit_compile=True)()
  np.testing.assert_array_equal(jitted, out)
  unsized = tf.function(lambda x: dropout.dropout(x, 0.25, seed, 0),
                        input_signature=[tf.TensorSpec([None, None])])
  np.testing.assert_array_equal(unsized(x), out)
  np.testing.assert_array_equal(dropout.dropout(x[:1], 0.25, seed[7:8], 0)[0], out[7])
  assert np.mean(dropout.dropout(x, 0.25, seed, 1).numpy() == out) < 0.9
  assert dropout.dropout(x, 0.0, seed, 0) is x
