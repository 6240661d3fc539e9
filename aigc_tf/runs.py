"""Run folders, published models, models of other libraries: all a command needs, in one folder."""

import dataclasses
import inspect
import json
import os
import pathlib
from typing import Any

from ml_collections import ConfigDict

from aigc_tf import recipe
from aigc_tf.errors import UserError

WEIGHTS = "model.weights.h5"


@dataclasses.dataclass(frozen=True)
class Run:
  """A run folder, or a published model's folder, as its recipe.json tells it.

  A folder that another library wrote has no recipe: its config holds the model group alone.
  """
  name: str            # the recipe's name, with ":tiny" if so
  folder: pathlib.Path
  config: Any          # ConfigDict of the frozen recipe
  spec: dict           # what the data told the model
  record: dict         # the whole recipe.json

  @property
  def is_published(self):
    return (self.folder / WEIGHTS).is_file()

  @property
  def is_foreign(self):
    return not self.record


def default_folder(name):
  """runs/dcgan_mnist; the tiny variant has a folder of its own."""
  return pathlib.Path("runs") / pathlib.Path(name.replace(":", "_")).name.removesuffix(".py")


def weights_folder():
  """Where the published weights lie."""
  return recipe.zoo_folder() / "weights"


def published():
  """Names of the published models, sorted."""
  return sorted(p.parent.name for p in weights_folder().glob(f"*/{WEIGHTS}"))


def describe(name_or_dir):
  """The Run of a published name, a run folder, or a model saved by transformers.

  name_or_dir: the last is a folder, or a repository of the Hugging Face hub.  Raises: UserError.
  """
  for folder in (pathlib.Path(name_or_dir), weights_folder() / str(name_or_dir)):
    if (folder / "recipe.json").is_file():
      return read(folder)
  foreign = None
  if str(name_or_dir) not in recipe.names():
    from aigc_tf.nn import hugging_face
    foreign = hugging_face.find(name_or_dir)
  if foreign is None:
    raise UserError(_no_such_model(str(name_or_dir)))
  keywords, spec = hugging_face.describe(foreign)
  return Run(foreign.resolve().name, foreign, ConfigDict({"model": keywords}), spec, {})


def _no_such_model(name):
  if pathlib.Path(name).is_dir():
    return (f"{name} is not a run folder, for it has no recipe.json, nor a saved model, for it has "
            "no config.json")
  if name in recipe.names():
    return (f"{name} has no published weights: train it with "
            f"python -m aigc_tf.train --recipe={name}, then use --model=runs/{name}")
  return f"no model {name!r}: give a run folder, or one of {', '.join(published()) or 'none yet'}"


def read(folder):
  """The Run of a folder that has a recipe.json."""
  folder = pathlib.Path(folder)
  try:
    record = json.loads((folder / "recipe.json").read_text(encoding="utf-8"))
    spec = record["spec"]
    config = recipe.with_tokenizer(recipe.from_json(record["recipe"]), spec)
    run = Run(record["name"], folder, config, spec, record)
    missing = [group for group in recipe.GROUPS if group not in run.config]
    if missing:
      raise KeyError(*missing)
    return run
  except OSError as error:  # of the machine: the file may be whole
    raise UserError(f"{folder / 'recipe.json'} cannot be read: {error.strerror}") from error
  except (ValueError, KeyError, TypeError, AttributeError) as error:
    raise UserError(f"{folder / 'recipe.json'} cannot be read ({error!r}); "
                    "remove the folder to start again") from error


def write_record(folder, record):
  """Writes recipe.json, whole or not at all."""
  temporary = pathlib.Path(folder) / ".recipe.json"
  temporary.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n",
                       encoding="utf-8")
  os.replace(temporary, pathlib.Path(folder) / "recipe.json")


def build_model(config, spec):
  """The model of a recipe, untrained.  Raises: UserError for unknown models and keywords."""
  keywords = dict(config.model)
  name = keywords.pop("name")
  model_class = _model_class(name)
  _check_keywords("model", name, model_class.__init__, keywords)
  try:
    return model_class(spec=spec, **keywords)
  except ValueError as error:  # Keras's, for sizes that no layer can have
    settings = ", ".join(f"model.{key}={value}" for key, value in keywords.items())
    raise UserError(f"{name} cannot be built with {settings}: {error}") from error


def _model_class(name):
  import importlib
  try:
    return importlib.import_module(f"aigc_tf.models.{name}").Model
  except ModuleNotFoundError as error:
    if error.name != f"aigc_tf.models.{name}":
      raise
    raise UserError(f"model.name={name!r}: there is no aigc_tf/models/{name}.py") from error


def compile_model(model, config):
  """Calls compile with the recipe's compile group.  Raises: UserError for unknown keywords."""
  _check_keywords("compile", config.model.name, model.compile, config.compile)
  model.compile(**config.compile)


def _check_keywords(group, name, function, keywords):
  known = inspect.signature(function).parameters
  unknown = sorted(set(keywords) - set(known))
  if unknown:
    raise UserError(f"{group}.{unknown[0]}: {name} has no such keyword; it has "
                    f"{', '.join(k for k in known if k not in ('self', 'spec'))}")


def load_model(name_or_dir):
  """The trained model: averaged weights of the best checkpoint, or of the newest if none is best.

  What was trained by LoRA is merged: the model is as its recipe builds it.
  name_or_dir: as for `describe`.  Raises: UserError.
  """
  run = describe(name_or_dir)
  if run.is_foreign:
    return _model_class(run.config.model.name).from_hugging_face(run.folder)
  model = build_model(run.config, run.spec)
  if run.is_published:
    try:
      model.load_weights(str(run.folder / WEIGHTS))
    except (OSError, ValueError, KeyError) as error:
      raise UserError(f"the weights in {run.folder} cannot be read: {error}") from error
    return model
  from aigc_tf.nn import lora
  from aigc_tf.training import checkpoints
  from aigc_tf.training import finetuning
  if not run.config.train.lora_rank:
    checkpoints.read_twin(run.folder / "checkpoints", model)
    return model
  adapted = build_model(run.config, run.spec)
  finetuning.adapt(adapted, run.config.train)
  checkpoints.read_twin(run.folder / "checkpoints", adapted)
  lora.merge(adapted, model)
  return model


def attach_vocoder(model, name_or_dir):
  """Lets a trained vocoder make the waves of a voice.

  Raises: UserError if either is another kind of model, or their audio settings differ.
  """
  if not hasattr(model, "vocoder"):
    raise UserError("--vocoder is for models that read texts aloud, which this one is not")
  if describe(name_or_dir).spec.get("task") != "vocoder":
    raise UserError(f"--vocoder={name_or_dir} is no vocoder")
  from aigc_tf.nn import speech_codec
  speech_codec.attach(model, load_model(name_or_dir))
