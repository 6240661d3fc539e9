"""Long texts to be read aloud, sentence by sentence with short pauses."""

import re

from aigc_tf.errors import UserError

PAUSE_SECONDS = 0.25  # between two sentences
MAX_CHARACTERS = 10_000  # of a prompt, a quarter of an hour

_CLOSING = r"""["'”’)\]」』）】》]*"""  # belongs to the sentence before
_SENTENCE = re.compile(
    rf".*?(?:[.?!;…]+{_CLOSING}(?=\s|$)|[。？！；…]+{_CLOSING}|$)", re.DOTALL)
_LEAST_SHARE = 3  # a first part that ends in a comma is a third of what there is room for, at least


def check(prompt):
  """Raises: UserError for a text that is too long for one recording."""
  if len(prompt) > MAX_CHARACTERS:
    raise UserError(f"--prompt has {len(prompt):,} characters: give {MAX_CHARACTERS:,} at most")


def cut(text, most):
  """Cuts a text where one breathes.

  text: str.  most: int, characters of a part.
  Returns: list of str: sentences; longer ones are cut behind a comma that is not too near their
    beginning, else at a space, else hard.
  """
  parts = []
  for sentence in _SENTENCE.findall(text):
    sentence = sentence.strip()
    while len(sentence) > most:
      end = _last_place(sentence, most)
      parts.append(sentence[:end].strip())
      sentence = sentence[end:].strip()
    parts.append(sentence)
  return [part for part in parts if any(map(str.isalnum, part))]


def _last_place(sentence, most):
  """Where to cut, at `most` or before."""
  for pattern, least in ((r"[,:](?=\s)|[，、：]", most // _LEAST_SHARE), (r"(?=\s)", 1)):
    ends = [match.end() for match in re.finditer(pattern, sentence[:most + 1])]
    ends = [end for end in ends if least <= end <= most]
    if ends:
      return ends[-1]
  return most
