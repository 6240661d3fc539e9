"""Waves, spectra and mel spectrograms: one AudioConfig, and all that is computed from it, in TF.

A wave of S samples has S // hop frames: each side is reflected by (fft_size - hop) / 2 samples, so
that frame t is centred on hop t and S = T * hop gives exactly T frames. Log-mel is the natural log
of mel-weighted magnitudes (not powers), as Tacotron 2 (arXiv:1712.05884) and HiFi-GAN
(arXiv:2010.05646) have it. Every function runs eagerly, in a graph with unknown B and S, and on a
stock server.

Axes: B batch, S samples, T frames, F = fft_size // 2 + 1 frequencies, M mel bins.
"""

import dataclasses
import functools
import hashlib
import json
import math

import numpy as np
import tensorflow as tf

from aigc_tf.errors import UserError

MEL_SCALES = ("slaney", "htk")
_INVERSE_STEPS = 16  # of the non-negative inverse of the mel filters: 5 % become 1 % of error
_PEAK_REACH = 4  # frequencies around a peak that turn with it: the width of a tone under Hann
_MOST_TURN = 2.0  # nats at once: a wrong phase that cancels a bin is no reason to shout
_TINY = 1e-12


@dataclasses.dataclass(frozen=True)
class AudioConfig:
  """What turns a wave into a mel spectrogram; voice, vocoder and data must have the same one.

  mel_scale: slaney (filters of equal area) or htk (filters of equal height).
  log_floor: the least mel magnitude; what is quieter counts as silence.
  """
  sample_rate_hz: int = 16000
  window_samples: int = 1024
  hop_samples: int = 256
  fft_size: int = 1024
  num_mels: int = 80
  lowest_hz: float = 0.0
  highest_hz: float = 8000.0
  mel_scale: str = "slaney"
  log_floor: float = 1e-5

  @property
  def num_frequencies(self):
    return self.fft_size // 2 + 1

  @property
  def log_silence(self):
    """The value of a silent mel bin, with which mel spectrograms are padded."""
    return math.log(self.log_floor)

  def to_spec(self):
    """Returns: plain dict, such that `from_spec` makes an equal AudioConfig."""
    return dataclasses.asdict(self)

  def fingerprint(self):
    """Returns: 8 hex digits, equal for equal settings."""
    text = json.dumps(self.to_spec(), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def from_spec(spec):
  """spec: mapping of AudioConfig's fields; those left out have its defaults.

  Returns: AudioConfig.  Raises: UserError for an unknown key or an impossible value.
  """
  kinds = {field.name: field.type for field in dataclasses.fields(AudioConfig)}
  values = {}
  for key, value in dict(spec).items():
    if key not in kinds:
      raise UserError(f"audio has no setting {key!r}; there are: {', '.join(kinds)}")
    values[key] = _typed(key, value, kinds[key])
  audio = AudioConfig(**values)
  _check(audio)
  return audio


def _typed(key, value, kind):
  try:
    typed = kind(value)
  except (TypeError, ValueError):
    typed = None
  if typed is None or typed != value:
    raise UserError(f"audio.{key}={value!r}: this must be of type {kind.__name__}")
  return typed


def check_equal(mine, other, names):
  """Raises: UserError naming the fields that differ.

  mine, other: AudioConfig.  names: two str, whose they are: ("the voice", "the vocoder").
  """
  other_spec = other.to_spec()
  different = [f"{key} {value} and {other_spec[key]}" for key, value in mine.to_spec().items()
               if value != other_spec[key]]
  if different:
    raise UserError(f"{names[0]} and {names[1]} differ in their audio settings: "
                    f"{', '.join(different)}; both must be trained with the same data.audio")


def _check(audio):
  def require(condition, text):
    if not condition:
      raise UserError(f"audio: {text}")
  require(audio.hop_samples >= 1 and 2 * audio.hop_samples <= audio.window_samples,
          f"hop_samples={audio.hop_samples} must be 1 to half of window_samples="
          f"{audio.window_samples}, or waves cannot be rebuilt")
  require(audio.window_samples <= audio.fft_size, f"window_samples={audio.window_samples} must not "
          f"be above fft_size={audio.fft_size}")
  require(audio.fft_size % 2 == 0 and audio.hop_samples % 2 == 0,
          f"fft_size={audio.fft_size} and hop_samples={audio.hop_samples} must be even")
  half_rate_hz = audio.sample_rate_hz / 2
  require(0 <= audio.lowest_hz < audio.highest_hz <= half_rate_hz,
          f"lowest_hz={audio.lowest_hz} and highest_hz={audio.highest_hz} must lie in this order "
          f"between 0 and half of sample_rate_hz={audio.sample_rate_hz}")
  require(audio.mel_scale in MEL_SCALES,
          f"mel_scale={audio.mel_scale!r}: use one of {', '.join(MEL_SCALES)}")
  require(0 < audio.log_floor < 1, f"log_floor={audio.log_floor} must lie between 0 and 1")
  require(audio.num_mels >= 1, f"num_mels={audio.num_mels} must be 1 or more")
  num_empty = int((mel_filters(audio).max(axis=0) <= 0).sum())
  require(not num_empty, f"{num_empty} of num_mels={audio.num_mels} filters hold no frequency: "
          f"take fewer, or a larger fft_size than {audio.fft_size}")


# --- waves and spectra


def stft(wave, audio):
  """Short-time Fourier transform with a Hann window.

  wave: f32[B, S].  audio: AudioConfig.  Returns: complex64[B, S // hop, F].
  """
  side = (audio.fft_size - audio.hop_samples) // 2
  wave = tf.convert_to_tensor(wave)
  num_samples = tf.shape(wave)[1]
  place = tf.range(-side, num_samples + side)
  # Reflected again and again where the wave is shorter than a side; no sample stands twice.
  period = tf.maximum(2 * num_samples - 2, 1)
  place = tf.abs(tf.math.floormod(place + num_samples - 1, period) - (num_samples - 1))
  ends = tf.gather(wave, tf.concat([place[:side], place[num_samples + side:]], 0), axis=1)
  return _frames_to_spectra(tf.concat([ends[:, :side], wave, ends[:, side:]], axis=1), audio)


def inverse_stft(spectra, audio):
  """The wave whose `stft` is nearest to these spectra; exact where they are those of a wave.

  spectra: complex64[B, T, F].  Returns: f32[B, T * hop].
  """
  wave = _overlap_add(_windowed(tf.signal.irfft(spectra), audio), audio)
  num_frames = tf.shape(spectra)[1]
  squares = tf.tile(tf.constant(_window(audio)**2)[None, None], [1, num_frames, 1])
  weight = _overlap_add(squares, audio)
  return _without_sides(wave / tf.maximum(weight, 1e-8), audio)


def _window(audio):
  # Periodic Hann window in the middle of fft_size samples.
  size = audio.window_samples
  hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(size) / size)
  before = (audio.fft_size - size) // 2
  return np.pad(hann, (before, audio.fft_size - size - before)).astype(np.float32)


