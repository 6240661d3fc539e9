"""Samples of a model that a server has: the files that the model itself would make.

What the model makes is read from its signatures: pictures, speech or texts. `serving_default` is
asked, or, if a knob is given, `generate` with all others at rest. TensorFlow is not imported.
"""

import re

import numpy as np
import tqdm

from aigc_tf import samples
from aigc_tf.errors import UserError
from aigc_tf.generation import prompts
from aigc_tf.generation import sentences

# What a knob is when nobody gives it, as in the models' own `generate`.
AT_REST = {"truncation": 1.0, "max_new_tokens": 0, "temperature": 1.0, "top_k": 0, "top_p": 1.0,
           "min_p": 0.0, "repetition_penalty": 1.0, "no_repeat_ngram": 0, "beam_size": 1,
           "length_penalty": 0.6}
GRID_IMAGES = 1024


def kind_of(server, name):
  """What can be made with a model.

  server: serving.client.Client.  name: str, or None for the model in the server's URL.
  Returns: an Images, Speech or Texts.  Raises: UserError for other models.
  """
  signatures = server.signatures(name)
  outputs = signatures.get("serving_default", {"outputs": ()})["outputs"]
  for kind in (Images, Speech, Texts):
    if set(outputs) & kind.outputs:
      return kind(server, name, signatures)
  raise UserError(f"{name} makes no images, texts or speech that are known here; it answers with "
                  f"{', '.join(sorted(outputs)) or 'nothing'}")


class _Remote:
  """One model of a server.  Subclasses: `needs_out`, `num` samples by default, `sample`."""

  needs_out, num = True, 1
  outputs: set
  batch_rows: int  # not above what servers are told to batch, serving/deployment.py

  def __init__(self, server, name, signatures):
    self._server, self._signatures = server, signatures
    self._name = name or server.model

  def _signature(self, knobs):
    """Of which signature the knobs are inputs.  Raises: UserError."""
    for key in ("serving_default", "generate"):
      inputs = set(self._signatures.get(key, {"inputs": ()})["inputs"])
      if knobs <= inputs:
        return key
    taken = sorted(inputs & (AT_REST.keys() | {"label"}))
    raise UserError(f"--{sorted(knobs - inputs)[0]} does not go with {self._name}; it takes "
                    f"{', '.join('--' + knob for knob in taken) or 'none'}")

  def _ask(self, options, rows):
    """One batch.  rows: {input: list}, what is its own in every row.  Returns: {output: array}."""
    key = self._signature(set(options.knobs))
    count = len(next(iter(rows.values())))
    inputs = {}
    for name in self._signatures[key]["inputs"]:
      value = {**AT_REST, **options.knobs}.get(name)
      if name not in rows and value is None:
        raise UserError(f"--{name} is missing: {self._name} on this server needs one")
      inputs[name] = rows[name] if name in rows else [value] * count
    return self._server.predict(self._name, inputs, key)

  def _batches(self, number):
    starts = tqdm.trange(0, number, self.batch_rows, unit="batch", disable=None, leave=False)
    return (range(start, min(start + self.batch_rows, number)) for start in starts)

  def _has(self, name):
    return name in self._signatures["serving_default"]["inputs"]


class Images(_Remote):
  """00000.png ... and grid.png, of consecutive seeds."""

  num, outputs, batch_rows = 16, {"image", "image_bytes"}, 32

  def sample(self, options):
    """Writes the files.  Returns: what to say of them.  Raises: UserError."""
    if options.prompts is not None:
      raise UserError(f"--prompt is for text models; {self._name} makes images")
    pictures = []
    for rows in self._batches(options.num):
      made = self._ask(options, {"seed": [options.seed + i for i in rows]})
      images = self._server.decoded(made)["image"]
      for i, image in zip(rows, images, strict=True):
        samples.write_png(options.out / f"{i:05d}.png", image)
      pictures.extend(images)
    grid = options.out / "grid.png"
    samples.write_png(grid, samples.grid(pictures[:GRID_IMAGES]))
    return f"{options.num} samples in {options.out}, all in one picture: {grid}"


