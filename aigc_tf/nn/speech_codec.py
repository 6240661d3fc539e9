"""Strings in and WAV files out of a voice: what is around its mel spectrograms.

A voice has `spec`, `tokenizer`, `audio`, `vocoder`, and `generate(seed, token, label, max_frames)`.
A text is [begin] characters [end]; characters that the voice never learned are left out. Numbers
and abbreviations are written out before the graph (data/speech_text.py).

Axes: B rows, L tokens, T frames, M mel bins, S samples.
"""

import tensorflow as tf

from aigc_tf.errors import UserError
from aigc_tf.nn import spectral
from aigc_tf.nn import wav

# --- strings to tokens


def encode(model, text):
  """text: string[B].  Returns: i32[B, L], padded with -1.

  Raises: UserError, in a graph InvalidArgumentError, for what is no UTF-8, has nothing to speak, or
    is longer than what the voice learned from.
  """
  token = model.tokenizer.encode(_cleaned(model, text))
  token = tf.ragged.boolean_mask(token, token != model.tokenizer.unknown_id)
  spoken = tf.reduce_sum(tf.cast(tf.gather(_is_spoken(model), token), tf.int32), axis=1)
  limit = model.spec["length"]
  _require(tf.reduce_all(spoken > 0), "text: there is nothing to speak: give one with letters that "
           f"this voice knows, {_some_letters(model)}")
  _require(tf.reduce_all(token.row_lengths() <= limit - 2), "text: too long: this voice speaks at "
           f"most {limit - 2} characters at once; give it sentence by sentence")
  rows = tf.size(text)
  begin, end = (tf.fill((rows, 1), id_) for id_ in (model.tokenizer.begin_id,
                                                    model.tokenizer.end_id))
  return tf.concat([begin, token, end], axis=1).to_tensor(-1)


def _cleaned(model, text):
  """Lower case, single spaces, none at the ends."""
  text = tf.convert_to_tensor(text, tf.string)
  try:
    text = tf.strings.unicode_transcode(text, "UTF-8", "UTF-8", errors="strict")
  except tf.errors.InvalidArgumentError as error:  # only eagerly
    raise UserError("text: not valid UTF-8: save it in that encoding") from error
  if model.spec["symbols"] != "phonemes":  # where capitals would be other sounds
    text = tf.strings.lower(text, encoding="utf-8")
  return tf.strings.strip(tf.strings.regex_replace(text, r"\s+", " "))


def _is_spoken(model):
  """For each token whether it is a letter or a digit, bool[V]: a comma alone says nothing."""
  return tf.constant([piece.decode(errors="ignore").isalnum()
                      for piece in _pieces(model)])


def _pieces(model):
  characters = model.tokenizer.to_spec().get("characters", "")
  specials = model.tokenizer.vocab_size - len(characters)
  return [b""] * specials + [character.encode() for character in characters]


def _some_letters(model, number=8):
  letters = sorted(piece.decode() for piece in _pieces(model) if piece.decode().isalnum())
  return " ".join(letters[:number]) + (" ..." if len(letters) > number else "")


def _require(condition, message):
  if not tf.executing_eagerly():
    tf.debugging.Assert(condition, [message])
  elif not bool(condition):
    raise UserError(message)


# --- mels to waves


def attach(model, vocoder):
  """Lets a vocoder speak for a voice instead of Griffin-Lim.  Raises: UserError if they differ in
  their audio settings.
  """
  spectral.check_equal(model.audio, vocoder.audio, ("the voice", "the vocoder"))
  # Past Keras, which would take the vocoder's weights for the voice's own.
  object.__setattr__(model, "_vocoder", vocoder)


def waves(model, mel, length):
  """mel: f32[B, T, M].  length: i32[B] frames.

  Returns: {"wave": f32[B, T * hop] in [-1, 1], 0 behind a row's end, "length": i32[B] samples,
    "sample_rate_hz": int}.
  """
  if model.vocoder is None:
    wave = spectral.mel_to_wave(mel, model.audio)
  else:
    seed = tf.zeros([tf.shape(mel)[0]], tf.int64)
    wave = model.vocoder.generate(seed, mel, length)["wave"]
  samples = length * model.audio.hop_samples
  is_sample = tf.sequence_mask(samples, tf.shape(wave)[1], tf.float32)
  return {"wave": tf.clip_by_value(wave, -1.0, 1.0) * is_sample, "length": samples,
          "sample_rate_hz": model.audio.sample_rate_hz}


def speak(model, text, seed, label=None, max_frames=None):
  """From strings to files.

  text: string[B].  seed: i64[B].  label: i32[B], speakers.  max_frames: int or i32[B].
  Returns: {"audio_bytes": string[B], WAV, "num_samples": i32[B], "wave": f32[B, S]}, and what they
    were made of: "mel" f32[B, T, M], "length" i32[B] frames, "alignment" f32[B, N, L].
  Raises: UserError, in a graph InvalidArgumentError.
  """
  made = model.generate(seed, encode(model, text), label, max_frames)
  heard = waves(model, made["mel"], made["length"])
  return {**made, **_files(model, heard), "wave": heard["wave"]}


def _files(model, heard):
  return {"audio_bytes": wav.encode(heard["wave"], heard["length"], model.audio.sample_rate_hz),
          "num_samples": heard["length"]}


# --- serving


def endpoints(model):
  """serving_default and mel from texts, vocode from mels, and what the texts should be like:
  `reads` answers any text with the language and the symbols of the voice (data/speech_text.py).

  The prenet's dropout has the seed 0 in all rows: the same text has the same answer.
  Returns: as every model's endpoints.
  """
  inputs = {"text": tf.TensorSpec([None], tf.string, "text")}
  if len(model.spec["speakers"]) > 1:
    inputs["label"] = tf.TensorSpec([None], tf.int32, "label")
  mel_spec = tf.TensorSpec([None, None, model.audio.num_mels], tf.float32, "mel")

  def write(text, label=None):
    if label is not None:
      _require(tf.reduce_all((label >= 0) & (label < len(model.spec["speakers"]))),
               f"label: choose 0 to {len(model.spec['speakers']) - 1}")
    return model.generate(tf.zeros_like(text, tf.int64), encode(model, text), label)

  def read_aloud(**given):
    made = write(**given)
    return _files(model, waves(model, made["mel"], made["length"]))

  def mel(**given):
    made = write(**given)
    return {"mel": made["mel"], "num_frames": made["length"]}

  def vocode(mel):
    return {"audio_bytes": _files(model, waves(model, mel, _frames(model, mel)))["audio_bytes"]}

  def reads(text):
    return {key: tf.fill(tf.shape(text), model.spec[key]) for key in ("language", "symbols")}

  return {"serving_default": (read_aloud, inputs), "mel": (mel, inputs),
          "vocode": (vocode, {"mel": mel_spec}), "reads": (reads, {"text": inputs["text"]})}


def _frames(model, mel):
  """Up to the last frame that is not padding, i32[B]."""
  is_heard = tf.reduce_any(mel > model.audio.log_silence + 1e-3, axis=2)
  place = tf.range(1, tf.shape(mel)[1] + 1)
  return tf.reduce_max(tf.where(is_heard, place, 0), axis=1)
