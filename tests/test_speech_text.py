"""Texts as they are spoken: numbers against num2words and cn2an, other writing by example."""

import sys
import time

import cn2an
import num2words
import numpy as np
import pytest

from aigc_tf.data import speech_text
from aigc_tf.data import speech_text_en
from aigc_tf.data import speech_text_zh
from aigc_tf.errors import UserError

NUMBERS = sorted({*range(125), *range(900, 1125, 7), 10**3, 10**6, 10**9, 20_000_100, 100_010_000,
                  *(int(10**x) for x in np.random.default_rng(0).uniform(2, 14, 200))})


def plain(words):
  return words.replace(" and ", " ").replace("-", " ").replace(",", "")


ENGLISH = """
1,204.05 => one thousand two hundred four point zero five
3.14 => three point one four
.5 => zero point five
007 => zero zero seven
-5 => minus five
10-20 => ten to twenty
21st, 2nd => twenty first, second
1/2 and 2 3/4 => one half and two and three quarters
2½ => two and one half
5/8 => five eighths
9/100 => nine over one hundred
24/7 => twenty four seven
2.21.0 => two point twenty one point zero
#1 => number one
H.323 => h. three hundred twenty three
press * or # => press star or hash
No. 5 => number five
Chapter IV => chapter four
Henry VIII => henry the eighth
Malcolm X => malcolm x
March 15, 2024 => march fifteenth, twenty twenty four
Dec. 3rd => december third
4 July 1776 => the fourth of july, seventeen seventy six
May 1999 => may nineteen ninety nine
2024-03-05 => march fifth, twenty twenty four
3/15/99 => march fifteenth, nineteen ninety nine
15/3/2005 => march fifteenth, two thousand five
5 may be => five may be
in 1905 => in nineteen oh five
1990s => nineteen nineties
the '80s => the eighties
1914-1918 => nineteen fourteen to nineteen eighteen
the 1900s => the nineteen hundreds
3:05 p.m. sharp => three oh five p m sharp
12:00 => twelve o'clock
15:30 => fifteen thirty
7 am => seven a m
0:00 => zero hundred
9:05:01 => nine oh five and one second
25:30 => twenty five to thirty
$3.50 => three dollars and fifty cents
$1 => one dollar
$0.99 => ninety nine cents
£1,200 => one thousand two hundred pounds
$2.5 million => two point five million dollars
$3bn => three billion dollars
£2.01 => two pounds and one penny
¥500 => five hundred yen
50¢ => fifty cents
$1.999 => one point nine nine nine dollars
5 km => five kilometers
1 lb => one pound
60km/h => sixty kilometers per hour
20°C => twenty degrees celsius
100 m² => one hundred square meters
1 m² => one square meter
3.5GHz => three point five gigahertz
6 ft. tall => six feet tall
5% => five percent
-5 km => minus five kilometers
-$5 => minus five dollars
12.5 % => twelve point five percent
5 minutes => five minutes
Dr. Smith, Mr. Jones => doctor smith, mister jones
Elm St. => elm street.
St. John => saint john
tea, milk, etc. => tea, milk, et cetera.
e.g. this => for example this
the U.S. and U.K. => the u s and u k.
the FBI's => the f b i's
NASA => nasa
OK => okay
MP3 => m p three
COVID-19 => covid nineteen
I did NOT => i did not
IT IS ALL CAPITALS HERE => it is all capitals here
(555) 123-4567 => five five five, one two three, four five six seven
555-0199 => five five five, zero one nine nine
a_b@x.org => a underscore b at x dot org
www.example.com. => w w w dot example dot com.
salt & pepper => salt and pepper
2 + 2 = 4 => two plus two equals four
café, Straße => cafe, strasse
“So,” she said — ‘yes’… => so, she said, yes.
don't => don't
rock 'n' roll => rock n roll
well-known - really => well-known, really
What?! => what?
one,two => one, two
a (b) c => a, b, c
１２ => twelve
... =>
日本 =>
"""


