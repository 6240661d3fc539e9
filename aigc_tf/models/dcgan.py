"""Unsupervised Representation Learning with Deep Convolutional GANs (DCGAN), arXiv:1511.06434.

A generator G turns a latent vector into an image through fractionally strided convolutions; a
discriminator D scores images; each is trained against the other.

Differs from the paper:
  - 4x4 kernels instead of 5x5: the stride divides the kernel, so no checkerboard.
  - As many layers as it takes to reach a map of 4x4 pixels, four for the paper's 64x64.
  - Losses: non-saturating (arXiv:1406.2661, section 3), hinge (arXiv:1705.02894), least squares
    (arXiv:1611.04076). Both networks learn from one shared pass through D.
  - Optionally class-conditional: G sees the label beside the latent, D by projection
    (arXiv:1802.05637).

Axes: B batch, H W pixels, C channels, Z latent, K classes.
"""

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

# --- losses: logits f32[B] -> (discriminator's loss f32[B], generator's loss f32[B])


def non_saturating_loss(real, fake):
  """-log D(x) - log(1 - D(G(z))) and -log D(G(z))."""
  return ops.softplus(-real) + ops.softplus(fake), ops.softplus(-fake)


def hinge_loss(real, fake):
  """max(0, 1 - D(x)) + max(0, 1 + D(G(z))) and -D(G(z))."""
  return ops.relu(1.0 - real) + ops.relu(1.0 + fake), -fake


def least_squares_loss(real, fake):
  """Eq. 9 of arXiv:1611.04076 with a = -1, b = 1, c = 0, each term halved."""
  return 0.5 * ops.square(real - 1.0) + 0.5 * ops.square(fake + 1.0), 0.5 * ops.square(fake)


LOSSES = {
    "non_saturating": non_saturating_loss,
    "hinge": hinge_loss,
    "least_squares": least_squares_loss,
}

# --- networks


def build_generator(*, size, channels, latent_dim, num_classes, width):
  """f32[B, Z + K] -> f32[B, H, W, C] in [-1, 1]. Figure 1 of the paper.

  width: channels of the map at half size; each smaller map has twice as many.
  """
  *levels, smallest = pyramid.sizes(size)
  first_width = width * 2**(len(levels) - 1)
  x = inputs = layers.Input((latent_dim + num_classes,))
  x = layers.Dense(smallest * smallest * first_width, use_bias=False)(x)
  x = layers.Reshape((smallest, smallest, first_width))(x)
  x = layers.ReLU()(layers.BatchNormalization(momentum=0.9, synchronized=True)(x))
  for i, level in reversed(list(enumerate(levels[1:]))):
    x = convolutions.Conv2DTranspose(width * 2**i, level, use_bias=False)(x)
    x = layers.ReLU()(layers.BatchNormalization(momentum=0.9, synchronized=True)(x))
  image = convolutions.Conv2DTranspose(channels, size, activation="tanh", dtype="float32")(x)
  return keras.Model(inputs, image, name="generator")


def build_discriminator(*, size, channels, num_classes, width, batch_norm):
  """f32[B, H, W, C] (and f32[B, K] one-hot labels) -> logit f32[B]."""
  x = image = layers.Input((size, size, channels))
  for i, _ in enumerate(pyramid.sizes(size)[1:]):
    x = convolutions.Conv2D(width * 2**i)(x)
    if batch_norm and i:  # "not applying batchnorm to the discriminator input layer", section 3
      x = layers.BatchNormalization(momentum=0.9, synchronized=True)(x)
    x = layers.LeakyReLU(0.2)(x)
  logit = layers.Dense(1, dtype="float32")(layers.Flatten()(x))[:, 0]
  if not num_classes:
    return keras.Model(image, logit, name="discriminator")
  label = layers.Input((num_classes,))
  features = layers.GlobalAveragePooling2D(dtype="float32")(x)
  embedding = layers.Dense(features.shape[-1], use_bias=False, dtype="float32")(label)
  logit = logit + ops.sum(embedding * features, axis=-1)  # eq. 3 of arXiv:1802.05637
  return keras.Model([image, label], logit, name="discriminator")


# --- the model


