"""The sizes of the maps between a square image and a network's smallest map."""

from aigc_tf.errors import UserError

SMALLEST = 4  # pixels a side; figure 1 of arXiv:1511.06434


def sizes(size):
  """Halved, rounded up, until the map has 4 pixels a side or fewer.

  size: int, pixels.  Returns: list of int, largest first: 28 -> [28, 14, 7, 4].
  Raises: UserError if size is below 8 or not a multiple of 4.
  """
  if size < 8 or size % 4:
    near = max(8, round(size / 4) * 4)
    raise UserError(f"data.size={size}: must be a multiple of 4 and at least 8; "
                    f"try --recipe.data.size={near}")
  levels = [size]
  while levels[-1] > SMALLEST:
    levels.append(-(-levels[-1] // 2))
  return levels
