"""Starting from a trained model: its weights, its tokenizer, and what of it is trained on.

All of it is decided by the recipe's train group: init_from, freeze, lora_*.
"""

import fnmatch
import math

from aigc_tf import recipe
from aigc_tf import runs
from aigc_tf.errors import UserError
from aigc_tf.nn import lora
from aigc_tf.nn import paths
from aigc_tf.nn import spectral

# --- the tokenizer


def with_tokenizer(config, folder):
  """The recipe with the tokenizer that its data must use, if that is settled before the data is.

  It is the run's own when `folder` holds one, else that of train.init_from: weights mean nothing
  for other token ids.  Returns: ConfigDict.  Raises: UserError if the recipe asks for another kind.
  """
  if (folder / "recipe.json").exists():
    return recipe.with_tokenizer(config, runs.read(folder).spec)
  if not config.train.init_from:
    return config
  source = runs.describe(config.train.init_from)
  _check_speech(config, source.spec)
  kind, wanted = (source.spec.get("tokenizer") or {}).get("kind"), config.data.get("tokenizer")
  if kind and wanted and kind != wanted:
    raise UserError(f"data.tokenizer={wanted}, but the weights of {config.train.init_from} were "
                    f"trained on tokens of kind {kind}: set --recipe.data.tokenizer={kind}")
  return recipe.with_tokenizer(config, source.spec)


def _check_speech(config, spec):
  """A voice goes on with the letters and the mel spectrograms that it knows.  Raises: UserError."""
  if (config.data.modality, spec.get("modality")) != ("speech", "speech"):
    return
  names = (f"the weights of {config.train.init_from}", "this recipe")
  spectral.check_equal(spectral.from_spec(spec["audio"]),
                       spectral.from_spec(config.data.audio.to_dict()), names)
  if spec["task"] != "text_to_speech" or config.data.task != "text_to_speech":
    return
  for key in ("language", "symbols"):
    if spec[key] != config.data[key]:
      raise UserError(f"train.init_from={config.train.init_from} was trained with data.{key}="
                      f"{spec[key]}, this recipe has {config.data[key]}: begin without it, or from "
                      "a voice with the same")


# --- the weights


def initialize(model, name):
  """Takes over every weight of a trained model that has the same path and shape.

  model: keras.Model.  name: run folder or published model; of a run the averaged weights.
  Returns: one line that says what was taken, and what was not.  Raises: UserError if nothing fits.
  """
  source = paths.variables(runs.load_model(name))
  target = {path: v for path, v in paths.variables(model).items() if not lora.is_matrix(path)}
  taken = [path for path, v in target.items()
           if path in source and tuple(source[path].shape) == tuple(v.shape)]
  left = [_misfit(path, v, source) for path, v in target.items() if path not in taken]
  if not taken:
    raise UserError(f"train.init_from={name}: none of its {len(source)} variables fits into this "
                    f"model ({paths.few(left, 3)}); give a run of the same model and sizes")
  for path in taken:
    target[path].assign(source[path])
  text = f"starting from {name}: {len(taken)} of {len(target)} variables are taken over"
  return text + (f"; new are {paths.few(left)}" if left else "")


def _misfit(path, variable, source):
  there = f"there {tuple(source[path].shape)}" if path in source else "not there"
  return f"{path} {tuple(variable.shape)}, {there}"


# --- what is trained


def adapt(model, train):
  """Adds the LoRA matrices that the recipe asks for; the twin needs them too.

  train: a recipe's train group.  Raises: UserError.
  """
  if train.lora_rank:
    lora.enable(model, rank=train.lora_rank, alpha=train.lora_alpha, patterns=train.lora_layers)


def freeze(model, train):
  """Keeps variables from being trained: those of train.freeze, and with LoRA all but its own and
  those of train.lora_also. To be called before compile, which builds the optimizers.

  Raises: UserError for patterns that name nothing, and if nothing is left to train.
  """
  known = paths.variables(model)
  frozen = _matching("train.freeze", train.freeze, known)
  if train.lora_rank:
    also = _matching("train.lora_also", train.lora_also, known)
    frozen |= {path for path in known if not lora.is_matrix(path)} - also
  for path, layer in paths.layers(model).items():
    own = {name for name in known if name.rpartition("/")[0] == path}
    if own and own <= frozen and not layer._flatten_layers(include_self=False):
      layer.trainable = False  # batch normalisation then keeps its statistics too
      continue
    moving = [] if getattr(layer, "lora_enabled", False) else [
        name for name in sorted(own & frozen) if not known[name].trainable]
    if moving:
      raise UserError(f"train.freeze: {moving[0]} moves as its layer learns; name the whole layer, "
                      f"{path}/*, or nothing of it")
  for path in frozen:
    known[path].trainable = False
  if not any(v.trainable for v in known.values()):
    raise UserError("train.freeze leaves nothing to train: name fewer variables")


def _matching(key, patterns, known):
  found = set()
  for pattern in patterns:
    names = fnmatch.filter(known, pattern)
    if not names:
      raise UserError(f"{key}: {pattern!r} names no variable; there are {paths.few(known)}")
    found.update(names)
  return found


def parameters(model):
  """Numbers in a compiled model's variables.  Returns: {"total": int, "trainable": int}."""
  moved = {id(v): v for _, variables in model.gradient_step.updates.values() for v in variables}
  return {"total": model.count_params(),
          "trainable": sum(math.prod(v.shape) for v in moved.values())}
