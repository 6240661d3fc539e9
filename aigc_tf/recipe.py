"""Recipes: find, load, override, freeze and compare them. Imports no TensorFlow.

A recipe is a Python file with a docstring, `get_config()` -> ConfigDict with the groups of GROUPS,
and TINY, flat overrides that run the same code path in seconds on generated data. It is named by
  dcgan_mnist          a file of the zoo
  dcgan_mnist:tiny     the same with its TINY overrides
  path/to/mine.py      the user's own file
and any key is overridden by --recipe.group.key=value.
"""

import ast
import difflib
import importlib.resources
import importlib.util
import json
import pathlib
import sys

from absl import flags
from ml_collections import config_flags
from ml_collections import ConfigDict

from aigc_tf.errors import UserError

DEFAULT = "dcgan_mnist"
GROUPS = ("seed", "data", "model", "compile", "train", "evaluate")
REQUIRED = {"data": ("modality", "name", "split", "batch_size"), "model": ("name",),
            "evaluate": ("num", "metric", "mode")}  # whatever the modality
# What the data group of a modality must hold, an example of it, and what may be left out.
DATA_REQUIRED = {
    "text": ("task", "tokenizer", "vocab_size", "length", "source_length", "packed",
             "clean.normalize", "clean.dedupe", "clean.min_chars", "clean.max_chars"),
    "speech": ("task", "language", "symbols", "audio", "trim_db", "loudness_db", "min_seconds",
               "max_seconds", "segment_frames", "time_mask", "freq_mask", "buckets")}
EXAMPLES = {"text": "gpt_poetry", "speech": "tacotron2_flite"}
DATA_DEFAULTS = {"text": {"buckets": 0}}  # batches among which rows are sorted by length; 0: none

# Key of the data group with the JSON of a tokenizer that is to be used. Recipes do not hold it, and
# it is not frozen with them: a run's own stands in the spec of its recipe.json.
TOKENIZER = "tokenizer_spec"

# What a recipe's train group holds, and what the trainer does when the recipe is silent.
TRAIN = {
    "steps": 1000,             # updates in all
    "precision": "float32",    # or mixed_bfloat16
    "jit": "off",              # XLA for losses and gradients: on, off, or auto (measured once)
    "micro_batches": 1,        # the batch is cut into so many parts, their gradients averaged
    "clip_norm": 0.0,          # global norm of each network's gradient, 0 for none
    "ema_decay": 0.999,        # of the averaged weights, reached after a warm-up
    "init_from": "",           # run folder or published model whose weights it starts from
    "freeze": (),              # patterns of variables that are not trained: "embedding*"
    "lora_rank": 0,            # train low-rank additions (arXiv:2106.09685) only, 0: no
    "lora_alpha": 16.0,        # they are scaled by lora_alpha / lora_rank
    "lora_layers": ("*attention*",),  # patterns of dense and embedding layers that get them
    "lora_also": (),           # patterns of variables to train beside them: "head*"
    "parallel_ops": 0,         # on a CPU: operations side by side, sharing the cores; 0: automatic
    "strategy": "one",         # device(s): one, mirrored (all GPUs), multiworker (TF_CONFIG)
    "cpu_devices": 1,          # with mirrored and no GPU: cut the CPU into so many devices
    "log_every": 100,          # steps between lines of metrics.jsonl
    "preview_every": 500,      # steps between pictures
    "evaluate_every": 0,       # steps between evaluations, 0 for none
    "checkpoint_every": 500,   # steps between checkpoints
    "keep": 2,                 # newest checkpoints kept
    "early_stop_evaluations": 0,  # stop after so many evaluations without a better one, 0 never
    "profile_steps": (0, 0),   # first and last step of a profile for TensorBoard, (0, 0) for none
    "max_event_mb": 200,       # TensorBoard pictures stop beyond this size
}

# Keys that may change between two starts of one run: they do not touch the mathematics.
FREE_KEYS = frozenset(f"train.{key}" for key in (
    "steps", "log_every", "preview_every", "evaluate_every", "checkpoint_every", "keep",
    "profile_steps", "max_event_mb", "early_stop_evaluations", "strategy", "cpu_devices",
    "parallel_ops",
)) | {"evaluate.num", "evaluate.metric", "evaluate.mode", "evaluate.features"}


