"""Files of generated samples: single images, grids, strips, animations, texts and waves."""

import math
import pathlib
import wave as wave_files

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


def write_wav(path, wave, sample_rate_hz):
  """One 16-bit mono file.  wave: f32[S]; what lies outside [-1, 1] is clipped."""
  path = pathlib.Path(path)
  temporary = path.with_name("." + path.name)
  levels = np.rint(np.clip(np.asarray(wave, np.float64), -1.0, 1.0) * 32767).astype("<i2")
  with wave_files.open(str(temporary), "wb") as file:
    file.setnchannels(1)
    file.setsampwidth(2)
    file.setframerate(sample_rate_hz)
    file.writeframes(levels.tobytes())
  temporary.replace(path)


def cut_waves(outputs):
  """The rows of {"wave": f32[N, S], "length": i32[N]}, each as long as it is: list of f32[S]."""
  waves, lengths = np.asarray(outputs["wave"]), np.asarray(outputs["length"])
  return [wave[:length] for wave, length in zip(waves, lengths, strict=True)]


def write_preview(path, outputs):
  """The files of a named preview: a grid of images, or all texts, or a file for each wave.

  path: pathlib.Path without ending.  outputs: dict with the batch key of its kind.
  """
  path.parent.mkdir(parents=True, exist_ok=True)
  if "text" in outputs:
    write_text(path.with_suffix(".txt"), listed(to_strings(outputs["text"])))
  elif "wave" in outputs:
    for i, wave in enumerate(cut_waves(outputs)):
      write_wav(path.with_name(f"{path.name}_{i}.wav"), wave, outputs["sample_rate_hz"])
  else:
    write_png(path.with_suffix(".png"), grid(outputs["image"]))
