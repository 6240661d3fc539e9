"""Small SavedModels for the tests of the server, without Keras: saved in a moment, loaded quickly.

Every function is `make_X(root, name, version)`: it writes ROOT/NAME/VERSION/, at once for whoever
polls ROOT/NAME (a folder beside it is renamed), and returns the path of the version.
"""

import os
import shutil
import tempfile

import tensorflow as tf

TEXTS = tf.TensorSpec([None], tf.string)


def _save(module, root, name, version, signatures):
  """signatures: {key: tf.function}.  Returns: path ROOT/NAME/VERSION, written at once."""
  base = os.path.join(str(root), name)
  os.makedirs(base, exist_ok=True)
  temporary = tempfile.mkdtemp(prefix=".tmp-", dir=base)
  tf.saved_model.save(module, temporary, signatures=signatures)
  path = os.path.join(base, str(version))
  os.rename(temporary, path)
  return path


class HalfPlusTwo(tf.Module):
  """y = x / 2 + addend, with the signatures of TF Serving's own test model."""

  def __init__(self, addend):
    super().__init__()
    self.a = tf.Variable(0.5)
    self.b = tf.Variable(float(addend))
    self.c = tf.Variable(3.0)

  def _example(self, serialized, feature):
    return tf.io.parse_example(serialized, {
        "x": tf.io.FixedLenFeature([1], tf.float32),
        "x2": tf.io.FixedLenFeature([1], tf.float32, [0.0])})[feature]

  @tf.function(input_signature=[tf.TensorSpec([None], tf.float32)])
  def predict(self, x):
    return {"y": self.a * x + self.b}

  @tf.function(input_signature=[TEXTS])
  def regress_x_to_y(self, inputs):
    return {"outputs": self.a * self._example(inputs, "x") + self.b}

  @tf.function(input_signature=[TEXTS])
  def regress_x_to_y2(self, inputs):
    return {"outputs": self.a * self._example(inputs, "x") + self.c}

  @tf.function(input_signature=[tf.TensorSpec([None, 1], tf.float32)])
  def regress_x2_to_y3(self, inputs):
    return {"outputs": self.a * inputs + self.c}

  @tf.function(input_signature=[TEXTS])
  def classify_x_to_y(self, inputs):
    return {"scores": self.a * self._example(inputs, "x") + self.b}

  @tf.function(input_signature=[TEXTS])
  def classify_named(self, inputs):
    x = self._example(inputs, "x")
    names = tf.tile([["low", "high"]], [tf.shape(x)[0], 1])
    return {"scores": tf.concat([1 - x, x], 1), "classes": names}


def make_half_plus_two(root, name="half_plus_two", version=1, addend=2.0):
  """serving_default {x: f32[-1]} -> {y: f32[-1]} = x / 2 + addend.

  regress_x_to_y, regress_x_to_y2 (adds 3), classify_x_to_y: {inputs: string[-1], tf.Example with
  x: f32[1]} -> {outputs | scores: f32[-1, 1]}; classify_named: with classes low, high and scores
  1 - x, x; regress_x2_to_y3: {inputs: f32[-1, 1]}.
  """
  module = HalfPlusTwo(addend)
  keys = ("regress_x_to_y", "regress_x_to_y2", "regress_x2_to_y3", "classify_x_to_y",
          "classify_named")
  return _save(module, root, name, version, {
      "serving_default": module.predict, **{key: getattr(module, key) for key in keys}})


