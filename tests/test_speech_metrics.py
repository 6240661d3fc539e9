"""The speech metrics against loops, closed forms, SciPy and the packages they stand for."""

import functools
import importlib.util
import math
import sys

import numpy as np
import pytest
from scipy import fft

from aigc_tf.errors import UserError
from aigc_tf.metrics import pitch
from aigc_tf.metrics import speech
from aigc_tf.metrics import speech_quality
from aigc_tf.metrics import speech_recognition

RATE = 16000


def voice(f0_hz, seconds=1.0, formants_hz=(600, 1400, 2600), seed=0):
  """A buzz at a pitch (Hz, or one a sample) through three resonances, with a little noise."""
  count = round(RATE * seconds)
  f0_hz = np.broadcast_to(np.asarray(f0_hz, np.float64), count)
  phase = 2 * np.pi * np.cumsum(f0_hz) / RATE
  wave = np.zeros(count)
  for k in range(1, 40):
    hz = k * f0_hz
    gain = sum(1 / (1 + ((hz - formant) / 120)**2) for formant in formants_hz) + 0.02
    wave += np.where(hz < 7500, gain / k**0.5 * np.sin(k * phase), 0)
  wave += np.random.default_rng(seed).normal(size=count) * 0.003
  return (0.4 * wave / np.abs(wave).max()).astype(np.float32)


# --- mel-cepstral distortion


def test_cepstra_are_scipys_cosine_transform():
  log_mel = np.random.default_rng(0).normal(size=(7, 80))
  expected = fft.dct(log_mel, type=2, axis=1)[:, 1:speech.NUM_CEPSTRA + 1] / 80
  np.testing.assert_allclose(speech.mel_cepstra(log_mel), expected, atol=1e-12)


def test_a_ripple_of_the_spectrum_has_its_own_distortion():
  # L' = L + a cos(pi d (m + 1/2) / M) moves c_d by a: 10 / ln 10 * sqrt(2) * a, which is the
  # root mean square of the ripple in dB. Loudness does not count.
  log_mel = np.random.default_rng(1).normal(size=(3, 80))
  ripple = 0.3 * np.cos(np.pi * 5 * (np.arange(80) + 0.5) / 80)
  found = speech.distances(*(speech.mel_cepstra(x) for x in (log_mel, log_mel + ripple + 2.0)))
  np.testing.assert_allclose(np.diag(found), 10 / math.log(10) * math.sqrt(2) * 0.3, rtol=1e-9)
  rms_db = math.sqrt(np.mean((20 / math.log(10) * ripple)**2))
  np.testing.assert_allclose(np.diag(found), rms_db, rtol=1e-9)


def naive_warp(cost):
  """Least sum over all paths, by its definition."""
  @functools.cache
  def least(i, j):
    if i < 0 or j < 0:
      return math.inf
    if i == j == 0:
      return cost[0, 0]
    return cost[i, j] + min(least(i - 1, j - 1), least(i - 1, j), least(i, j - 1))
  return least(cost.shape[0] - 1, cost.shape[1] - 1)


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1), (12, 20), (31, 17)])
def test_warping_equals_a_loop(shape):
  cost = np.random.default_rng(2).uniform(size=shape)
  path, total = speech.warp(cost)
  assert total == pytest.approx(naive_warp(cost), rel=1e-12)
  assert total == pytest.approx(cost[tuple(path.T)].sum(), rel=1e-12)
  assert path[0].tolist() == [0, 0] and path[-1].tolist() == [shape[0] - 1, shape[1] - 1]
  assert set(map(tuple, np.diff(path, axis=0))) <= {(0, 1), (1, 0), (1, 1)}


def test_distortion_knows_another_vowel_from_a_slower_one():
  vowels = [(600, 1400, 2600), (300, 2200, 3000), (400, 900, 2400)]

  def said(seconds, seed):
    return np.concatenate([voice(120, seconds, each, seed) for each in vowels])
  same, slower = said(0.3, 0), said(0.5, 1)
  other = np.concatenate([voice(120, 0.3, each, 2) for each in vowels[::-1]])
  assert speech.align(same, same, RATE).distortion_db == pytest.approx(0, abs=1e-3)
  near, far = (speech.align(same, each, RATE).distortion_db for each in (slower, other))
  assert near < 2 and far > 2.5 * near
  padded = np.pad(same, (4000, 3000))
  assert speech.align(same, padded, RATE).distortion_db < 1  # frames lie elsewhere
  assert speech.align(same, 0.5 * same, RATE).distortion_db < 0.1


