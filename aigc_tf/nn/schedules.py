"""Learning-rate and weight schedules: functions of the number of updates done."""

import math

import keras
from keras import ops


class WarmupCosine(keras.optimizers.schedules.LearningRateSchedule):
  """Linear warm-up, then a half cosine down to zero (arXiv:1608.03983, eq. 5, one period).

  peak: learning rate after the warm-up.  warmup_steps: int, 0 for none.
  decay_steps: int, the update at which the rate reaches zero; 0 keeps it at the peak for ever.
  """

  def __init__(self, peak, *, warmup_steps=0, decay_steps=0):
    super().__init__()
    self.peak, self.warmup_steps, self.decay_steps = peak, warmup_steps, decay_steps

  def __call__(self, step):
    step = ops.cast(step, "float32")
    rate = ops.ones_like(step) * self.peak
    if self.warmup_steps:
      # The first update has step 0: count it as one, or it would change nothing.
      rate = rate * ops.minimum(1.0, (step + 1.0) / self.warmup_steps)
    if self.decay_steps:
      span = max(self.decay_steps - self.warmup_steps, 1)
      done = ops.clip((step - self.warmup_steps) / span, 0.0, 1.0)
      rate = rate * 0.5 * (1.0 + ops.cos(math.pi * done))
    return rate

  def get_config(self):
    return {"peak": self.peak, "warmup_steps": self.warmup_steps, "decay_steps": self.decay_steps}


class InverseSquareRoot(keras.optimizers.schedules.LearningRateSchedule):
  """Linear warm-up, then a fall with the root of the updates (arXiv:1706.03762, eq. 3).

  peak: learning rate at the end of the warm-up; in eq. 3 it is (D warmup_steps)^-1/2, D the width.
  warmup_steps: int, at least 1.
  """

  def __init__(self, peak, *, warmup_steps):
    super().__init__()
    self.peak, self.warmup_steps = peak, warmup_steps

  def __call__(self, step):
    done = (ops.cast(step, "float32") + 1.0) / self.warmup_steps  # the first update counts as one
    return self.peak * ops.minimum(done, ops.rsqrt(done))

  def get_config(self):
    return {"peak": self.peak, "warmup_steps": self.warmup_steps}
