"""Labels of class-conditional models."""

import tensorflow as tf

from aigc_tf.errors import UserError
from aigc_tf.nn import random


def num_classes(spec, conditional):
  """K for a model: 0 if it is not conditional.  Raises: UserError if the data has no labels."""
  if conditional and not spec["num_classes"]:
    raise UserError("this data has no labels: set --recipe.model.conditional=False, "
                    "or put the images into one folder for each class")
  return spec["num_classes"] if conditional else 0


def labels(seed, label, classes):
  """The labels asked for, or one drawn from each row's seed.

  seed: i64[B].  label: i32[B] in [0, classes), or None.  Returns: i32[B].
  Raises: tf.errors.InvalidArgumentError, also when served, for labels out of range.
  """
  if label is None:
    return random.integers(seed, (), random.LABEL, classes)
  label = tf.convert_to_tensor(label, tf.int32)
  message = f"label: must be 0 to {classes - 1}"
  checks = [tf.debugging.assert_non_negative(label, message),
            tf.debugging.assert_less(label, classes, message)]
  with tf.control_dependencies([check for check in checks if check is not None]):
    return tf.identity(label)


def previewed(seed, classes):
  """Labels for a grid of previews, class after class; None if there are no classes."""
  return tf.range(tf.shape(seed)[0], dtype=tf.int32) % classes if classes else None
