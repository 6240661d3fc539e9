"""What a machine understands of English speech: word and character error rate.

The listener is pocketsphinx with the models it comes with (extra `eval`): an old recogniser, which
mishears people too. Its values say something beside those of recordings, under the same signature.
Texts are written out in words and stripped of marks alike on both sides before they are compared.
"""

import importlib.metadata
import importlib.util
import re

import numpy as np

from aigc_tf.data import audio_files
from aigc_tf.data import speech_text
from aigc_tf.errors import UserError
from aigc_tf.metrics import measurement

VERSION = 1  # part of each signature: raise it when a definition here changes
ENOUGH = 50  # sentences below which the interval is wide
RATE_HZ = 16000  # what the recogniser's model hears
RESAMPLES = 2000  # of the bootstrap

_NOT_SPELLED = re.compile(r"[^a-z' ]")


def is_installed():
  """Whether anything can be recognised here.  Returns: bool."""
  return importlib.util.find_spec("pocketsphinx") is not None


def check_packages():
  """Raises: UserError where the recogniser is not installed."""
  _library()


def recognised(waves, sample_rate_hz):
  """What pocketsphinx hears.

  waves: list of f32[S] in [-1, 1].  Returns: list of str, "" where it hears nothing.
  """
  decoder = _library().Decoder(samprate=float(RATE_HZ), loglevel="FATAL")
  # A decoder hears its first sentence otherwise than the same one later: the first is noise.
  _heard(decoder, np.random.default_rng(0).normal(size=RATE_HZ // 2) * 0.01)
  return [_heard(decoder, audio_files.resample(np.asarray(wave, np.float32), sample_rate_hz,
                                               RATE_HZ)) for wave in waves]


def _heard(decoder, wave):
  decoder.start_utt()
  decoder.process_raw(audio_files.to_int16(wave).tobytes(), no_search=False, full_utt=True)
  decoder.end_utt()
  hypothesis = decoder.hyp()
  return hypothesis.hypstr if hypothesis else ""


def spelled(text):
  """A text as both sides are compared: written out, lower case, letters and apostrophes only.

  text: str, English.  Returns: str with single spaces.
  """
  text = speech_text.normalize(text, "en").lower().replace("-", " ")
  words = (word.strip("'") for word in _NOT_SPELLED.sub(" ", text).split())
  return " ".join(word for word in words if word)


def edits(hypothesis, reference):
  """Levenshtein's distance: insertions, deletions and substitutions, each one.

  hypothesis, reference: sequences of what can be compared.  Returns: int.
  """
  row = list(range(len(hypothesis) + 1))
  for i, wanted in enumerate(reference, 1):
    corner, row[0] = row[0], i
    for j, given in enumerate(hypothesis, 1):
      corner, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, corner + (given != wanted))
  return row[-1]


def error_rate(hypotheses, references):
  """All edits through all units of the references, with a 95 % interval over sentences.

  hypotheses, references: lists of N sequences (of words, or str for characters).
  Returns: (rate, low, high): float shares, the rate may be above 1; percentile bootstrap with a
    fixed seed.  Raises: UserError.
  """
  if not references or len(hypotheses) != len(references) or not any(map(len, references)):
    raise UserError(f"{len(hypotheses)} transcripts and {len(references)} texts: give pairs, at "
                    "least one that is not empty")
  counts = np.array([(edits(hypothesis, reference), len(reference))
                     for hypothesis, reference in zip(hypotheses, references)])
  drawn = np.random.default_rng(0).integers(0, len(counts), (RESAMPLES, len(counts)))
  wrong, units = counts[drawn].sum(axis=1).T
  low, high = np.percentile(wrong / np.maximum(units, 1), (2.5, 97.5))
  return float(counts[:, 0].sum() / counts[:, 1].sum()), float(low), float(high)


def recognition_report(waves, texts, sample_rate_hz, prefix="", **conditions):
  """Word and character error rate, each with the ends of its interval (`_low`, `_high`).

  waves: list of N f32[S].  texts: list of N str, what they should say.  prefix: of the names.
  conditions: more for the signature.  Returns: list of Measurement.  Raises: UserError.
  """
  references = [spelled(text) for text in texts]
  hypotheses = [spelled(text) for text in recognised(waves, sample_rate_hz)]
  version = importlib.metadata.version("pocketsphinx")
  conditions = {"n": len(texts), "asr": f"pocketsphinx-{version}-en-us", "text": "spelled",
                "interval": f"bootstrap{RESAMPLES}", **conditions}
  note = f"only {len(texts)} sentences" if len(texts) < ENOUGH else ""
  found = []
  for name, split in (("wer", str.split), ("cer", str)):
    rates = error_rate(list(map(split, hypotheses)), list(map(split, references)))
    found += [measurement.signed(prefix + name + end, value, VERSION, note, **conditions)
              for end, value in zip(("", "_low", "_high"), rates)]
  return found


def _library():
  try:
    import pocketsphinx
  except ImportError as error:
    raise UserError("word error rates need pocketsphinx: pip install pocketsphinx, or pip install "
                    "'aigc_tf[eval]'") from error
  return pocketsphinx
