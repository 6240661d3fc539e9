"""The one gradient step, against updates computed by hand in NumPy."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from aigc_tf.nn import gradients

LR = 0.1


class Toy:
  """Two losses over two weights each; both losses depend on all weights, as in a GAN.

  a_loss = mean((x . a - b[0])^2),  b_loss = mean((x . b + a[1])^2)
  """

  def __init__(self, make_optimizer):
    self.a = keras.Variable(np.array([0.5, -1.0], np.float32))
    self.b = keras.Variable(np.array([2.0, 0.25], np.float32))
    self.optimizers = [make_optimizer(), make_optimizer()]
    self.optimizers[0].build([self.a])
    self.optimizers[1].build([self.b])
    self.step = gradients.GradientStep(self.losses_for, {
        "a_loss": (self.optimizers[0], [self.a]), "b_loss": (self.optimizers[1], [self.b])})

  def losses_for(self, batch, training):
    assert training
    x = batch["x"]
    a_error = tf.linalg.matvec(x, self.a.value) - self.b.value[0]
    b_error = tf.linalg.matvec(x, self.b.value) + self.a.value[1]
    return {"a_loss": tf.reduce_mean(a_error**2), "b_loss": tf.reduce_mean(b_error**2),
            "other": tf.reduce_mean(x)}


def by_hand(x, a, b):
  """(a_loss, b_loss, gradient of a_loss by a, gradient of b_loss by b), in float64."""
  a_error, b_error = x @ a - b[0], x @ b + a[1]
  return (np.mean(a_error**2), np.mean(b_error**2),
          2 * a_error @ x / len(x), 2 * b_error @ x / len(x))


def rows(number=8):
  return np.random.default_rng(0).normal(size=(number, 2)).astype(np.float32)


def sgd():
  return keras.optimizers.SGD(LR)


def start_weights():
  return np.array([0.5, -1.0]), np.array([2.0, 0.25])


@pytest.mark.parametrize("jit", [False, True])
@pytest.mark.parametrize("micro_batches", [1, 2, 4])
def test_descent_equals_numpy_through_five_steps(jit, micro_batches):
  toy, x = Toy(sgd), rows()
  toy.step.jit, toy.step.micro_batches = jit, micro_batches
  update = tf.function(toy.step)
  a, b = start_weights()
  for _ in range(5):
    a_loss, b_loss, a_gradient, b_gradient = by_hand(x, a, b)
    a, b = a - LR * a_gradient, b - LR * b_gradient  # both from the weights before the step
    told = update({"x": tf.constant(x)})
    np.testing.assert_allclose([told["a_loss"], told["b_loss"]], [a_loss, b_loss], rtol=1e-5)
    np.testing.assert_allclose(told["other"], x.mean(), rtol=1e-5)
    np.testing.assert_allclose(told["a_gradient_norm"], np.linalg.norm(a_gradient), rtol=1e-5)
    np.testing.assert_allclose(told["b_gradient_norm"], np.linalg.norm(b_gradient), rtol=1e-5)
    np.testing.assert_allclose(toy.a.numpy(), a, rtol=1e-5)
    np.testing.assert_allclose(toy.b.numpy(), b, rtol=1e-5)


def test_adam_equals_numpy_through_five_steps():
  """Algorithm 1 of arXiv:1412.6980, in the form with the bias in the rate (end of section 2)."""
  beta_1, beta_2, x = 0.5, 0.9, rows()
  toy = Toy(lambda: keras.optimizers.Adam(LR, beta_1, beta_2))
  a, b = start_weights()
  m, v = np.zeros((2, 2)), np.zeros((2, 2))
  for t in range(1, 6):
    gradient = np.stack(by_hand(x, a, b)[2:])
    m, v = beta_1 * m + (1 - beta_1) * gradient, beta_2 * v + (1 - beta_2) * gradient**2
    rate = LR * np.sqrt(1 - beta_2**t) / (1 - beta_1**t)
    a, b = np.stack([a, b]) - rate * m / (np.sqrt(v) + 1e-7)
    toy.step({"x": tf.constant(x)})
  np.testing.assert_allclose(toy.a.numpy(), a, rtol=1e-5)
  np.testing.assert_allclose(toy.b.numpy(), b, rtol=1e-5)


def test_a_loss_without_learning_rate_moves_nothing_else():
  toy = Toy(sgd)
  toy.optimizers[0].learning_rate.assign(0.0)
  before = toy.a.numpy().copy(), toy.b.numpy().copy()
  toy.step({"x": tf.constant(rows())})
  np.testing.assert_array_equal(toy.a.numpy(), before[0])
  assert np.all(toy.b.numpy() != before[1])


@pytest.mark.parametrize("clip_norm", [0.05, 1e6])
def test_each_network_is_clipped_by_its_own_norm(clip_norm):
  toy, x = Toy(sgd), rows()
  toy.step.clip_norm = clip_norm
  a, b = start_weights()
  *_, a_gradient, b_gradient = by_hand(x, a, b)
  told = toy.step({"x": tf.constant(x)})
  for weight, start, gradient, name in (
      (toy.a, a, a_gradient, "a"), (toy.b, b, b_gradient, "b")):
    norm = np.linalg.norm(gradient)
    expected = start - LR * gradient * min(1, clip_norm / norm)
    np.testing.assert_allclose(weight.numpy(), expected, rtol=1e-5)
    np.testing.assert_allclose(told[f"{name}_gradient_norm"], norm, rtol=1e-5)


def test_a_weight_that_a_loss_does_not_reach_gets_zero():
  toy = Toy(sgd)
  unused = keras.Variable(np.array([1.0], np.float32))
  optimizer = sgd()
  optimizer.build([toy.a, unused])
  step = gradients.GradientStep(toy.losses_for, {"a_loss": (optimizer, [toy.a, unused])})
  told = step({"x": tf.constant(rows())})
  assert unused.numpy() == 1.0 and np.isfinite(told["a_gradient_norm"])


def test_a_loss_named_loss_gives_gradient_norm():
  weight = keras.Variable(3.0)
  optimizer = sgd()
  optimizer.build([weight])
  step = gradients.GradientStep(
      lambda batch, training: {"loss": weight.value**2}, {"loss": (optimizer, [weight])})
  assert float(step({"x": tf.zeros([1])})["gradient_norm"]) == 6.0
  np.testing.assert_allclose(weight.numpy(), 3.0 - LR * 6.0)


def test_rows_that_cannot_be_cut_are_refused():
  toy = Toy(sgd)
  toy.step.micro_batches = 3
  with pytest.raises(ValueError, match="cannot be cut into 3 equal micro-batches"):
    toy.step({"x": tf.constant(rows())})


def test_adam_builder_decays_matrices_only_when_asked():
  weights = [keras.Variable(np.ones(shape, np.float32)) for shape in ((2, 1), (2,))]
  plain, decaying = (gradients.adam(weights, 0.1, weight_decay=decay) for decay in (None, 0.5))
  zeros = [tf.zeros(weight.shape) for weight in weights]
  plain.apply(zeros, weights)
  assert all(np.all(weight.numpy() == 1.0) for weight in weights)
  decaying.apply(zeros, weights)
  np.testing.assert_allclose(weights[0].numpy(), 1 - 0.1 * 0.5)  # arXiv:1711.05101, line 12
  assert np.all(weights[1].numpy() == 1.0)
  assert len(plain.variables) == 6  # iterations, rate, four moments: there before any restore


@pytest.mark.parametrize("strategy", [
    tf.distribute.get_strategy(), tf.distribute.MirroredStrategy(["CPU:0"])], ids=["one", "mirror"])
def test_fused_adam_is_keras_adam(strategy):
  generator = np.random.default_rng(0)
  start = generator.normal(size=(3, 2)).astype(np.float32)
  steps = generator.normal(size=(5, 3, 2)).astype(np.float32)
  ends = []
  with strategy.scope():
    for kind in (gradients.FusedAdam, keras.optimizers.Adam):
      weight, optimizer = keras.Variable(start), kind(0.01, 0.5, 0.99)
      optimizer.build([weight])
      for step in steps:
        strategy.run(lambda w=weight, o=optimizer, g=tf.constant(step): o.apply([g], [w]))
      ends.append((weight.numpy(), *(v.numpy() for v in optimizer.variables)))
  for ours, theirs in zip(*ends, strict=True):
    # 1e-6: the same sums, in another order.
    np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-7)


def test_fused_adam_takes_the_sparse_gradient_of_a_gather():
  table = keras.Variable(np.ones((4, 2), np.float32))
  optimizer = gradients.adam([table], 0.1)
  with tf.GradientTape() as tape:
    loss = tf.reduce_sum(tf.gather(table.value, [1, 1]))
  optimizer.apply(tape.gradient(loss, [table.value]), [table])
  np.testing.assert_allclose(table.numpy(), [[1, 1], [0.9, 0.9], [1, 1], [1, 1]], rtol=1e-5)
