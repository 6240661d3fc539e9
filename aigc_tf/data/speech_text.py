"""Texts as they are spoken: numbers, dates, money and abbreviations written out, few characters.

`to_symbols` is applied by the data and `prompt_to_symbols` by the generate command, before the
graph, which only makes letters small and drops what a voice does not know. What they make depends
on `symbols`:
  characters  lower-case letters, space and .,?!;:'- ; English is written out, other alphabets keep
              their letters, and a text of theirs with digits cannot be read
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
  """A text of the data as a voice reads it.

  text: str.  language, symbols: str, as in a recipe's `data` group.  Returns: str, "" where there
    is nothing to say or where digits cannot be written out, which leaves out the recording.
  Raises: UserError: they do not fit, or a package is not installed.
  """
  check(language, symbols)
  if symbols != "phonemes" and not _can_write_out(_plain(text), language):
    return ""
  return prompt_to_symbols(text, language, symbols)


def prompt_to_symbols(text, language, symbols):
  """A text of a user as a voice reads it.

  text, language, symbols: as for `to_symbols`.  Returns: str, "" where there is nothing to say.
  Raises: UserError: the same, and where digits cannot be written out.
  """
  check(language, symbols)
  return phonemes(text, language) if symbols == "phonemes" else normalize(text, language)


def normalize(text, language):
  """Everything written out, in few characters; Chinese as pinyin.

  text: str.  language: str, "en", "zh" or another, which has letters only.
  Returns: str, "" where there is nothing to say.
  Raises: UserError: digits in another language, or no pypinyin for Chinese.
  """
  text = _plain(text)
  if language == "zh":
    written = _spelled(speech_text_zh.write_out(text))
    return _tidy(speech_text_zh.pinyin(speech_text_zh.marks(written)), "[^0-9a-z]")
  if language == "en":
    return _tidy(_without_accents(speech_text_en.write_out(text)), "[^a-z]")
  if not _can_write_out(text, language):
    number = re.search(r"\d[\d.,]*", text)[0]
    raise UserError(f"{number} in a text in {language}: digits are written out in en and zh only; "
                    "write numbers as words")
  return _tidy(text, r"[\W\d_]")


def _can_write_out(text, language):
  return language in ("en", "zh") or not re.search(r"\d", text)


def unspoken(text, language):
  """Characters of a text that are simply left out: no letter, sign or mark of the language.

  Returns: sorted list of str.
  """
  return sorted(character for character in set(_plain(text))
                if character not in _SILENT and not _speaks(character, language))


def guess_language(texts):
  """texts: iterable of str.

  Returns: "zh" or "en" where most letters are Han or A to Z and hardly any are others, else "".
  """
  letters = [letter for text in texts for letter in _plain(text) if letter.isalpha()]
  han = sum(bool(_HAN.match(letter)) for letter in letters)
  latin = sum(letter.isascii() for letter in letters)
  if (len(letters) - han - latin) * _LETTERS_A_LOANWORD > len(letters):
    return ""
  return next((language for language, share in (("zh", han), ("en", latin))
               if 2 * share > len(letters)), "")


@functools.lru_cache(maxsize=None)
def _speaks(character, language):
  return _can_write_out(character, language) and bool(normalize(character, language))


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

_HAN = re.compile(speech_text_zh.HAN)
_LETTERS_A_LOANWORD = 200  # at least, for each letter with an accent in English
_MARKS_OF_CLAUSES = ".,?!;:"
_SILENT = f"{MARKS} ()[]{{}}\"–—·，。？！；：、（）【】《》「」『』"
_KEPT_AS_THEY_ARE = ("²", "³")  # which the compatibility forms would make plain digits
_RAISED = re.compile("(?<=[0-9])[⁻⁰¹²³⁴-⁹]+")
_LETTERS = str.maketrans({"ß": "ss", "æ": "ae", "œ": "oe", "ø": "o", "đ": "d", "ł": "l", "þ": "th",
                          "ð": "d", "ı": "i"})
_PLAIN = str.maketrans({
    **dict.fromkeys("‘’‛`´", "'"), **dict.fromkeys("“”„«»", '"'), **dict.fromkeys("‐‑", "-"),
    **dict.fromkeys("™®©", ""), "½": " 1/2", "¼": " 1/4", "¾": " 3/4", "⅓": " 1/3", "⅔": " 2/3",
    "⅛": " 1/8"})


def _plain(text):
  """One way to write quotes, spaces, raised numbers and full-width signs."""
  text = re.sub(r"，(?=\d)", ", ", unicodedata.normalize("NFC", text).translate(_PLAIN))
  text = "".join(map(_compatible, _RAISED.sub(_power, text)))
  return " ".join(text.split())


def _power(match):
  raised = match[0]
  return raised if raised in _KEPT_AS_THEY_ARE else "^" + unicodedata.normalize("NFKC", raised)


def _compatible(character):
  if character in _KEPT_AS_THEY_ARE:
    return character
  plain = unicodedata.normalize("NFKC", character)
  return f", {plain}, " if unicodedata.decomposition(character).startswith("<circle>") else plain


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
