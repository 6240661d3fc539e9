"""Text metrics: pure functions on strings and log-probabilities.

  BLEU and chrF  by sacrebleu (arXiv:1804.08771)      ROUGE  by rouge-score
  distinct-n  arXiv:1510.03055     self-BLEU  arXiv:1802.01886     repetition  arXiv:1908.04319

sacrebleu and rouge-score (the extra `text`) are imported when a value needs them. For Chinese
BLEU splits characters (sacrebleu's tokenizer "zh"), and ROUGE counts the units below, because
rouge-score's own tokenizer drops everything that is not a Latin letter or a digit.

A unit is a Han character, a kana, or a lower-case word; punctuation is none.
"""

import collections
import importlib
import importlib.metadata
import math
import re

import numpy as np

from aigc_tf.errors import UserError
from aigc_tf.metrics import measurement

VERSION = 1  # part of each signature: raise it when a definition here changes
ENOUGH = 100  # below this many references a corpus value moves by whole points from split to split
BLEU_ORDER = 4
REPEAT_ORDER = 4
CHINESE_SHARE = 0.1  # share of Han characters among all letters from which texts count as Chinese
# Characters in a run that counts as copied. Shorter runs (a clause of a poem is 5 or 7) are phrases
# that any two texts share.
COPY_CHARS = {"zh": 10, "other": 40}

_HAN = "\u3007\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_SINGLE = f"{_HAN}\u3041-\u30ff"
_UNIT = re.compile(rf"[{_SINGLE}]|[^\W_{_SINGLE}]+")
_LETTER, _HAN_LETTER = re.compile(r"[^\W\d_]"), re.compile(f"[{_HAN}]")

# --- units


def units(text):
  """text: str.  Returns: list of str, its Han characters and lower-case words in order."""
  return _UNIT.findall(text.lower())


def is_chinese(texts):
  """Whether at least a tenth of the letters are Han characters.  texts: list of str."""
  letters = sum(len(_LETTER.findall(text)) for text in texts)
  han = sum(len(_HAN_LETTER.findall(text)) for text in texts)
  return han > 0 and han >= CHINESE_SHARE * letters


def ngrams(items, order):
  """items: sequence.  Returns: list of tuples, its runs of `order` items."""
  return list(zip(*(items[shift:] for shift in range(order))))


# --- likelihood


def perplexity(log_prob):
  """exp of the mean of -log p: the number of equally likely tokens that surprise as much.

  log_prob: f[N] nats, one a predicted token.  Returns: float >= 1.
  """
  return math.exp(-_checked_log_probs(log_prob).mean())


def bits_per(log_prob, count):
  """Sum of -log2 p over all predicted tokens, shared out among characters or bytes.

  log_prob: f[N] nats, one a predicted token.  count: int, characters or bytes of the text.
  Returns: float in bits.
  """
  if count < 1:
    raise UserError("bits per character of texts without a character: give texts that hold some")
  return float(-_checked_log_probs(log_prob).sum() / math.log(2) / count)


def _checked_log_probs(log_prob):
  log_prob = np.asarray(log_prob, np.float64)
  if log_prob.ndim != 1 or not log_prob.size:
    raise UserError("perplexity needs the log-probability of at least one token: no text was given")
  if not np.isfinite(log_prob).all() or log_prob.max() > 1e-6:
    raise UserError("log-probabilities must be finite and not above 0: the weights are damaged")
  return log_prob


# --- against references


def bleu(hypotheses, references):
  """Corpus BLEU by sacrebleu, its tokenizer "zh" for Chinese references, "13a" for others.

  hypotheses, references: lists of N str.  Returns: (float in 0..100, sacrebleu's signature).
  """
  _checked_pairs(hypotheses, references)
  tokenizer = "zh" if is_chinese(references) else "13a"
  metric = _package("sacrebleu").BLEU(tokenize=tokenizer, force=True)
  return _corpus_score(metric, hypotheses, references)


def chrf(hypotheses, references):
  """Corpus chrF (W15-3049: 6-grams of characters, beta 2) by sacrebleu.

  hypotheses, references: lists of N str.  Returns: (float in 0..100, sacrebleu's signature).
  """
  _checked_pairs(hypotheses, references)
  return _corpus_score(_package("sacrebleu").CHRF(), hypotheses, references)