def zoo_folder():
  """The folder of the recipes: inside the installed package, or beside it in a checkout."""
  try:
    return pathlib.Path(str(importlib.resources.files("aigc_tf.zoo")))
  except ModuleNotFoundError:
    return pathlib.Path(__file__).parent.parent / "zoo"


def names():
  """Names of the zoo's recipes, sorted."""
  return sorted(p.stem for p in zoo_folder().glob("[a-z]*.py"))


def load(name):
  """The recipe's ConfigDict, locked.  Raises: UserError if there is none, or it is not whole.

  What its train group leaves out is filled in from TRAIN, its data group from DATA_DEFAULTS.
  """
  stem, _, variant = name.partition(":")
  module = _import(stem)
  if variant not in ("", "tiny"):
    raise UserError(f"recipe {stem!r} has no variant {variant!r}; there is only ':tiny'")
  try:
    config = module.get_config()
    if isinstance(config, ConfigDict):
      _complete(stem, config)
      config.lock()  # so that TINY cannot bring in a new key
    if variant:
      config.update_from_flattened_dict(module.TINY)
  except UserError:
    raise
  except Exception as error:  # a user's own file may raise anything
    raise UserError(f"recipe {stem!r} cannot be read: {_first_line(error)}") from error
  if not isinstance(config, ConfigDict):
    raise UserError(f"recipe {stem!r}: get_config() must return a ConfigDict")
  return config


def _complete(stem, config):
  missing = [group for group in GROUPS if group not in config]
  if missing:
    raise UserError(f"recipe {stem!r} lacks {', '.join(missing)}: a recipe has {', '.join(GROUPS)}")
  missing = [f"{group}.{key}" for group, keys in REQUIRED.items() for key in keys
             if key not in config[group]]
  example = DEFAULT
  if not missing:
    modality = config.data.modality
    held, example = {**flatten(config.data), **config.data}, EXAMPLES.get(modality, DEFAULT)
    missing = [f"data.{key}" for key in DATA_REQUIRED.get(modality, ()) if key not in held]
  if missing:
    raise UserError(f"recipe {stem!r} lacks {', '.join(missing)}; zoo/{example}.py is an example")
  unknown = sorted(config.train.keys() - TRAIN.keys())
  if unknown:
    near = difflib.get_close_matches(unknown[0], TRAIN, 1) or sorted(TRAIN)
    raise UserError(f"recipe {stem!r}: train has no {unknown[0]!r}; there is {', '.join(near)}")
  config.train = {**TRAIN, **config.train}
  config.data = {**DATA_DEFAULTS.get(config.data.modality, {}), **config.data}


def _first_line(error):
  return (str(error).splitlines() or [""])[0] or repr(error)


def _import(stem):
  path = pathlib.Path(stem) if stem.endswith(".py") else zoo_folder() / f"{stem}.py"
  if not path.is_file() or path.name.startswith("_"):
    near = difflib.get_close_matches(stem, names(), 1)
    hint = f"did you mean {near[0]!r}?" if near else "there are: " + ", ".join(names())
    raise UserError(f"no recipe {stem!r}; {hint}")
  spec = importlib.util.spec_from_file_location(path.stem, path)
  module = importlib.util.module_from_spec(spec)
  try:
    spec.loader.exec_module(module)
  except Exception as error:  # whatever the user's own file raises is his mistake, not ours
    raise UserError(f"recipe {str(path)!r} cannot be imported: {error!r}") from error
  return module


def split_argv(argv):
  """Takes --recipe and --recipe.KEY=VALUE out of a command line.

  argv: list of str, argv[0] the program.
  Returns: (recipe name, list of "--recipe.KEY=VALUE", argv without both).
  """
  name, overrides, rest = DEFAULT, [], argv[:1]
  words = iter(argv[1:])
  for word in words:
    flag = word.lstrip("-") if word.startswith("-") else ""
    if flag == "recipe":
      name = next(words, "")
    elif flag.startswith("recipe="):
      name = flag.removeprefix("recipe=")
    elif flag.startswith("recipe."):
      overrides.append("--" + flag)
    else:
      rest.append(word)
  return name, overrides, rest


