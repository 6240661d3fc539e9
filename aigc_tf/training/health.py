"""What goes wrong silently in generative training, said in one line when the numbers show it."""

import collections

import numpy as np

from aigc_tf.metrics import images

# scalar(s) -> (test over the last logged values, how many must agree, what to say)
_RULES = (
    (("real_accuracy", "fake_accuracy"), lambda real, fake: min(real, fake) > 0.995, 5,
     "the discriminator is right on 99.5 % of all images: the generator learns nothing any more; "
     "lower compile.d_lr, or augment the data"),
    (("sample_distance_ratio",), lambda ratio: ratio < 0.5, 2,
     "samples are less than half as far apart as real images: mode collapse; "
     "lower both learning rates, or try another compile.loss"),
    (("active_units",), lambda units: units < 2, 5,
     "fewer than 2 latent dimensions carry information: posterior collapse; "
     "raise compile.free_bits or compile.kl_warmup_steps"),
    (("unaligned",), lambda share: share > 0.5, 1,
     "attention does not read along the text by the step that compile.aligned_by_step names; known "
     "causes: silence before or after the speech (set data.trim_db), transcripts that are not what "
     "is said (run doctor on the data), data.batch_size under 32, a compile.lr too high, no guided "
     "attention (compile.guided_weight)"),
    (("time/data_wait",), lambda share: share > 0.2, 3,
     "more than 20 % of the time is spent waiting for data: make data.size smaller, "
     "switch augmentation off, or put the data on a faster disk"),
)


class Alarms:
  """Looks at logged scalars; each rule speaks once until its numbers recover."""

  def __init__(self):
    self._agreeing = collections.Counter()

  def check(self, scalars):
    """scalars: dict of float, one log's.  Returns: list of str, new alarms only."""
    alarms = []
    for i, (names, is_bad, patience, text) in enumerate(_RULES):
      if not all(name in scalars for name in names):
        continue
      if not is_bad(*(scalars[name] for name in names)):
        self._agreeing[i] = 0
        continue
      self._agreeing[i] += 1
      if self._agreeing[i] == patience:
        alarms.append(text)
    return alarms


def sample_scalars(previews, batch):
  """sample_distance_ratio: mean pairwise L2 distance of samples, over that of real images.

  previews: the model's.  batch: real examples.
  Returns: dict of float, empty for other kinds, and where the real images are one and the same.
  """
  if "image" not in previews.get("samples", {}):
    return {}
  generated, real = (np.asarray(some["image"]) for some in (previews["samples"], batch))
  if min(len(generated), len(real)) < 2:
    return {}
  apart, real_apart = (images.pairwise_distance(rows.reshape(len(rows), -1))
                       for rows in (generated, real))
  return {"sample_distance_ratio": float(apart / real_apart)} if real_apart else {}
