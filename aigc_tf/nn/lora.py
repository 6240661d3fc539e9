"""LoRA: Low-Rank Adaptation of Large Language Models, arXiv:2106.09685.

A trained matrix W stays as it is and gets a product of two narrow ones: W + (alpha / r) A B,
section 4.1. Here A is [inputs, r], drawn at random, and B is [r, outputs], zero at the start, so
that training begins at the trained model. Keras's dense layers compute the sum; what is here says
which of them do, and makes a plain model of the trained one.
"""

import fnmatch

from keras import layers

from aigc_tf.errors import UserError
from aigc_tf.nn import paths

MATRICES = ("lora_kernel_a", "lora_kernel_b")  # Keras's names of A and B


def is_matrix(path):
  """Whether a path of `paths.variables` is that of an A or a B."""
  return path.rpartition("/")[2] in MATRICES


def enable(model, *, rank, alpha, patterns):
  """Adds A and B to dense layers of a built model, and keeps their kernels from being trained.

  rank: int, r.  alpha: float.  patterns: of the layers' paths, as fnmatch reads them.
  Returns: list of str, the layers' paths.  Raises: UserError if a pattern names no dense layer.
  """
  dense = {path: layer for path, layer in paths.layers(model).items()
           if isinstance(layer, (layers.Dense, layers.EinsumDense))}
  chosen = set()
  for pattern in patterns:
    found = fnmatch.filter(dense, pattern)
    if not found:
      raise UserError(f"train.lora_layers: {pattern!r} names no dense layer; there are "
                      f"{paths.few(dense) or 'none in this model'}")
    chosen.update(found)
  for path in dense:
    if path in chosen:
      dense[path].enable_lora(rank, lora_alpha=alpha)
  return [path for path in dense if path in chosen]


def merge(adapted, plain):
  """Makes a model without LoRA compute what one with LoRA computes.

  adapted: keras.Model after `enable`.  plain: another instance of it, before.
  """
  kernels = {f"{path}/kernel": layer.kernel for path, layer in paths.layers(adapted).items()
             if getattr(layer, "lora_enabled", False)}
  values = paths.variables(adapted)
  for path, variable in paths.variables(plain).items():
    variable.assign(kernels.get(path, values[path]))
