"""HiFi-GAN: losses and folding against loops, rows and padding, the game, its endpoints."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf

from aigc_tf.errors import UserError
from aigc_tf.models import hifigan
from aigc_tf.nn import spectral
from aigc_tf.nn import wave_discriminators as judges

AUDIO = {"sample_rate_hz": 8000, "window_samples": 256, "hop_samples": 64, "fft_size": 256,
         "num_mels": 20, "highest_hz": 4000.0}
SPEC = {"modality": "speech", "task": "vocoder", "audio": AUDIO}
SMALL = {"width": 16, "rates": (4,), "block_kernels": (3, 5), "dilations": (1, 3)}
GAME = {"periods": (2, 3), "period_width": 2, "spectrogram_width": 2}


def build(compiled=False, **keywords):
  keras.utils.set_random_seed(3)
  made = hifigan.Model(spec=SPEC, **{**SMALL, **keywords})
  if compiled:
    made.compile(**GAME)
  return made


@functools.cache
def shared():
  return build()


def tones(rows, frames=12):
  """Sums of harmonics, another pitch in each row.  Returns: f32[rows, frames * hop]."""
  seconds = np.arange(frames * AUDIO["hop_samples"]) / AUDIO["sample_rate_hz"]
  pitch_hz = 150 + 60 * np.arange(rows)[:, None]
  return sum(0.2 / k * np.sin(2 * np.pi * k * pitch_hz * seconds) for k in (1, 2, 3)).astype("f")


def batch(rows=4, frames=12):
  wave = tf.constant(tones(rows, frames))
  return {"wave": wave, "mel": spectral.log_mel(wave, spectral.from_spec(AUDIO)),
          "seed": tf.range(rows, dtype=tf.int64)}


# --- losses


def test_mel_loss_is_the_mean_distance_of_log_mels():
  audio, (a, b) = spectral.from_spec(AUDIO), tones(2)
  mels = [spectral.log_mel(x[None], audio).numpy() for x in (a, b)]
  expected = np.abs(mels[0] - mels[1]).mean()
  np.testing.assert_allclose(hifigan.mel_loss(a[None], b[None], audio), [expected], rtol=1e-5)


def test_stft_loss_equals_a_loop_over_rows():
  noise = np.random.default_rng(0)
  made, real = noise.uniform(0.01, 2, (2, 3, 5, 7)).astype(np.float32)
  expected = [np.linalg.norm(a - b) / np.linalg.norm(b) + np.abs(np.log(a) - np.log(b)).mean()
              for a, b in zip(made, real)]
  np.testing.assert_allclose(hifigan.stft_loss(made, real), expected, rtol=1e-5)
  # The root of a millionth, over the row's norm, keeps the gradient finite.
  np.testing.assert_allclose(hifigan.stft_loss(real, real), 0, atol=2e-4)


def test_game_losses_are_least_squares():
  real, fake = np.float32([[1, 0.5], [0, 2]]), np.float32([[0, 1], [0.5, -1]])
  np.testing.assert_allclose(judges.discriminator_loss(real, fake), [0.625, 1.625])
  np.testing.assert_allclose(judges.generator_loss(fake), [0.5, 2.125])
  np.testing.assert_allclose(judges.feature_loss([real, 2 * real], [fake, 2 * fake]),
                             [3 * 0.75, 3 * 1.75])


@pytest.mark.parametrize("samples,period", [(12, 3), (13, 3), (17, 5)])
def test_fold_puts_every_period_th_sample_into_a_column(samples, period):
  wave = np.random.default_rng(1).normal(size=(2, samples)).astype(np.float32)
  folded = judges.fold(tf.constant(wave), period).numpy()
  tall = -(-samples // period)
  assert folded.shape == (2, tall, period, 1)
  for y in range(tall):
    for x in range(period):
      place = y * period + x
      place = place if place < samples else 2 * (samples - 1) - place  # reflected at the end
      np.testing.assert_array_equal(folded[:, y, x, 0], wave[:, place])


# --- the game


def test_gradients_of_the_game_are_those_of_its_losses():
  """The shared pass against two plain ones, each with a tape of its own."""
  one, rows = build(compiled=True), batch(2)
  real, fake = rows["wave"], 0.5 * tf.roll(rows["wave"], 5, axis=1)
  weights = [v.value for v in one.discriminators.trainable_variables]
  with tf.GradientTape(persistent=True) as tape:
    tape.watch(fake)
    pairs = list(zip(one.discriminators(real), one.discriminators(fake)))
    d_loss = tf.reduce_mean(sum(judges.discriminator_loss(a[-1], b[-1]) for a, b in pairs))
    g_loss = tf.reduce_mean(sum(judges.generator_loss(b[-1]) for _, b in pairs)) + (
        3.0 * tf.reduce_mean(sum(judges.feature_loss(a[:-1], b[:-1]) for a, b in pairs)))
  losses, by_wave, by_weight = judges.play(one.discriminators, real, fake, 3.0)
  np.testing.assert_allclose(losses[:2], [g_loss, d_loss], rtol=1e-5)
  np.testing.assert_allclose(by_wave, tape.gradient(g_loss, fake), atol=1e-6)
  for made, expected in zip(by_weight, tape.gradient(d_loss, weights)):
    np.testing.assert_allclose(made, expected, rtol=1e-3, atol=1e-5)


def test_game_starts_at_its_step_and_moves_the_discriminators_from_there():
  one = build()
  one.compile(adversarial_from_step=2, **GAME)
  step, rows = tf.function(one.train_step), batch(2)
  before = [v.numpy() for v in one.discriminators.trainable_variables]
  for _ in range(2):
    waiting = step(rows)
    assert float(waiting["d_loss"]) == 0 and float(waiting["d_gradient_norm"]) == 0
  for value, v in zip(before, one.discriminators.trainable_variables):
    np.testing.assert_array_equal(v, value)
  playing = step(rows)
  assert float(playing["d_loss"]) > 0.1 and float(playing["d_gradient_norm"]) > 0
  assert all(np.any(v.numpy() != value)
             for value, v in zip(before, one.discriminators.trainable_variables))


def test_a_batch_is_learned_by_heart():
  one = build(width=32)
  one.compile(g_lr=2e-3, d_lr=1e-3, **GAME)
  step, rows = tf.function(one.train_step), batch(2)
  first = step(rows)
  for _ in range(80):
    last = step(rows)
  assert float(last["mel_loss"]) < 0.4 * float(first["mel_loss"])
  assert float(last["stft_loss"]) < 0.6 * float(first["stft_loss"])


def test_discriminators_are_made_by_compile_and_not_saved(tmp_path):
  trained = build(compiled=True)
  assert trained.count_params() > build().count_params()
  trained.save_weights(tmp_path / "x.weights.h5")
  other = hifigan.Model(spec=SPEC, **SMALL)
  other.load_weights(tmp_path / "x.weights.h5")
  mel = batch(1)["mel"]
  np.testing.assert_array_equal(other(mel), trained(mel))


# --- the generator


@pytest.mark.parametrize("keywords", [
    {}, {"rates": (4, 2), "is_double": True}, {"rates": (8, 8), "head": "wave"},
    {"source_iterations": 3}, {"rates": (8, 8), "head": "wave", "source_iterations": 1}])
def test_a_row_alone_is_that_row_in_a_longer_batch(keywords):
  one, frames = build(**keywords), (12, 7, 3)
  mel = np.full((3, 12, AUDIO["num_mels"]), one.audio.log_silence, np.float32)
  for row, length in zip(mel, frames):
    row[:length] = np.random.default_rng(length).uniform(-5, 1, (length, AUDIO["num_mels"]))
  together = one.generate(tf.zeros(3, tf.int64), mel, tf.constant(frames))["wave"].numpy()
  hop = AUDIO["hop_samples"]
  # Each iteration of Griffin-Lim magnifies what the order of a sum does to the last bits.
  tolerance = 1e-3 if one.source_iterations else 1e-5
  assert together.shape == (3, 12 * hop) and np.abs(together).max() <= 1
  for i, length in enumerate(frames):
    alone = one.generate(None, mel[i:i + 1, :length])["wave"].numpy()[0]
    np.testing.assert_allclose(together[i, :length * hop], alone, atol=tolerance)
    assert np.abs(alone[-hop:]).max() > 1e-4 and not together[i, length * hop:].any()


def test_with_a_source_it_begins_as_griffin_lim():
  real = batch(rows=1)
  audio = spectral.from_spec(AUDIO)
  expected = spectral.mel_to_wave(real["mel"], audio, iterations=5)
  made = build(source_iterations=5).decode(real["mel"])
  assert np.abs(made - expected).max() < 0.02 < np.abs(expected).max()
  assert np.abs(shared().decode(real["mel"]) - expected).max() > 0.02


def test_inverse_transform_makes_the_waves_that_its_spectra_are_of():
  """What the network would have to say for a known wave gives that wave."""
  one, wave = shared(), tones(1)
  spectra = spectral.stft(wave, one.head_audio).numpy()
  raw = np.concatenate([np.log(np.abs(spectra) + 1e-9), np.angle(spectra)], axis=-1)
  made = one._to_wave(tf.constant(raw), None).numpy()
  assert made.shape == wave.shape
  hop = one.head_audio.hop_samples  # at the ends the reflected part is missing
  np.testing.assert_allclose(made[:, 2 * hop:-2 * hop], wave[:, 2 * hop:-2 * hop], atol=1e-4)


@pytest.mark.parametrize("keywords,named", [
    ({"rates": (3,)}, "model.rates"), ({"rates": (8,), "head": "wave"}, "model.rates"),
    ({"head": "vocos"}, "model.head"), ({"width": 10, "rates": (2, 2)}, "model.width")])
def test_sizes_that_do_not_fit_are_named(keywords, named):
  with pytest.raises(UserError, match=named):
    build(**keywords)


def test_paper_size_is_the_papers():
  """Table 1 of the paper: V1 has 13.92 million parameters, weight normalisation's scales included.
  """
  spec = {**SPEC, "audio": {"sample_rate_hz": 22050, "highest_hz": 8000.0}}
  one = hifigan.Model(spec=spec, width=512, rates=(8, 8, 2, 2), is_double=True, head="wave")
  assert one.count_params() == pytest.approx(13.92e6, rel=0.01)


# --- previews and endpoints


def test_previews_are_waves_and_pictures():
  one, rows = shared(), batch(6)
  shown = one.previews(rows, rows["seed"])
  assert shown["samples"]["wave"].shape == (4, 12 * 64) == shown["originals"]["wave"].shape
  assert shown["samples"]["length"].numpy().tolist() == [12 * 64] * 4
  assert shown["mels"]["image"].shape[0] == 4 and shown["mels"]["image"].shape[-1] == 3


def test_endpoints_answer_wav_files():
  one, mel = shared(), batch(2)["mel"]
  function, inputs = one.endpoints()["serving_default"]
  assert {key: spec.shape.as_list() for key, spec in inputs.items()} == {"mel": [None, None, 20]}
  answer = tf.function(function)(mel=mel)
  assert answer["num_samples"].numpy().tolist() == [12 * 64] * 2
  decoded = tf.audio.decode_wav(answer["audio_bytes"][1])
  assert int(decoded.sample_rate) == 8000
  np.testing.assert_allclose(decoded.audio[:, 0], one.generate(None, mel)["wave"][1], atol=1e-4)


def test_vocode_cuts_each_row_and_refuses_impossible_lengths():
  one, mel = shared(), batch(2)["mel"]
  function, inputs = one.endpoints()["vocode"]
  assert set(inputs) == {"mel", "num_frames"}
  answer = function(mel=mel, num_frames=tf.constant([12, 5]))
  assert answer["num_samples"].numpy().tolist() == [768, 320]
  assert tf.audio.decode_wav(answer["audio_bytes"][1]).audio.shape == (320, 1)
  for wrong in (0, 13):
    with pytest.raises(tf.errors.InvalidArgumentError, match="num_frames"):
      function(mel=mel, num_frames=tf.constant([12, wrong]))
