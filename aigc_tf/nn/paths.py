"""Names of a model's layers and variables that are the same in every instance and every process.

Keras counts its automatic names on within a process (dense, dense_1, ...), so its own paths differ
between a model and the next instance of it.
"""

import itertools
import re

import keras


def layers(model):
  """{path: layer} of all layers below a model, in the order in which they were made.

  A path is made of attribute names ("encoder"), positions in lists ("blocks/0"), keys of dicts,
  and within a functional network of the layers' names, automatic ones counted from the network's
  first ("encoder/dense_1"). A layer that is used twice has its first path.
  """
  found, seen = {}, {id(model)}

  def walk(parent, prefix):
    for name, layer in _children(parent):
      if id(layer) not in seen:
        seen.add(id(layer))
        found[prefix + name] = layer
        walk(layer, f"{prefix}{name}/")

  walk(model, "")
  return found


def variables(model):
  """{path: keras.Variable} of all weights: the layer's path, then the variable's own name."""
  found, seen = {}, set()
  for path, layer in {**layers(model), "": model}.items():
    below = {id(v) for _, child in _children(layer) for v in child.weights}
    for v in layer.weights:
      if id(v) not in below | seen:
        seen.add(id(v))
        found[_unused(f"{path}/{v.name}".lstrip("/"), found)] = v
  return found


def raw(model):
  """{path: tf.Variable}, for a checkpoint.

  A tf.train.Checkpoint of the model itself has no layer that stands in a list or a dict
  (Keras 3.15), and says nothing of it.
  """
  return {path: variable.value for path, variable in variables(model).items()}


def _unused(name, taken):
  names = itertools.chain([name], (f"{name}_{i}" for i in itertools.count(1)))
  return next(n for n in names if n not in taken)


def _children(layer):
  # Yields (name, layer): public attributes first, then what is only in Keras's own list.
  known = set()
  for name, value in vars(layer).items():
    if not name.startswith("_"):
      for path, child in _unpack(name, value):
        known.add(id(child))
        yield path, child
  counts = {}
  for child in layer._flatten_layers(include_self=False, recursive=False):
    if id(child) not in known:
      base = _base_name(child)
      counts[base] = counts.get(base, -1) + 1
      yield base + (f"_{counts[base]}" if counts[base] else ""), child


def _unpack(name, value):
  if isinstance(value, keras.layers.Layer):
    yield name, value
  elif isinstance(value, (list, tuple)):
    for i, item in enumerate(value):
      yield from _unpack(f"{name}/{i}", item)
  elif isinstance(value, dict):
    for key, item in value.items():
      yield from _unpack(f"{name}/{key}", item)


def _base_name(layer):
  """The name without the number of an automatic one."""
  base = re.sub(r"_\d+$", "", layer.name)
  is_automatic = base.replace("_", "") == type(layer).__name__.lower()
  return base if is_automatic else layer.name


def few(names, number=6):
  """The first names, and how many more there are: "a, b and 3 more"."""
  names = list(names)
  more = len(names) - number
  return ", ".join(names[:number]) + (f" and {more} more" if more > 0 else "")