# --- pitch


@pytest.mark.parametrize("hz", [70, 110, 220, 440])
def test_a_tone_has_its_pitch(hz):
  tone = 0.5 * np.sin(2 * np.pi * hz * np.arange(RATE) / RATE)
  found = pitch.track(tone, RATE, 256)
  assert found.shape == (62,)
  np.testing.assert_allclose(found[2:-2], hz, rtol=2e-3)


def test_a_gliding_voice_is_followed_and_noise_is_none():
  glide = np.linspace(90, 260, 2 * RATE)
  found = pitch.track(voice(glide, 2.0), RATE, 256)
  expected = glide[128::256][:found.size]
  np.testing.assert_allclose(found[3:-3], expected[3:-3], rtol=0.01)
  noise = np.random.default_rng(3).normal(size=RATE) * 0.1
  assert np.mean(pitch.track(noise, RATE, 256) > 0) < 0.05
  assert not pitch.track(np.zeros(RATE), RATE, 256).any()
  mixed = np.concatenate([voice(120), 0.001 * noise, voice(120)])
  voiced = pitch.track(mixed, RATE, 256) > 0
  assert voiced[3:58].all() and not voiced[66:120].any() and voiced[129:184].all()


# --- against recordings


def test_reference_report():
  references = [np.pad(voice(120, 1.0, seed=i), 2000) for i in range(3)]
  waves = [np.pad(voice(120 * 2**(100 / 1200), seconds, seed=9), 2000)
           for seconds in (1.0, 1.5, 2.0)]
  values = {m.name: m for m in speech.reference_report(waves, references, RATE, "t_", split="x")}
  assert list(values) == ["t_mcd", "t_f0_rmse_cents", "t_voicing_error", "t_duration_ratio",
                          "t_duration_ratio_max"]
  assert values["t_f0_rmse_cents"].value == pytest.approx(100, abs=3)
  assert values["t_duration_ratio"].value == pytest.approx(1.5, abs=0.05)
  assert values["t_duration_ratio_max"].value == pytest.approx(2.0, abs=0.07)
  assert values["t_voicing_error"].value < 0.1
  assert values["t_mcd"].signature == (
      "t_mcd|n:3|hz:16000|split:x|ends:-40dB|dtw:11-10-01|cepstra:1..13of80mels|window:1024|"
      "hop:256|formula:kubichek-c=2/M|v:1")
  assert "f0:boersma1993-60..500hz" in values["t_f0_rmse_cents"].signature
  assert values["t_mcd"].note == "only 3 pairs"
  same = {m.name: m.value for m in speech.reference_report(references, references, RATE)}
  assert same == pytest.approx({"mcd": 0, "f0_rmse_cents": 0, "voicing_error": 0,
                                "duration_ratio": 1, "duration_ratio_max": 1}, abs=1e-3)


@pytest.mark.parametrize("waves, references", [
    ([], []), ([voice(100)], []), ([np.zeros(RATE)], [voice(100)]),
    ([voice(100)[:100]], [voice(100)])])
def test_what_cannot_be_measured_is_refused(waves, references):
  with pytest.raises(UserError, match="^[^\n]*(pairs|silent|too short)[^\n]*$"):
    speech.reference_report(waves, references, RATE)


# --- recognition


def naive_edits(a, b):
  if not a or not b:
    return len(a) + len(b)
  return min(naive_edits(a[1:], b) + 1, naive_edits(a, b[1:]) + 1,
             naive_edits(a[1:], b[1:]) + (a[0] != b[0]))


def test_edits_equal_their_definition():
  draw = np.random.default_rng(4)
  for _ in range(40):
    a, b = (list(draw.integers(0, 3, draw.integers(0, 6))) for _ in range(2))
    assert speech_recognition.edits(a, b) == naive_edits(a, b)
  assert speech_recognition.edits("kitten", "sitting") == 3