def rouge(hypotheses, references, kind="rougeL"):
  """Mean F-measure of rouge-score, without stemming.

  hypotheses, references: lists of N str.  kind: rouge1, rouge2, rougeL, rougeLsum.
  Returns: (float in [0, 1], str naming package, kind, tokenizer and version).
  """
  _checked_pairs(hypotheses, references)
  chinese = is_chinese(references)
  package = _package("rouge_score")
  scorer = importlib.import_module("rouge_score.rouge_scorer").RougeScorer(
      [kind], tokenizer=_UnitTokenizer() if chinese else None)
  values = [scorer.score(reference, made)[kind].fmeasure
            for made, reference in zip(hypotheses, references)]
  version = importlib.metadata.version(package.__name__)
  said = f"{kind}|stem:no|tok:{'han-and-words' if chinese else 'default'}|version:{version}"
  return float(np.mean(values)), said


class _UnitTokenizer:
  """What rouge-score asks of a tokenizer."""

  def tokenize(self, text):
    return units(text)


def _corpus_score(metric, hypotheses, references):
  score = metric.corpus_score(hypotheses, [references]).score
  return score, str(metric.get_signature())


def _checked_pairs(hypotheses, references):
  if not hypotheses or len(hypotheses) != len(references):
    raise UserError(f"{len(hypotheses)} texts cannot be compared with {len(references)} references:"
                    " give as many, and at least one")


def check_packages():
  """Raises: UserError if sacrebleu or rouge-score is missing."""
  _package("sacrebleu")
  _package("rouge_score")


def _package(name):
  try:
    return importlib.import_module({"sacrebleu": "sacrebleu.metrics"}.get(name, name))
  except ImportError as error:
    project = name.replace("_", "-")
    raise UserError(f"the package {project} is missing: pip install {project}, or all that texts "
                    "use: pip install 'aigc_tf[text]'") from error


# --- variety of many texts


def distinct(texts, order=2):
  """Share of different n-grams of units among all n-grams; it falls as the texts grow more.

  texts: list of str.  Returns: float in [0, 1], 0 if no text has so many units.
  """
  grams = [gram for text in _checked(texts) for gram in ngrams(units(text), order)]
  return len(set(grams)) / len(grams) if grams else 0.0


def repetition_rate(texts, order=REPEAT_ORDER):
  """Mean share of n-grams that stood in the same text before; a text too short repeats nothing.

  texts: list of str.  Returns: float in [0, 1].
  """
  rates = []
  for text in _checked(texts):
    grams = ngrams(units(text), order)
    rates.append(1 - len(set(grams)) / len(grams) if grams else 0.0)
  return float(np.mean(rates))


def self_bleu(texts):
  """Mean BLEU of each text against all others, on units: 100 if all are the same.

  As sacrebleu's sentence BLEU (smoothing "exp", effective order), but every n-gram is counted
  once for all texts, not once for each pair.  texts: list of at least 2 str.  Returns: 0..100.
  """
  if len(_checked(texts)) < 2:
    raise UserError("self-BLEU compares each text with the others: give at least 2 texts")
  tokens = [units(text) for text in texts]
  counts = [[collections.Counter(ngrams(row, order)) for order in range(1, BLEU_ORDER + 1)]
            for row in tokens]
  tops = [_two_largest(row[order] for row in counts) for order in range(BLEU_ORDER)]
  lengths = collections.Counter(map(len, tokens))
  return float(np.mean([_bleu_of(row, tops, _closest_other(sum(row[0].values()), lengths))
                        for row in counts]))


def _two_largest(counters):
  # {n-gram: its two largest counts over the texts}: the largest of the *other* texts is the
  # second one for the text that holds the first.
  largest = {}
  for counter in counters:
    for gram, count in counter.items():
      first, second = largest.get(gram, (0, 0))
      largest[gram] = (max(first, count), max(second, min(first, count)))
  return largest


