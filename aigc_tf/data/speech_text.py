"""Texts as they are spoken: numbers, dates, money and abbreviations written out, few characters.

`to_symbols` is applied by the data and by the generate command, before the graph, which only makes
letters small and drops what a voice does not know. What it makes depends on `symbols`:
  characters  lower-case letters, space and .,?!;:'- ; English is written out, other alphabets keep
              their letters
  pinyin      Chinese by syllables with the tone's digit, "ni3 hao3."
  phonemes    what espeak-ng says, in IPA, for any of its languages (package espeakng-loader)
"""

import ctypes
import functools
import re
import unicodedata

from aigc_tf.data import speech_text_en
from aigc_tf.data import speech_text_zh
from aigc_tf.errors import UserError

SYMBOLS = ("characters", "pinyin", "phonemes")
MARKS = ".,?!;:'-"


def check(language, symbols):
  """Raises: UserError for a combination that means nothing."""
  if symbols not in SYMBOLS:
    raise UserError(f"data.symbols={symbols!r}: use one of {', '.join(SYMBOLS)}")
  if symbols != "phonemes" and (language == "zh") != (symbols == "pinyin"):
    right = "pinyin" if language == "zh" else "characters"
    raise UserError(f"data.symbols={symbols} is not for data.language={language}: use {right} or "
                    "phonemes")


def to_symbols(text, language, symbols):
  """A text as a voice reads it.

  text: str.  language, symbols: str, as in a recipe's `data` group.  Returns: str, "" where there
    is nothing to say.  Raises: UserError: they do not fit, or a package is not installed.
  """
  check(language, symbols)
  return phonemes(text, language) if symbols == "phonemes" else normalize(text, language)


def normalize(text, language):
  """Everything written out, in few characters; Chinese as pinyin.

  text: str.  language: str, "en", "zh" or another, whose numbers stay away.
  Returns: str, "" where there is nothing to say.  Raises: UserError without pypinyin for Chinese.
  """
  text = _plain(text)
  if language == "zh":
    written = speech_text_zh.write_out(_spelled(text))
    return _tidy(speech_text_zh.pinyin(speech_text_zh.marks(written)), "[^0-9a-z]")
  if language == "en":
    return _tidy(_without_accents(speech_text_en.write_out(text)), "[^a-z]")
  return _tidy(text, r"[\W\d_]")


def unspoken(text, language):
  """Characters of a text that are simply left out: no letter, sign or mark of the language.

  Returns: sorted list of str.
  """
  return sorted(character for character in set(_plain(text))
                if character not in _SILENT and not _speaks(character, language))


def guess_language(texts):
  """texts: iterable of str.  Returns: "zh" or "en" where most letters are theirs, else ""."""
  letters = [character for text in texts for character in text if character.isalpha()]
  for language, share in (("zh", sum(ord(letter) >= 0x3400 for letter in letters)),
                          ("en", sum(letter.isascii() for letter in letters))):
    if 2 * share > len(letters):
      return language
  return ""


@functools.lru_cache(maxsize=None)
def _speaks(character, language):
  return bool(normalize(character, language))


def phonemes(text, language):
  """What espeak-ng says, clause by clause.

  text: str.  language: str, "en", "zh" or one that espeak-ng knows.
  Returns: str in IPA with stress or tones, and our marks.  Raises: UserError.
  """
  write_out = {"en": speech_text_en.write_out, "zh": speech_text_zh.write_out}.get(language, str)
  text = _tidy_marks(speech_text_zh.marks(write_out(_plain(text))))
  clauses = re.split(f"([{_MARKS_OF_CLAUSES}])", text)
  spoken = "".join(clause if clause in tuple(_MARKS_OF_CLAUSES) else f" {_espeak(clause, language)}"
                   for clause in clauses)
  return " ".join(spoken.split())


# --- characters

_MARKS_OF_CLAUSES = ".,?!;:"
_SILENT = f"{MARKS} ()[]{{}}\"–—·，。？！；：、（）【】《》「」『』"
_KEPT_AS_THEY_ARE = "²³½¼¾⅓⅔⅛"  # which the compatibility forms would make plain digits
_LETTERS = str.maketrans({"ß": "ss", "æ": "ae", "œ": "oe", "ø": "o", "đ": "d", "ł": "l", "þ": "th",
                          "ð": "d", "ı": "i"})
