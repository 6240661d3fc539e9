"""Long texts to be read aloud, sentence by sentence with short pauses."""

import re

from aigc_tf.errors import UserError

PAUSE_SECONDS = 0.25  # between two sentences
MAX_CHARACTERS = 10_000  # of a prompt, a quarter of an hour


def check(prompt):
  """Raises: UserError for a text that is too long for one recording."""
  if len(prompt) > MAX_CHARACTERS:
    raise UserError(f"--prompt has {len(prompt):,} characters: give {MAX_CHARACTERS:,} at most")


def cut(text, most):
  """Cuts a text where one breathes.

  text: str.  most: int, characters of a part.
  Returns: list of str: sentences; longer ones are cut behind a comma, else at a space, else hard.
  """
  parts = []
  for sentence in re.findall(r".*?(?:[.?!;]+(?=\s|$)|[。？！；]+|$)", text, re.DOTALL):
    sentence = sentence.strip()
    while len(sentence) > most:
      end = _last_place(sentence, most)
      parts.append(sentence[:end].strip())
      sentence = sentence[end:].strip()
    parts.append(sentence)
  return [part for part in parts if any(map(str.isalnum, part))]


def _last_place(sentence, most):
  """Where to cut, at `most` or before."""
  for pattern in (r"[,:，、：]", r"\s"):
    ends = [match.end() for match in re.finditer(pattern, sentence[:most])]
    if ends:
      return ends[-1]
  return most
