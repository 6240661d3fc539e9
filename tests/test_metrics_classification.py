"""Accuracy, macro F1 and the confusion matrix, against naive loops, and its picture."""

import numpy as np
import pytest

from aigc_tf.errors import UserError
from aigc_tf.metrics import classification

DRAWS = np.random.default_rng(0)
LABEL, PREDICTED = DRAWS.integers(0, 5, (2, 200)) % 5
PREDICTED[:90] = LABEL[:90]


def naive_f1(label, predicted):
  """Precision and recall of each class that occurs, and the mean of their harmonic means."""
  values = []
  for k in set(label) | set(predicted):
    hits = sum(a == b == k for a, b in zip(label, predicted))
    precision = hits / max(list(predicted).count(k), 1)
    recall = hits / max(list(label).count(k), 1)
    values.append(2 * precision * recall / (precision + recall) if hits else 0)
  return np.mean(values)


def test_confusion_matrix_equals_a_loop():
  expected = np.zeros((6, 6), int)
  for a, b in zip(LABEL, PREDICTED):
    expected[a, b] += 1
  matrix = classification.confusion_matrix(LABEL, PREDICTED, 6)
  np.testing.assert_array_equal(matrix, expected)
  assert classification.accuracy(matrix) == np.mean(LABEL == PREDICTED)


@pytest.mark.parametrize("label, predicted", [
  (LABEL, PREDICTED), (LABEL, LABEL), ([0, 0, 1], [2, 0, 0]), ([3], [1])])
def test_macro_f1_equals_precision_and_recall(label, predicted):
  matrix = classification.confusion_matrix(label, predicted, 6)  # class 5 never occurs
  assert classification.macro_f1(matrix) == pytest.approx(naive_f1(label, predicted), rel=1e-12)


def test_report():
  matrix = classification.confusion_matrix(LABEL, PREDICTED, 5)
  measured = classification.report(matrix, ref="x-test")
  assert [m.name for m in measured] == ["accuracy", "macro_f1", "baseline_accuracy"]
  assert measured[0].value == classification.accuracy(matrix)
  assert measured[1].signature == f"macro_f1|n:200|classes:5|ref:x-test|v:{classification.VERSION}"
  assert measured[2].value == max(np.mean(LABEL == k) for k in range(5))
  assert not any(m.note for m in measured)
  assert "only 3 examples" in classification.report(np.eye(3, dtype=int))[0].note


@pytest.mark.parametrize("label, predicted", [([], []), ([1, 2], [1]), ([0, 5], [0, 1]),
                                              ([0, 1], [-1, 1])])
def test_bad_labels_are_refused(label, predicted):
  with pytest.raises(UserError, match="at least one|from 0 to 4"):
    classification.confusion_matrix(label, predicted, 5)


# --- picture


def cell_shades(picture, size):
  """Lightness at each cell's corner, found from the right and bottom edge."""
  first = len(picture) - 8 - size * (64 if size <= 16 else 16)
  step = 64 if size <= 16 else 16
  places = first + step * np.arange(size) + 2
  return picture[places][:, places].sum(axis=2)


@pytest.mark.parametrize("size", [2, 5, 20])
def test_picture_is_darker_where_more_of_a_row_lies(size):
  matrix = np.diag(np.arange(1, size + 1)) * 100
  matrix[0, 1] = 1000
  picture = classification.picture(matrix, [f"class {k}" for k in range(size)])
  assert picture.dtype == np.uint8 and picture.shape == (len(picture), len(picture), 3)
  shades = cell_shades(picture, size)
  assert shades[0, 1] < shades[0, 0] < shades[1, 0] == 3 * 255
  assert (np.diag(shades)[1:] == shades[1, 1]).all()  # shares of a row, not counts


def test_names_are_written_and_long_ones_cut():
  matrix = np.eye(2, dtype=int)
  plain = classification.picture(matrix, ["a", "b"])
  other = classification.picture(matrix, ["a", "c"])
  long = classification.picture(matrix, ["a", "b" * 300])
  assert plain.shape == other.shape and (plain != other).any()
  assert len(long) < 500
  # Names a font may lack still give a picture.
  assert classification.picture(matrix, ["好评", "差评"]).shape[2] == 3


def test_a_picture_needs_a_name_for_each_class():
  with pytest.raises(UserError, match="3 names"):
    classification.picture(np.eye(2), ["a", "b", "c"])
