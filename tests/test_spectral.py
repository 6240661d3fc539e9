"""Spectra and mel spectrograms against librosa, waves rebuilt from them, WAV files."""

import io
import wave as wave_files

import librosa
import numpy as np
import pytest
import tensorflow as tf

from aigc_tf.errors import UserError
from aigc_tf.nn import spectral
from aigc_tf.nn import wav

AUDIO = spectral.AudioConfig()
CONFIGS = {
    "default": AUDIO,
    "htk": spectral.AudioConfig(mel_scale="htk"),
    "small": spectral.AudioConfig(8000, 256, 64, 256, 20, 80.0, 3800.0),
    "window": spectral.AudioConfig(22050, 800, 200, 1024, 80, 0.0, 8000.0),
    "odd_window": spectral.AudioConfig(16000, 401, 100, 512, 24, 50.0, 7000.0, "htk", 1e-4)}
each_config = pytest.mark.parametrize("audio", CONFIGS.values(), ids=CONFIGS)


def noise(rows, samples, seed=0):
  return np.random.default_rng(seed).normal(0, 0.1, (rows, samples)).astype(np.float32)


def speech_like(audio, seconds=1.0):
  """A gliding voice with 20 harmonics that comes and goes: f32[1, T * hop]."""
  count = int(seconds * audio.sample_rate_hz) // audio.hop_samples * audio.hop_samples
  t = np.arange(count) / audio.sample_rate_hz
  turn = 2 * np.pi * np.cumsum(120 + 40 * np.sin(2 * np.pi * 2 * t)) / audio.sample_rate_hz
  wave = sum(np.sin(k * turn) / k for k in range(1, 21)) * np.sin(np.pi * 3 * t)**2
  return (0.2 * wave)[None].astype(np.float32)


def tone(hz, audio=AUDIO, seconds=2.0):
  t = np.arange(int(seconds * audio.sample_rate_hz)) / audio.sample_rate_hz
  return (0.5 * np.sin(2 * np.pi * hz * t))[None].astype(np.float32)


def pitch_hz(wave, rate_hz):
  """The strongest frequency, on a grid of a 64th of the resolution."""
  size = 64 * len(wave)
  spectrum = np.abs(np.fft.rfft(wave * np.hanning(len(wave)), size))
  return spectrum.argmax() * rate_hz / size


def librosa_stft(wave, audio):
  side = (audio.fft_size - audio.hop_samples) // 2
  return librosa.stft(np.pad(wave, side, mode="reflect"), n_fft=audio.fft_size,
                      hop_length=audio.hop_samples, win_length=audio.window_samples,
                      center=False).T


# --- spectra


@each_config
def test_stft_equals_librosa(audio):
  wave = noise(2, 10 * audio.hop_samples + 3)
  ours = spectral.stft(wave, audio).numpy()
  assert ours.shape == (2, 10, audio.num_frequencies) and ours.dtype == np.complex64
  for got, row in zip(ours, wave):
    np.testing.assert_allclose(got, librosa_stft(row, audio), rtol=0, atol=1e-5)


@pytest.mark.parametrize("samples", [256, 300, 385, 1000])
def test_waves_shorter_than_a_side_are_reflected_again_and_again(samples):
  wave = noise(1, samples)
  padded = np.pad(wave[0], 384, mode="reflect")
  frames = np.stack([padded[i:i + 1024] for i in range(0, len(padded) - 1023, 256)])
  expected = np.fft.rfft(frames * np.hanning(1025)[:-1])
  ours = spectral.stft(wave, AUDIO)[0].numpy()
  assert len(ours) == samples // 256
  np.testing.assert_allclose(ours, expected[:len(ours)], rtol=0, atol=1e-5)


@each_config
def test_inverse_is_exact(audio):
  wave = noise(2, 12 * audio.hop_samples)
  again = spectral.inverse_stft(spectral.stft(wave, audio), audio).numpy()
  assert again.shape == wave.shape
  np.testing.assert_allclose(again, wave, rtol=0, atol=2e-6)  # float32 sums of fft_size terms


@each_config
def test_filters_equal_librosa(audio):
  expected = librosa.filters.mel(
      sr=audio.sample_rate_hz, n_fft=audio.fft_size, n_mels=audio.num_mels, fmin=audio.lowest_hz,
      fmax=audio.highest_hz, htk=audio.mel_scale == "htk",
      norm="slaney" if audio.mel_scale == "slaney" else None).T
  np.testing.assert_allclose(spectral.mel_filters(audio), expected, rtol=0, atol=1e-6)


