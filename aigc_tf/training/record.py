"""A run folder's recipe.json and lock, and the sentences a run begins and ends with."""

import contextlib
import fcntl
import importlib.util
import platform

import keras
import tensorflow as tf

import aigc_tf
from aigc_tf import recipe
from aigc_tf import runs
from aigc_tf.errors import UserError
from aigc_tf.nn import tokenizers
from aigc_tf.training import devices

# Smaller ones would loop for ever, or divide by zero.
_AT_LEAST = {"data.batch_size": 1, "evaluate.num": 2, "train.steps": 0, "train.micro_batches": 1,
             "train.cpu_devices": 1, "train.log_every": 1, "train.checkpoint_every": 1,
             "train.preview_every": 0, "train.evaluate_every": 0, "train.keep": 1,
             "train.early_stop_evaluations": 0, "train.lora_rank": 0}
_DATA_ONLY = ("fingerprint", "num_examples")  # facts of the data that a model does not need


def check_settings(config, strategy):
  """Raises: UserError for settings that contradict each other."""
  rows, train = config.data.batch_size, config.train
  if importlib.util.find_spec(f"aigc_tf.data.{config.data.modality}") is None:
    raise UserError(f"data.modality={config.data.modality!r}: there is no "
                    f"aigc_tf/data/{config.data.modality}.py")
  for key, least in _AT_LEAST.items():
    group, leaf = key.split(".")
    if config[group][leaf] < least:
      raise UserError(f"{key}={config[group][leaf]}: must be at least {least}")
  parts = strategy.num_replicas_in_sync * train.micro_batches
  if rows % parts:
    raise UserError(f"data.batch_size={rows} cannot be cut into {parts} equal parts "
                    f"({strategy.num_replicas_in_sync} devices, {train.micro_batches} "
                    f"micro-batches); try --recipe.data.batch_size={-(-rows // parts) * parts}")
  if not 0 <= config.seed < 2**32:
    raise UserError(f"seed={config.seed}: must be from 0 to {2**32 - 1}")
  if train.precision not in ("float32", "mixed_bfloat16"):
    raise UserError(f"train.precision={train.precision!r}: choose float32 or mixed_bfloat16")
  if config.evaluate.mode not in ("min", "max"):
    raise UserError(f"evaluate.mode={config.evaluate.mode!r}: choose min or max")
  first, last = (*train.profile_steps, 0, 0)[:2]
  if len(train.profile_steps) != 2 or (first, last) != (0, 0) and not 0 <= first < last:
    raise UserError(f"train.profile_steps={train.profile_steps}: must be (first, last), such as "
                    "(20, 30), or (0, 0) for none")


@contextlib.contextmanager
def locked(folder, is_chief):
  """Keeps the run folder for one training. The system frees it, however the process ends.

  folder: made if absent.  is_chief: bool; of several hosts, which share the folder, only the chief
    holds the lock.
  Raises: UserError if another training has it.
  """
  if not is_chief:
    yield
    return
  folder.mkdir(parents=True, exist_ok=True)
  with open(folder / ".lock", "w", encoding="utf-8") as file:
    try:
      fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
      raise UserError(f"another training runs in {folder}: wait until it ends, or give another "
                      "--workdir") from error
    yield


def model_spec(spec):
  """What of the data's spec the model is built from."""
  return {key: value for key, value in spec.items() if key not in _DATA_ONLY}


def describe(name, config, folder, spec):
  """The content of the run folder's recipe.json, whether it is there already or not.

  Returns: dict.  Raises: UserError with the differences if another recipe or other data made it.
  """
  if (folder / "recipe.json").exists():
    run = runs.read(folder)
    changed = recipe.differences(run.config, config)
    if changed:
      raise UserError(f"{folder} was trained with another recipe ({'; '.join(changed)}): give "
                      "another --workdir, or put these keys back")
    if run.record["data"] != _data_facts(spec):
      raise UserError(f"{folder} was trained on other data (now {spec.get('num_examples')} "
                      "examples, and their fingerprint differs): give another --workdir")
    return {**run.record, "recipe": recipe.to_json(config)}  # free keys may have changed
  return {
      "name": name,
      "recipe": recipe.to_json(config),
      "spec": model_spec(spec),
      "data": _data_facts(spec),
      "versions": {"aigc_tf": aigc_tf.__version__, "tensorflow": tf.__version__,
                   "keras": keras.__version__, "python": platform.python_version()},
      "device": devices.describe(),
  }


def write(folder, content):
  """Makes the run folder, or brings its recipe.json up to date."""
  (folder / "samples").mkdir(parents=True, exist_ok=True)
  runs.write_record(folder, content)


def _data_facts(spec):
  return {key: spec[key] for key in _DATA_ONLY if key in spec}


def headline(loop):
  """What is trained on what, where it goes, how to watch it."""
  config, replicas = loop.config, loop.strategy.num_replicas_in_sync
  where = f"{replicas} devices" if replicas > 1 else devices.describe()
  return (f"{loop.name}: {config.model.name} with {_parameters(**loop.record['parameters'])} on "
          f"{loop.record['data'].get('num_examples', '?')} examples of "
          f"{config.data.name} ({_size(loop.spec)}), batch {config.data.batch_size}, {where}, "
          f"{config.train.precision}, jit {loop.record['jit']}\n"
          f"folder {loop.folder}; watch it with: tensorboard --logdir {loop.folder.parent}")


def _parameters(total, trainable):
  text = f"{_count(total)} parameters"
  return text if trainable == total else f"{text}, {_count(trainable)} trainable,"


def _count(number):
  return f"{number / 1e6:.2f} M" if number >= 1e6 else f"{number:,}"


def _size(spec):
  if not spec.get("tokenizer"):
    return " x ".join(str(spec[key]) for key in ("size", "size", "channels") if key in spec)
  lengths = " to ".join(str(spec[key]) for key in ("source_length", "length") if spec.get(key))
  vocabulary = tokenizers.from_spec(spec["tokenizer"]).vocab_size
  return f"{lengths} tokens, vocabulary of {vocabulary}"


def next_commands(loop):
  """Printed at the end."""
  minutes = loop.clock.seconds() / 60
  return (f"done: {int(loop.steps.step)} steps in {minutes:.1f} min; samples in "
          f"{loop.folder / 'samples'}\nnext: python -m aigc_tf.generate --model={loop.folder} "
          f"--out=out{_asked(loop.model)}\n"
          f"      python -m aigc_tf.evaluate --model={loop.folder}\n"
          f"      python -m aigc_tf.export --model={loop.folder} --out=exports")


def _asked(model):
  """What else the generate command needs for a model of this task."""
  task = model.spec.get("task")
  if task == "vocoder":
    return " --mode=reconstruct"
  writes = task is None or (task == "language_model" and hasattr(model, "generate_text"))
  return "" if writes else " --prompt='...'"
