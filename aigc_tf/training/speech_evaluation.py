"""Measures a model of speech on held-out recordings, and the recordings themselves beside it.

  text_to_speech   whether it stops and is heard, how near it is to the recordings, what a
                   recogniser hears
  vocoder          how near waves made of mels are to their originals, beside Griffin-Lim's

Axes: B rows, N clips, S samples.
"""

import numpy as np
import tensorflow as tf

from aigc_tf.errors import UserError
from aigc_tf.metrics import measurement
from aigc_tf.metrics import speech as speech_metrics
from aigc_tf.metrics import speech_quality
from aigc_tf.metrics import speech_recognition
from aigc_tf.nn import spectral
from aigc_tf.nn import speech_codec

VERSION = 1  # part of each signature: raise it when a definition here changes
GENERATED_ROWS = 16  # at a time
FIRST_SEED = 1_000_000  # away from the seeds of previews and of whoever listens to samples
TOO_LONG = 3.0  # times the recording


def evaluate(model, config, spec, num, data):
  """num: int, held-out clips at most.  data: aigc_tf.data.speech.

  Returns: list of Measurement; nothing where all clips were trained on.  Raises: UserError.
  """
  if config.data.split != "train":
    return []
  clips = _measurable(data.arrays(config.data, "test", num), model.audio.sample_rate_hz)
  kind = {"text_to_speech": _voice, "vocoder": _vocoder}[spec["task"]]
  return kind(model, clips, spec, {"ref": f"{config.data.name}-test"})


# --- voices


def _voice(model, clips, spec, conditions):
  rate = model.audio.sample_rate_hz
  waves, stopped = read_aloud(model, clips["text"], clips["label"])
  recorded = conditions
  conditions = {**conditions, "seeds": FIRST_SEED, "vocoder": _vocoder_name(model)}
  ratio = [len(wave) / len(real) for wave, real in zip(waves, clips["wave"])]
  heard = [speech_metrics.can_be_measured(wave, rate) for wave in waves]
  note = "" if speech_recognition.is_installed() else (
      "no word error rate: pip install pocketsphinx, and evaluate again")
  measured = [
      measurement.signed("stopped", float(np.mean(stopped)), VERSION, note, n=len(waves),
                         **conditions),
      measurement.signed("too_long", float(np.mean(np.array(ratio) > TOO_LONG)), VERSION, "",
                         n=len(waves), times=TOO_LONG, **conditions),
      measurement.signed("silent", 1 - float(np.mean(heard)), VERSION, "", n=len(waves),
                         **conditions)]
  pairs = [pair for pair, is_heard in zip(zip(waves, clips["wave"]), heard) if is_heard]
  if pairs:
    measured += speech_metrics.reference_report(*map(list, zip(*pairs)), rate, **conditions)
  for prefix, spoken, made in (("", waves, conditions), ("test_", clips["wave"], recorded)):
    if spec["language"] == "en" and speech_recognition.is_installed():
      measured += speech_recognition.recognition_report(
          spoken, clips["source_text"], rate, prefix, **made)
    measured += _quality(spoken, rate, prefix, made)
  return measured


def _measurable(clips, rate):
  """Recordings that can be compared with: silent ones and clicks are left out."""
  kept = [i for i, wave in enumerate(clips["wave"]) if speech_metrics.can_be_measured(wave, rate)]
  if not kept:
    raise UserError("evaluate: the held-out recordings are silent or shorter than a frame: look "
                    "at them with python -m aigc_tf.doctor")
  return {key: [values[i] for i in kept] for key, values in clips.items()}


def read_aloud(model, texts, label):
  """texts: list of N str, as spoken.  label: list of N int, speakers.

  Returns: list of N f32[S], and for each whether it stopped by itself, list of bool.
  """
  waves, stopped = [], []
  rows = min(GENERATED_ROWS, len(texts))
  for start in range(0, len(texts), rows):
    part = slice(start, start + rows)
    seed = tf.range(FIRST_SEED + start, FIRST_SEED + start + len(texts[part]), dtype=tf.int64)
    made = speech_codec.speak(model, tf.constant(texts[part]), seed, tf.constant(label[part]))
    waves += [wave[:count] for wave, count in zip(made["wave"].numpy(), made["num_samples"])]
    stopped += made["is_stopped"].numpy().tolist()
  return waves, stopped


def _vocoder_name(model):
  return "griffin-lim" if model.vocoder is None else type(model.vocoder).__name__.lower()


# --- vocoders


def _vocoder(model, clips, spec, conditions):
  del spec
  rate, audio = model.audio.sample_rate_hz, model.audio
  made = {"": lambda wave: model.reconstruct(wave)["wave"],
          "griffin_lim_": lambda wave: spectral.mel_to_wave(spectral.log_mel(wave, audio), audio)}
  measured = []
  for prefix, remake in made.items():
    waves = [remake(tf.constant(real[None])).numpy()[0] for real in clips["wave"]]
    measured.append(measurement.signed(
        f"{prefix}mel_distance", float(np.mean([
            _mel_distance(*pair, audio) for pair in zip(waves, clips["wave"])])), VERSION, "",
        n=len(waves), unit="nats", audio=audio.fingerprint(), **conditions))
    measured += speech_metrics.reference_report(waves, clips["wave"], rate, prefix, **conditions)
    measured += _quality(waves, rate, prefix, conditions)
  return measured + _quality(clips["wave"], rate, "test_", conditions)


def _mel_distance(wave, real, audio):
  """Mean absolute difference of log-mel spectrograms, float.  wave, real: f32[S] of one length."""
  mels = [spectral.log_mel(tf.constant(each[None]), audio) for each in (wave, real)]
  return float(tf.reduce_mean(tf.abs(mels[0] - mels[1])))


def _quality(waves, rate, prefix, conditions):
  if not speech_quality.is_installed():
    return []
  return speech_quality.quality_report(waves, rate, prefix, **conditions)
