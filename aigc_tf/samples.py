"""Files of generated samples: single images, grids, strips, animations and texts."""

import math
import pathlib

import numpy as np
from PIL import Image


def to_uint8(image):
  """f32 in [-1, 1] or uint8 array -> uint8, of any shape."""
  image = np.asarray(image)
  if image.dtype == np.uint8:
    return image
  return np.clip(np.rint((image + 1.0) * 127.5), 0, 255).astype(np.uint8)


def grid(images, columns=None, gap=2):
  """One picture of many.

  images: f32[N, H, W, C] in [-1, 1] or uint8.  columns: default the square root of N.
  Returns: uint8[rows * (H + gap) - gap, columns * (W + gap) - gap, C], gaps white.
  """
  images = to_uint8(images)
  number, height, width, channels = images.shape
  columns = columns or math.ceil(math.sqrt(number))
  rows = math.ceil(number / columns)
  sheet = np.full((rows * (height + gap), columns * (width + gap), channels), 255, np.uint8)
  for i, image in enumerate(images):
    top, left = i // columns * (height + gap), i % columns * (width + gap)
    sheet[top:top + height, left:left + width] = image
  return sheet[:-gap, :-gap] if gap else sheet


def to_pil(image):
  """uint8[H, W, C] or f32 -> a Pillow image."""
  image = to_uint8(image)
  return Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)


def write_png(path, image):
  """image: f32[H, W, C] in [-1, 1] or uint8."""
  path = pathlib.Path(path)
  temporary = path.with_name("." + path.name)
  to_pil(image).save(temporary, format="PNG")
  temporary.replace(path)  # whoever looks at the folder meanwhile sees whole files only


def write_gif(path, images, frames_per_second=20):
  """images: f32[N, H, W, C] or uint8, played for ever."""
  first, *rest = [to_pil(image) for image in images]
  first.save(path, save_all=True, append_images=rest, loop=0,
             duration=round(1000 / frames_per_second))


def write_text(path, text):
  """text: str, ended by a newline in the file."""
  path = pathlib.Path(path)
  temporary = path.with_name("." + path.name)
  temporary.write_text(text.rstrip("\n") + "\n", encoding="utf-8")
  temporary.replace(path)


def listed(texts):
  """One text of many, with a ruled line between two.  texts: list of str."""
  return f"\n{'-' * 40}\n".join(text.rstrip("\n") for text in texts)


def to_strings(text):
  """string[N] tensor of UTF-8 -> list of str."""
  return [item.decode("utf-8", "replace") for item in np.asarray(text).tolist()]


def write_preview(path, outputs):
  """One file for a named preview: a grid of images, or all texts.

  path: pathlib.Path without ending.  outputs: dict with the batch key of its kind.
  """
  path.parent.mkdir(parents=True, exist_ok=True)
  if "text" in outputs:
    write_text(path.with_suffix(".txt"), listed(to_strings(outputs["text"])))
  else:
    write_png(path.with_suffix(".png"), grid(outputs["image"]))
