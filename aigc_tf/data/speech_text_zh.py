"""Mandarin as it is spoken: numbers, dates and money in characters, then pinyin by pypinyin.

Syllables are separated by spaces and end in the digit of their tone, 5 where there is none; tones
are those of the dictionary, without sandhi. Latin words stay, acronyms letter by letter.
"""

import re

from aigc_tf.errors import UserError

_DIGITS = "零一二三四五六七八九"
_PLACES = ("", "十", "百", "千")
_MEASURES = "个只条张位名本件块天年次点份家座辆杯瓶双台岁倍分秒小页口种句层"
_MONEY = {"¥": "元", "￥": "元", "US$": "美元", "$": "美元", "€": "欧元", "£": "英镑"}
_UNITS = {"km/h": "公里每小时", "m/s": "米每秒", "km²": "平方公里", "m²": "平方米", "m³": "立方米",
          "km": "公里", "cm": "厘米", "mm": "毫米", "m": "米", "kg": "公斤", "mg": "毫克", "g": "克",
          "ml": "毫升", "mL": "毫升", "L": "升", "°C": "摄氏度", "℃": "摄氏度", "°": "度",
          "kW": "千瓦", "GHz": "吉赫", "MHz": "兆赫", "Hz": "赫兹", "GB": "吉字节", "MB": "兆字节"}
_MARKS = str.maketrans({**dict(zip("，。？！；：、", ",.?!;:,")), "·": " ",
                        **dict.fromkeys("（）【】—", ","), **dict.fromkeys("《》“”‘’「」『』", " ")})
_HAN = "[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\u3007]"
_UNCHANGED = {"一": "yi1", "不": "bu4"}
_SIGNS = {"+": "加", "=": "等于", "×": "乘以", "÷": "除以", "%": "百分号", "&": "和", "@": "艾特"}


def cardinal(number):
  """number: int.  Returns: str of characters, "一百二十三"; digit by digit from 10^16 on."""
  if number < 0:
    return f"负{cardinal(-number)}"
  if number >= 10**16:
    return digits(str(number))
  return re.sub("^一十", "十", _spoken(number)) or "零"


def _spoken(number):
  for size, name in ((10**8, "亿"), (10**4, "万")):
    if number >= size:
      rest = number % size
      gap = "零" if 0 < rest < size // 10 else ""
      return f"{_spoken(number // size)}{name}{gap}{_spoken(rest)}"
  return _below_10000(number)


def _below_10000(number):
  spoken, has_gap = "", False
  for place in (3, 2, 1, 0):
    digit = number // 10**place % 10
    if digit:
      spoken += ("零" if has_gap and spoken else "") + _DIGITS[digit] + _PLACES[place]
    has_gap = not digit
  return spoken


def digits(text, one="一"):
  """Digit by digit; what else there is, is left out.  one: str for 1.  Returns: str."""
  names = {**dict(zip("0123456789", _DIGITS)), "1": one}
  return "".join(names.get(digit, "") for digit in text)


def decimal(text):
  """text: digits, perhaps with commas and a point.  Returns: str."""
  whole, point, fraction = text.replace(",", "").partition(".")
  if len(whole) > 16 or (len(whole) > 1 and whole.startswith("0") and not point):
    return digits(whole)
  return cardinal(int(whole or "0")) + (f"点{digits(fraction)}" if fraction else "")


def _date(match):
  return f"{digits(match[1])}年{cardinal(int(match[2]))}月{cardinal(int(match[3]))}日"


def _time(match):
  hour, minute, second = match[1], match[2], match[3]
  if int(hour) > 24 or int(minute) > 59:
    return f"{cardinal(int(hour))}比{cardinal(int(minute))}"
  spoken = f"{_two(cardinal(int(hour)))}点"
  if int(minute) or second:
    spoken += ("零" if int(minute) < 10 else "") + f"{cardinal(int(minute))}分".replace("零零", "零")
  return spoken + (f"{cardinal(int(second))}秒" if second else "")


