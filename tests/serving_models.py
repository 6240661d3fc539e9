"""Small models with endpoints, for the tests of the export: one that is right, one of text."""

import keras
import tensorflow as tf

from aigc_tf.nn import image_codec
from aigc_tf.nn import random

SEED = {"seed": tf.TensorSpec([None], tf.int64)}


class Painter(keras.Model):
  """A generator with everything that tends to slip into an export, and a critic beside it."""

  def __init__(self):
    super().__init__()
    layers = keras.layers
    self.net = keras.Sequential([
        keras.Input((8,)), layers.Dense(6 * 6 * 128), layers.BatchNormalization(),
        layers.Activation("silu"), layers.Reshape((6, 6, 128)),
        layers.Conv2DTranspose(16, 4, 2, padding="same"), layers.Dropout(0.5),
        layers.Conv2D(3, 3, padding="same", activation="tanh")])
    self.critic = keras.Sequential([keras.Input((12, 12, 3)), layers.Flatten(), layers.Dense(99)])
    self.built = True

  def call(self, inputs, training=False):
    return self.critic(self.net(inputs, training=training), training=training)

  def paint(self, seed, truncation=1.0):
    latent = random.normal(seed, (8,), random.LATENT) * tf.reshape(truncation, [-1, 1])
    return image_codec.outputs(self.net(latent, training=False))

  def endpoints(self):
    return {"serving_default": (self.paint, SEED),
            "generate": (self.paint, SEED | {"truncation": tf.TensorSpec([None], tf.float32)})}


class Speller(keras.Model):
  """Text in, text and floats out, with a lookup table and a loop as long as the text."""

  def __init__(self):
    super().__init__()
    letters = tf.constant(list("helo"))
    self.table = tf.lookup.StaticHashTable(
        tf.lookup.KeyValueTensorInitializer(letters, tf.range(1, 5)), default_value=0)
    self.embedding = keras.layers.Embedding(5, 3)
    self.embedding.build(None)
    self.built = True

  def endpoints(self):
    def spell(text):
      tokens = self.table.lookup(tf.strings.unicode_split(text, "UTF-8").to_tensor(""))
      total = tf.zeros([tf.shape(text)[0], 3])
      for i in tf.range(tf.shape(tokens)[1]):
        total += self.embedding(tokens[:, i])
      spelled = tf.strings.reduce_join(tf.strings.as_string(tokens), axis=1, separator="-")
      return {"text": spelled, "total": total, "long": tf.reduce_sum(tokens, axis=1) > 9}
    return {"serving_default": (spell, {"text": tf.TensorSpec([None], tf.string)})}


class Single(keras.Model):
  """One endpoint, whatever it does.

  function: called with the layer (4 in, 2 out) and the inputs.  specs: {input: tf.TensorSpec}.
  """

  def __init__(self, function, specs):
    super().__init__()
    self.layer = keras.layers.Dense(2)
    self.layer.build([None, 4])
    self.built = True
    self._endpoint = (lambda **inputs: function(self.layer, **inputs), specs)

  def endpoints(self):
    return {"serving_default": self._endpoint}
