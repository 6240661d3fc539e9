"""Generates samples with a trained model: one file a sample, in order, and a grid of all.

  python -m aigc_tf.generate --model=dcgan_mnist --out=out --num=64
  python -m aigc_tf.generate --model=runs/dcgan_mnist --out=out --mode=interpolate

Sample i is that of seed --seed + i, whatever the number of samples. Modes:
  sample        images of consecutive seeds: 00000.png ... and grid.png
  interpolate   a walk through the latents of --num seeds: walk.gif and strip.png
  reconstruct   held-out images beside their reconstructions (models that can): pairs.png
"""

import sys

from absl import flags

from aigc_tf import command
from aigc_tf.errors import UserError

MODES = ("sample", "interpolate", "reconstruct")
NUM_FRAMES = 16  # from one seed of a walk to the next
BATCH_ROWS, MAX_SAMPLES = 64, 100_000


def define(values):
  flags.DEFINE_string("model", None, "A published name or a run folder.", flag_values=values)
  flags.DEFINE_string("out", None, "Folder for the files, created if absent.", flag_values=values)
  flags.DEFINE_integer("num", 16, "How many samples.", lower_bound=1, upper_bound=MAX_SAMPLES,
                       flag_values=values)
  flags.DEFINE_integer("seed", 0, "Seed of the first sample.", lower_bound=-2**63,
                       upper_bound=2**63 - 1 - MAX_SAMPLES, flag_values=values)
  flags.DEFINE_integer("label", None, "Class to generate (conditional models).",
                       flag_values=values)
  flags.DEFINE_float("truncation", 1.0, "Shrinks the latents: plainer samples, less variety.",
                     lower_bound=0.0, upper_bound=1.0, flag_values=values)
  flags.DEFINE_enum("mode", "sample", MODES, "What to generate.", flag_values=values)


def run(values):
  for name in ("model", "out"):
    if not values[name].value:
      raise UserError(f"--{name} is missing (--help shows examples)")
  command.import_tensorflow()
  from aigc_tf import runs
  a_run = runs.describe(values.model)
  model = runs.load_model(values.model)
  if not hasattr(model, {"sample": "generate"}.get(values.mode, values.mode)):
    raise UserError(f"{a_run.config.model.name} cannot {values.mode}; "
                    f"it can {', '.join(m for m in MODES[1:] if hasattr(model, m))} and sample")
  if values.mode != "sample" and values.truncation != 1.0:
    raise UserError("--truncation is for --mode=sample only")
  if values.mode == "reconstruct" and values.label is not None:
    raise UserError("--label does not go with --mode=reconstruct: images bring their own")
  out = command.make_folder(values.out)
  {"sample": _sample, "interpolate": _interpolate, "reconstruct": _reconstruct}[values.mode](
      model, a_run, values, out)


def _check_label(model, values):
  """Knobs of generate()."""
  classes = getattr(model, "num_classes", 0)
  if values.label is None:
    return
  if not classes:
    raise UserError("--label is for class-conditional models, which this one is not")
  if not 0 <= values.label < classes:
    raise UserError(f"--label={values.label}: this model has the classes 0 to {classes - 1}")


def _sample(model, a_run, values, out):
  import tensorflow as tf
  import tqdm

  from aigc_tf import samples
  del a_run
  _check_label(model, values)
  pictures = []
  for start in tqdm.trange(0, values.num, BATCH_ROWS, unit="batch", disable=None):
    seed = tf.range(start, min(start + BATCH_ROWS, values.num), dtype=tf.int64) + values.seed
    label = None if values.label is None else tf.fill(tf.shape(seed), values.label)
    knobs = {} if label is None else {"label": label}
    images = model.generate(seed, truncation=values.truncation, **knobs)["image"].numpy()
    for i, image in enumerate(images):
      samples.write_png(out / f"{start + i:05d}.png", image)
    pictures.extend(images)
  samples.write_png(out / "grid.png", samples.grid(pictures[:1024]))
  print(f"{values.num} samples in {out}, all in one picture: {out / 'grid.png'}")


def _interpolate(model, a_run, values, out):
  import tensorflow as tf

  from aigc_tf import samples
  del a_run
  _check_label(model, values)
  seed = tf.range(values.num, dtype=tf.int64) + values.seed
  knobs = {}
  if getattr(model, "num_classes", 0):
    # A walk changes the latent and keeps the class.
    knobs["label"] = tf.fill(tf.shape(seed), values.label or 0)
  images = model.interpolate(seed, NUM_FRAMES, **knobs)["image"].numpy()
  samples.write_gif(out / "walk.gif", images)
  samples.write_png(out / "strip.png", samples.grid(images[::2], columns=NUM_FRAMES // 2))
  print(f"{len(images)} frames: {out / 'walk.gif'}, {out / 'strip.png'}")


def _reconstruct(model, a_run, values, out):
  import numpy as np
  import tensorflow as tf

  from aigc_tf import samples
  from aigc_tf.data import images as data
  from aigc_tf.nn import image_codec
  real = data.arrays(a_run.config.data, "test")
  image = image_codec.to_float(tf.constant(real["image"][:values.num]))
  knobs = {}
  if model.num_classes:
    knobs["label"] = tf.constant(real["label"][:values.num])
  made = model.reconstruct(image, **knobs)["image"]
  pairs = np.stack([image.numpy(), made.numpy()], axis=1).reshape(-1, *made.shape[1:])
  samples.write_png(out / "pairs.png", samples.grid(pairs, columns=8))
  print(f"{len(made)} held-out images, each beside its reconstruction: {out / 'pairs.png'}")


def main(argv=None):
  return command.main(argv, __doc__, define, run)


if __name__ == "__main__":
  sys.exit(main())
