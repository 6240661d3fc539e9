"""Adversarial training of text classifiers (FGM), arXiv:1605.07725.

Words cannot be moved a little, their vectors can: each row's embedding is shifted by the step of a
given length that the gradient says will hurt most.

Differs from the paper: the vectors are not scaled to variance one before the step.

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


def perturbation(gradient, epsilon):
  """epsilon g / |g|_2, the norm taken over all of a row: r_adv of the paper's section 3.

  gradient: f32[B, L, D] of the loss by the embedding.  Returns: f32[B, L, D], no gradient through.
  """
  # Scaled by the largest entry first: squares of a confident row's gradient would underflow.
  largest = ops.maximum(ops.max(ops.abs(gradient), axis=(1, 2), keepdims=True), 1e-30)
  scaled = gradient / largest
  norm = ops.sqrt(ops.sum(ops.square(scaled), axis=(1, 2), keepdims=True))
  return ops.stop_gradient(epsilon * scaled / ops.maximum(norm, 1e-30))


def losses(logits_of, embedded, label, epsilon):
  """A classifier's cross-entropy, and the same under attack.

  logits_of: function(f32[B, L, D]) -> f32[B, K], each row from its own embedding alone.
  embedded: f32[B, L, D].  label: i32[B].  epsilon: length of the step; 0 for no attack.
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
    shift = perturbation(tape.gradient(by_row, embedded), epsilon)
    attacked = logits_of(embedded + shift)
    scalars["robust_loss"] = ops.mean(cross_entropy(attacked, label))
    scalars["robust_accuracy"] = accuracy(attacked, label)
  return scalars
