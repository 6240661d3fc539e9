"""How many times a square image is halved on the way to its smallest map."""

from aigc_tf.errors import UserError


def num_doublings(size):
  """How often the smallest map (3 to 7 pixels a side) is doubled to reach `size` pixels.

  28 -> 2 (7, 14, 28), 32 -> 3 (4, 8, 16, 32).  Raises: UserError if size is below 8 or not a
  multiple of 4.
  """
  if size < 8 or size % 4:
    near = max(8, round(size / 4) * 4)
    raise UserError(f"data.size={size}: must be a multiple of 4 and at least 8; "
                    f"try --recipe.data.size={near}")
  doublings = 0
  while size % 2 == 0 and size > 7:
    size, doublings = size // 2, doublings + 1
  return doublings
