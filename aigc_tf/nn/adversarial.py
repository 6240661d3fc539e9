"""Adversarial training of text classifiers (FGM), arXiv:1605.07725.

Words cannot be moved a little, their vectors can: each row's embedding is shifted by the step of a
given length that the gradient says will hurt most.

Differs from the paper: the step is a share of the length of the row's own embedding, instead of a
number while the vectors are held at variance one. Either way growing vectors do not escape it.

Axes: B batch, L tokens, D width, K classes.
"""

from keras import ops
import tensorflow as tf


def cross_entropy(logits, label):
  """-log softmax(logits)[label].  logits: f32[B, K].  label: i32[B].  Returns: f32[B] in nats."""
  return -ops.take_along_axis(ops.log_softmax(logits), label[:, None], axis=-1)[:, 0]


def accuracy(logits, label):
  """f32[], share of rows whose largest logit is the label's."""
  return ops.mean(ops.cast(ops.argmax(logits, axis=-1) == label, "float32"))


def perturbation(gradient, embedded, epsilon):
  """epsilon |s|_2 g / |g|_2, norms taken over all of a row: r_adv of the paper's section 3.

  gradient: f32[B, L, D] of the loss by the embedding s.  Returns: f32[B, L, D], held constant.
  """
  # Scaled by the largest entry first: squares of a confident row's gradient would underflow.
  largest = ops.max(ops.abs(gradient), axis=(1, 2), keepdims=True)
  direction = gradient / ops.maximum(largest, 1e-30)
  length = epsilon * _norm(embedded) / ops.maximum(_norm(direction), 1e-30)
  return ops.stop_gradient(length * direction)


def _norm(x):
  """f32[B, L, D] -> f32[B, 1, 1]."""
  return ops.sqrt(ops.sum(ops.square(x), axis=(1, 2), keepdims=True))


def losses(logits_of, embedded, label, epsilon):
  """A classifier's cross-entropy, and the same under attack.

  logits_of: function(f32[B, L, D]) -> f32[B, K], each row from its own embedding alone.
  embedded: f32[B, L, D].  label: i32[B].
  epsilon: length of the step as a share of that of a row's embedding; 0 for no attack.
  Returns: dict of means over rows: loss and accuracy; under attack, if there is one, robust_loss
    and robust_accuracy.
  """
  with tf.GradientTape() as tape:
    tape.watch(embedded)
    logits = logits_of(embedded)
    by_row = cross_entropy(logits, label)
  scalars = {"loss": ops.mean(by_row), "accuracy": accuracy(logits, label)}
  if epsilon:
    # Of the sum over rows: so each row's gradient is its own.
    shift = perturbation(tape.gradient(by_row, embedded), embedded, epsilon)
    attacked = logits_of(embedded + shift)
    scalars["robust_loss"] = ops.mean(cross_entropy(attacked, label))
    scalars["robust_accuracy"] = accuracy(attacked, label)
  return scalars
