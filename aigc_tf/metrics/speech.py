"""Speech against recordings of the same sentences: spectrum, pitch, voicing, length.

  mel-cepstral distortion  R. Kubichek, PACRIM 1993, along dynamic time warping (DTW)
  pitch (F0)               autocorrelation, P. Boersma, IFA Proceedings 17, 1993

All functions take waves, f32[S] mono in [-1, 1]; none knows a model. What they say about a voice
is worth something only beside the same values of other voices under the same signature.

Axes: S samples, T frames of one wave, R of another, P steps of a path, M mel bins, D cepstra.
"""

import math
from typing import NamedTuple

import numpy as np

from aigc_tf.errors import UserError
from aigc_tf.metrics import measurement
from aigc_tf.metrics import pitch
from aigc_tf.nn import spectral

VERSION = 1  # part of each signature: raise it when a definition here changes
ENOUGH = 20  # pairs below which a mean moves a lot from one set to the next
NUM_CEPSTRA = 13  # without the zeroth, which is loudness
END_DB = 40.0  # what is so far below the loudest frame, at both ends, is left out


class Aligned(NamedTuple):
  """Two waves laid on each other.

  distortion_db: float.  path: i64[P, 2], frames of the first and the second wave.
  seconds: (float, float), lengths without their quiet ends.
  starts: (int, int), frames cut at the beginning.
  """
  distortion_db: float
  path: np.ndarray
  seconds: tuple
  starts: tuple


def settings(sample_rate_hz):
  """The AudioConfig of these metrics.  Returns: spectral.AudioConfig, frames of about 64 ms."""
  size = 2**round(math.log2(0.064 * sample_rate_hz))
  return spectral.from_spec({
      "sample_rate_hz": sample_rate_hz, "window_samples": size, "hop_samples": size // 4,
      "fft_size": size, "num_mels": 80, "lowest_hz": 0.0,
      "highest_hz": min(8000.0, sample_rate_hz / 2)})


def mel_cepstra(log_mel):
  """Cepstra 1 to D of log-mel spectra: c_d = 2/M sum_m L_m cos(pi d (m + 1/2) / M).

  In this scale the spectrum is L_m = c_0 / 2 + sum_d c_d cos(...), as in SPTK.
  log_mel: f[T, M] natural log of magnitudes.  Returns: f64[T, D].
  """
  num_mels = log_mel.shape[1]
  order = np.arange(1, NUM_CEPSTRA + 1)
  basis = np.cos(np.pi * order * (np.arange(num_mels)[:, None] + 0.5) / num_mels)
  return np.asarray(log_mel, np.float64) @ basis * (2 / num_mels)


def distances(cepstra, others):
  """Kubichek's distance of each frame to each: 10 / ln 10 * sqrt(2 sum_d (c_d - c'_d)^2).

  cepstra: f[T, D].  others: f[R, D].  Returns: f64[T, R] in dB.
  """
  squares = (np.sum(cepstra**2, axis=1)[:, None] + np.sum(others**2, axis=1)
             - 2 * cepstra @ others.T)
  return 10 / math.log(10) * np.sqrt(2 * np.maximum(squares, 0))


def warp(cost):
  """The path from corner to corner with the least sum, by steps (1, 0), (0, 1) and (1, 1).

  cost: f[T, R].  Returns: (i64[P, 2] cells of the path, f64 sum of their costs).
  """
  rows, columns = cost.shape
  total = np.full((rows + 1, columns + 1), np.inf)
  total[0, 0] = 0
  for diagonal in range(rows + columns - 1):  # a diagonal depends on the two before it only
    row = np.arange(max(0, diagonal - columns + 1), min(rows, diagonal + 1))
    column = diagonal - row
    before = np.minimum(np.minimum(total[row, column + 1], total[row + 1, column]),
                        total[row, column])
    total[row + 1, column + 1] = cost[row, column] + before
  path, place = [], (rows, columns)
  while place != (0, 0):
    path.append((place[0] - 1, place[1] - 1))
    row, column = place
    steps = ((row - 1, column - 1), (row - 1, column), (row, column - 1))
    place = min(steps, key=lambda cell: total[cell])
  return np.array(path[::-1]), float(total[rows, columns])


def can_be_measured(wave, sample_rate_hz):
  """Whether `align` takes a wave, f32[S]: it is neither silent nor shorter than a frame."""
  try:
    _frames(wave, settings(sample_rate_hz))
  except UserError:
    return False
  return True


