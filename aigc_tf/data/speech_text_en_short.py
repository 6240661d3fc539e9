"""What English shortens: addresses, abbreviations, initials, acronyms; points that end sentences.

The point of an abbreviation is also the end of a sentence where nothing follows or a word that
begins sentences; another capital may belong to a name ("the U.S. Army").
"""

import re

from aigc_tf.data import speech_text_en_numbers as numbers
from aigc_tf.data import speech_text_en_words as words


def _any(strings, before=lambda string: ""):
  """Returns: str, a pattern of all strings, the longest first, each behind before(string)."""
  ordered = sorted(strings, key=len, reverse=True)
  return "|".join(before(string) + re.escape(string) for string in ordered)


def _no_number(short):
  # 6 oz. and 5 min. are quantities, for a rule of their own.
  return r"(?<!\d)(?<!\d )" if short in words.UNITS else ""


_OPENING = rf"(?:{_any(words.OPENINGS)})\b(?!\.)"
_END = re.compile(rf"[\"')\]]*(?:\s*$|\s+[\"'(\[]*{_OPENING})")
_END_OF_TIME = re.compile(rf"[\"')\]]*(?:\s*$|\s+[\"'(\[]*(?!(?:{_any(words.TIMES)})\b)[A-Z][a-z])")


def stop(match, end=_END):
  """match: of what ends in a point.  Returns: str, "." where it is also a sentence's, else ""."""
  return "." if end.match(match.string, match.end()) else ""


def _address(match):
  spoken = re.sub(r"^https?://", "", match[0])
  spoken = re.sub(r"^www\.", "w w w dot ", spoken)
  for sign, name in words.ADDRESS_SIGNS.items():
    spoken = spoken.replace(sign, f" {name} ")
  return spoken


def _abbreviation(match):
  short = match[1].lower()
  if short == "etc":
    return words.ABBREVIATIONS[short] + stop(match, _END_OF_TIME)
  return words.ABBREVIATIONS[short] + (stop(match) if short not in words.NEVER_LAST else "")


def _letters(match):
  """U.S. and Ph.D.: letter by letter."""
  follows = match.string[match.end():match.end() + 1]
  end = stop(match) if match[0].endswith(".") else ""
  return " ".join(re.sub(r"\W", "", match[0]).lower()) + (end or " " * follows.isalnum())


def _roman(match):
  before, letters = match["before"], match["roman"]
  if before.lower() in words.NUMBERED:
    return f"{before} {numbers.cardinal(numbers.roman(letters))}"
  if before.istitle() and len(letters) > 1:
    return f"{before} the {numbers.ordinal(numbers.roman(letters))}"
  return match[0]


def _acronym(match):
  """Letter by letter, unless it is a word or spoken as one."""
  word, end = match["word"], match["end"] or ""
  if word in words.SPOKEN_ACRONYMS:
    return f"{words.SPOKEN_ACRONYMS[word]}{end}"
  if _is_spelled(word):
    return " ".join(word.lower()) + ("'s" if end else "")
  return word.lower() + end


def _is_spelled(word):
  if len(word) == 2:
    return word not in words.SHORT_WORDS
  if word in words.ACRONYMS or not re.search("[AEIOUY]", word):
    return True
  begins = re.match("[^AEIOUY]{2}", word)
  return bool(begins) and begins[0] not in words.BEGINNINGS and len(word) < 6


_PATH = r"[\w./?=&%#~:+@-]"
_NAME = r"\w[\w-]{0,62}\."  # within what is dotted; bounded, since each place is tried
_ENDINGS = "com|org|net|edu|gov|io|dev|info|uk|de|fr|cn|jp|eu|us|ca|au|app|ai"

# Before numbers are written out.
RULES = [(re.compile(pattern, flags), function) for pattern, flags, function in (
    (rf"\bhttps?://{_PATH}*\w|\bwww\.{_PATH}*\w|\b[\w.+-]{{1,64}}@[\w-]+(?:\.[\w-]+)+", 0,
     _address),
    (rf"\b(?:{_NAME}){{1,4}}(?:{_ENDINGS})\b(?:/(?:{_PATH}*\w)?)?", 0, _address),
    (r"(?:(?<=[a-z]{2})|(?<=\d))\.(?=[A-Z][a-z])", 0, lambda m: ". "),  # the space is missing
    (r"(?<=\d)\s?([ap])\.\s?m\b\.?(?!\w)", re.IGNORECASE,
     lambda m: f"{m[1]}m{stop(m, _END_OF_TIME) if m[0].endswith('.') else ''}"),
    (rf"\bSt\b\.?(?=\s+(?!{_OPENING})[A-Z])", 0, lambda m: "saint"),
    (r"(?<=[a-z\d] )St\b(?!\.)", 0, lambda m: "street"),
    (rf"\b({_any(words.BRITISH_TITLES)})(?=\s+[A-Z])", 0, lambda m: words.BRITISH_TITLES[m[1]]),
    (rf"\b({_any(words.TITLES)})\.(?=\s+[A-Z])", 0, lambda m: words.TITLES[m[1]]),
    (rf"\b({_any(words.BEFORE_NUMBERS, _no_number)})\.\s*(?=\d|[IVX]{{2,}}\b)", re.IGNORECASE,
     lambda m: f"{words.BEFORE_NUMBERS[m[1].lower()]} "),
    (rf"\b({_any(words.BEFORE_QUANTITIES, _no_number)})\.\s*(?=\d)", 0,
     lambda m: f"{words.BEFORE_QUANTITIES[m[1]]} "),
    (r"\b(Max|Min)\.(?= [a-z])", 0, lambda m: words.BEFORE_QUANTITIES[m[1].lower()]),
    (rf"(?<!the )(?<!The )\b({_any(words.CAPITALIZED)})\.(?!\w)", 0,
     lambda m: words.CAPITALIZED[m[1]].capitalize() + stop(m)),
    (rf"\b({_any(words.ABBREVIATIONS, _no_number)})\.(?!\w)", re.IGNORECASE, _abbreviation),
    (r"(?<![\w.])(?:(?:[A-Za-z]\.){2,}|(?:[A-Z]\.)+[A-Z]\b|Ph\.\s?D\b\.?)", 0, _letters),
    (r"\bPhD\b", 0, lambda m: "p h d"),
    (rf"\b((?<![a-z] )I|[A-HJ-Z])\.(?=\s+(?!{_OPENING})[A-Z])", 0, lambda m: m[1]),
    (r"\b(?P<before>[A-Za-z][a-z]+) (?P<roman>X{0,3}(?:IX|IV|V?I{1,3}|V|X))\b", 0, _roman),
    (r"(?<=[A-Za-z])\.(?=[A-Za-z\d])|(?<=\d)\.(?=[A-Za-z])", 0, lambda m: " dot "),
)]
# Behind them.
ACRONYMS = re.compile(r"\b(?P<word>[A-Z]{2,})(?P<end>'?s)?\b"), _acronym
