"""HiFi-GAN: Generative Adversarial Networks for Efficient and High Fidelity Speech Synthesis,
arXiv:2010.05646.

A generator G turns a mel spectrogram into a wave: transposed convolutions raise the rate, residual
blocks of several kernels and dilations, added up, look near and far. Discriminators D see the wave
folded by prime periods, or as spectrograms; G must please them, and keep the mel it was given.

Differs from the paper:
  - Head "istft": the last rates are left to an inverse Fourier transform of predicted magnitudes
    and phases (iSTFTNet, arXiv:2203.02395), far cheaper on a CPU. The angle is not bent by a sine.
    Head "wave" is the paper's.
  - Spectrogram discriminators of several resolutions (UnivNet, arXiv:2106.07889), on log magnitudes
    and with a stride from the first layer on, instead of those of several scales.
  - The multi-resolution STFT loss (arXiv:1910.11480) beside the mel loss, on its own until
    `adversarial_from_step`: the discriminators cost nothing until then.
  - With `source_iterations` the generator hears the wave that so many iterations of Griffin-Lim
    make of the mel, and adds to it: pitch, which takes most of the training otherwise, is there
    already. Neural source filters (arXiv:1904.12088) hear a sine for the same reason.
  - What is generated is turned up and down to the given mel (`spectral.match_mel`).
  - No weight normalisation. Discriminators are no part of what is saved: `compile` makes them.

Axes: B batch, S samples, T frames, M mel bins, F frequencies, D width.
"""

import dataclasses
import math

import keras
from keras import layers
from keras import ops
import tensorflow as tf

from aigc_tf.errors import UserError
from aigc_tf.nn import gradients
from aigc_tf.nn import pictures
from aigc_tf.nn import spectral
from aigc_tf.nn import wav
from aigc_tf.nn import wave_discriminators as judges
from aigc_tf.nn.schedules import WarmupCosine

HEADS = ("istft", "wave")
SLOPE = 0.1  # of the leaky rectifiers, section 2.2
OVERLAP = 4  # windows of the head's transform over each sample
MAX_LOG_MAGNITUDE = 4.6  # 100: no untrained or misled head makes the wave infinite
CORRECTIONS = 4  # of a generated wave's mel spectrogram
SOURCE_LOG_MAGNITUDE = -5.0  # of what an untrained head adds to the source: nearly nothing
PREVIEWED = 4

# --- losses


def mel_loss(wave, real, audio):
  """Eq. 5: L1 between log-mels.  wave, real: f32[B, S].  Returns: f32[B]."""
  difference = spectral.log_mel(wave, audio) - spectral.log_mel(real, audio)
  return tf.reduce_mean(tf.abs(difference), axis=(1, 2))


def stft_loss(magnitude, real):
  """Eq. 5 and 6 of arXiv:1910.11480: spectral convergence, and L1 between log magnitudes.

  magnitude, real: f32[B, T, F].  Returns: f32[B], their sum.
  """
  def norm(x):
    return tf.sqrt(tf.reduce_sum(tf.square(x), axis=(1, 2)) + 1e-6)
  difference = judges.log_magnitude(magnitude) - judges.log_magnitude(real)
  return norm(magnitude - real) / norm(real) + tf.reduce_mean(tf.abs(difference), axis=(1, 2))


# --- layers


def leaky(x):
  return ops.leaky_relu(x, SLOPE)


def masked(x, keep):
  """x: f32[B, T, D].  keep: f32[B, T, 1], 0 behind a row's end, or None."""
  return x if keep is None else x * ops.cast(keep, x.dtype)


def convolution(in_width, width, kernel, name, **keywords):
  layer = layers.Conv1D(width, kernel, padding="same", name=name, **keywords)
  layer.build((None, None, in_width))
  return layer


class ResidualBlock(layers.Layer):
  """Figure 1, right: x + conv(x) for each dilation; two convolutions each if `is_double`."""

  def __init__(self, width, kernel, dilations, is_double, name):
    super().__init__(name=name)
    self.dilated = [convolution(width, width, kernel, f"dilated_{i}", dilation_rate=dilation)
                    for i, dilation in enumerate(dilations)]
    self.plain = [convolution(width, width, kernel, f"plain_{i}")
                  for i in range(len(dilations) * is_double)]
    self.built = True

  def call(self, x, keep=None):
    for i, dilated in enumerate(self.dilated):
      made = dilated(masked(leaky(x), keep))
      if self.plain:
        made = self.plain[i](masked(leaky(made), keep))
      x = x + made
    return x