def override(config, words):
  """Applies ["--recipe.KEY=VALUE", ...] to a config, typed.  Returns: the config, locked."""
  saved, before = sys.argv, flatten(config)
  # config_flags reads sys.argv while it defines the flag.
  sys.argv = ["recipe", *(_quoted(word, before) for word in words)]
  try:
    values = flags.FlagValues()
    holder = config_flags.DEFINE_config_dict(
        "recipe", config, flag_values=values, lock_config=True)
    values(sys.argv)
    _check_tuples(before, flatten(holder.value))
    return holder.value
  except (flags.Error, AttributeError, KeyError, IndexError, TypeError, ValueError) as error:
    raise UserError(_explain(config, words, error)) from error
  finally:
    sys.argv = saved


def _quoted(word, known):
  """A tuple of words may be written without quotes: --recipe.train.freeze=encoder/*,decoder/*"""
  flag, equals, value = word.partition("=")
  if isinstance(known.get(flag.removeprefix("--recipe.")), list) and value:
    try:
      ast.literal_eval(value)
    except (ValueError, SyntaxError):
      value = repr(tuple(part for part in value.split(",") if part))
  return flag + equals + value


def _check_tuples(before, after):
  """config_flags takes tuples of anything; ours hold one type."""
  for key, old in before.items():
    if isinstance(old, list) and old and {type(x) for x in after[key]} - {type(old[0])}:
      raise TypeError(f"{key}={tuple(after[key])}, where {tuple(old)} stood")


def _explain(config, words, error):
  """One line naming the wrong key, with the nearest right one."""
  known = list(flatten(config))
  for word in words:
    key = word.removeprefix("--recipe.").split("=", 1)[0]
    if key not in known:
      near = difflib.get_close_matches(key, known, 1)
      same_leaf = [k for k in known if k.split(".")[-1] == key.split(".")[-1]]
      hint = (near or same_leaf or [""])[0]
      return f"no recipe key {key!r}" + (f"; did you mean {hint!r}?" if hint else
                                         f"; there are: {', '.join(known)}")
    if "=" not in word:
      return f"recipe key {key!r} needs a value: --recipe.{key}=VALUE"
  return f"wrong value for a recipe key: {_first_line(error)}"


def flatten(config):
  """{"train.steps": 100, ...} of a config's leaves, as JSON has them."""
  def walk(tree, prefix):
    for key, value in tree.items():
      if isinstance(value, dict):
        yield from walk(value, f"{prefix}{key}.")
      else:
        yield prefix + key, value
  return dict(walk(to_json(config), ""))


def to_json(config):
  """Plain dicts, lists, numbers and strings; a settled tokenizer is left out."""
  tree = json.loads(config.to_json_best_effort())
  if isinstance(tree.get("data"), dict):
    tree["data"].pop(TOKENIZER, None)
  return tree


def with_tokenizer(config, spec):
  """A locked copy whose data uses the tokenizer of `spec` instead of learning one.

  spec: dict, what a run's model was built from.  Returns: ConfigDict; as it is without tokenizer.
  """
  if not spec.get("tokenizer"):
    return config
  copy = config.copy_and_resolve_references().unlock()
  copy.data[TOKENIZER] = json.dumps(spec["tokenizer"])
  return copy.lock()


def from_json(tree):
  """The ConfigDict of a frozen recipe; lists become tuples again.

  A key of the train or data group that is newer than it stands at what was done then.
  """
  def tuples(value):
    if isinstance(value, dict):
      return {key: tuples(v) for key, v in value.items()}
    return tuple(tuples(v) for v in value) if isinstance(value, list) else value
  tree = tuples(tree)
  if isinstance(tree.get("train"), dict):
    tree["train"] = {**TRAIN, **tree["train"]}
  if isinstance(tree.get("data"), dict):
    tree["data"] = {**DATA_DEFAULTS.get(tree["data"].get("modality"), {}), **tree["data"]}
  return ConfigDict(tree).lock()


def differences(old, new):
  """What keeps a run of `old` from being continued as `new`, free keys left out.

  old, new: ConfigDict.  Returns: list of "key: old -> new".
  """
  a, b = flatten(old), flatten(new)
  return [f"{key}: {a.get(key, 'absent')} -> {b.get(key, 'absent')}"
          for key in sorted(a.keys() | b.keys())
          if key not in FREE_KEYS and a.get(key) != b.get(key)]