@each_config
def test_log_mel_equals_librosa(audio):
  wave = noise(1, 10 * audio.hop_samples)
  wave[:, :6 * audio.hop_samples] *= 1e-5  # below the floor
  expected = librosa.feature.melspectrogram(
      S=np.abs(librosa_stft(wave[0], audio)).T, sr=audio.sample_rate_hz, n_fft=audio.fft_size,
      n_mels=audio.num_mels, fmin=audio.lowest_hz, fmax=audio.highest_hz,
      htk=audio.mel_scale == "htk", norm="slaney" if audio.mel_scale == "slaney" else None)
  expected = np.log(np.maximum(expected.T, audio.log_floor))
  ours = spectral.log_mel(wave, audio)[0].numpy()
  np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-4)
  assert abs(ours.min() - audio.log_silence) < 1e-5 and ours.max() > -6


def test_gradients_are_finite_in_silence_too():
  wave = tf.constant(np.concatenate([np.zeros((1, 4096)), noise(1, 4096)]).astype(np.float32))
  with tf.GradientTape() as tape:
    tape.watch(wave)
    loss = tf.reduce_sum(spectral.log_mel(wave, AUDIO))
  gradient = tape.gradient(loss, wave).numpy()
  assert np.isfinite(gradient).all() and np.abs(gradient[1]).max() > 0


# --- back from mel


@each_config
def test_magnitudes_have_the_mel_they_were_made_from(audio):
  mel = spectral.log_mel(speech_like(audio), audio)
  magnitude = spectral.magnitude_from_mel(mel, audio).numpy()
  assert magnitude.min() >= 0
  again = magnitude @ spectral.mel_filters(audio)
  # Lee and Seung's updates were stopped early; the clipped pseudo-inverse alone is several times
  # further away.
  error = np.linalg.norm(again - np.exp(mel)) / np.linalg.norm(np.exp(mel))
  clipped = np.maximum(np.exp(mel) @ np.linalg.pinv(spectral.mel_filters(audio)), 0)
  baseline = clipped @ spectral.mel_filters(audio)
  baseline = np.linalg.norm(baseline - np.exp(mel)) / np.linalg.norm(np.exp(mel))
  assert error < max(0.5 * baseline, 1e-3)


@pytest.mark.parametrize("hz", [100.0, 440.0, 441.7, 3000.0])
def test_griffin_lim_keeps_the_pitch_of_a_tone(hz):
  wave = spectral.griffin_lim(tf.abs(spectral.stft(tone(hz), AUDIO)), AUDIO)[0].numpy()
  assert abs(pitch_hz(wave, 16000) - hz) < 1
  assert abs(wave[4000:-4000].std() / (0.5 / np.sqrt(2)) - 1) < 0.02


def test_griffin_lim_is_as_near_as_librosa():
  magnitude = tf.abs(spectral.stft(speech_like(AUDIO, 2.0), AUDIO)).numpy()

  def distance(wave):
    found = np.abs(spectral.stft(wave[None].astype(np.float32), AUDIO)[0].numpy())
    return np.linalg.norm(found - magnitude[0]) / np.linalg.norm(magnitude)
  ours = spectral.griffin_lim(magnitude, AUDIO)[0].numpy()
  theirs = librosa.griffinlim(magnitude[0].T, n_iter=32, hop_length=256, n_fft=1024,
                              center=False, random_state=0)
  theirs = theirs[384:384 + ours.size]
  assert distance(ours) < distance(np.pad(theirs, (0, ours.size - theirs.size)))


def test_matching_a_mel_repairs_loudness_and_keeps_phases():
  wave = speech_like(AUDIO)
  mel = spectral.log_mel(wave, AUDIO)
  np.testing.assert_allclose(spectral.match_mel(wave, mel, AUDIO, 3)[:, 512:-512],
                             wave[:, 512:-512], atol=1e-4)
  louder = spectral.log_mel(2.0 * wave, AUDIO)
  np.testing.assert_allclose(spectral.match_mel(wave, louder, AUDIO, 3)[:, 1024:-1024],
                             2.0 * wave[:, 1024:-1024], atol=2e-3)
  filtered = wave[:, 1:] - 0.9 * wave[:, :-1]
  filtered = tf.pad(filtered, [[0, 0], [0, 1]])
  before, after = (float(tf.reduce_mean(tf.abs(spectral.log_mel(x, AUDIO) - mel)))
                   for x in (filtered, spectral.match_mel(filtered, mel, AUDIO, 4)))
  assert after < 0.1 * before