def _two(spoken):
  return "两" if spoken == "二" else spoken


def _money(match):
  return f"{_two(decimal(match[2]))}{match[3] or ''}{_MONEY[match[1].upper()]}"


_NUMBER = r"\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?"
_SIGNS_OF_MONEY = "|".join(re.escape(sign) for sign in sorted(_MONEY, key=len, reverse=True))
_UNIT = "|".join(re.escape(unit) for unit in sorted(_UNITS, key=len, reverse=True))

_RULES = [(re.compile(pattern), function) for pattern, function in (
    (r"\d{17,}", lambda m: digits(m[0])),  # no quantity
    (r"(?<!\d)(\d{4})[-/.](\d{1,2})[-/.](\d{1,2})(?!\d)", _date),
    (r"(?<!\d)(\d{4}|\d\d)(?=年(?!代|级|前|后|来|以|之))", lambda m: digits(m[1])),
    (r"(?<!\d)(?:\+86[ -]?)?(1[3-9]\d[ -]?\d{4}[ -]?\d{4})(?!\d)", lambda m: digits(m[1], "幺")),
    (r"(?<!\d)(0\d{2,3}[ -]\d{7,8})(?!\d)", lambda m: digits(m[1], "幺")),
    (r"(?<!\d)(\d{1,2}):(\d\d)(?::(\d\d))?(?!\d)", _time),
    (rf"(?<![\w.])[-−](?=\d|(?:{_SIGNS_OF_MONEY})\d)", lambda m: "负"),
    (rf"({_SIGNS_OF_MONEY})\s?({_NUMBER})([百千万亿]*)", _money),
    (rf"({_NUMBER})\s?%", lambda m: f"百分之{decimal(m[1])}"),
    (rf"({_NUMBER})\s?‰", lambda m: f"千分之{decimal(m[1])}"),
    (r"(?<![\d/])(\d{1,3})/(\d{1,3})(?![\d/])",
     lambda m: f"{cardinal(int(m[2]))}分之{cardinal(int(m[1]))}"),
    (rf"({_NUMBER})\s?({_UNIT})(?![A-Za-z])", lambda m: _two(decimal(m[1])) + _UNITS[m[2]]),
    (r"(?<=\d)\s?[-–~～—]+\s?(?=\d)", lambda m: "到"),
    (rf"(?<![\d.第])2(?=[{_MEASURES}])(?!年|月)", lambda m: "两"),
    (r"\d+(?:\.\d+){2,}", lambda m: "点".join(decimal(part) for part in m[0].split("."))),
    (_NUMBER, lambda m: decimal(m[0])),
)]


def write_out(text):
  """Digits and signs as characters.  text: str.  Returns: str."""
  for pattern, function in _RULES:
    text = pattern.sub(function, text)
  for sign, name in _SIGNS.items():
    text = text.replace(sign, name)
  return text


def pinyin(text):
  """Characters as syllables; what is no Chinese character stays.

  text: str.  Returns: str, "ni3 hao3, AI."  Raises: UserError without pypinyin.
  """
  try:
    import pypinyin
  except ImportError as error:
    raise UserError("Chinese texts need pypinyin: pip install pypinyin, or pip install "
                    "'aigc_tf[speech]'") from error
  style = {"style": pypinyin.Style.TONE3, "neutral_tone_with_five": True}
  runs = re.split(f"({_HAN}+)", text)  # what we want from the dictionary is at the odd places
  return "".join(f" {_syllables(pypinyin.lazy_pinyin(run, **style), run)} " if i % 2 else run
                 for i, run in enumerate(runs))


def _syllables(found, run):
  # Some of the dictionary's phrases have sandhi in these two, others none.
  return " ".join(_UNCHANGED.get(character, syllable) for syllable, character in zip(found, run))


def marks(text):
  """Chinese punctuation as its nearest of ours.  text: str.  Returns: str."""
  return text.translate(_MARKS)
