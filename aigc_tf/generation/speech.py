"""Speech of a trained model: voices read prompts aloud, vocoders make held-out recordings anew.

A long text is read sentence by sentence, with short pauses; each sample is one WAV file beside a
picture of its mel spectrogram and of where the attention stood in the text.

Axes: S samples, T frames, M mel bins, N decoder steps, L tokens.
"""

import numpy as np
import tensorflow as tf
import tqdm

from aigc_tf import samples
from aigc_tf.data import speech as data
from aigc_tf.data import speech_text
from aigc_tf.errors import UserError
from aigc_tf.generation import prompts
from aigc_tf.generation import sentences
from aigc_tf.nn import pictures
from aigc_tf.nn import spectral
from aigc_tf.nn import speech_codec

BATCH_ROWS = 8
NEEDS_OUT, NUM = True, 1
GAP_PIXELS = 4

# --- what goes together


def check(model, name, mode, knobs, prompts):
  """Raises: UserError for flags that do not go with the mode or the model."""
  wrong = [knob for knob in knobs if knob != "speaker"]
  if wrong:
    raise UserError(f"--{wrong[0]} does not go with {name}, which makes speech")
  if _is_vocoder(model):
    if mode == "sample":
      raise UserError(f"{name} is a vocoder, which reads no texts: --mode=reconstruct lets it make "
                      "held-out recordings anew, and a voice speaks through it with --vocoder")
    if prompts is not None or "speaker" in knobs:
      raise UserError(f"--prompt and --speaker are for voices; {name} is a vocoder")
    return
  if prompts is None:
    raise UserError(f"--prompt is missing: {name} reads a text of yours aloud")
  _speaker(model, knobs)


def _is_vocoder(model):
  return model.spec["task"] == "vocoder"


def _speaker(model, knobs):
  """The number of the speaker asked for, 0 if none was.  Raises: UserError."""
  speakers, wanted = list(model.spec["speakers"]), knobs.get("speaker")
  if wanted is None:
    return 0
  if wanted not in speakers:
    raise UserError(f"--speaker={wanted}: this voice has {', '.join(speakers)}")
  return speakers.index(wanted)


# --- texts


def _spoken(model, prompt):
  """The sentences of a prompt, as the voice reads them.  Raises: UserError if it cannot."""
  sentences.check(prompt)
  text = speech_text.prompt_to_symbols(prompt, model.spec["language"], model.spec["symbols"])
  # Without a place for begin and end.
  parts = sentences.cut(text, model.spec["length"] - 2) or [text]
  speech_codec.encode(model, tf.constant(parts))
  return parts


# --- modes


def sample(model, config, options):
  """00000.wav and 00000.png ...: one a prompt, or one a seed for a single prompt."""
  del config
  texts = prompts.prepared(lambda prompt: _spoken(model, prompt), options.prompts)
  texts = texts * options.num if len(texts) == 1 else texts
  rows = [(i, part) for i, parts in enumerate(texts) for part in parts]
  speaker, waiting = _speaker(model, options.knobs), {}
  for start in tqdm.trange(0, len(rows), BATCH_ROWS, unit="batch", disable=None):
    number, part = zip(*rows[start:start + BATCH_ROWS])
    seed = tf.constant([options.seed + i for i in number], tf.int64)
    label = tf.fill([len(part)], speaker)
    for i, made in zip(number, _rows(speech_codec.speak(model, tf.constant(part), seed, label))):
      waiting.setdefault(i, []).append(made)
      if len(waiting[i]) == len(texts[i]):
        _write(options.out, i, waiting.pop(i), model.audio)
  return f"{len(texts)} recordings in {options.out}"


def _rows(made):
  """A batch of `speech_codec.speak`, row by row: dicts of arrays, each as long as it is."""
  batch = {key: made[key].numpy() for key in ("wave", "num_samples", "mel", "length", "alignment")}
  for row in range(len(batch["wave"])):
    one = {key: value[row] for key, value in batch.items()}
    frames = one["length"]
    steps = -(-one["alignment"].shape[0] * frames // one["mel"].shape[0])
    attention = one["alignment"][:steps]
    tokens = 1 + np.flatnonzero(attention.max(axis=0, initial=0) > 1e-3).max(initial=0)
    yield {"wave": one["wave"][:one["num_samples"]], "mel": one["mel"][:frames],
           "alignment": attention[:, :tokens]}


def _write(folder, number, parts, audio):
  """One sample of all its sentences.  parts: list of dicts of arrays."""
  pause = np.zeros(round(sentences.PAUSE_SECONDS * audio.sample_rate_hz), np.float32)
  waves = [wave for part in parts for wave in (part["wave"], pause)][:-1]
  samples.write_wav(folder / f"{number:05d}.wav", np.concatenate(waves), audio.sample_rate_hz)
  rows = [_beside([_picture(part[key]) for part in parts]) for key in ("alignment", "mel")]
  samples.write_png(folder / f"{number:05d}.png", _below(rows))


def reconstruct(model, config, options):
  """Held-out recordings: 00000_original.wav, 00000.wav made of its mel, 00000.png with both."""
  waves = data.arrays(config.data, "test", options.num)["wave"]
  rate = model.audio.sample_rate_hz
  for i, wave in enumerate(tqdm.tqdm(waves, unit="clip", disable=None)):
    made = model.reconstruct(tf.constant(wave[None]))["wave"].numpy()[0]
    samples.write_wav(options.out / f"{i:05d}_original.wav", wave, rate)
    samples.write_wav(options.out / f"{i:05d}.wav", made, rate)
    mels = [spectral.log_mel(x[None], model.audio)[0] for x in (wave, made)]
    samples.write_png(options.out / f"{i:05d}.png", _below([_picture(mel) for mel in mels]))
  return f"{len(waves)} held-out recordings in {options.out}, each beside its original"


MODES = {"sample": sample, "reconstruct": reconstruct}

# --- pictures


def _picture(matrix):
  """f32[T, M], time first -> uint8[H, W, 3], time to the right."""
  return samples.to_uint8(pictures.heat(tf.transpose(matrix)[None])[0])


def _beside(images):
  """uint8[H, W, 3] of any sizes in one row, on white."""
  height = max(image.shape[0] for image in images)
  edged = [_padded(image, height, image.shape[1] + GAP_PIXELS) for image in images]
  return np.concatenate(edged, axis=1)[:, :-GAP_PIXELS]


def _below(images):
  """uint8[H, W, 3] of any sizes in one column, on white."""
  width = max(image.shape[1] for image in images)
  edged = [_padded(image, image.shape[0] + GAP_PIXELS, width) for image in images]
  return np.concatenate(edged, axis=0)[:-GAP_PIXELS]


def _padded(image, height, width):
  more = ((height - image.shape[0], 0), (0, width - image.shape[1]), (0, 0))
  return np.pad(image, more, constant_values=255)
