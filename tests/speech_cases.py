"""A small voice and a small vocoder for tests.

Each letter of a text is a bump in the mel, two frames long; a vocoder hears tones.
"""

import math

import numpy as np
import tensorflow as tf

from aigc_tf.nn import spectral

LETTERS = "abcdefghij"
SPEECH = {
    "modality": "speech", "task": "text_to_speech", "language": "en", "symbols": "characters",
    "tokenizer": {"kind": "char", "characters": LETTERS + " ."}, "speakers": ["one"], "length": 14,
    "max_frames": 29, "frames_per_token": {"mean": 2.1, "largest": 3.0},
    "audio": {"sample_rate_hz": 1600, "window_samples": 64, "hop_samples": 16, "fft_size": 64,
              "num_mels": 8, "lowest_hz": 0.0, "highest_hz": 800.0, "mel_scale": "slaney",
              "log_floor": 1e-5}}
VOCODER = {"modality": "speech", "task": "vocoder", "audio": SPEECH["audio"]}
SEGMENT_FRAMES = 16
SMALL = {"width": 16, "decoder_dim": 24, "attention_dim": 16, "prenet_dim": 16, "postnet_dim": 8,
         "postnet_depth": 2, "reduction": 2, "generation_dropout": 0.5}


def batch(spec, rows, noise):
  """What the data of this task gives, without seeds.  noise: np.random.Generator."""
  return (wave_batch if spec["task"] == "vocoder" else speech_batch)(spec, rows, noise)


def wave_batch(spec, rows, noise):
  """Tones of several pitches with some noise, and their mel spectrograms."""
  audio = spectral.from_spec(spec["audio"])
  seconds = np.arange(SEGMENT_FRAMES * audio.hop_samples) / audio.sample_rate_hz
  pitch_hz = noise.uniform(80, 400, (rows, 1))
  wave = 0.3 * np.sin(2 * np.pi * pitch_hz * seconds) + noise.normal(0, 0.02, (rows, seconds.size))
  wave = tf.constant(wave, tf.float32)
  return {"wave": wave, "mel": spectral.log_mel(wave, audio)}


def speech_batch(spec, rows, noise):
  """Texts of many lengths, the first as long as can be, with their mel spectrograms.

  spec: as the data's.  noise: np.random.Generator.  Returns: a batch without seeds.
  """
  tokens = np.maximum(spec["length"] - 3 * np.arange(rows), 5)
  place = np.arange(spec["length"])
  token = noise.integers(4, 4 + len(LETTERS), (rows, spec["length"]))
  token[:, 0] = 1
  token[np.arange(rows), tokens - 1] = 2
  token = np.where(place < tokens[:, None], token, -1)
  frames = 2 * tokens + 1
  place = np.arange(frames.max())
  spoken = token[:, np.minimum(place // 2, spec["length"] - 1)]
  num_mels, silence = spec["audio"]["num_mels"], math.log(spec["audio"]["log_floor"])
  mel = silence + 8.0 * np.exp(-0.5 * (np.arange(num_mels) - spoken[..., None] % num_mels)**2)
  mel = np.where((place < frames[:, None])[..., None], mel, silence)
  return {"token": tf.constant(token, tf.int32), "mel": tf.constant(mel, tf.float32),
          "length": tf.constant(frames, tf.int32),
          "label": tf.constant(np.arange(rows) % len(spec["speakers"]), tf.int32)}
