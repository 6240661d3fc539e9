"""A baseline for text to text: the answer to the most similar question that was trained on.

Similarity is the cosine of TF-IDF vectors of the units (see metrics/text.py) and their pairs. A
model that is not clearly above this baseline has learned nothing that a search would not give.
"""

import collections
import math

import numpy as np

from aigc_tf.errors import UserError
from aigc_tf.metrics import text as text_metrics


class Index:
  """Finds the most similar of many texts.

  texts: list of N str.  Document frequency is counted in them, idf = log(N / df) + 1.
  """

  def __init__(self, texts):
    if not texts:
      raise UserError("the retrieval baseline needs texts to search: the training split is empty")
    counters = [_counted(text) for text in texts]
    frequency = collections.Counter(gram for counter in counters for gram in counter)
    self._idf = {gram: math.log(len(texts) / df) + 1 for gram, df in frequency.items()}
    postings = {gram: ([], []) for gram in frequency}
    for number, counter in enumerate(counters):
      weights = self._weights(counter)
      norm = math.sqrt(sum(weight**2 for weight in weights.values()))
      for gram, weight in weights.items():
        postings[gram][0].append(number)
        postings[gram][1].append(weight / norm)
    self._postings = {gram: (np.array(numbers), np.array(weights))
                      for gram, (numbers, weights) in postings.items()}
    self._size = len(texts)

  def nearest(self, text):
    """text: str.  Returns: int, place of the most similar text, the first of equals."""
    scores = np.zeros(self._size)
    for gram, weight in self._weights(_counted(text)).items():
      numbers, weights = self._postings[gram]
      scores[numbers] += weight * weights
    return int(scores.argmax())

  def _weights(self, counter):
    return {gram: count * self._idf[gram] for gram, count in counter.items() if gram in self._idf}


def _counted(text):
  items = text_metrics.units(text)
  return collections.Counter(text_metrics.ngrams(items, 1) + text_metrics.ngrams(items, 2))


def answers(sources, known_sources, known_targets):
  """The target of the nearest known source, for each source.

  sources, known_sources, known_targets: lists of str.  Returns: list of str, one a source.
  """
  index = Index(known_sources)
  return [known_targets[index.nearest(source)] for source in sources]