def test_error_rates_weigh_words_and_have_an_interval():
  references = [["a", "b", "c"], ["d"], ["e", "f"]] * 20
  hypotheses = [["a", "x", "c"], [], ["e", "f", "g"]] * 20
  rate, low, high = speech_recognition.error_rate(hypotheses, references)
  assert rate == pytest.approx(3 / 6) and low < rate < high
  assert speech_recognition.error_rate(hypotheses, references) == (rate, low, high)
  assert speech_recognition.error_rate(references, references) == (0, 0, 0)
  # Over many sentences the interval is the normal one of a ratio of means.
  counts = np.array([[1, 3], [1, 1], [1, 2]] * 20)
  residual = counts[:, 0] - rate * counts[:, 1]
  half = 1.96 * residual.std() / math.sqrt(60) / counts[:, 1].mean()
  assert (high - low) / 2 == pytest.approx(half, rel=0.1)
  for bad in (([], []), ([["a"]], []), ([["a"]], [[]])):
    with pytest.raises(UserError, match="give pairs"):
      speech_recognition.error_rate(*bad)


def test_both_sides_are_spelled_alike():
  assert speech_recognition.spelled("I've 2 well-known 'things', you see!") == (
      "i've two well known things you see")
  assert speech_recognition.spelled("...") == ""


def test_recognition_of_silence():
  pytest.importorskip("pocketsphinx")
  quiet = np.random.default_rng(5).normal(size=RATE) * 1e-4
  values = {m.name: m for m in speech_recognition.recognition_report(
      [quiet, quiet], ["Hello there.", "Yes."], RATE, "real_", split="x")}
  assert list(values) == [f"real_{name}{end}" for name in ("wer", "cer")
                          for end in ("", "_low", "_high")]
  assert values["real_wer"].value == values["real_cer"].value == 1
  assert "|asr:pocketsphinx-" in values["real_wer"].signature
  assert values["real_wer"].signature.startswith("real_wer|n:2|")
  assert values["real_wer"].note == "only 2 sentences"


@pytest.mark.network
def test_what_flite_says_is_understood():
  from aigc_tf.data.builders import flite_en
  texts = ["I would like to know where my order is.", "What is the time?", "She went home early."]
  waves = [samples / np.float32(32768) for samples in flite_en.spoken(
      [("rms", text) for text in texts])]
  heard = speech_recognition.recognised(waves, RATE)
  assert speech_recognition.recognised(waves[::-1], RATE) == heard[::-1]
  rate, _, _ = speech_recognition.error_rate(
      [line.split() for line in heard],
      [speech_recognition.spelled(text).split() for text in texts])
  assert rate < 0.35


# --- DNSMOS


@pytest.mark.skipif(not speech_quality.is_installed() or not importlib.util.find_spec("librosa"),
                    reason="speechmos, onnxruntime and librosa are an optional oracle")
def test_dnsmos_is_speechmos_own():
  from speechmos import dnsmos
  for seconds in (0.7, 9.5, 12.0):
    wave = voice(110, seconds)
    theirs = dnsmos.run(wave, RATE)
    expected = [theirs[name] for name in ("sig_mos", "bak_mos", "ovrl_mos")]
    np.testing.assert_allclose(speech_quality.dnsmos(wave, RATE), expected, atol=1e-4)


@pytest.mark.skipif(not speech_quality.is_installed(), reason="the extra `eval`")
def test_noise_lowers_the_quality():
  clean = voice(110, 2.0)
  noise = np.random.default_rng(6).normal(size=clean.size).astype(np.float32) * 0.1
  values, noisy = (speech_quality.quality_report([wave], RATE, "a_", split="x")
                   for wave in (clean, clean + noise))
  assert [m.name for m in values] == ["a_dnsmos_sig", "a_dnsmos_bak", "a_dnsmos_ovr"]
  assert noisy[1].value < values[1].value - 0.3
  assert values[0].signature.startswith("a_dnsmos_sig|n:1|net:speechmos-")
  for waves in ([], [np.zeros(0)]):
    with pytest.raises(UserError, match="no wave|empty wave"):
      speech_quality.quality_report(waves, RATE)


def test_missing_packages_are_named(monkeypatch):
  monkeypatch.setitem(sys.modules, "pocketsphinx", None)
  with pytest.raises(UserError, match=r"pip install pocketsphinx, .*aigc_tf\[eval\]"):
    speech_recognition.check_packages()
  monkeypatch.setattr(speech_quality, "is_installed", lambda: False)
  speech_quality._session.cache_clear()
  with pytest.raises(UserError, match=r"pip install speechmos onnxruntime, .*aigc_tf\[eval\]"):
    speech_quality.dnsmos(voice(100, 0.1), RATE)