class Mixed(tf.Module):
  """One signature of every type, and some of unusual ranks."""

  @tf.function(input_signature=[
      TEXTS, tf.TensorSpec([None], tf.int64), tf.TensorSpec([None, 2], tf.uint8),
      tf.TensorSpec([None], tf.bool)])
  def mixed(self, text, number, pixel, flag):
    return {"text": tf.strings.upper(text), "text_bytes": text + tf.strings.as_string(number),
            "number": number * 2, "pixel": 255 - pixel, "flag": tf.logical_not(flag),
            "ratio": tf.cast(number, tf.float32) / 3, "double": tf.cast(number, tf.float64) / 3}

  @tf.function(input_signature=[TEXTS])
  def echo(self, image_bytes):
    return {"image_bytes": tf.identity(image_bytes), "length": tf.strings.length(image_bytes)}

  @tf.function(input_signature=[tf.TensorSpec([], tf.float32)])
  def scalar(self, x):
    return {"y": x + 1}

  @tf.function(input_signature=[tf.TensorSpec([None, None], tf.float32)])
  def total(self, x):
    return {"total": tf.reduce_sum(x, axis=1)}

  @tf.function(input_signature=[tf.TensorSpec([None], tf.int32)])
  def refuse(self, x):
    with tf.control_dependencies([tf.debugging.assert_positive(x, "x must be above 0")]):
      return {"y": tf.identity(x)}

  @tf.function(input_signature=[TEXTS])
  def label(self, inputs):
    return {"classes": tf.fill([tf.size(inputs), 1], b"\xff<\xc3\xa9")}

  @tf.function(input_signature=[tf.TensorSpec([None, None], tf.float32)])
  def pairs(self, x):
    return {"x": tf.identity(x), "pair": tf.stack([x, -x], axis=2),
            "text": tf.strings.as_string(x)}


def make_mixed(root, name="mixed", version=1):
  """serving_default {text: string, number: int64, pixel: uint8[-1, 2], flag: bool} -> {text: upper
  case, text_bytes: text + number, number: twice, pixel: 255 - pixel, flag: not flag,
  ratio: f32 number / 3, double: f64 number / 3}.

  echo {image_bytes: string} -> {image_bytes, length: int32}; total {x: f32[-1, -1]} -> {total:
  f32[-1]}; scalar {x: f32[]} -> {y: f32[]} = x + 1; refuse {x: int32} -> {y}, INVALID_ARGUMENT for
  x <= 0; label {inputs: string} -> {classes: string[-1, 1]}, which is not UTF-8;
  pairs {x: f32[-1, -1]} -> {x, pair: f32[-1, -1, 2], text: string[-1, -1]}.
  """
  module = Mixed()
  return _save(module, root, name, version, {
      "serving_default": module.mixed, "echo": module.echo, "scalar": module.scalar,
      "total": module.total, "refuse": module.refuse, "label": module.label,
      "pairs": module.pairs})


class Slow(tf.Module):
  """A sampler whose time is `steps` times a matrix product."""

  @tf.function(input_signature=[
      tf.TensorSpec([None], tf.int64), tf.TensorSpec([None], tf.int32)])
  def sample(self, seed, steps):
    work = tf.fill([256, 256], tf.cast(tf.reduce_sum(seed), tf.float32))

    def step(i, work):
      return i + 1, tf.math.l2_normalize(tf.matmul(work, work) + 1.0)

    _, work = tf.while_loop(lambda i, _: i < tf.reduce_max(steps), step, (0, work))
    return {"sample": tf.cast(seed, tf.float32) + 0 * work[0, 0], "steps": tf.identity(steps)}


def make_slow(root, name="slow", version=1):
  """serving_default {seed: int64[-1], steps: int32[-1]} -> {sample: f32[-1], steps}.

  sample is the seed. About 1 ms a step on one core: steps=20000 outlasts any deadline of a test.
  """
  module = Slow()
  return _save(module, root, name, version, {"serving_default": module.sample})


def make_broken(root, name="broken", version=1):
  """A version whose saved_model.pb is no protobuf message: every load of it fails."""
  base = os.path.join(str(root), name)
  os.makedirs(base, exist_ok=True)
  temporary = tempfile.mkdtemp(prefix=".tmp-", dir=base)
  with open(os.path.join(temporary, "saved_model.pb"), "wb") as f:
    f.write(b"\xff no model")
  path = os.path.join(base, str(version))
  os.rename(temporary, path)
  return path


def copy(path, version):
  """Publishes a version again under another number, at once: much cheaper than saving anew."""
  base = os.path.dirname(path)
  temporary = tempfile.mkdtemp(prefix=".tmp-", dir=base)
  shutil.copytree(path, temporary, dirs_exist_ok=True)
  target = os.path.join(base, str(version))
  os.rename(temporary, target)
  return target
