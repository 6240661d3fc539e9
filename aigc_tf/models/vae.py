"""Auto-Encoding Variational Bayes (VAE), arXiv:1312.6114.

An encoder gives a Gaussian over latents for each image, a decoder gives pixels for each latent;
both maximise the evidence lower bound of eq. 3, with the noise drawn outside the network (eq. 4).

Differs from the paper:
  - Convolutions, as in DCGAN, instead of one hidden layer.
  - The KL term has a weight beta (arXiv:1804.03599 traces it to beta-VAE), a linear warm-up, and
    free bits (arXiv:1606.04934, section 8), here for each row instead of for a batch's mean.
  - The Gaussian likelihood learns one standard deviation for all pixels (arXiv:2006.13202).
  - Optionally class-conditional: the encoder and the decoder see the label.

Axes: B batch, H W pixels, C channels, Z latent, K classes.
"""

import math

import keras
from keras import layers
from keras import ops
import tensorflow as tf

from aigc_tf.errors import UserError
from aigc_tf.nn import conditioning
from aigc_tf.nn import convolutions
from aigc_tf.nn import gradients
from aigc_tf.nn import image_codec
from aigc_tf.nn import interpolation
from aigc_tf.nn import pyramid
from aigc_tf.nn import random
from aigc_tf.nn.schedules import WarmupCosine

LIKELIHOODS = ("bernoulli", "gaussian")

# --- losses


def kl_to_unit_gaussian(mean, log_var):
  """KL(N(mean, exp(log_var)) || N(0, 1)), appendix B of the paper.

  mean, log_var: f32[B, Z].  Returns: f32[B, Z] in nats.
  """
  return 0.5 * (ops.exp(log_var) + ops.square(mean) - 1.0 - log_var)


def bernoulli_loss(logit, image):
  """-log p(image), a pixel being the probability of white.

  logit, image: f32[B, H, W, C], image in [-1, 1].  Returns: f32[B] in nats.
  """
  probability = (image + 1.0) / 2.0
  return ops.sum(ops.softplus(logit) - probability * logit, axis=(1, 2, 3))


def gaussian_loss(decoded, image, log_sigma):
  """-log p(image) under N(decoded, exp(log_sigma)^2), as a density over [-1, 1].

  decoded, image: f32[B, H, W, C].  log_sigma: f32[].  Returns: f32[B] in nats.
  """
  error = ops.sum(ops.square(decoded - image), axis=(1, 2, 3))
  pixels = math.prod(image.shape[1:])
  return 0.5 * error * ops.exp(-2.0 * log_sigma) + pixels * (
      log_sigma + 0.5 * math.log(2.0 * math.pi))


# --- networks


def build_encoder(*, size, channels, latent_dim, num_classes, width):
  """f32[B, H, W, C] (and f32[B, K]) -> mean and log variance f32[B, 2 Z]."""
  x = image = layers.Input((size, size, channels))
  for i, _ in enumerate(pyramid.sizes(size)[1:]):
    x = convolutions.Conv2D(width * 2**i, activation="silu")(x)
  x = layers.Flatten()(x)
  inputs = image
  if num_classes:
    label = layers.Input((num_classes,))
    x, inputs = layers.Concatenate()([x, label]), [image, label]
  x = layers.Dense(8 * width, activation="silu")(x)
  moments = layers.Dense(2 * latent_dim, dtype="float32")(x)
  return keras.Model(inputs, moments, name="encoder")


def build_decoder(*, size, channels, latent_dim, num_classes, width):
  """f32[B, Z + K] -> f32[B, H, W, C], logits or pixels before the tanh."""
  *levels, smallest = pyramid.sizes(size)
  first_width = width * 2**(len(levels) - 1)
  x = latent = layers.Input((latent_dim + num_classes,))
  x = layers.Dense(8 * width, activation="silu")(x)
  x = layers.Dense(smallest * smallest * first_width, activation="silu")(x)
  x = layers.Reshape((smallest, smallest, first_width))(x)
  for i, level in reversed(list(enumerate(levels[1:]))):
    x = convolutions.Conv2DTranspose(width * 2**i, level, activation="silu")(x)
  image = convolutions.Conv2DTranspose(channels, size, dtype="float32")(x)
  return keras.Model(latent, image, name="decoder")