# --- English numbers


def test_cardinals_equal_num2words():
  for number in NUMBERS:
    assert speech_text_en.cardinal(number) == plain(num2words.num2words(number))
  assert speech_text_en.cardinal(-12) == "minus twelve"


def test_ordinals_equal_num2words():
  for number in NUMBERS:
    assert speech_text_en.ordinal(number) == plain(num2words.num2words(number, to="ordinal"))


def test_years_equal_num2words():
  for number in range(1100, 2100):
    expected = plain(num2words.num2words(number, to="year")).replace("oh-", "oh ")
    assert speech_text_en.year(number) == expected


@pytest.mark.parametrize("line", ENGLISH.strip().splitlines())
def test_english(line):
  written, spoken = line.split("=>")
  assert speech_text.normalize(written, "en") == spoken.strip()


def test_english_holds_no_other_characters_and_is_its_own_normal_form():
  assert speech_text.normalize("", "en") == ""
  noise = np.random.default_rng(1)
  letters = list("abcXYZ 0123456789.,:;!?'\"-–—/%$€£#&@()[]{}°²½éß日\n\t\\|<>*_~^=+")
  for _ in range(300):
    text = speech_text.normalize("".join(noise.choice(letters, 40)), "en")
    assert set(text) <= set("abcdefghijklmnopqrstuvwxyz .,?!;:'-")
    assert text == text.strip() and "  " not in text
    assert speech_text.normalize(text, "en") == text


# --- Chinese


def test_chinese_numbers_equal_cn2an():
  for number in NUMBERS:
    assert speech_text_zh.cardinal(number) == cn2an.an2cn(number)
  assert speech_text_zh.cardinal(-3) == "负三"


@pytest.mark.parametrize("written,spoken", [
    ("123个", "一百二十三个"), ("2个, 102个", "两个, 一百零二个"), ("第2名", "第二名"), ("3.14", "三点一四"),
    ("2024年3月15日", "二零二四年三月十五日"), ("2024-03-15", "二零二四年三月十五日"),
    ("1/2", "二分之一"), ("50%", "百分之五十"), ("3-5公里", "三到五公里"), ("-5℃", "负五摄氏度"),
    ("¥1,200.50", "一千二百点五零元"), ("$2", "两美元"), ("5km", "五公里"), ("15:30", "十五点三十分"),
    ("下午3:05", "下午三点零五分"), ("2:00", "两点"), ("13800138000", "幺三八零零幺三八零零零"),
    ("1.2.3", "一点二点三"), ("007", "零零七"), ("1+1=2", "一加一等于二")])
def test_chinese_is_written_out(written, spoken):
  assert speech_text_zh.write_out(speech_text._plain(written)) == spoken


@pytest.mark.parametrize("written,spoken", [
    ("你好，世界！", "ni3 hao3, shi4 jie4!"), ("绿色的旅行。", "lv4 se4 de5 lv3 xing2."),
    ("银行很行", "yin2 hang2 hen3 xing2"), ("一百零二不", "yi1 bai3 ling2 er4 bu4"),
    ("他说：“好的。”（笑）……", "ta1 shuo1: hao3 de5. xiao4."), ("用AI", "yong4 a i"),
    ("12点", "shi2 er4 dian3"), ("！？", "")])
def test_pinyin(written, spoken):
  assert speech_text.normalize(written, "zh") == spoken


# --- phonemes, other languages, mistakes


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
@pytest.mark.parametrize("unit", ["1", "a b. ", "1.", "A.", "-", "1/", "$1,", "x@", "1:00 ", "人"])
def test_ten_thousand_characters_take_no_time(unit, language):
  start = time.process_time()
  speech_text.normalize(unit * (10_000 // len(unit)), language)
  assert time.process_time() - start < 5  # what is quadratic took 15 s and more