_PLAIN = str.maketrans({
    **dict.fromkeys("‘’‛`´", "'"), **dict.fromkeys("“”„«»", '"'), **dict.fromkeys("‐‑", "-"),
    **dict.fromkeys("™®©", ""), "½": " 1/2", "¼": " 1/4", "¾": " 3/4", "⅓": " 1/3", "⅔": " 2/3",
    "⅛": " 1/8"})


def _plain(text):
  """One way to write quotes, spaces and full-width signs."""
  text = unicodedata.normalize("NFC", text).translate(_PLAIN)
  text = "".join(character if character in _KEPT_AS_THEY_ARE
                 else unicodedata.normalize("NFKC", character) for character in text)
  return " ".join(text.split())


def _spelled(text):
  # Latin acronyms within Chinese: letter by letter.
  return re.sub(r"(?<![A-Za-z])[A-Z]{2,}(?![a-z])", lambda m: f" {' '.join(m[0])} ", text)


def _without_accents(text):
  text = unicodedata.normalize("NFD", text.lower().translate(_LETTERS))
  return "".join(character for character in text if not unicodedata.combining(character))


def _tidy(text, no_letter):
  """Lower case, only letters and MARKS, one space between words.  no_letter: pattern."""
  text = re.sub(r"[()\[\]{}|—–]|\s-+\s|--+", ", ", text.lower())
  text = re.sub(rf"(?![{re.escape(MARKS)}]){no_letter}", " ", text)
  text = re.sub(r"(?<!\w)['-]+|['-]+(?!\w)", " ", text)  # only within words
  return _tidy_marks(text)


def _tidy_marks(text):
  """A mark stands behind its word, alone, with a space behind it."""
  text = re.sub(rf"[{_MARKS_OF_CLAUSES}](?:\s*[{_MARKS_OF_CLAUSES}])+", _strongest, text)
  text = re.sub(rf"\s*([{_MARKS_OF_CLAUSES}])\s*", r"\1 ", text)
  return " ".join(text.split()).lstrip(f"{_MARKS_OF_CLAUSES} ")


def _strongest(match):
  return next(mark for mark in "?!.;:," if mark in match[0])


# --- espeak-ng


def _espeak(text, language):
  library, pointer = _espeak_library(), ctypes.c_char_p(text.encode())
  voice = _VOICES.get(language, language)
  if library.espeak_SetVoiceByName(voice.encode()):
    raise UserError(f"data.language={language}: espeak-ng has no such voice; take a code like en, "
                    "fr, es")
  spoken = []
  while pointer:
    spoken.append(library.espeak_TextToPhonemes(ctypes.byref(pointer), _UTF8, _IPA).decode())
  spoken = re.sub(r"\([a-z-]+\)", "", " ".join(spoken))  # where it changes the language
  return re.sub(r"[szi]\.", lambda m: _RETROFLEX[m[0]], spoken)


_RETROFLEX = {"s.": "ʂ", "z.": "ʐ", "i.": "ɨ"}  # in Mandarin; a point is a mark
_VOICES, _UTF8, _IPA, _NO_SOUND_DEVICE = {"en": "en-us", "zh": "cmn"}, 1, 2, 1


@functools.lru_cache(maxsize=1)
def _espeak_library():
  try:
    import espeakng_loader
  except ImportError as error:
    raise UserError("data.symbols=phonemes needs espeak-ng: pip install espeakng-loader (GPL-3)"
                    ) from error
  library = ctypes.CDLL(str(espeakng_loader.get_library_path()))
  library.espeak_TextToPhonemes.restype = ctypes.c_char_p
  folder = str(espeakng_loader.get_data_path()).encode()
  if library.espeak_Initialize(_NO_SOUND_DEVICE, 0, folder, 0) < 0:
    raise UserError("espeak-ng cannot read its data: pip install --force-reinstall espeakng-loader")
  return library
