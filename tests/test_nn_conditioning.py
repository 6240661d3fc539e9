"""Labels of conditional models: drawn, asked for, refused."""

import numpy as np
import pytest
import tensorflow as tf

from aigc_tf.errors import UserError
from aigc_tf.nn import conditioning


def test_drawn_labels_depend_on_the_row_alone_and_reach_every_class():
  seed = tf.range(500, dtype=tf.int64)
  drawn = conditioning.labels(seed, None, 10).numpy()
  np.testing.assert_array_equal(drawn[100:110], conditioning.labels(seed[100:110], None, 10))
  assert set(drawn) == set(range(10))


@pytest.mark.parametrize("wrong", [-1, 10])
def test_labels_out_of_range_are_refused_in_graph_and_eager(wrong):
  function = tf.function(lambda label: conditioning.labels(None, label, 10))
  np.testing.assert_array_equal(function(tf.constant([0, 9])), [0, 9])
  for call in (function, lambda label: conditioning.labels(None, label, 10)):
    with pytest.raises(tf.errors.InvalidArgumentError, match="label: must be 0 to 9"):
      call(tf.constant([3, wrong]))


def test_data_without_labels_cannot_be_conditional():
  assert conditioning.num_classes({"num_classes": 0}, False) == 0
  assert conditioning.num_classes({"num_classes": 7}, True) == 7
  with pytest.raises(UserError, match="no labels"):
    conditioning.num_classes({"num_classes": 0}, True)