class Texts(_Remote):
  """What the model writes, or says of the prompts: printed, and written where there is a folder."""

  needs_out, outputs, batch_rows = False, {"text", "label"}, 16

  def sample(self, options):
    """Prints or writes the texts.  Returns: what to say of them.  Raises: UserError."""
    prompts = self._prompts(options)
    texts = []
    for rows in self._batches(len(prompts)):
      part = [prompts[i] for i in rows]
      given = {"prompt": part} if self._has("prompt") else {"text": part}
      if self._has("seed"):
        given["seed"] = [options.seed + i for i in rows]
      texts += _texts(self._ask(options, given))
    if options.stop:
      texts = [_stopped(prompt if self._has("prompt") else "", text, options.stop)
               for prompt, text in zip(prompts, texts)]
    if not options.out or len(texts) == 1 and self._has("prompt"):
      print(samples.listed(texts))
    if not options.out:
      return ""
    for i, text in enumerate(texts):
      samples.write_text(options.out / f"{i:05d}.txt", text)
    return f"{len(texts)} texts in {options.out}"

  def _prompts(self, options):
    if options.prompts is None and not self._has("prompt"):
      raise UserError(f"--prompt is missing: {self._name} works on a text of yours")
    if options.stop and "label" in self._signatures["serving_default"]["outputs"]:
      raise UserError("--stop is for models that write on, which this one does not")
    prompts = options.prompts or [""]
    return prompts * options.num if len(prompts) < options.num else prompts


def _texts(made):
  """Returns: list of str, of a classifier its label and how sure it is."""
  if "probability" not in made:
    return samples.to_strings(made["text"])
  sure = made["probability"].max(axis=-1)
  return [f"{label} {share:.3f}" for label, share in zip(samples.to_strings(made["label"]), sure)]


def _stopped(prompt, text, stop):
  """Cuts what follows a prompt, and the line break that some models put behind it."""
  start = len(prompt)
  if prompt and "\n" not in prompt and text[start:start + 1] == "\n":
    start += 1
  ends = [text.find(string, start) for string in stop]
  return text[:min((end for end in ends if end >= 0), default=len(text))]


class Speech(_Remote):
  """00000.wav ..., one a prompt; long ones are read sentence by sentence."""

  outputs, batch_rows = {"audio_bytes"}, 8

  def sample(self, options):
    """Writes the files.  Returns: what to say of them.  Raises: UserError."""
    texts = self._prompts(options)
    for i, text in enumerate(tqdm.tqdm(texts, unit="text", disable=None, leave=False)):
      waves, rate = self._read_aloud(text, options)
      pause = np.zeros(round(sentences.PAUSE_SECONDS * rate), np.float32)
      parts = [part for wave in waves for part in (wave, pause)][:-1]
      samples.write_wav(options.out / f"{i:05d}.wav", np.concatenate(parts), rate)
    return f"{len(texts)} recordings in {options.out}"

  def _prompts(self, options):
    """Each as the voice reads it."""
    from aigc_tf.data import speech_text
    if not self._has("text"):
      raise UserError(f"{self._name} is a vocoder, which reads no texts: ask it with "
                      "aigc_tf.serving.client")
    if not options.prompts:
      raise UserError(f"--prompt is missing: {self._name} reads a text of yours aloud")
    if options.seed or len(options.prompts) < options.num:
      raise UserError("--seed and --num: a voice on a server reads a text in one way only")
    language, symbols = self._reads()

    def spoken(prompt):
      sentences.check(prompt)
      return speech_text.prompt_to_symbols(prompt, language, symbols)
    return prompts.prepared(spoken, options.prompts)

  def _reads(self):
    """Language and symbols of the voice, str."""
    if "reads" not in self._signatures:
      raise UserError(f"{self._name} on this server does not say which letters it reads: export it "
                      "again")
    said = self._server.predict(self._name, {"text": [""]}, "reads")
    return samples.to_strings(said["language"])[0], samples.to_strings(said["symbols"])[0]

  def _read_aloud(self, text, options):
    """Returns: list of f32[S] in [-1, 1], the sentences, and their rate in Hz."""
    try:
      return self._speak(text, sentences.MAX_CHARACTERS, options)
    except UserError as error:
      limit = re.search(r"at most (\d+) characters at once", str(error))  # nn/speech_codec.py
      if not limit:
        raise
      return self._speak(text, int(limit[1]), options)

  def _speak(self, text, most, options):
    parts = sentences.cut(text, most) or [text]
    waves, rate = [], 0
    for start in range(0, len(parts), self.batch_rows):
      some = parts[start:start + self.batch_rows]
      made = self._server.decoded(self._ask(options, {"text": some}))
      rate = made["sample_rate_hz"]
      waves += [wave[:count] for wave, count in zip(made["wave"], made["num_samples"])]
    return waves, rate
