"""The pitch of a voice by autocorrelation: P. Boersma, IFA Proceedings 17 (1993), in NumPy.

The autocorrelation of a windowed frame, divided by that of the window, has its peaks at the period
and its multiples, of height 1 for a purely periodic sound. Each frame has a few candidates and
"unvoiced"; a path of least cost through the frames, which pays for jumps, chooses among them.

Axes: S samples, T frames, C candidates.
"""

import math

import numpy as np

LOWEST_HZ, HIGHEST_HZ = 60.0, 500.0
SIGNATURE = f"boersma1993-{LOWEST_HZ:g}..{HIGHEST_HZ:g}hz"

_CANDIDATES = 6
_PERIODS = 3  # of the lowest pitch in a window
_VOICED = 0.45  # strength that counts as voice
_SILENCE = 0.03  # of the loudest peak in the wave: below it nothing is voiced
_OCTAVE_COST = 0.01  # a little for each octave below the highest: of equal peaks the first
_JUMP_COST, _VOICING_COST = 0.35, 0.14  # for an octave between frames; for voiced to unvoiced


def track(wave, sample_rate_hz, hop_samples):
  """The pitch of every frame; frame t is centred on hop t.

  wave: f[S] in [-1, 1].  Returns: f64[S // hop] in Hz, 0 where there is no voice.
  """
  wave = np.asarray(wave, np.float64)
  count = wave.size // hop_samples
  if not count or not np.abs(wave).max():
    return np.zeros(count)
  frames = _frames(wave, count, sample_rate_hz, hop_samples)
  hz, strength = _candidates(frames, sample_rate_hz)
  loudness = np.abs(frames).max(axis=1) / np.abs(wave).max()
  # Praat's own: the quieter a frame, the stronger is "unvoiced".
  quiet = np.maximum(0, 2 - loudness / (_SILENCE / (1 + _VOICED)))
  score = np.where(hz > 0, strength - _OCTAVE_COST * np.log2(LOWEST_HZ / np.maximum(hz, 1)), 0)
  score[:, 0] = _VOICED + quiet
  return hz[np.arange(count), _best_path(hz, score)]


def _frames(wave, count, sample_rate_hz, hop_samples):
  size = 2 * (int(_PERIODS * sample_rate_hz / LOWEST_HZ) // 2)
  padded = np.pad(wave, size)
  start = size + np.arange(count) * hop_samples + hop_samples // 2 - size // 2
  frames = padded[start[:, None] + np.arange(size)]
  return frames - frames.mean(axis=1, keepdims=True)


def _candidates(frames, sample_rate_hz):
  # (f64[T, C] in Hz, f64[T, C] strengths); column 0 is "unvoiced", 0 Hz.
  size = frames.shape[1]
  window = np.hanning(size)
  longest = int(sample_rate_hz / LOWEST_HZ) + 2
  correlation = _autocorrelation(frames * window)[:, :longest]
  correlation = correlation / np.maximum(correlation[:, :1], 1e-20)
  correlation /= (_autocorrelation(window[None]) / np.sum(window**2))[:, :longest]
  before, at, after = correlation[:, :-2], correlation[:, 1:-1], correlation[:, 2:]
  shift, height = _parabola(before, at, after)
  lag = np.arange(1, longest - 1) + shift
  pitch = sample_rate_hz / lag
  is_peak = (at > before) & (at >= after) & (pitch >= LOWEST_HZ) & (pitch <= HIGHEST_HZ)
  worth = np.where(is_peak, height - _OCTAVE_COST * np.log2(LOWEST_HZ / pitch), -np.inf)
  chosen = np.argsort(-worth, axis=1, kind="stable")[:, :_CANDIDATES - 1]
  found = np.isfinite(np.take_along_axis(worth, chosen, axis=1))
  hz = np.where(found, np.take_along_axis(pitch, chosen, axis=1), 0)
  strength = np.where(found, np.minimum(np.take_along_axis(height, chosen, axis=1), 1), -1)
  return np.pad(hz, ((0, 0), (1, 0))), np.pad(strength, ((0, 0), (1, 0)))


def _autocorrelation(frames):
  size = 2**math.ceil(math.log2(2 * frames.shape[1]))
  return np.fft.irfft(np.abs(np.fft.rfft(frames, size))**2, size)[:, :frames.shape[1]]


def _parabola(before, at, after):
  # Where three samples have their peak, in samples from the middle one, and how high it is.
  bend = before - 2 * at + after
  safe = np.where(np.abs(bend) < 1e-12, 1, bend)
  shift = np.clip(np.where(np.abs(bend) < 1e-12, 0, 0.5 * (before - after) / safe), -0.5, 0.5)
  return shift, at - 0.25 * (before - after) * shift


def _best_path(hz, score):
  # The candidate of each frame: the most score less the cost of all steps (Viterbi).
  voiced = hz > 0
  octave = np.log2(np.maximum(hz, 1))
  best, pointers = score[0], []
  for t in range(1, len(hz)):
    jump = _JUMP_COST * np.abs(octave[t - 1][:, None] - octave[t])
    cost = np.where(voiced[t - 1][:, None] & voiced[t], jump,
                    np.where(voiced[t - 1][:, None] != voiced[t], _VOICING_COST, 0))
    reached = best[:, None] - cost
    pointers.append(reached.argmax(axis=0))
    best = reached.max(axis=0) + score[t]
  path = [int(best.argmax())]
  for pointer in reversed(pointers):
    path.append(int(pointer[path[-1]]))
  return np.array(path[::-1])