class DCGAN(keras.Model):
  """Generator and discriminator with their two optimizers.

  spec: dict with size, channels, num_classes.  latent_dim: Z.
  width: channels of the maps at half size; each smaller map has twice as many.
  conditional: generate a class on demand.  batch_norm: in the discriminator too, as in the paper.
  """

  held_out_scalars = ()  # a game's losses say nothing of held-out images

  # --- networks

  def __init__(self, *, spec, latent_dim=100, width=64, conditional=False, batch_norm=True):
    super().__init__()
    self.spec, self.latent_dim = spec, latent_dim
    self.num_classes = conditioning.num_classes(spec, conditional)
    shape = {"size": spec["size"], "channels": spec["channels"],
             "num_classes": self.num_classes, "width": width}
    self.generator = build_generator(latent_dim=latent_dim, **shape)
    self.discriminator = build_discriminator(batch_norm=batch_norm, **shape)
    self.built = True

  @property
  def metrics(self):
    return []

  # --- forward

  def decode(self, latent, label=None, training=False):
    """latent: f32[B, Z].  label: i32[B] if conditional.  Returns: f32[B, H, W, C] in [-1, 1]."""
    if self.num_classes:
      latent = ops.concatenate([latent, ops.one_hot(label, self.num_classes)], axis=-1)
    return self.generator(latent, training=training)

  def discriminate(self, image, label=None, training=False):
    """image: f32[B, H, W, C].  Returns: logit f32[B], positive for real."""
    inputs = [image, ops.one_hot(label, self.num_classes)] if self.num_classes else image
    return self.discriminator(inputs, training=training)

  def call(self, image, training=False):
    """Logits of unconditional images."""
    return self.discriminate(image, training=training)

  # --- training

  def compile(self, *, loss="non_saturating", g_lr=2e-4, d_lr=2e-4, beta_1=0.5, beta_2=0.999,
              warmup_steps=0, decay_steps=0):
    """One Adam for each network (section 4 of the paper: 2e-4 and beta_1 = 0.5)."""
    super().compile(optimizer=None)
    if loss not in LOSSES:
      raise UserError(f"compile.loss={loss!r}: choose one of {', '.join(LOSSES)}")
    self.gan_loss = LOSSES[loss]

    def optimizer(network, lr):
      schedule = WarmupCosine(lr, warmup_steps=warmup_steps, decay_steps=decay_steps)
      return gradients.adam(network.trainable_variables, schedule, beta_1=beta_1, beta_2=beta_2)

    self.g_optimizer = optimizer(self.generator, g_lr)
    self.d_optimizer = optimizer(self.discriminator, d_lr)
    self.gradient_step = gradients.GradientStep(self.losses_for, {
        "g_loss": (self.g_optimizer, self.generator.trainable_variables),
        "d_loss": (self.d_optimizer, self.discriminator.trainable_variables)})

  def losses_for(self, batch, training):
    """Returns: loss, g_loss, d_loss, and the shares of images that D judges rightly."""
    label = batch["label"] if self.num_classes else None
    latent = random.normal(batch["seed"], (self.latent_dim,), random.LATENT)
    image = self.decode(latent, label, training)
    real = self.discriminate(batch["image"], label, training)
    fake = self.discriminate(image, label, training)
    d_loss, g_loss = (ops.mean(x) for x in self.gan_loss(real, fake))
    return {"loss": d_loss + g_loss, "g_loss": g_loss, "d_loss": d_loss,
            "real_accuracy": ops.mean(ops.cast(real > 0, "float32")),
            "fake_accuracy": ops.mean(ops.cast(fake < 0, "float32"))}

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
    latent = random.normal(seed, (self.latent_dim,), random.LATENT)
    path = interpolation.closed_path(latent, num_frames)
    if not self.num_classes:
      return {"image": self.decode(path)}
    label = conditioning.labels(seed, label, self.num_classes)
    return {"image": self.decode(path, tf.repeat(label, num_frames))}

  def previews(self, batch, seed):
    """Named outputs for TensorBoard and samples/: the same seeds at every step."""
    del batch
    label = conditioning.previewed(seed, self.num_classes)
    return {"samples": {"image": self.generate(seed, label)["image"]}}

  # --- serving

  def endpoints(self):
    rows = {"seed": tf.TensorSpec([None], tf.int64, "seed")}
    if self.num_classes:
      rows["label"] = tf.TensorSpec([None], tf.int32, "label")
    knobs = {**rows, "truncation": tf.TensorSpec([None], tf.float32, "truncation")}

    def generate(**inputs):
      return image_codec.outputs(self.generate(**inputs)["image"])

    return {"serving_default": (generate, rows), "generate": (generate, knobs)}


Model = DCGAN
