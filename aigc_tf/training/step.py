"""The compiled chunk: many updates in one call, on any number of devices."""

import tensorflow as tf

from aigc_tf.nn import paths
from aigc_tf.training import ema

_MAX_SCALARS = 64  # room for the sums of a train_step's scalars, whose names are known once traced


class CompiledSteps:
  """A tf.function over strategy.run(model.train_step), with the twin and the sums of the scalars.

  Every counter is a variable, so that one tf.train.Checkpoint holds it all:
    step: updates done.  position: batches drawn.  sums, count: of the scalars since the last log.
  """

  def __init__(self, strategy, model, twin, ema_decay):
    self.strategy, self.model, self.twin, self.ema_decay = strategy, model, twin, ema_decay
    self.step = tf.Variable(0, dtype=tf.int64, trainable=False)
    self.position = tf.Variable(0, dtype=tf.int64, trainable=False)
    self.count = tf.Variable(0, dtype=tf.int64, trainable=False)
    self.sums = tf.Variable(tf.zeros([_MAX_SCALARS], tf.float64), trainable=False)
    self._last = tf.Variable(tf.zeros([_MAX_SCALARS], tf.float64), trainable=False)
    self.names = []
    self.trace_count = 0
    self._run = tf.function(self._chunk)

  def variables(self):
    """What a checkpoint must hold, by name: nothing is left to Keras's own tracking."""
    optimizers = {name: [v.value for v in optimizer.variables]
                  for name, (optimizer, _) in self.model.gradient_step.updates.items()}
    noise = [v.value for v in self.model.variables if "seed_generator" in v.path]
    return {"model": paths.raw(self.model), "twin": paths.raw(self.twin), "step": self.step,
            "position": self.position, "count": self.count, "sums": self.sums, "noise": noise,
            "optimizers": optimizers}

  def __call__(self, iterator, steps):
    """Runs up to `steps` updates; stops after one whose scalars are not all finite.

    Returns: (is_finite bool, seconds spent waiting for data).
    """
    is_finite, wait_s = self._run(iterator, tf.constant(steps, tf.int32))
    return bool(is_finite), float(wait_s)

  def means(self):
    """{name: float}, means since the last `reset`, equal however the steps were cut into chunks."""
    count = max(int(self.count), 1)
    return {name: float(total) / count for name, total in zip(self.names, self.sums.numpy())}

  def reset(self):
    self.count.assign(0)
    self.sums.assign(tf.zeros_like(self.sums))

  def non_finite(self):
    """Names of the last update's scalars that are not finite."""
    last = self._last.numpy()
    return [name for name, value in zip(self.names, last) if not abs(value) < float("inf")]

  def _chunk(self, iterator, steps):
    self.trace_count += 1
    done, wait_s = tf.constant(0), tf.constant(0.0, tf.float64)
    is_finite = tf.constant(True)
    while done < steps and is_finite:
      # Unordered, the clock would be read whenever the graph likes: here, after the last update.
      with tf.control_dependencies([done]):
        before = tf.timestamp()
      with tf.control_dependencies([before]):
        batch = next(iterator)
      with tf.control_dependencies(tf.nest.flatten(batch, expand_composites=True)):
        after = tf.timestamp()
      wait_s += after - before
      with tf.control_dependencies([after]):  # or the model's own work would come in between
        batch = tf.nest.map_structure(_in_place, batch, expand_composites=True)
      scalars = self._scalars(batch)
      self.step.assign_add(1)
      self.position.assign_add(1)
      self.count.assign_add(1)
      averaged = ema.update(self.strategy, self.twin, self.model,
                            ema.decay_at(self.step, self.ema_decay))
      is_finite = tf.reduce_all(tf.math.is_finite(scalars))
      self.sums.assign_add(scalars)
      self._last.assign(scalars)
      with tf.control_dependencies([averaged]):
        done += 1
    return is_finite, wait_s

  def _scalars(self, batch):
    """f64[_MAX_SCALARS] of one update; their names are noted while this is traced."""
    outputs = self.strategy.run(self.model.train_step, args=(batch,))
    self.names = sorted(outputs)
    means = [self.strategy.reduce("MEAN", outputs[name], axis=None) for name in self.names]
    packed = tf.stack([tf.cast(mean, tf.float64) for mean in means])
    return tf.pad(packed, [[0, _MAX_SCALARS - len(self.names)]])


def _in_place(tensor):
  """An identity that does not move a replica's rows to another device."""
  with tf.device(tensor.device):
    return tf.identity(tensor)
