"""Whether XLA compiles losses and gradients: asked for, or measured once."""

import time

import keras
import tensorflow as tf

from aigc_tf.errors import UserError


def check(setting, model, strategy):
  """Raises: UserError for what cannot work."""
  if setting not in ("on", "off"):
    raise UserError(f"train.jit={setting!r}: choose one of on, off, auto")
  if setting == "on" and strategy.num_replicas_in_sync > 1 and _has_batch_norm(model):
    raise UserError("train.jit=on cannot be used with several devices and batch normalisation, "
                    "whose statistics are shared between them: set train.jit=off")


def fastest(model, batch, repeats=5):
  """Times losses and gradients of one batch both ways.  Returns: "on" or "off".

  What a forward pass changes (batch statistics) is put back.
  """
  kept = [(v, v.numpy()) for v in model.non_trainable_variables]
  seconds = {"off": _time(model, batch, False, repeats), "on": _time(model, batch, True, repeats)}
  for variable, value in kept:
    variable.assign(value)
  choice = min(seconds, key=seconds.get)
  print(f"jit: {choice} (graph {1000 * seconds['off']:.0f} ms, "
        f"XLA {1000 * seconds['on']:.0f} ms a step)")
  return choice


def _time(model, batch, jit, repeats):
  update = model.gradient_step
  update.jit = jit
  function = tf.function(update.losses_and_gradients)
  function(batch)  # traces
  times = []
  for _ in range(repeats):
    start = time.perf_counter()
    losses, gradients = function(batch)
    # Wait for everything: kernels may still run when the call returns.
    [x.numpy() for x in tf.nest.flatten((losses, gradients))]
    times.append(time.perf_counter() - start)
  return sorted(times)[len(times) // 2]


def _has_batch_norm(model):
  return any(isinstance(layer, keras.layers.BatchNormalization)
             for layer in model._flatten_layers())
