"""Models saved by the transformers library: config.json, model.safetensors, tokenizer files.

safetensors is 8 bytes with the length of a JSON header, the header {name: dtype, shape, begin and
end}, and the raw numbers; it is read here without any package.
"""

import json
import math
import os
import pathlib
import re

import numpy as np
import tensorflow as tf

from aigc_tf.errors import UserError
from aigc_tf.nn import tokenizers

CONFIG, WEIGHTS = "config.json", "model.safetensors"
MODELS = {"gpt2": "gpt"}  # model_type -> file in aigc_tf/models
# What GPT-2 may differ in, and the only value that models/gpt.py has.
GPT2_FIXED = {"activation_function": ("gelu_new", "gelu_pytorch_tanh"),
              "layer_norm_epsilon": (1e-5,), "scale_attn_weights": (True,),
              "scale_attn_by_inverse_layer_idx": (False,), "tie_word_embeddings": (True,)}
# The only repositories without an owner that can be read are the first ones of GPT-2.
_REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+|(distil)?gpt2[\w-]*")
_TOKENIZER_FILES = "tokenizer.json", "vocab.json"
_DTYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2"}

# --- where it is


def find(name_or_dir):
  """The folder of a saved model: a local one, or a repository of the hub, fetched.

  name_or_dir: path, "owner/name", or "gpt2" and its like.  Returns: pathlib.Path, or None if it
    is neither; a mistyped run folder is not looked for in the hub.
  Raises: UserError if the hub would have to be asked and cannot be.
  """
  folder = pathlib.Path(name_or_dir)
  if folder.is_dir():
    return folder if (folder / CONFIG).is_file() else None
  in_folder = folder.parent != pathlib.Path(".") and folder.parent.is_dir()
  if in_folder or not _REPOSITORY.fullmatch(str(name_or_dir)):
    return None
  return pathlib.Path(_fetch(str(name_or_dir)))


def _fetch(name):
  try:
    import huggingface_hub
  except ImportError as error:
    raise UserError(f"no model {name!r}: no published name (aigc_tf.models()) and no folder; to "
                    "ask the Hugging Face hub, pip install huggingface_hub") from error
  try:
    return huggingface_hub.snapshot_download(name, allow_patterns=["*.json", "*.txt", WEIGHTS])
  except Exception as error:  # its own errors, those of requests, of the disk
    reason = (str(error).splitlines() or [repr(error)])[0]
    raise UserError(f"no model {name!r}: no published name (aigc_tf.models()) and no folder, and "
                    f"the Hugging Face hub gives none: {reason}") from error


def describe(folder):
  """How to build a saved model.  folder: pathlib.Path.

  Returns: the model group of a recipe, dict, and a spec.  Raises: UserError.
  """
  kind = _config(folder).get("model_type")
  if kind not in MODELS:
    raise UserError(f"{folder}: a model of the type {kind!r}, of which there is none here; "
                    f"there is {', '.join(MODELS)}")
  keywords, spec = _gpt2_sizes(folder)
  return {"name": MODELS[kind], **keywords}, spec


# --- GPT-2


def _gpt2_sizes(folder):
  """Returns: keywords and spec of models/gpt.py.  Raises: UserError."""
  config = _config(folder)
  for key, values in GPT2_FIXED.items():
    if config.get(key, values[0]) not in values:
      raise UserError(f"{folder}: {key} is {config[key]!r}, only {values[0]!r} can be read")
  try:
    width, depth, context = (int(config[key]) for key in ("n_embd", "n_layer", "n_positions"))
    keywords = {"width": width, "depth": depth, "heads": int(config["n_head"])}
    vocab_size = int(config["vocab_size"])
  except (KeyError, TypeError, ValueError) as error:
    raise UserError(f"{folder / CONFIG}: {error} is absent or no number") from error
  if min(width, depth, context, keywords["heads"], vocab_size) < 1:
    raise UserError(f"{folder / CONFIG}: its sizes must be 1 or more")
  if config.get("n_inner") not in (None, 4 * width):
    raise UserError(f"{folder}: n_inner is {config['n_inner']}, only {4 * width} can be read")
  return keywords, {
      "modality": "text", "task": "language_model", "tokenizer": _tokenizer(folder, vocab_size),
      "vocab_size": vocab_size, "length": context, "source_length": 0, "packed": True,
      "prompt_suffix": "", "begins": False, "num_classes": 0, "class_names": [],
      **_generation_settings(folder, config)}


def read_gpt2(folder):
  """Returns: keywords and spec of models/gpt.py, and {tensor name: array}.  Raises: UserError."""
  folder = pathlib.Path(folder)
  keywords, spec = _gpt2_sizes(folder)
  tensors = {name.removeprefix("transformer."): array
             for name, array in read_tensors(folder / WEIGHTS).items()}
  names = _gpt2_names(keywords["depth"])
  return keywords, spec, {name: _needed(folder, tensors, name) for name in names}