def _windowed(frames, audio):
  return frames * tf.constant(_window(audio))


def _frames_to_spectra(padded, audio):
  frames = tf.signal.frame(padded, audio.fft_size, audio.hop_samples)
  return tf.signal.rfft(_windowed(frames, audio))


def _overlap_add(frames, audio):
  return tf.signal.overlap_and_add(frames, audio.hop_samples)


def _without_sides(wave, audio):
  side = (audio.fft_size - audio.hop_samples) // 2
  return wave[:, side:tf.shape(wave)[1] - side]


# --- mel


@functools.lru_cache(maxsize=None)
def mel_filters(audio):
  """Triangular filters, evenly spaced in mel.

  Returns: np.f32[F, M], as librosa.filters.mel has it, transposed: norm="slaney" for the slaney
    scale, none for htk.
  """
  hz = np.linspace(0, audio.sample_rate_hz / 2, audio.num_frequencies)
  limits = _hz_to_mel(np.array([audio.lowest_hz, audio.highest_hz]), audio.mel_scale)
  edges = _mel_to_hz(np.linspace(*limits, audio.num_mels + 2), audio.mel_scale)
  width = np.diff(edges)
  distance = edges[:, None] - hz
  rising, falling = -distance[:-2] / width[:-1, None], distance[2:] / width[1:, None]
  filters = np.maximum(0, np.minimum(rising, falling))
  if audio.mel_scale == "slaney":
    filters *= 2 / (edges[2:] - edges[:-2])[:, None]
  filters = np.ascontiguousarray(filters.T, np.float32)
  filters.flags.writeable = False  # it is cached
  return filters


