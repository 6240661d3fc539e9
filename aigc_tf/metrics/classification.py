"""How well a classifier does: accuracy, macro F1, and the confusion matrix as numbers and picture.

Axes: N examples, K classes, H W pixels.
"""

import numpy as np
from PIL import Image
from PIL import ImageDraw
from PIL import ImageFont

from aigc_tf.errors import UserError
from aigc_tf.metrics import measurement

VERSION = 1  # part of each signature: raise it when a definition here changes
ENOUGH = 100  # examples below which accuracy moves by points from split to split

_CELL_PIXELS, _SMALL_CELL_PIXELS, _MANY_CLASSES = 64, 16, 16
_TEXT_PIXELS, _SMALL_TEXT_PIXELS, _GAP_PIXELS, _NAME_CHARS = 14, 11, 8, 24
_INK, _PAPER, _BLUE = (0, 0, 0), (255, 255, 255), (8, 48, 107)
# Pillow's own font knows Latin letters only; these are what systems bring for Chinese.
_WIDER_FONTS = ("NotoSansCJK-Regular.ttc", "NotoSansSC-Regular.otf", "SourceHanSansSC-Regular.otf",
                "wqy-microhei.ttc", "wqy-zenhei.ttc", "PingFang.ttc", "msyh.ttc")

# --- numbers


def confusion_matrix(label, predicted, num_classes):
  """How often each class was taken for each.

  label, predicted: i32[N] in [0, K).  num_classes: int K.  Returns: i64[K, K], rows are labels.
  """
  label, predicted = np.asarray(label), np.asarray(predicted)
  if not label.size or label.shape != predicted.shape:
    raise UserError(f"{predicted.size} predictions for {label.size} labels: give as many, and at "
                    "least one")
  both = np.concatenate([label, predicted])
  if both.min() < 0 or both.max() >= num_classes:
    raise UserError(f"labels must lie from 0 to {num_classes - 1}, found {both.min()} to "
                    f"{both.max()}")
  pairs = label.astype(np.int64) * num_classes + predicted
  return np.bincount(pairs, minlength=num_classes**2).reshape(num_classes, num_classes)


def accuracy(matrix):
  """matrix: i64[K, K] confusion.  Returns: float in [0, 1]."""
  return float(np.trace(matrix) / matrix.sum())


def macro_f1(matrix):
  """Mean over classes of 2 TP / (2 TP + FP + FN), of those classes that occur at all.

  matrix: i64[K, K] confusion.  Returns: float in [0, 1].
  """
  occurrences = matrix.sum(axis=0) + matrix.sum(axis=1)  # 2 TP + FP + FN
  occurs = occurrences > 0
  return float(np.mean(2 * np.diag(matrix)[occurs] / occurrences[occurs]))


def report(matrix, **conditions):
  """Accuracy, macro F1, and the accuracy of naming the most frequent class always.

  matrix: i64[K, K] confusion.  conditions: more for the signature.  Returns: list of Measurement.
  """
  num = int(matrix.sum())
  note = f"only {num} examples, values from fewer than {ENOUGH} are rough" if num < ENOUGH else ""
  conditions = {"n": num, "classes": len(matrix), **conditions}
  values = {"accuracy": accuracy(matrix), "macro_f1": macro_f1(matrix),
            "baseline_accuracy": matrix.sum(axis=1).max() / num}
  return [measurement.signed(name, value, VERSION, note, **conditions)
          for name, value in values.items()]


# --- picture


def picture(matrix, class_names):
  """The confusion matrix as a table, each row shaded by the share of its label's examples.

  Counts stand in the cells up to 16 classes. Names that no font here can write become "class 0"
  and so on.  matrix: i64[K, K].  class_names: K str.  Returns: uint8[H, W, 3].
  """
  matrix = np.asarray(matrix)
  if matrix.shape != (len(class_names),) * 2 or not class_names:
    raise UserError(f"a confusion matrix of {matrix.shape} cannot carry {len(class_names)} names")
  few = len(matrix) <= _MANY_CLASSES
  cell = _CELL_PIXELS if few else _SMALL_CELL_PIXELS
  names, font = _readable(class_names, _TEXT_PIXELS if few else _SMALL_TEXT_PIXELS)
  margin = round(max(map(font.getlength, [*names, "prediction"]))) + 3 * _GAP_PIXELS
  image = Image.new("RGB", (margin + cell * len(matrix) + _GAP_PIXELS,) * 2, _PAPER)
  image.paste(_name_strip(names, font, margin, cell, at_end=True), (0, margin))
  columns = _name_strip(names, font, margin, cell, at_end=False)
  image.paste(columns.transpose(Image.Transpose.ROTATE_90), (margin, 0))
  draw = ImageDraw.Draw(image)
  draw.text((_GAP_PIXELS, margin - _GAP_PIXELS), "label", _INK, font, "ls")
  draw.text((margin - _GAP_PIXELS, _GAP_PIXELS), "prediction", _INK, font, "rt")
  _draw_cells(draw, matrix, font, margin, cell, few)
  return np.asarray(image)


def _readable(class_names, pixels):
  # Names cut to a width that leaves room for the table, and a font that can write them.
  names = [name if len(name) <= _NAME_CHARS else name[:_NAME_CHARS - 3] + "..."
           for name in map(str, class_names)]
  if all(name.isascii() for name in names):
    return names, ImageFont.load_default(pixels)
  for file in _WIDER_FONTS:
    try:
      return names, ImageFont.truetype(file, pixels)
    except OSError:
      continue
  return [f"class {number}" for number in range(len(names))], ImageFont.load_default(pixels)


def _name_strip(names, font, margin, cell, at_end):
  strip = Image.new("RGB", (margin, cell * len(names)), _PAPER)
  draw = ImageDraw.Draw(strip)
  for number, name in enumerate(names):
    place = (margin - _GAP_PIXELS if at_end else _GAP_PIXELS, cell * (number + 0.5))
    draw.text(place, name, _INK, font, "rm" if at_end else "lm")
  return strip


def _draw_cells(draw, matrix, font, margin, cell, with_counts):
  shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
  for (row, column), share in np.ndenumerate(shares):
    left, top = margin + cell * column, margin + cell * row
    shade = tuple(round(light + share * (dark - light)) for light, dark in zip(_PAPER, _BLUE))
    draw.rectangle((left, top, left + cell - 2, top + cell - 2), shade)
    if with_counts:
      ink = _PAPER if share > 0.5 else _INK
      draw.text((left + cell / 2, top + cell / 2), str(matrix[row, column]), ink, font, "mm")
