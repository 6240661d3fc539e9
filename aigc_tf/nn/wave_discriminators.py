"""Judges of waves: discriminators of periods and of spectrograms, and their game with a vocoder.

HiFi-GAN, arXiv:2010.05646, folds a wave by prime periods; UnivNet, arXiv:2106.07889, looks at
spectrograms of several resolutions, here at log magnitudes.

Axes: B batch, S samples, T frames, F frequencies, D width.
"""

import keras
from keras import layers
from keras import ops
import tensorflow as tf

from aigc_tf.nn import spectral

SLOPE = 0.1  # of the leaky rectifiers
MAGNITUDE_FLOOR = 1e-3  # what is quieter sounds alike

# --- losses


def magnitudes(wave, resolutions):
  """wave: f32[B, S].  resolutions: AudioConfigs.  Returns: list of f32[B, T, F]."""
  return [tf.abs(spectral.stft(wave, audio)) for audio in resolutions]


def log_magnitude(magnitude):
  return tf.math.log(tf.maximum(magnitude, MAGNITUDE_FLOOR))


def row_means(x):
  """f32[B, ...] -> f32[B]."""
  return tf.reduce_mean(tf.cast(x, tf.float32), axis=list(range(1, x.shape.rank)))


def discriminator_loss(real, fake):
  """Eq. 1.  real, fake: scores f32[B, ...].  Returns: f32[B]."""
  return row_means(tf.square(real - 1.0)) + row_means(tf.square(fake))


def generator_loss(fake):
  """Eq. 2.  fake: scores f32[B, ...].  Returns: f32[B]."""
  return row_means(tf.square(fake - 1.0))


def feature_loss(real, fake):
  """Eq. 4: L1 between the maps of a discriminator.  real, fake: lists.  Returns: f32[B]."""
  return tf.add_n([row_means(tf.abs(a - b)) for a, b in zip(real, fake, strict=True)])


# --- networks


def _leaky(x):
  return ops.leaky_relu(x, SLOPE)


def build_period_discriminator(period, width):
  """f32[B, S / period, period, 1] -> list of maps f32[B, ..., period, D], the last the scores.

  Figure 2b: every period-th sample of the wave stands in one column; columns never mix.
  width: of the first layer; 32 in the paper.
  """
  x = folded = layers.Input((None, period, 1))
  maps = []
  for i, factor in enumerate((1, 4, 16, 32, 32)):
    strides = (3, 1) if i < 4 else 1
    x = _leaky(layers.Conv2D(width * factor, (5, 1), strides, "same")(x))
    maps.append(x)
  maps.append(layers.Conv2D(1, (3, 1), padding="same", dtype="float32")(x))
  return keras.Model(folded, maps, name=f"period_{period}")


def build_spectrogram_discriminator(num_frequencies, width):
  """f32[B, T, F, 1] of log magnitudes -> list of maps, the last the scores.

  Section 3.2 of arXiv:2106.07889.  width: 32 there.
  """
  x = spectrogram = layers.Input((None, num_frequencies, 1))
  maps = []
  for _ in range(4):
    x = _leaky(layers.Conv2D(width, (3, 9), (1, 2), "same")(x))
    maps.append(x)
  maps.append(_leaky(layers.Conv2D(width, 3, padding="same")(x)))
  maps.append(layers.Conv2D(1, 3, padding="same", dtype="float32")(maps[-1]))
  return keras.Model(spectrogram, maps, name=f"spectrogram_{num_frequencies}")


def fold(wave, period):
  """f32[B, S] -> f32[B, S / period, period, 1], the end reflected to fill the last row."""
  wave = tf.pad(wave, [[0, 0], [0, -tf.shape(wave)[1] % period]], "REFLECT")
  return tf.reshape(wave, (tf.shape(wave)[0], -1, period, 1))


class Discriminators(layers.Layer):
  """All judges.

  resolutions: AudioConfigs of the spectrograms.  periods: ints.  period_width, spectrogram_width:
  channels of the first layers, 32 in the papers.
  """

  def __init__(self, resolutions, periods, period_width, spectrogram_width):
    super().__init__(name="discriminators", dtype="float32")
    self.resolutions, self.periods = resolutions, periods
    self.of_periods = [build_period_discriminator(period, period_width) for period in periods]
    self.of_spectrograms = [
        build_spectrogram_discriminator(audio.num_frequencies, spectrogram_width)
        for audio in resolutions]
    self.built = True

  def call(self, wave):
    """wave: f32[B, S].  Returns: for each judge a list of maps, the last the scores."""
    spectrograms = [log_magnitude(x)[..., None] for x in magnitudes(wave, self.resolutions)]
    return ([network(fold(wave, period))
             for network, period in zip(self.of_periods, self.periods, strict=True)]
            + [network(x) for network, x in zip(self.of_spectrograms, spectrograms, strict=True)])


# --- the game


def play(discriminators, real, wave, feature_weight):
  """One pass of the discriminators over real waves and over those of a generator.

  real, wave: f32[B, S].  feature_weight: lambda_fm of eq. 3.
  Returns: ([the generator's loss: eq. 3 without mels, the discriminators': eq. 1, and of the first
    the parts of eq. 2 and 4: f32[]], gradient of the first by the wave, gradients of the second by
    the discriminators' weights).
  """
  weights = [v.value for v in discriminators.trainable_variables]
  with tf.GradientTape(persistent=True) as tape:
    tape.watch(wave)
    by_row = {"fake": [], "judged": [], "features": []}
    for maps in discriminators(tf.concat([real, wave], axis=0)):
      true, made = zip(*(tf.split(tf.cast(x, tf.float32), 2) for x in maps))
      by_row["judged"].append(discriminator_loss(true[-1], made[-1]))
      by_row["fake"].append(generator_loss(made[-1]))
      by_row["features"].append(feature_loss(true[:-1], made[:-1]))
    adversarial, d_loss, feature = (
        tf.reduce_mean(tf.add_n(by_row[name])) for name in ("fake", "judged", "features"))
    g_loss = adversarial + feature_weight * feature
  return ([g_loss, d_loss, adversarial, feature], tape.gradient(g_loss, wave),
          tape.gradient(d_loss, weights))
