"""One image to the size and channels of a recipe: white below alpha, centre square, antialiased.

Axes: H W pixels, C channels.
"""

import numpy as np
from PIL import Image
from PIL import ImageOps


def fit(image, size, channels):
  """image: PIL.Image of any size and mode.  size: int pixels.  channels: 1 grey or 3 colour.

  Returns: uint8[size, size, channels].  Raises: ValueError for floating-point pixels.
  """
  image = _flat(ImageOps.exif_transpose(image)).convert("L" if channels == 1 else "RGB")
  if image.size != (size, size):
    image = ImageOps.fit(image, (size, size), Image.Resampling.BICUBIC)
  return np.asarray(image).reshape(size, size, channels)


def fit_array(array, size, channels):
  """The same for an array.  array: uint8[H, W, C] with 1, 3 or 4 channels."""
  return fit(Image.fromarray(array[..., 0] if array.shape[-1] == 1 else array), size, channels)


def own(image):
  """All that an image holds, the same for the same picture in any format and mode.

  image: PIL.Image.  Returns: uint8[H, W, 4] RGBA, or int32[H, W] of grey with more than 8 bits.
  """
  if _is_deep(image):
    return np.asarray(image).astype(np.int32)
  return np.asarray(image.convert("RGBA"))


def _is_deep(image):
  return image.mode.startswith("I")  # 16 bits of grey: Pillow's own conversions would clip them


def _flat(image):
  if image.mode == "F":
    raise ValueError("floating-point pixels of no known range: convert them to 8 or 16 bits")
  if _is_deep(image):
    return Image.fromarray((np.asarray(image) // 256).clip(0, 255).astype(np.uint8))
  if image.has_transparency_data:
    image = image.convert("RGBA")
    white = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(white, image)
  return image