class Stage(layers.Layer):
  """A transposed convolution, then the mean of residual blocks (section 2.2).

  source_stride: samples of the source wave at each place, 0: there is none.
  """

  def __init__(self, in_width, width, rate, block_kernels, dilations, is_double, source_stride,
               name):
    super().__init__(name=name)
    self.hear = None
    if source_stride:
      self.hear = convolution(1, width, 4 * source_stride, "hear", strides=source_stride)
    # The stride divides the kernel: each output sees as many inputs, so no tone of its own.
    self.up = layers.Conv1DTranspose(width, 2 * rate, rate, "same", name="up")
    self.up.build((None, None, in_width))
    self.blocks = [ResidualBlock(width, kernel, dilations, is_double, f"block_{i}")
                   for i, kernel in enumerate(block_kernels)]
    self.built = True

  def call(self, x, keep_before=None, keep=None, source=None):
    x = self.up(masked(leaky(x), keep_before))
    if self.hear is not None:
      x = x + self.hear(source)
    return sum(block(x, keep) for block in self.blocks) / len(self.blocks)


# --- networks


class Generator(layers.Layer):
  """f32[B, T, M], silence 0 -> f32[B, T * (all rates), outputs].  Figure 1, left.

  source_hop: samples a frame of the source wave, 0: there is none.
  """

  def __init__(self, *, num_mels, outputs, width, rates, block_kernels, dilations, is_double,
               source_hop):
    super().__init__(name="generator")
    self.rates = rates
    self.first = convolution(num_mels, width, 7, "first")
    self.stages = [Stage(width >> i, width >> (i + 1), rate, block_kernels, dilations, is_double,
                         source_hop // math.prod(rates[:i + 1]), f"stage_{i}")
                   for i, rate in enumerate(rates)]
    self.last = convolution(width >> len(rates), outputs, 7, "last", dtype="float32")
    self.built = True

  def call(self, x, length=None, source=None):
    """length: i32[B] frames, None if all count.  source: f32[B, S, 1], 0 behind a row's end."""
    frames, scale = tf.shape(x)[1], 1

    def keep():
      if length is None:
        return None
      return tf.sequence_mask(length * scale, frames * scale, tf.float32)[..., None]

    before = keep()
    x = self.first(masked(x, before))
    for rate, stage in zip(self.rates, self.stages):
      scale *= rate
      after = keep()
      x = stage(x, before, after, source)
      before = after
    return self.last(masked(leaky(x), before))


# --- the model


class HiFiGAN(keras.Model):
  """A vocoder.

  spec: dict with audio.  width: channels at the rate of frames; each stage halves them.
  rates: of the stages. Their product is the hop with head "wave", or divides it with head "istft".
  block_kernels, dilations: of the residual blocks.  is_double: two convolutions for each dilation.
  source_iterations: of Griffin-Lim, whose wave the generator adds to; 0: it begins from nothing.
  """

  held_out_scalars = ("mel_loss", "stft_loss")

  # --- networks

  def __init__(self, *, spec, width=256, rates=(8, 4), block_kernels=(3, 7, 11),
               dilations=(1, 3, 5), is_double=False, head="istft", source_iterations=0):
    super().__init__()
    self.spec, self.audio = spec, spectral.from_spec(spec["audio"])
    self.head_audio = _head_audio(self.audio, width, rates, head)
    self.source_iterations = source_iterations
    # Of the STFT loss and of the discriminators.
    sizes = (self.audio.fft_size, self.audio.fft_size // 2, self.audio.fft_size // 4)
    self.resolutions = [_window_of(self.audio, size, OVERLAP) for size in sizes]
    self.generator = Generator(
        num_mels=self.audio.num_mels, width=width, rates=rates, block_kernels=block_kernels,
        outputs=2 * self.head_audio.num_frequencies if self.head_audio else 1,
        dilations=dilations, is_double=is_double,
        source_hop=self.audio.hop_samples if source_iterations else 0)
    self.built = True

  @property
  def metrics(self):
    return []

  # --- forward

  def decode(self, mel, length=None):
    """mel: f32[B, T, M] natural log.  length: i32[B] frames.  Returns: f32[B, T * hop]."""
    # Silence becomes 0, as what convolutions see beyond the ends.
    heard = (mel - self.audio.log_silence) / 4.0
    if not self.source_iterations:
      return self._to_wave(self.generator(heard, length), length)
    source = tf.stop_gradient(spectral.mel_to_wave(
        mel, self.audio, self.source_iterations, length))
    return source + self._to_wave(self.generator(heard, length, source[..., None]), length)

  def _to_wave(self, raw, length):
    """Section 2.2 of arXiv:2203.02395.  raw: f32[B, T, 2 F] or f32[B, S, 1]; returns f32[B, S]."""
    if not self.head_audio:
      return ops.tanh(raw[..., 0])
    raw_magnitude, angle = tf.split(raw, 2, axis=-1)
    if self.source_iterations:
      raw_magnitude += SOURCE_LOG_MAGNITUDE
    magnitude = tf.exp(tf.minimum(raw_magnitude, MAX_LOG_MAGNITUDE))
    if length is not None:
      steps = self.audio.hop_samples // self.head_audio.hop_samples
      keep = tf.sequence_mask(length * steps, tf.shape(raw)[1], tf.float32)
      magnitude *= keep[..., None]
    spectra = tf.complex(magnitude * tf.cos(angle), magnitude * tf.sin(angle))
    # Silent frames around, so that an end has the windows that it has within a longer row.
    side = OVERLAP // 2
    spectra = tf.pad(spectra, [[0, 0], [side, side], [0, 0]])
    wave = spectral.inverse_stft(spectra, self.head_audio)
    cut = side * self.head_audio.hop_samples
    return wave[:, cut:tf.shape(wave)[1] - cut]

  def call(self, mel, training=False):
    del training  # nothing in the generator depends on it
    return self.decode(mel)

  # --- training

  def compile(self, *, g_lr=2e-4, d_lr=2e-4, beta_1=0.8, beta_2=0.99, warmup_steps=0,
              decay_steps=0, mel_weight=45.0, stft_weight=2.5, feature_weight=2.0,
              adversarial_from_step=0, periods=(2, 3, 5, 7, 11), period_width=32,
              spectrogram_width=32):
    """Makes the discriminators, and an Adam for each side.

    mel_weight, feature_weight: of eq. 5 and 3.  stft_weight: 0 for the paper's losses.
    adversarial_from_step: updates before which there is no game.
    periods: of the discriminators on folded waves.  period_width, spectrogram_width: channels of
      the first layers, 32 in the papers.
    """
    super().compile(optimizer=None)
    self.mel_weight, self.stft_weight = mel_weight, stft_weight
    self.feature_weight, self.adversarial_from_step = feature_weight, adversarial_from_step
    self.discriminators = judges.Discriminators(
        self.resolutions, periods, period_width, spectrogram_width)
    judging = self.discriminators.trainable_variables

    def optimizer(variables, lr):
      schedule = WarmupCosine(lr, warmup_steps=warmup_steps, decay_steps=decay_steps)
      return gradients.adam(variables, schedule, beta_1=beta_1, beta_2=beta_2)

    self.g_optimizer = optimizer(self.generator.trainable_variables, g_lr)
    self.d_optimizer = optimizer(judging, d_lr)
    self.gradient_step = gradients.GradientStep(self.losses_for, {
        "g_loss": (self.g_optimizer, self.generator.trainable_variables),
        "d_loss": (self.d_optimizer, judging)}, self._losses_and_gradients)

  def losses_for(self, batch, training):
    """Returns: mel_loss and stft_loss; in training also g_loss (eq. 3 and 5), d_loss and the parts
    of the game; loss, of held-out clips the mel_loss.
    """
    if training:
      return self._losses_and_gradients(batch)[0]
    scalars = self._heard(batch)[1]
    return {"loss": scalars["mel_loss"], **scalars}

  def _heard(self, batch):
    """The waves of a batch, and the losses that need no judge."""
    real, wave = batch["wave"], self.decode(batch["mel"])
    by_row = tf.add_n([stft_loss(made, true) for made, true in zip(
        judges.magnitudes(wave, self.resolutions), judges.magnitudes(real, self.resolutions))])
    return wave, {"mel_loss": ops.mean(mel_loss(wave, real, self.audio)),
                  "stft_loss": ops.mean(by_row) / len(self.resolutions)}

  def _losses_and_gradients(self, batch):
    # A tf.cond under a tape would be differentiated whole, twice: a minute before the first step.
    # So the judges have tapes of their own, and tell how the wave should move.
    moved = [v.value for v in self.generator.trainable_variables]
    with tf.GradientTape() as tape:
      wave, scalars = self._heard(batch)
      heard = (self.mel_weight * scalars["mel_loss"] + self.stft_weight * scalars["stft_loss"])
    game, by_wave, by_weight = self._game_when_due(batch["wave"], wave)
    by_generator = tape.gradient([heard, wave], moved, output_gradients=[tf.ones([]), by_wave])
    g_loss, d_loss, adversarial, feature = game
    losses = {"loss": heard + g_loss + d_loss, "g_loss": heard + g_loss, "d_loss": d_loss,
              "adversarial_loss": adversarial, "feature_loss": feature, **scalars}
    return losses, {"g_loss": by_generator, "d_loss": by_weight}

  def _game_when_due(self, real, wave):
    """What `wave_discriminators.play` returns, zeros before its first update."""
    def play():
      return judges.play(self.discriminators, real, wave, self.feature_weight)

    def wait():
      weights = self.discriminators.trainable_variables
      return [0.0] * 4, tf.zeros_like(wave), [tf.zeros(v.shape) for v in weights]

    if not self.adversarial_from_step:
      return play()
    return tf.cond(self.g_optimizer.iterations >= self.adversarial_from_step, play, wait)

  def train_step(self, batch):
    return self.gradient_step(batch)

  def test_step(self, batch):
    return self.losses_for(batch, training=False)

  # --- generation

  def generate(self, seed, mel, length=None):
    """The wave of a mel spectrogram; nothing in it is random.

    seed: i64[B], not used.  mel: f32[B, T, M] natural log.  length: i32[B] frames, the rest of a
    row is padding; None: all count.  Returns: {"wave": f32[B, T * hop] in [-1, 1]}, 0 behind a row.
    """
    del seed
    is_sample = 1.0
    if length is not None:
      samples = tf.shape(mel)[1] * self.audio.hop_samples
      is_sample = tf.sequence_mask(length * self.audio.hop_samples, samples, tf.float32)
    wave = spectral.match_mel(
        self.decode(mel, length) * is_sample, mel, self.audio, CORRECTIONS, length)
    return {"wave": tf.clip_by_value(wave, -1.0, 1.0) * is_sample}

  def reconstruct(self, wave):
    """wave: f32[B, S].  Returns: {"wave": f32[B, S // hop * hop]}, from its own mel spectrogram."""
    return self.generate(None, spectral.log_mel(wave, self.audio))

  def previews(self, batch, seed):
    """Real clips, what is made of their mels, and both as pictures, one beside the other."""
    del seed
    real = batch["wave"][:PREVIEWED]
    wave = self.generate(None, batch["mel"][:PREVIEWED])["wave"]
    length = tf.fill([tf.shape(real)[0]], tf.shape(real)[1])
    mels = tf.concat([spectral.log_mel(x, self.audio) for x in (real, wave)], axis=1)
    sound = {"length": length, "sample_rate_hz": self.audio.sample_rate_hz}
    return {"samples": {"wave": wave, **sound}, "originals": {"wave": real, **sound},
            "mels": {"image": pictures.heat(tf.transpose(mels, (0, 2, 1)))}}

  # --- serving

  def endpoints(self):
    audio = self.audio
    mel = {"mel": tf.TensorSpec([None, None, audio.num_mels], tf.float32, "mel")}
    frames = {"num_frames": tf.TensorSpec([None], tf.int32, "num_frames")}

    def vocode(mel, num_frames=None):
      most = tf.shape(mel)[1]
      length = tf.fill([tf.shape(mel)[0]], most) if num_frames is None else num_frames
      text = "num_frames: must be 1 to the number of frames of mel"
      checks = [tf.debugging.assert_positive(length, text),
                tf.debugging.assert_less_equal(length, most, text)]
      with tf.control_dependencies([check for check in checks if check is not None]):
        samples = length * audio.hop_samples
      wave = self.generate(None, mel, None if num_frames is None else length)["wave"]
      return {"audio_bytes": wav.encode(wave, samples, audio.sample_rate_hz),
              "num_samples": samples}

    return {"serving_default": (vocode, mel), "vocode": (vocode, {**mel, **frames})}


def _window_of(audio, fft_size, overlap):
  return dataclasses.replace(
      audio, fft_size=fft_size, window_samples=fft_size, hop_samples=fft_size // overlap)


def _head_audio(audio, width, rates, head):
  """AudioConfig of the inverse transform, None without one.  Raises: UserError."""
  if head not in HEADS:
    raise UserError(f"model.head={head!r}: choose one of {', '.join(HEADS)}")
  hop, product = audio.hop_samples, math.prod(rates)
  if hop % product or head == "wave" and hop != product:
    need = "divide" if head == "istft" else "be"
    raise UserError(f"model.rates={tuple(rates)} make {product} together, which must {need} "
                    f"data.audio.hop_samples={hop}")
  if width % 2**len(rates):
    raise UserError(f"model.width={width} must be a multiple of {2**len(rates)}: each of the "
                    "model.rates halves it")
  if head == "wave":
    return None
  return _window_of(audio, OVERLAP * (hop // product), OVERLAP)


Model = HiFiGAN