def _closest_other(length, lengths):
  others = [other for other, count in lengths.items() if other != length or count > 1]
  return min(others, key=lambda other: (abs(other - length), other))


def _bleu_of(counters, tops, other_length):
  length = sum(counters[0].values())
  logs, halvings = [], 0
  for counter, largest in zip(counters, tops):
    if not counter:
      break
    matches = sum(min(count, largest[gram][count == largest[gram][0]])
                  for gram, count in counter.items())
    halvings += not matches
    logs.append(math.log((matches or 0.5**halvings) / sum(counter.values())))
  if halvings == len(logs):
    return 0.0
  return 100 * math.exp(min(0.0, 1 - other_length / length) + sum(logs) / len(logs))


def _checked(texts):
  if not texts:
    raise UserError("no text to measure: generate at least one")
  return texts


# --- copies


class Copies:
  """The runs of characters that stand in a set of texts, to find what was copied from it.

  texts: list of str, say those trained on.  run_chars: int, length of a run; 0 for COPY_CHARS.
  """

  def __init__(self, texts, run_chars=0):
    self.num_texts = len(_checked(texts))
    self.run_chars = run_chars or COPY_CHARS["zh" if is_chinese(texts) else "other"]
    # A separator that no text holds keeps runs from reaching over two texts.
    self._runs = np.unique(_run_hashes("\0".join(texts), self.run_chars))

  def shares(self, texts):
    """Share of each text's runs that stand verbatim in the set; a text too short has none.

    texts: list of str.  Returns: f64[N] in [0, 1], 1 where the whole text was copied.
    """
    return np.array([self._share(_run_hashes(text, self.run_chars)) for text in _checked(texts)])

  def _share(self, runs):
    if not runs.size or not self._runs.size:
      return 0.0
    places = np.minimum(np.searchsorted(self._runs, runs), self._runs.size - 1)
    return float(np.mean(self._runs[places] == runs))


def _run_hashes(text, order):
  # A polynomial in the characters modulo 2^64, for all runs at once.
  points = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32).astype(np.uint64)
  count = max(len(points) - order + 1, 0)
  total = np.zeros(count, np.uint64)
  for shift in range(order):
    total = total * np.uint64(0x9E3779B97F4A7C15) + points[shift:shift + count]
  return total


# --- whole reports


def sample_report(texts, copies, prefix="", **conditions):
  """Variety of texts, and what they share with those trained on.

  texts: list of at least 2 str.  copies: Copies of the texts trained on.  prefix: of the names;
  "test_" for held-out texts, whose values are what is natural.  conditions: more for the signature.
  Returns: list of Measurement.
  """
  conditions = {"n": len(_checked(texts)), **conditions}
  values = {"distinct_2": distinct(texts), "repetition_rate": repetition_rate(texts),
            "self_bleu": self_bleu(texts)}
  measured = [_measure(prefix + name, value, len(texts), unit="han-and-words", **conditions)
              for name, value in values.items()]
  shares = copies.shares(texts)
  conditions |= {"run_chars": copies.run_chars, "train": copies.num_texts}
  measured.append(_measure(f"{prefix}copied", shares.mean(), len(texts), **conditions))
  whole = np.mean(shares == 1)
  return [*measured, _measure(f"{prefix}copied_whole", whole, len(texts), **conditions)]


def reference_report(hypotheses, references, prefix="", **conditions):
  """BLEU, chrF and ROUGE-L of answers.

  hypotheses, references: lists of N str.  prefix: of the names, say "baseline_".
  conditions: more for the signature.  Returns: list of Measurement.
  """
  measured, conditions = [], {"n": len(references), **conditions}
  for name, metric, package in (("bleu", bleu, "sacrebleu"), ("chrf", chrf, "sacrebleu"),
                                ("rouge_l", rouge, "rouge-score")):
    value, said = metric(hypotheses, references)
    measured.append(_measure(prefix + name, value, len(references), **conditions,
                             **{package: f"[{said}]"}))
  return measured


def _measure(name, value, num, **conditions):
  note = f"only {num} texts, values from fewer than {ENOUGH} are rough" if num < ENOUGH else ""
  return measurement.signed(name, value, VERSION, note, **conditions)
