"""Texts of a trained model: printed as they grow, and written as files where asked for.

What a prompt is depends on the model: the opening of a text, a source to translate, a text to
judge or to fill in.
"""

import inspect

import tensorflow as tf
import tqdm

from aigc_tf import samples
from aigc_tf.errors import UserError
from aigc_tf.generation import prompts
from aigc_tf.nn import decoding
from aigc_tf.nn import text_codec

BATCH_ROWS = 16
NEEDS_OUT, NUM = False, 1


def check(model, name, mode, knobs, given):
  """Raises: UserError for flags that do not go with the model.  given: prompts, or None."""
  del mode
  if given is None and not _writes(model):
    raise UserError(f"--prompt is missing: {name} works on a text of yours")
  allowed = _knobs(model)
  wrong = [knob for knob in knobs if knob not in allowed]
  if wrong:
    raise UserError(f"--{wrong[0]} does not go with this {name}; " + (
        f"it takes {', '.join('--' + knob for knob in allowed)}" if allowed else "it takes none"))


def _writes(model):
  """Whether it goes on from a prompt, or from nothing."""
  return model.spec["task"] == "language_model" and hasattr(model, "generate_text")


def _knobs(model):
  """Names of the flags that steer a model's texts."""
  parameters = _parameters(model)
  known = ["max_new_tokens", *decoding.KNOBS, "beam_size", "length_penalty"]
  takes_all = any(p.kind == p.VAR_KEYWORD for p in parameters.values())
  return [knob for knob in known if knob in parameters or takes_all and knob in decoding.KNOBS]


def _parameters(model):
  """What `generate` takes; nothing of a classifier."""
  if model.spec["task"] == "classification":
    return {}
  return inspect.signature(model.generate).parameters


def sample(model, config, options):
  """One text a seed, or what the model says of the prompts."""
  del config
  given = options.prompts or [""]
  if options.stop and "stop" not in _parameters(model):
    raise UserError("--stop is for models that write on, which this one does not")
  prompts.prepared(lambda prompt: _check_prompt(model, prompt), given)
  if len(given) < options.num:
    given = given * options.num  # one prompt, many seeds
  if len(given) == 1 and _writes(model):
    _write([_stream(model, given[0], options)], 0, options)
  else:
    for start in tqdm.trange(0, len(given), BATCH_ROWS, unit="batch", disable=None, leave=False):
      part = given[start:start + BATCH_ROWS]
      seed = tf.range(len(part), dtype=tf.int64) + (options.seed + start)
      texts = _answers(model, part, seed, options)
      _write(texts, start, options)
      if not options.out:  # with a rule between two batches too
        tqdm.tqdm.write(samples.listed(["", *texts])[1:] if start else samples.listed(texts))
  return f"{len(given)} texts in {options.out}" if options.out else ""


def _check_prompt(model, prompt):
  """Raises: UserError for one that is too long; classifiers read the beginning."""
  text = tf.constant([prompt])
  if _writes(model) and model.tokenizer is not None:
    model.generator.prompt([0], text_codec.prompts(model, text))
  elif model.spec["task"] == "text_to_text":
    text_codec.check_length(model.tokenizer.encode(text_codec.readable(model, text)),
                            model.spec["source_length"])


def _stream(model, prompt, options):
  """Prints one text as it grows.  Returns: str."""
  pieces = []
  for piece in model.stream(options.seed, prompt, list(options.stop), **options.knobs):
    print(piece, end="", flush=True)
    pieces.append(piece)
  print()
  return "".join(pieces)


def _answers(model, given, seed, options):
  """Returns: list of str, one for each prompt."""
  if _writes(model):
    made = model.generate_text(seed, given, list(options.stop), **options.knobs)["text"]
    return samples.to_strings(made)
  if model.spec["task"] == "text_to_text":
    text = text_codec.readable(model, tf.constant(given))
    source = model.tokenizer.encode(text).to_tensor(-1)
    stop = list(options.stop)
    made = model.generate(seed, source=source, stop=stop or None, **options.knobs)["token"]
    return [text_codec.cut(text, stop) for text in
            samples.to_strings(model.tokenizer.decode(made))]
  answer = model.endpoints()["serving_default"][0](text=tf.constant(given))
  if "probability" not in answer:
    return samples.to_strings(answer["text"])
  sure = tf.reduce_max(answer["probability"], axis=-1).numpy()
  return [f"{label} {share:.3f}" for label, share in zip(samples.to_strings(answer["label"]), sure)]


def _write(texts, start, options):
  """Writes 00000.txt ... where there is a folder.  start: number of the first."""
  if options.out:
    for i, text in enumerate(texts, start):
      samples.write_text(options.out / f"{i:05d}.txt", text)


MODES = {"sample": sample}