def align(wave, other, sample_rate_hz):
  """Mel-cepstral distortion along the best path, a mean over its steps.

  wave, other: f32[S] of any two lengths.  Returns: Aligned.  Raises: UserError for silence.
  """
  audio = settings(sample_rate_hz)
  spectra, starts = zip(*(_frames(each, audio) for each in (wave, other)))
  path, total = warp(distances(*map(mel_cepstra, spectra)))
  seconds = tuple(len(each) * audio.hop_samples / sample_rate_hz for each in spectra)
  return Aligned(total / len(path), path, seconds, starts)


def _frames(wave, audio):
  # (log-mel f32[T, M] without quiet ends, number of frames cut at the beginning)
  wave = np.asarray(wave, np.float32)
  if wave.size < audio.fft_size:
    raise UserError(f"a wave of {wave.size} samples is too short to be measured: at least "
                    f"{audio.fft_size} are needed")
  wave = wave[:wave.size // audio.hop_samples * audio.hop_samples]
  log_mel = spectral.log_mel(wave[None], audio).numpy()[0]
  level = np.log(np.sum(np.exp(2.0 * log_mel), axis=1)) * 10 / math.log(10)
  heard = np.flatnonzero(level > max(level.max() - END_DB, 20 * math.log10(audio.log_floor) + 30))
  if not heard.size:
    raise UserError("a silent wave cannot be measured")
  return log_mel[heard[0]:heard[-1] + 1], int(heard[0])


def pitch_errors(wave, other, aligned, sample_rate_hz):
  """Pitch along a path.

  aligned: Aligned of the two waves.
  Returns: (f64[K] difference in cents at the K steps where both are voiced,
    f64 share of the steps where only one is).
  """
  hop = settings(sample_rate_hz).hop_samples
  tracks = [pitch.track(each, sample_rate_hz, hop) for each in (wave, other)]
  first, second = (track[np.minimum(aligned.path[:, i] + aligned.starts[i], track.size - 1)]
                   for i, track in enumerate(tracks))
  both = (first > 0) & (second > 0)
  return 1200 * np.log2(first[both] / second[both]), float(np.mean((first > 0) != (second > 0)))


def reference_report(waves, references, sample_rate_hz, prefix="", **conditions):
  """How near waves are to recordings of the same sentences.

  mcd: dB, mean over the pairs.  f0_rmse_cents: over all steps where both are voiced, left out
  where there are none.
  voicing_error: share of steps where one is voiced, mean over the pairs.  duration_ratio and
  duration_ratio_max: length through the recording's, both without quiet ends.
  waves, references: lists of N f32[S].  prefix: of the names.  conditions: more for the signature.
  Returns: list of Measurement.  Raises: UserError.
  """
  if not waves or len(waves) != len(references):
    raise UserError(f"{len(waves)} waves and {len(references)} recordings: give pairs, at least "
                    "one")
  pairs = [align(*pair, sample_rate_hz) for pair in zip(waves, references)]
  cents, voicing = zip(*(pitch_errors(wave, other, aligned, sample_rate_hz)
                         for wave, other, aligned in zip(waves, references, pairs)))
  ratios = [aligned.seconds[0] / aligned.seconds[1] for aligned in pairs]
  audio = settings(sample_rate_hz)
  base = {"n": len(waves), "hz": sample_rate_hz, **conditions}
  frames = {"ends": f"-{END_DB:g}dB"}
  path = {**frames, "dtw": "11-10-01", "cepstra": f"1..{NUM_CEPSTRA}of{audio.num_mels}mels",
          "window": audio.window_samples, "hop": audio.hop_samples}
  heard = {**path, "f0": pitch.SIGNATURE}
  values = [
      ("mcd", np.mean([aligned.distortion_db for aligned in pairs]),
       {**path, "formula": "kubichek-c=2/M"})]
  if any(map(len, cents)):
    values.append(
        ("f0_rmse_cents", math.sqrt(np.mean(np.square(np.concatenate(cents)))), heard))
  values += [
      ("voicing_error", np.mean(voicing), heard),
      ("duration_ratio", np.mean(ratios), frames),
      ("duration_ratio_max", np.max(ratios), frames)]
  note = f"only {len(waves)} pairs" if len(waves) < ENOUGH else ""
  return [measurement.signed(prefix + name, value, VERSION, note, **base, **more)
          for name, value, more in values]
