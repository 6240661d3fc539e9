"""The one way in which every model turns losses into updates."""

import keras
import tensorflow as tf


class GradientStep:
  """Losses, gradients, clipping and the apply, for any number of networks.

  losses_for: function(batch, training) -> dict of scalar f32, each a mean over the rows.
  updates: {loss name: (keras optimizer, trainable variables)}; every loss moves its own variables
    only; one without variables (a frozen network's) is left out. All gradients come from one
    forward pass and are taken before the first apply.
  differentiate: function(batch) -> (losses, {loss name: list of gradients, one for each of its
    variables}), for a model that takes its gradients itself; None: all of `losses_for` by one tape.

  What the training loop sets before the first call:
    jit: compile losses and gradients by XLA. The apply stays outside: compiled, it would reach
      for another replica's variables.
    micro_batches: int; the batch is cut into so many equal parts whose gradients are averaged.
    clip_norm: float, global norm of each network's gradient; 0 for none.
  """

  def __init__(self, losses_for, updates, differentiate=None):
    self.losses_for = losses_for
    self.differentiate = differentiate or self._forward_backward
    self.updates = {name: update for name, update in updates.items() if update[1]}
    self.jit, self.micro_batches, self.clip_norm = False, 1, 0.0
    self._compiled = None

  def __call__(self, batch):
    """One update.  batch: dict of tensors, rows in dim 0.  Returns: dict of scalar f32."""
    losses, gradients = self.losses_and_gradients(batch)
    for name, (optimizer, variables) in self.updates.items():
      mean = _mean_over_replicas(gradients[name])
      norm = tf.linalg.global_norm(mean)
      losses[name.removesuffix("loss") + "gradient_norm"] = norm
      if self.clip_norm:
        mean, _ = tf.clip_by_global_norm(mean, self.clip_norm, use_norm=norm)
      # The optimizer sums over replicas once more.
      replicas = tf.distribute.get_strategy().num_replicas_in_sync
      optimizer.apply([g / replicas for g in mean], variables)
    return losses

  def losses_and_gradients(self, batch):
    """Averages over the micro-batches.  Returns: (dict of scalars, dict of lists of tensors)."""
    function = self._function()
    parts = _split(batch, self.micro_batches)
    losses, gradients = function(parts[0])
    for part in parts[1:]:  # unrolled: synchronized statistics must not sit in a tf.while_loop
      more = function(part)
      losses, gradients = tf.nest.map_structure(tf.add, (losses, gradients), more)
    if len(parts) > 1:
      losses, gradients = tf.nest.map_structure(lambda x: x / len(parts), (losses, gradients))
    return losses, gradients

  def _function(self):
    if not self.jit:
      return self.differentiate
    if self._compiled is None:
      self._compiled = tf.function(self.differentiate, jit_compile=True)
    return self._compiled

  def _forward_backward(self, batch):
    with tf.GradientTape(persistent=len(self.updates) > 1) as tape:
      losses = dict(self.losses_for(batch, True))
    gradients = {
        name: tape.gradient(losses[name], [v.value for v in variables],
                            unconnected_gradients="zero")
        for name, (_, variables) in self.updates.items()}
    return losses, gradients


def _mean_over_replicas(gradients):
  """Done before the norm is taken, so that clipping is the same on one device and on several."""
  replicas = tf.distribute.get_strategy().num_replicas_in_sync
  if replicas == 1:
    return gradients
  context = tf.distribute.get_replica_context()
  return context.all_reduce(tf.distribute.ReduceOp.MEAN, gradients)


def _split(batch, parts):
  if parts == 1:
    return [batch]
  rows = {key: value.shape[0] for key, value in batch.items()}
  if any(n is None or n % parts for n in rows.values()):
    raise ValueError(f"rows {rows} cannot be cut into {parts} equal micro-batches")
  pieces = {key: tf.split(value, parts) for key, value in batch.items()}
  return [{key: value[i] for key, value in pieces.items()} for i in range(parts)]


class FusedAdam(keras.optimizers.Adam):
  """Keras's Adam, arXiv:1412.6980, with each variable's update as one kernel instead of a dozen.

  The rule of section 2, last paragraph, as Keras has it: slots, names and checkpoints are Keras's.
  """

  def update_step(self, gradient, variable, learning_rate):
    index = self._get_variable_index(variable)
    step = tf.cast(self.iterations + 1, tf.float32)
    slots = [_local(slots[index]) for slots in (self._momentums, self._velocities)]
    tf.raw_ops.ResourceApplyAdam(
        var=_local(variable).handle, m=slots[0].handle, v=slots[1].handle,
        beta1_power=tf.pow(self.beta_1, step), beta2_power=tf.pow(self.beta_2, step),
        lr=tf.cast(learning_rate, tf.float32), beta1=self.beta_1, beta2=self.beta_2,
        epsilon=self.epsilon, grad=tf.convert_to_tensor(gradient))


def _local(variable):
  """The tf.Variable of this device, out of a Keras variable or a replicated one."""
  if isinstance(variable, keras.Variable):
    variable = variable.value
  if hasattr(variable, "_get_on_device_or_primary"):  # no public name leads to a replica's part
    return variable._get_on_device_or_primary()
  return variable


def adam(variables, schedule, *, beta_1=0.9, beta_2=0.999, weight_decay=None):
  """An Adam(W) optimizer built on `variables`, so that its slots exist before any restore.

  weight_decay: decoupled (arXiv:1711.05101), of matrices only: biases and gains are left alone.
  """
  optimizer = FusedAdam(schedule, beta_1, beta_2, weight_decay=weight_decay or None)
  if weight_decay:
    optimizer.exclude_from_weight_decay([v for v in variables if len(v.shape) < 2])
  optimizer.build(variables)
  return optimizer