def _gpt2_names(depth):
  layers = ["ln_f"] + [f"h.{i}.{part}" for i in range(depth) for part in (
      "ln_1", "attn.c_attn", "attn.c_proj", "ln_2", "mlp.c_fc", "mlp.c_proj")]
  return ["wte.weight", "wpe.weight"] + [f"{layer}.{kind}" for layer in layers
                                         for kind in ("weight", "bias")]


def _needed(folder, tensors, name):
  if name not in tensors:
    raise UserError(f"{folder / WEIGHTS}: tensor {name!r} is missing, it does not fit {CONFIG}")
  return tensors[name]


def _tokenizer(folder, vocab_size):
  if not any((folder / name).is_file() for name in _TOKENIZER_FILES):
    return None
  spec = tokenizers.from_hugging_face(str(folder))
  size = tokenizers.from_spec(spec).vocab_size
  if size > vocab_size:
    raise UserError(f"{folder}: the tokenizer has {size} tokens, the weights have {vocab_size}: "
                    "it belongs to another model")
  return spec


def _generation_settings(folder, config):
  """What transformers would do by default: greedy, unless told otherwise."""
  told = {**config, **_json(folder / "generation_config.json", {})}
  sampling = {"temperature": 0}
  if told.get("do_sample"):
    sampling = {name: told[name] for name in ("temperature", "top_k", "top_p", "min_p")
                if told.get(name) is not None}
    sampling = {"top_k": 50, **sampling}  # its default
  for ours, theirs in (("repetition_penalty", "repetition_penalty"),
                       ("no_repeat_ngram", "no_repeat_ngram_size"),
                       ("max_new_tokens", "max_new_tokens")):
    if told.get(theirs):
      sampling[ours] = told[theirs]
  end = told.get("eos_token_id")
  if isinstance(end, list):
    if len(end) > 1:
      raise UserError(f"{folder}: eos_token_id names {len(end)} tokens, only one can be read")
    end = end[0] if end else None
  return {"sampling": {"max_new_tokens": 128, **sampling}, "end_id": -1 if end is None else end}


# --- files


def _config(folder):
  return _json(pathlib.Path(folder) / CONFIG)


def _json(path, default=None):
  if default is not None and not path.is_file():
    return default
  try:
    value = json.loads(path.read_text(encoding="utf-8"))
  except (OSError, ValueError) as error:
    raise UserError(f"{path} cannot be read: {error}") from error
  if not isinstance(value, dict):
    raise UserError(f"{path} cannot be read: it holds no JSON object")
  return value


def read_tensors(path):
  """path: a .safetensors file.  Returns: {name: f32 array} of all floats.  Raises: UserError."""
  path = pathlib.Path(path)
  if not path.is_file():
    others = sorted(p.name for p in path.parent.glob("*") if p.suffix in (".bin", ".safetensors"))
    hint = f", but {others[0]}" if others else ""
    raise UserError(f"{path} does not exist{hint}: save the model with transformers' "
                    "save_pretrained(folder, max_shard_size='100GB')")
  try:
    with open(path, "rb") as f:
      size = int.from_bytes(f.read(8), "little")
      if size > os.path.getsize(path) - 8:
        raise ValueError("its header is longer than the file")
      header = json.loads(f.read(size))
    data = np.memmap(path, np.uint8, "r")[8 + size:]
    header.pop("__metadata__", None)
    return {name: _array(data, name, **entry) for name, entry in header.items()
            if entry["dtype"] in _DTYPES}
  except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
    raise UserError(f"{path} is damaged ({error}): fetch or save it again") from error


def _array(data, name, dtype, shape, data_offsets):
  begin, end = data_offsets
  kind = np.dtype(_DTYPES[dtype])
  if not 0 <= begin <= end <= data.size or end - begin != math.prod(shape) * kind.itemsize:
    raise ValueError(f"tensor {name!r} lies outside of it")
  values = data[begin:end].view(kind)
  if dtype == "BF16":  # the upper half of a float32
    values = (values.astype(np.uint32) << 16).view(np.float32)
  return np.reshape(values, shape).astype(np.float32)


def assign(folder, variable, name, array):
  """Gives a variable the values of a tensor.  Raises: UserError if the shapes differ."""
  if tuple(variable.shape) != array.shape:
    raise UserError(f"{folder}: tensor {name!r} has the shape {array.shape}, {CONFIG} promises "
                    f"{tuple(variable.shape)}")
  variable.assign(tf.constant(array))
