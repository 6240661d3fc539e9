"""The attack on embeddings, against gradients by hand."""

import numpy as np
import pytest
import tensorflow as tf

from aigc_tf.nn import adversarial

EPSILON = 0.1


def made(rows=4):
  generator = np.random.default_rng(0)
  embedded = generator.normal(size=(rows, 3, 2)).astype(np.float32)
  matrix = generator.normal(size=(6, 5)).astype(np.float32)
  label = np.arange(rows, dtype=np.int32) % 5
  return tf.constant(embedded), tf.constant(matrix), tf.constant(label)


def linear(matrix):
  return lambda embedded: tf.matmul(tf.reshape(embedded, (-1, 6)), matrix)


def test_cross_entropy_and_accuracy_are_those_of_numpy():
  embedded, matrix, label = made()
  logits = linear(matrix)(embedded).numpy()
  probability = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
  np.testing.assert_allclose(adversarial.cross_entropy(logits, label),
                             -np.log(probability[np.arange(4), label]), rtol=1e-5)
  assert float(adversarial.accuracy(logits, label)) == np.mean(logits.argmax(-1) == label)


@pytest.mark.parametrize("scale", [1.0, 1e-25, 1e25])
def test_the_step_has_its_length_and_the_gradients_direction(scale):
  generator = np.random.default_rng(0)
  gradient, embedded = generator.normal(size=(2, 4, 3, 2)).astype(np.float32)
  step = adversarial.perturbation(tf.constant(gradient * scale), tf.constant(embedded), EPSILON)
  step = step.numpy().reshape(4, -1)
  gradient, embedded = gradient.reshape(4, -1), embedded.reshape(4, -1)
  length = np.linalg.norm(step, axis=1)
  np.testing.assert_allclose(length, EPSILON * np.linalg.norm(embedded, axis=1), rtol=1e-5)
  np.testing.assert_allclose(
      step / length[:, None], gradient / np.linalg.norm(gradient, axis=1)[:, None], rtol=1e-4)


def test_without_a_gradient_there_is_no_step():
  step = adversarial.perturbation(tf.zeros((2, 3, 2)), tf.ones((2, 3, 2)), EPSILON)
  np.testing.assert_array_equal(step, np.zeros((2, 3, 2)))


def test_losses_are_those_of_a_linear_model_by_hand():
  embedded, matrix, label = made()
  told = adversarial.losses(linear(matrix), embedded, label, EPSILON)
  flat, weight = embedded.numpy().reshape(4, 6).astype(np.float64), matrix.numpy()

  def paid(x):
    score = np.exp(x @ weight)
    probability = score / score.sum(-1, keepdims=True)
    return -np.log(probability[np.arange(4), label]), probability
  loss, probability = paid(flat)
  gradient = (probability - np.eye(5)[label]) @ weight.T
  length = EPSILON * np.linalg.norm(flat, axis=1) / np.linalg.norm(gradient, axis=1)
  attacked, _ = paid(flat + length[:, None] * gradient)
  np.testing.assert_allclose(told["loss"], loss.mean(), rtol=1e-5)
  np.testing.assert_allclose(told["robust_loss"], attacked.mean(), rtol=1e-5)
  assert np.all(attacked > loss)


def test_no_attack_costs_and_says_nothing():
  embedded, matrix, label = made()
  told = adversarial.losses(linear(matrix), embedded, label, 0.0)
  assert set(told) == {"loss", "accuracy"}


@pytest.mark.parametrize("jit", [False, True])
def test_weights_learn_from_the_attack_as_from_a_constant(jit):
  embedded, matrix, label = made()

  @tf.function(jit_compile=jit)
  def gradient(matrix):
    with tf.GradientTape() as tape:
      tape.watch(matrix)
      loss = adversarial.losses(linear(matrix), embedded, label, EPSILON)["robust_loss"]
    return tape.gradient(loss, matrix)

  with tf.GradientTape() as tape:
    tape.watch(embedded)
    paid = adversarial.cross_entropy(linear(matrix)(embedded), label)
  shift = adversarial.perturbation(tape.gradient(paid, embedded), embedded, EPSILON)
  with tf.GradientTape() as tape:
    tape.watch(matrix)
    loss = tf.reduce_mean(adversarial.cross_entropy(linear(matrix)(embedded + shift), label))
  np.testing.assert_allclose(gradient(matrix), tape.gradient(loss, matrix), rtol=1e-4, atol=1e-6)


def test_a_rows_attack_is_its_own():
  embedded, matrix, label = made()
  whole = [adversarial.losses(linear(matrix), embedded[i:i + 1], label[i:i + 1], EPSILON)
           for i in range(4)]
  together = adversarial.losses(linear(matrix), embedded, label, EPSILON)
  np.testing.assert_allclose(
      together["robust_loss"], np.mean([row["robust_loss"] for row in whole]), rtol=1e-5)
