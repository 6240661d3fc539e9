"""One image to the size and channels of a recipe: white below alpha, centre square, antialiased.

Axes: H W pixels, C channels.
"""

import numpy as np
from PIL import Image
from PIL import ImageOps


def fit(image, size, channels):
  """image: PIL.Image of any size and mode.  size: int pixels.  channels: 1 grey or 3 colour.

  Returns: uint8[size, size, channels].
  """
  image = _flat(ImageOps.exif_transpose(image)).convert("L" if channels == 1 else "RGB")
  if image.size != (size, size):
    image = ImageOps.fit(image, (size, size), Image.Resampling.BICUBIC)
  return np.asarray(image).reshape(size, size, channels)


def fit_array(array, size, channels):
  """The same for an array.  array: uint8[H, W, C] with 1, 3 or 4 channels."""
  return fit(Image.fromarray(array[..., 0] if array.shape[-1] == 1 else array), size, channels)


def _flat(image):
  if image.mode.startswith("I"):  # 16 bits of grey: Pillow's own conversion would clip them
    return Image.fromarray((np.asarray(image) // 256).clip(0, 255).astype(np.uint8))
  if image.has_transparency_data:
    image = image.convert("RGBA")
    white = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(white, image)
  return image
