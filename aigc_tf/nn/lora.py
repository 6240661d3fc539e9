"""LoRA: Low-Rank Adaptation of Large Language Models, arXiv:2106.09685.

A trained matrix W stays as it is and gets a product of two narrow ones: W + (alpha / r) A B,
section 4.1. Here A is [inputs, r], drawn at random, and B is [r, outputs], zero at the start, so
that training begins at the trained model. The vectors of tokens are such a matrix too, which helps
where texts have other words than those of the pretraining. Keras's dense and embedding layers
compute the sum; what is here says which of them do, and makes a plain model of the trained one.
"""

import fnmatch

from keras import layers

from aigc_tf.errors import UserError
from aigc_tf.nn import paths

KINDS = (layers.Dense, layers.EinsumDense, layers.Embedding)
# Keras's names of A and B, and of what they are added to.
MATRICES = ("lora_kernel_a", "lora_kernel_b", "lora_embeddings_a", "lora_embeddings_b")
ADAPTED = ("kernel", "embeddings")


def is_matrix(path):
  """Whether a path of `paths.variables` is that of an A or a B."""
  return path.rpartition("/")[2] in MATRICES


def enable(model, *, rank, alpha, patterns):
  """Adds A and B to layers of a built model, and keeps their matrices from being trained.

  rank: int, r.  alpha: float.  patterns: of the paths of dense and embedding layers, as fnmatch
    reads them.
  Returns: list of str, the layers' paths.  Raises: UserError if a pattern names no such layer.
  """
  able = {path: layer for path, layer in paths.layers(model).items() if isinstance(layer, KINDS)}
  chosen = set()
  for pattern in patterns:
    found = fnmatch.filter(able, pattern)
    if not found:
      raise UserError(f"train.lora_layers: {pattern!r} names no dense or embedding layer; there "
                      f"are {paths.few(able) or 'none in this model'}")
    chosen.update(found)
  for path in able:
    if path in chosen:
      able[path].enable_lora(rank, lora_alpha=alpha)
  return [path for path in able if path in chosen]


def merge(adapted, plain):
  """Makes a model without LoRA compute what one with LoRA computes.

  adapted: keras.Model after `enable`.  plain: another instance of it, before.
  """
  matrices = {f"{path}/{name}": getattr(layer, name)
              for path, layer in paths.layers(adapted).items()
              if getattr(layer, "lora_enabled", False) for name in ADAPTED if hasattr(layer, name)}
  values = paths.variables(adapted)
  for path, variable in paths.variables(plain).items():
    variable.assign(matrices.get(path, values[path]))