# Slaney's Auditory Toolbox (1998): linear below 1 kHz, 27 steps to each factor of 6.4 above.
_LINEAR_HZ, _CORNER_HZ, _LOG_STEP = 200 / 3, 1000.0, math.log(6.4) / 27


def _hz_to_mel(hz, scale):
  if scale == "htk":
    return 2595 * np.log10(1 + hz / 700)
  above = _CORNER_HZ / _LINEAR_HZ + np.log(np.maximum(hz, _CORNER_HZ) / _CORNER_HZ) / _LOG_STEP
  return np.where(hz < _CORNER_HZ, hz / _LINEAR_HZ, above)


def _mel_to_hz(mel, scale):
  if scale == "htk":
    return 700 * (10**(mel / 2595) - 1)
  above = _CORNER_HZ * np.exp(_LOG_STEP * (mel - _CORNER_HZ / _LINEAR_HZ))
  return np.where(mel * _LINEAR_HZ < _CORNER_HZ, mel * _LINEAR_HZ, above)


def log_mel(wave, audio):
  """wave: f32[B, S].  Returns: f32[B, S // hop, M], natural log, at least log(log_floor)."""
  mel = tf.tensordot(tf.abs(stft(wave, audio)), tf.constant(mel_filters(audio)), 1)
  return tf.math.log(tf.maximum(mel, audio.log_floor))


# --- back from mel


def magnitude_from_mel(mel, audio):
  """Magnitudes, none negative, whose mel spectrogram is nearly this one.

  Multiplicative updates of Lee and Seung (2001, eq. 4) from the clipped pseudo-inverse. Bins at the
  floor count as silence, so that a padded frame is exactly 0.

  mel: f32[B, T, M].  Returns: f32[B, T, F].
  """
  filters = mel_filters(audio)
  inverse, forward, back = (tf.constant(matrix, tf.float32) for matrix in (
      np.linalg.pinv(filters), filters, filters.T))
  heard = tf.where(mel <= audio.log_silence + 1e-3, 0.0, tf.exp(mel))
  wanted = tf.tensordot(heard, back, 1)
  # An update cannot leave zero: the start is a little above it, where the filters hear anything.
  magnitude = tf.maximum(tf.tensordot(heard, inverse, 1), 1e-2 * wanted)
  for _ in range(_INVERSE_STEPS):
    found = tf.tensordot(tf.tensordot(magnitude, forward, 1), back, 1)
    magnitude *= wanted / tf.maximum(found, _TINY)
  return magnitude


def griffin_lim(magnitude, audio, iterations=32, momentum=0.99):
  """A wave with nearly these magnitudes, by the fast Griffin-Lim algorithm.

  Algorithm 2 of Perraudin, Balazs and Sondergaard (2013), on the signal before and behind which
  there is silence: frames of zeros behind a row do not change it. Nothing is random.

  magnitude: f32[B, T, F].  iterations: int.  momentum: float, 0 for Griffin and Lim (1984).
  Returns: f32[B, T * hop].
  """
  start = _start_phase(magnitude, audio)
  phase = tf.complex(tf.cos(start), tf.sin(start))
  slow = tf.constant(momentum / (1 + momentum), tf.complex64)

  def step(phase, before):
    wave = _synthesis(tf.cast(magnitude, tf.complex64) * phase, audio)
    rebuilt = _frames_to_spectra(wave, audio)
    rebuilt.set_shape(before.shape)
    ahead = rebuilt - slow * before
    return ahead / tf.cast(tf.abs(ahead) + _TINY, tf.complex64), rebuilt
  phase, _ = tf.while_loop(
      lambda *_: True, step, (phase, tf.zeros_like(phase)), maximum_iterations=iterations)
  spectra = tf.cast(magnitude, tf.complex64) * phase
  return _without_sides(_synthesis(spectra, audio), audio)


