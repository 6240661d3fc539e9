"""Texts as they are spoken: phonemes, languages, what cannot be read; English and Chinese apart."""

import sys
import time

import pytest

from aigc_tf.data import speech_text
from aigc_tf.errors import UserError
from aigc_tf.generation import sentences


def test_phonemes_keep_the_marks():
  pytest.importorskip("espeakng_loader")
  assert speech_text.phonemes("Hello, world!", "en") == "həlˈoʊ, wˈɜːld!"
  spoken = speech_text.phonemes("5 km. Really?", "en")
  assert spoken.startswith("fˈaɪv kɪlˈɑːmɪɾɚz.") and spoken.endswith("?")
  assert speech_text.to_symbols("Bonjour.", "fr", "phonemes") == "bɔ̃ʒˈuʁ."
  assert "." not in speech_text.phonemes("世界", "zh")
  with pytest.raises(UserError, match="no such voice"):
    speech_text.phonemes("hello", "xx")


def test_other_alphabets_keep_their_letters():
  assert speech_text.normalize("Où êtes-VOUS ?", "fr") == "où êtes-vous?"
  assert speech_text.normalize("«Привет», мир!", "ru") == "привет, мир!"


def test_digits_that_nobody_writes_out():
  # A prompt is refused; of the data the recording is left out, as one without a text.
  written = "Ça coûte 5 euros."
  with pytest.raises(UserError, match="5 in a text in fr: .* write numbers as words"):
    speech_text.prompt_to_symbols(written, "fr", "characters")
  assert speech_text.to_symbols(written, "fr", "characters") == ""
  assert speech_text.to_symbols("Ça coûte.", "fr", "characters") == "ça coûte."
  assert speech_text.prompt_to_symbols("5 €", "en", "characters") == "five euros"
  assert speech_text.unspoken("Ça 5", "fr") == ["5"]


@pytest.mark.parametrize("texts,language", [
    (["Hello, world! 5"], "en"), (["你好world"], "en"), (["你好，世界！AI"], "zh"), (["안녕하세요"], ""),
    (["¿Cómo estás, señor?"], ""), (["東京に行きました"], ""), (["Où es-tu ?"], ""), ([], ""),
    (["123"], ""), (["He had a café."] + 20 * ["An English sentence of many letters."], "en")])
def test_guessed_language(texts, language):
  assert speech_text.guess_language(texts) == language


@pytest.mark.parametrize("text,most,expected", [
    ('He said "go." Then (at last.) he did.', 99, ['He said "go."', "Then (at last.)", "he did."]),
    ("他说：“好。”我走了……再见！）好", 99, ["他说：“好。”", "我走了……", "再见！）", "好"]),
    ("Wait… what?” He", 99, ["Wait…", "what?”", "He"]),
    ("so, this is one that has no other comma", 20, ["so, this is one that", "has no other comma"]),
    ("it is 1,000 of them", 8, ["it is", "1,000 of", "them"])])
def test_sentences_end_behind_what_closes_them(text, most, expected):
  assert sentences.cut(text, most) == expected


@pytest.mark.parametrize("language,symbols,words", [
    ("zh", "characters", "use pinyin or"), ("en", "pinyin", "use characters or"),
    ("en", "letters", "characters, pinyin, phonemes")])
def test_what_does_not_fit_is_one_line(language, symbols, words):
  with pytest.raises(UserError, match=words):
    speech_text.to_symbols("hello", language, symbols)


@pytest.mark.parametrize("package,call", [
    ("pypinyin", lambda: speech_text.normalize("你好", "zh")),
    ("espeakng_loader", lambda: speech_text.phonemes("hello", "en"))])
def test_absent_packages_are_named(package, call, monkeypatch):
  monkeypatch.setitem(sys.modules, package, None)
  speech_text._espeak_library.cache_clear()
  with pytest.raises(UserError, match=f"pip install {package.replace('_', '-')}"):
    call()


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("unit", ["1", "a b. ", "1.", "A.", "-", "1/", "$1,", "x@", "1:00 ", "人",
                                  "a.", "a-", "5-", "U.S. ", "$5-", "^", ")", "www.", "1,", "电话1"])
def test_ten_thousand_characters_take_no_time(unit, language):
  start = time.process_time()
  speech_text.normalize(unit * (10_000 // len(unit)), language)
  assert time.process_time() - start < 5  # what is quadratic took 15 s and more
