"""Measures a trained model: held-out losses, and its samples against real examples.

What is said of texts and of speech stands in text_evaluation.py and speech_evaluation.py.
"""

import functools
import importlib

import numpy as np
import tensorflow as tf

from aigc_tf.errors import UserError
from aigc_tf.metrics import features
from aigc_tf.metrics import images as image_metrics
from aigc_tf.metrics import measurement
from aigc_tf.nn import image_codec
from aigc_tf.training import speech_evaluation
from aigc_tf.training import text_evaluation

BATCH_ROWS = 256
MIN_REAL = 6  # density looks at the fifth neighbour
MAX_REAL = 10_000  # real images looked at, so that large data sets fit into memory and time
FIRST_SEED = 1_000_000  # away from the seeds of previews and of whoever looks at samples


def evaluate(model, config, spec, num):
  """Everything that can be said of a model in numbers.

  model: with averaged weights.  config: recipe.  spec: what the model was built from.
  num: int, samples to generate.  Returns: list of Measurement.  Raises: UserError.
  """
  data = importlib.import_module(f"aigc_tf.data.{config.data.modality}")
  measured = list(held_out_losses(model, config, data))
  return measured + _MODALITIES[config.data.modality](model, config, spec, num, data)


def check(config, data):
  """What would fail in the middle of a training.  Raises: UserError."""
  if config.data.modality == "text":
    text_evaluation.check(config)
  if config.data.split != "train":
    return
  held_out = _held_out_examples(config, data)
  if held_out < MIN_REAL:
    raise UserError(f"only {held_out} examples are held out, too few to measure against "
                    f"({MIN_REAL}): set data.split=all, or train.evaluate_every=0")


def confusion(model, config, spec):
  """What `text_evaluation.confusion` says of a classifier.  Returns: dict, or None for others."""
  if config.data.modality != "text":
    return None
  data = importlib.import_module("aigc_tf.data.text")
  return text_evaluation.confusion(model, config, spec, data)


def _held_out_examples(config, data):
  test = config.data.copy_and_resolve_references()
  test.split = "test"
  return data.spec(test)["num_examples"]


def held_out_losses(model, config, data):
  """Means of model.held_out_scalars over the test split, if it was not trained on.

  Yields: Measurement.
  """
  if config.data.split != "train" or not model.held_out_scalars:
    return
  rows = _held_out_examples(config, data)
  batches = data.load(config.data, "test", 0, 0)
  count = max(rows // config.data.batch_size, 1)
  totals, test_step = {}, _test_step(model)
  for batch in batches.take(count):
    scalars = test_step(batch)
    for name in model.held_out_scalars:
      totals[name] = totals.get(name, 0.0) + float(scalars[name]) / count
  signature = f"ref:{config.data.name}-test|n:{count * config.data.batch_size}"
  for name, value in totals.items():
    yield measurement.Measurement(f"test_{name}", value, f"test_{name}|{signature}")


@functools.lru_cache(maxsize=1)  # one program for all evaluations of a training
def _test_step(model):
  return tf.function(model.test_step)


def generate_images(model, num, label=None):
  """num images from consecutive seeds.  Returns: uint8[N, H, W, C]."""
  @tf.function(reduce_retracing=True)
  def sample(seed, label):
    knobs = {} if label is None else {"label": label}
    return image_codec.to_uint8(model.generate(seed, **knobs)["image"])

  parts = []
  for start in range(0, num, BATCH_ROWS):
    rows = slice(start, min(start + BATCH_ROWS, num))
    seed = tf.range(FIRST_SEED + rows.start, FIRST_SEED + rows.stop, dtype=tf.int64)
    parts.append(sample(seed, None if label is None else tf.constant(label[rows])).numpy())
  return np.concatenate(parts)


def _evaluate_images(model, config, spec, num, data):
  net = _feature_net(config.evaluate.features, spec)
  label = None
  if model.num_classes:
    label = np.arange(num, dtype=np.int32) % model.num_classes
  made = generate_images(model, num, label)
  trained_on = data.arrays(config.data, config.data.split, MAX_REAL)["image"]
  reference = _reference(net, config, data)
  return image_metrics.report(
      made, trained_on if reference is None else reference, net,
      labels=label if net.num_classes else None,
      training=None if reference is None else trained_on)


def _reference(net, config, data):
  """Real images that were not trained on, or None if there are none."""
  if config.data.name == "mnist_5k" and net.reference():
    return net.reference()
  if config.data.split != "train":
    return None
  return data.arrays(config.data, "test", MAX_REAL)["image"]


def _feature_net(name, spec):
  nets = {"auto": lambda: features.net_for(spec), "digits": features.digits,
          "inception": features.inception, "hed_vgg16": features.hed_vgg16,
          "pixels": lambda: features.pixels(spec["channels"])}
  if name not in nets:
    raise UserError(f"evaluate.features={name!r}: choose one of {', '.join(nets)}")
  return nets[name]()


_MODALITIES = {"images": _evaluate_images, "text": text_evaluation.evaluate,
               "speech": speech_evaluation.evaluate}