def mel_to_wave(mel, audio, iterations=32, length=None):
  """By Griffin-Lim.

  mel: f32[B, T, M].  length: i32[B] frames, the rest of a row means nothing; None: all count.
  Returns: f32[B, T * hop], 0 behind a row's end.
  """
  if length is None:
    return griffin_lim(magnitude_from_mel(mel, audio), audio, iterations)
  known = tf.sequence_mask(length, tf.shape(mel)[1], tf.float32)[..., None]
  magnitude = magnitude_from_mel(tf.where(known > 0, mel, audio.log_silence), audio) * known
  wave = griffin_lim(magnitude, audio, iterations)
  return wave * tf.sequence_mask(length * audio.hop_samples, tf.shape(wave)[1], tf.float32)


def match_mel(wave, mel, audio, iterations, length=None):
  """Turns the frequencies of each frame up or down until a wave has nearly this mel spectrogram.

  A frequency follows the mel bins it belongs to, by the errors in their logarithms; phases stay.
  wave: f32[B, T * hop], 0 behind a row's end.  mel: f32[B, T, M].  iterations: int.
  length: i32[B] frames, None: all count.  Returns: f32[B, T * hop].
  """
  filters = mel_filters(audio)
  share = tf.constant((filters / np.maximum(filters.sum(axis=1, keepdims=True), _TINY)).T)
  side = (audio.fft_size - audio.hop_samples) // 2
  known = is_sample = 1.0
  if length is not None:
    known = tf.sequence_mask(length, tf.shape(mel)[1], tf.float32)[..., None]
    is_sample = tf.sequence_mask(length * audio.hop_samples, tf.shape(wave)[1], tf.float32)
  for _ in range(iterations):
    spectra = _frames_to_spectra(tf.pad(wave, [[0, 0], [side, side]]), audio)
    found = tf.math.log(tf.maximum(tf.tensordot(tf.abs(spectra), filters, 1), audio.log_floor))
    turn = tf.exp(tf.clip_by_value(mel - found, -_MOST_TURN, _MOST_TURN)) - 1.0
    turn = tf.tensordot(turn * known, share, 1)
    # What is added is 0 where nothing is to be turned: the ends of a row do not fade.
    change = _synthesis(spectra * tf.cast(turn, tf.complex64), audio)
    wave += _without_sides(change, audio) * is_sample
  return wave


def _synthesis(spectra, audio):
  # The inverse for a signal with frames of silence around, hence with the weight of endless frames:
  # it repeats each hop. Returns f32[B, (T - 1) * hop + fft_size].
  hop = audio.hop_samples
  squares = np.pad(_window(audio)**2, (0, -audio.fft_size % hop)).reshape(-1, hop).sum(axis=0)
  weight = tf.constant(np.resize(squares, audio.fft_size))
  return _overlap_add(_windowed(tf.signal.irfft(spectra), audio) / weight, audio)


def _start_phase(magnitude, audio):
  """Single pass spectrogram inversion (Beauregard, Harish and Wyse, 2015).

  Each frequency turns on from frame to frame by the tone of the strongest peak within reach, whose
  frequency is that of a parabola through the peak's logarithm; so steady tones keep their pitch.
  Returns: f32[B, T, F] in radians.
  """
  place = tf.range(audio.num_frequencies, dtype=tf.float32)
  height = tf.math.log(tf.maximum(magnitude, _TINY))
  below, above = tf.roll(height, 1, axis=-1), tf.roll(height, -1, axis=-1)
  is_peak = tf.logical_and(height >= below, height >= above)
  curve = tf.minimum(below - 2 * height + above, -_TINY)
  tone = place + tf.clip_by_value((below - above) / (2 * curve), -0.5, 0.5)
  height = tf.where(is_peak, height, math.log(_TINY))
  tone = tf.where(is_peak, tone, place)
  strongest, heard = height, tone
  for shift in [*range(-_PEAK_REACH, 0), *range(1, _PEAK_REACH + 1)]:
    other = tf.roll(height, shift, axis=-1)
    heard = tf.where(other > strongest, tf.roll(tone, shift, axis=-1), heard)
    strongest = tf.maximum(strongest, other)
  # Whole turns are left out before they are summed: float32 would be coarse where they are many.
  turns = tf.math.floormod(heard * (audio.hop_samples / audio.fft_size), 1.0)
  # Half a turn a bin: phases count from the start of a frame, tones are flat at its middle.
  return 2 * math.pi * (tf.cumsum(turns, axis=1) + 0.5 * place)
