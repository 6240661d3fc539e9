"""Texts of a trained model: printed as they grow, and written as files where asked for.

What a prompt is depends on the model: the opening of a text, a source to translate, a text to
judge.
"""

import inspect

import tensorflow as tf
import tqdm

from aigc_tf import samples
from aigc_tf.errors import UserError
from aigc_tf.nn import text_codec

BATCH_ROWS = 16
NEEDS_OUT, NUM = False, 1


def check(model, name, mode, knobs, prompts):
  """Raises: UserError for flags that do not go with the model."""
  del mode
  task = model.spec["task"]
  if prompts is None and task != "language_model":
    raise UserError(f"--prompt is missing: {name} works on a text of yours")
  allowed = inspect.signature(model.generate).parameters if task != "classification" else ()
  wrong = [knob for knob in knobs if knob not in allowed]
  if wrong:
    raise UserError(f"--{wrong[0]} does not go with {name}")


def sample(model, config, options):
  """One text a seed; a classifier's labels."""
  del config
  prompts = options.prompts or [""]
  if len(prompts) < options.num:
    prompts = prompts * options.num  # one prompt, many seeds
  if model.spec["task"] == "classification":
    return _classify(model, prompts, options)
  if len(prompts) == 1 and hasattr(model, "stream"):
    texts = [_stream(model, prompts[0], options)]
  else:
    texts = list(_all(model, prompts, options))
  return _written(texts, options)


def _stream(model, prompt, options):
  """Prints one text as it grows.  Returns: str."""
  text = ""
  for text_so_far in model.stream(prompt, seed=options.seed, stop=options.stop, **options.knobs):
    print(text_so_far[len(text):], end="", flush=True)
    text = text_so_far
  print()
  return text


def _all(model, prompts, options):
  """Yields: str for each prompt, in order; prints them where there is no folder."""
  starts = range(0, len(prompts), BATCH_ROWS)
  for start in tqdm.tqdm(starts, unit="batch", disable=None, leave=False):
    part = prompts[start:start + BATCH_ROWS]
    seed = tf.range(len(part), dtype=tf.int64) + (options.seed + start)
    made = text_codec.generate(model, tf.constant(part), seed, stop=options.stop, **options.knobs)
    for text in samples.to_strings(made):
      if not options.out:
        tqdm.tqdm.write(text + "\n")
      yield text


def _classify(model, prompts, options):
  function, _ = model.endpoints()["serving_default"]
  answer = function(text=tf.constant(prompts))
  lines = []
  for label, probability in zip(samples.to_strings(answer["label"]), answer["probability"]):
    lines.append(f"{label} {float(tf.reduce_max(probability)):.3f}")
    print(lines[-1])
  return _written(lines, options)


def _written(texts, options):
  """Writes 00000.txt ... where there is a folder.  Returns: what to say of it."""
  if not options.out:
    return ""
  for i, text in enumerate(texts):
    samples.write_text(options.out / f"{i:05d}.txt", text)
  return f"{len(texts)} texts in {options.out}"


MODES = {"sample": sample}