def test_silent_frames_behind_a_row_do_not_change_it():
  mel = spectral.log_mel(speech_like(AUDIO), AUDIO).numpy()
  count = mel.shape[1]
  longer = np.full((2, count + 9, 80), AUDIO.log_silence, np.float32)
  longer[0, :count], longer[1] = mel[0], np.linspace(-3, 0, 80)
  alone = spectral.mel_to_wave(mel, AUDIO).numpy()
  together = spectral.mel_to_wave(longer, AUDIO).numpy()
  assert alone.shape == (1, 256 * count) and together.shape == (2, 256 * (count + 9))
  np.testing.assert_allclose(together[0, :256 * count], alone[0], rtol=0, atol=1e-2)  # as below
  assert not together[0, 256 * (count + 4):].any()


def test_graphs_of_unknown_shape_equal_eager():
  wave = speech_like(AUDIO, 0.5)
  mel = spectral.log_mel(wave, AUDIO)
  row = tf.TensorSpec([None, None], tf.float32)
  graph = tf.function(lambda wave: spectral.log_mel(wave, AUDIO), [row])
  np.testing.assert_allclose(graph(wave), mel, rtol=0, atol=1e-5)
  row = tf.TensorSpec([None, None, 80], tf.float32)
  graph = tf.function(lambda mel: spectral.mel_to_wave(mel, AUDIO), [row])
  # The rounds of Griffin-Lim make float32's rounding grow: 2e-3 was seen, where waves reach 0.7.
  np.testing.assert_allclose(graph(mel), spectral.mel_to_wave(mel, AUDIO), rtol=0, atol=1e-2)
  assert graph(tf.zeros([0, 4, 80])).shape == (0, 1024)


# --- settings


def test_settings_survive_json_and_name_what_differs():
  audio = spectral.from_spec({"sample_rate_hz": 8000, "highest_hz": 4000})
  assert audio == spectral.from_spec(audio.to_spec())
  assert audio.highest_hz == 4000.0 and audio.num_mels == 80
  assert len(audio.fingerprint()) == 8 and int(audio.fingerprint(), 16) >= 0
  assert audio.fingerprint() == spectral.from_spec(audio.to_spec()).fingerprint()
  assert audio.fingerprint() != AUDIO.fingerprint()
  spectral.check_equal(audio, audio, ("a", "b"))
  with pytest.raises(UserError, match="the voice and the vocoder.*sample_rate_hz 8000 and 16000, "
                                      "highest_hz 4000.0 and 8000.0"):
    spectral.check_equal(audio, AUDIO, ("the voice", "the vocoder"))


@pytest.mark.parametrize("wrong,words", [
    ({"hop": 256}, "no setting 'hop'"), ({"num_mels": "many"}, "must be of type int"),
    ({"hop_samples": 2.5}, "must be of type int"), ({"hop_samples": 600}, "half of window_samples"),
    ({"window_samples": 2048}, "above fft_size"), ({"hop_samples": 255}, "must be even"),
    ({"highest_hz": 9000}, "half of sample_rate_hz"), ({"lowest_hz": 8000}, "in this order"),
    ({"mel_scale": "bark"}, "slaney, htk"), ({"log_floor": 0.0}, "between 0 and 1"),
    ({"num_mels": 0}, "1 or more"), ({"num_mels": 400}, "hold no frequency"),
    ({"sample_rate_hz": None}, "must be of type int")])
def test_impossible_settings_are_one_line(wrong, words):
  with pytest.raises(UserError, match=words) as caught:
    spectral.from_spec(wrong)
  assert "\n" not in str(caught.value)


# --- WAV


def test_wav_files_open_in_wave_with_their_own_length():
  waves = np.concatenate([tone(440, seconds=0.1), 3 * tone(200, seconds=0.1)])
  files = tf.function(wav.encode)(waves, [1600, 700], 16000).numpy()
  for data, count, row in zip(files, (1600, 700), waves):
    with wave_files.open(io.BytesIO(data)) as file:
      assert file.getparams()[:4] == (1, 2, 16000, count)
      samples = np.frombuffer(file.readframes(count), np.int16) / 2**15
    np.testing.assert_allclose(samples, np.clip(row[:count], -1, 1), rtol=0, atol=2**-15)


def test_empty_waves_and_batches_are_files_too():
  files = wav.encode(np.zeros((2, 50), np.float32), [0, 50], 8000).numpy()
  with wave_files.open(io.BytesIO(files[0])) as file:
    assert file.getnframes() == 0 and file.getframerate() == 8000
  assert wav.encode(np.zeros((0, 50), np.float32), np.zeros([0], np.int32), 8000).shape == (0,)