class Scale(layers.Layer):
  """One learned number: the log of the Gaussian likelihood's standard deviation."""

  def __init__(self):
    super().__init__(dtype="float32")
    self.log_sigma = self.add_weight(name="log_sigma", shape=(), initializer="zeros")
    self.built = True


# --- the model


class VAE(keras.Model):
  """Encoder and decoder.

  spec: dict with size, channels, num_classes.  latent_dim: Z.  width: channels at half size.
  likelihood: bernoulli (grey levels as probabilities) or gaussian (colour).
  conditional: generate a class on demand.
  """

  held_out_scalars = ("loss", "recon", "kl")

  # --- networks

  def __init__(self, *, spec, latent_dim=32, width=32, likelihood="bernoulli", conditional=False):
    super().__init__()
    if likelihood not in LIKELIHOODS:
      raise UserError(f"model.likelihood={likelihood!r}: choose one of {', '.join(LIKELIHOODS)}")
    self.spec, self.latent_dim, self.likelihood = spec, latent_dim, likelihood
    self.num_classes = conditioning.num_classes(spec, conditional)
    shape = {"size": spec["size"], "channels": spec["channels"], "latent_dim": latent_dim,
             "num_classes": self.num_classes, "width": width}
    self.encoder, self.decoder = build_encoder(**shape), build_decoder(**shape)
    self.scale = Scale() if likelihood == "gaussian" else None
    self.built = True

  @property
  def metrics(self):
    return []

  # --- forward

  def encode(self, image, label=None, training=False):
    """image: f32[B, H, W, C].  Returns: mean and log variance, f32[B, Z] each."""
    inputs = [image, ops.one_hot(label, self.num_classes)] if self.num_classes else image
    mean, log_var = ops.split(self.encoder(inputs, training=training), 2, axis=-1)
    # exp() of what a wild update makes must stay finite: variances from e-10 to e10.
    return mean, ops.clip(log_var, -10.0, 10.0)

  def decode_raw(self, latent, label=None, training=False):
    """Logits (bernoulli) or pixels (gaussian), f32[B, H, W, C]."""
    if self.num_classes:
      latent = ops.concatenate([latent, ops.one_hot(label, self.num_classes)], axis=-1)
    raw = self.decoder(latent, training=training)
    return raw if self.likelihood == "bernoulli" else ops.tanh(raw)

  def decode(self, latent, label=None):
    """latent: f32[B, Z].  Returns: the likelihood's mean, f32[B, H, W, C] in [-1, 1]."""
    raw = self.decode_raw(latent, label)
    return ops.tanh(raw / 2.0) if self.likelihood == "bernoulli" else raw  # 2 sigmoid - 1

  def call(self, image, training=False):
    """Reconstructions of unconditional images from their mean latents."""
    return self.decode(self.encode(image, training=training)[0])

  # --- training

  def compile(self, *, lr=1e-3, beta=1.0, free_bits=0.0, kl_warmup_steps=0, warmup_steps=0,
              decay_steps=0):
    """beta: weight of the KL term.  free_bits: nats of each latent dimension that cost nothing.
    kl_warmup_steps: updates over which beta grows from 0.
    """
    super().compile(optimizer=None)
    self.beta, self.free_bits, self.kl_warmup_steps = beta, free_bits, kl_warmup_steps
    schedule = WarmupCosine(lr, warmup_steps=warmup_steps, decay_steps=decay_steps)
    self.adam = gradients.adam(self.trainable_variables, schedule)
    self.gradient_step = gradients.GradientStep(
        self.losses_for, {"loss": (self.adam, self.trainable_variables)})

  def losses_for(self, batch, training):
    """Returns: loss, recon and kl in nats an image, elbo, and the latent dimensions in use."""
    image = batch["image"]
    label = batch["label"] if self.num_classes else None
    mean, log_var = self.encode(image, label, training)
    noise = random.normal(batch["seed"], (self.latent_dim,), random.LATENT)
    latent = mean + ops.exp(0.5 * log_var) * noise  # eq. 4
    raw = self.decode_raw(latent, label, training)
    if self.likelihood == "bernoulli":
      recon = ops.mean(bernoulli_loss(raw, image))
    else:
      recon = ops.mean(gaussian_loss(raw, image, self.scale.log_sigma))
    kl_by_unit = kl_to_unit_gaussian(mean, log_var)
    kl = ops.mean(ops.sum(kl_by_unit, axis=-1))
    paid = kl  # held-out data is judged by the plain bound
    if training:
      paid = self._kl_weight() * ops.mean(
          ops.sum(ops.maximum(kl_by_unit, self.free_bits), axis=-1))
    active = ops.sum(ops.cast(ops.mean(kl_by_unit, axis=0) > 0.01, "float32"))
    return {"loss": recon + paid, "recon": recon, "kl": kl,
            "elbo": -(recon + kl), "active_units": active}

  def _kl_weight(self):
    if not self.kl_warmup_steps:
      return self.beta
    done = ops.cast(self.adam.iterations, "float32") / self.kl_warmup_steps
    return self.beta * ops.minimum(1.0, done)

  def train_step(self, batch):
    return self.gradient_step(batch)

  def test_step(self, batch):
    return self.losses_for(batch, training=False)

  # --- generation

  def generate(self, seed, label=None, truncation=1.0):
    """Images from nothing but seeds.

    seed: i64[B].  label: i32[B], drawn from the seed if absent.
    truncation: f32[] or f32[B] in [0, 1], shrinks the latent: plainer images, less variety.
    Returns: {"image": f32[B, H, W, C] in [-1, 1]}, and the "label" if conditional.
    """
    seed = tf.convert_to_tensor(seed, tf.int64)
    latent = random.normal(seed, (self.latent_dim,), random.LATENT)
    latent *= tf.reshape(tf.convert_to_tensor(truncation, tf.float32), (-1, 1))
    if not self.num_classes:
      return {"image": self.decode(latent)}
    label = conditioning.labels(seed, label, self.num_classes)
    return {"image": self.decode(latent, label), "label": label}

  def interpolate(self, seed, num_frames, label=None):
    """A walk on the sphere of latents through the seeds, in order, and back to the first.

    seed: i64[B].  label: i32[B] if conditional, one for each frame's starting seed.
    Returns: {"image": f32[B * num_frames, H, W, C]}.
    """
    seed = tf.convert_to_tensor(seed, tf.int64)
    path = interpolation.closed_path(
        random.normal(seed, (self.latent_dim,), random.LATENT), num_frames)
    if not self.num_classes:
      return {"image": self.decode(path)}
    label = conditioning.labels(seed, label, self.num_classes)
    return {"image": self.decode(path, tf.repeat(label, num_frames))}

  def reconstruct(self, image, label=None):
    """image: f32[B, H, W, C].  Returns: {"image": f32[B, H, W, C]}, from the mean latents."""
    return {"image": self.decode(self.encode(image, label)[0], label)}

  def previews(self, batch, seed):
    """Samples of fixed seeds; real images, each beside its reconstruction."""
    label = batch["label"] if self.num_classes else None
    pairs = tf.stack([batch["image"], self.reconstruct(batch["image"], label)["image"]], axis=1)
    wanted = conditioning.previewed(seed, self.num_classes)
    return {"samples": {"image": self.generate(seed, wanted)["image"]},
            "reconstructions": {"image": tf.reshape(pairs, (-1, *pairs.shape[2:]))}}

  # --- serving

  def endpoints(self):
    shape = [None, self.spec["size"], self.spec["size"], self.spec["channels"]]
    label = {}
    if self.num_classes:
      label = {"label": tf.TensorSpec([None], tf.int32, "label")}
    seed = {"seed": tf.TensorSpec([None], tf.int64, "seed")}
    knob = {"truncation": tf.TensorSpec([None], tf.float32, "truncation")}
    image = {"image": tf.TensorSpec(shape, tf.uint8, "image")}
    latent = {"latent": tf.TensorSpec([None, self.latent_dim], tf.float32, "latent")}

    def generate(**inputs):
      return image_codec.outputs(self.generate(**inputs)["image"])

    def encode(image, **inputs):
      mean, log_var = self.encode(image_codec.to_float(image), **inputs)
      return {"mean": mean, "log_var": log_var}

    def decode(**inputs):
      return image_codec.outputs(self.decode(**inputs))

    def reconstruct(image, **inputs):
      image = image_codec.to_float(image)
      return image_codec.outputs(self.reconstruct(image, **inputs)["image"])

    return {"serving_default": (generate, {**seed, **label}),
            "generate": (generate, {**seed, **label, **knob}),
            "encode": (encode, {**image, **label}),
            "decode": (decode, {**latent, **label}),
            "reconstruct": (reconstruct, {**image, **label})}


Model = VAE
