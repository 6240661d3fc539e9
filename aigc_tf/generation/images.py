"""Images of a trained model, as files: single ones, a grid, a walk, reconstructions.

Each mode is a function (model, config, options) -> a line that says what was written.
"""

import numpy as np
import tensorflow as tf
import tqdm

from aigc_tf import samples
from aigc_tf.data import images as data
from aigc_tf.errors import UserError
from aigc_tf.nn import image_codec

NUM_FRAMES = 16  # from one seed of a walk to the next
BATCH_ROWS, GRID_IMAGES, WALK_SEEDS = 64, 1024, 16
NEEDS_OUT, NUM = True, 16
# Which knobs go with a mode.
KNOBS = {"sample": ("label", "truncation"), "interpolate": ("label",), "reconstruct": ()}


def check(model, name, mode, knobs, prompts):
  """Raises: UserError for flags that do not go with the mode or the model."""
  if prompts is not None:
    raise UserError(f"--prompt is for text models; {name} makes images")
  wrong = [knob for knob in knobs if knob not in KNOBS[mode]]
  if wrong:
    raise UserError(f"--{wrong[0]} does not go with --mode={mode} of {name}")
  label, classes = knobs.get("label"), getattr(model, "num_classes", 0)
  if label is None:
    return
  if not classes:
    raise UserError("--label is for class-conditional models, which this one is not")
  if not 0 <= label < classes:
    raise UserError(f"--label={label}: this model has the classes 0 to {classes - 1}")


def sample(model, config, options):
  """00000.png ... and grid.png, of consecutive seeds."""
  del config
  pictures = []
  for start in tqdm.trange(0, options.num, BATCH_ROWS, unit="batch", disable=None):
    seed = _seeds(options)[start:start + BATCH_ROWS]
    knobs = dict(options.knobs)
    if "label" in knobs:
      knobs["label"] = tf.fill(tf.shape(seed), knobs["label"])
    images = model.generate(seed, **knobs)["image"].numpy()
    for i, image in enumerate(images):
      samples.write_png(options.out / f"{start + i:05d}.png", image)
    pictures.extend(images[:GRID_IMAGES - len(pictures)])
  grid = options.out / "grid.png"
  samples.write_png(grid, samples.grid(pictures))
  return f"{options.num} samples in {options.out}, all in one picture: {grid}"


def interpolate(model, config, options):
  """walk.gif and strip.png: from seed to seed, and back to the first."""
  del config
  seed, parts = _seeds(options), []
  closed = tf.concat([seed, seed[:1]], axis=0)
  for start in range(0, options.num, WALK_SEEDS):
    ends, knobs = closed[start:start + WALK_SEEDS + 1], {}
    if getattr(model, "num_classes", 0):
      # A walk changes the latent and keeps the class.
      knobs["label"] = tf.fill(tf.shape(ends), options.knobs.get("label", 0))
    # Without the way back from the part's last seed to its first.
    parts.append(model.interpolate(ends, NUM_FRAMES, **knobs)["image"].numpy()[:-NUM_FRAMES])
  images = np.concatenate(parts)
  walk, strip = options.out / "walk.gif", options.out / "strip.png"
  samples.write_gif(walk, images)
  samples.write_png(strip, samples.grid(images[::2], columns=NUM_FRAMES // 2))
  return f"{len(images)} frames: {walk}, {strip}"


def reconstruct(model, config, options):
  """pairs.png: held-out images, each beside its reconstruction."""
  real, pictures = data.arrays(config.data, "test"), []
  num = min(options.num, len(real["image"]))
  for start in range(0, num, BATCH_ROWS):
    rows = slice(start, min(start + BATCH_ROWS, num))
    image = image_codec.to_float(tf.constant(real["image"][rows]))
    knobs = {"label": tf.constant(real["label"][rows])} if model.num_classes else {}
    made = model.reconstruct(image, **knobs)["image"]
    pictures += [picture for pair in zip(image.numpy(), made.numpy()) for picture in pair]
  samples.write_png(options.out / "pairs.png", samples.grid(pictures, columns=8))
  return (f"{num} held-out images, each beside its reconstruction: "
          f"{options.out / 'pairs.png'}")


MODES = {"sample": sample, "interpolate": interpolate, "reconstruct": reconstruct}


def _seeds(options):
  return tf.range(options.num, dtype=tf.int64) + options.seed
