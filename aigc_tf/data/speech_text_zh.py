"""Mandarin as it is spoken: numbers, dates and money in characters, then pinyin by pypinyin.

Syllables are separated by spaces and end in the digit of their tone, 5 where there is none; tones
are those of the dictionary, without sandhi. Latin words stay, acronyms letter by letter. What is a
number to two things ("¥10-20") is rewritten as two of them first.
"""

import re

from aigc_tf.errors import UserError

HAN = "[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\u3007\U00020000-\U000323af]"

_DIGITS = "零一二三四五六七八九"
_PLACES = ("", "十", "百", "千")
_MEASURES = (  # 两 before them
    "公[里斤分顷吨升]|[千毫]?[克米升]|厘米|星期|平方|立方|美元|欧元|英镑|[个只条张位名本件块天次点份家座辆杯瓶双台"
    "岁倍秒小页口种句层间场篇支套周斤吨元千万亿盒包箱首部把根片颗顿趟遍回轮对群款项户栋门匹头棵幅枚碗袋串段]|"
    "分(?!之)|年(?![级代])")
_MONEY = {"¥": "元", "US$": "美元", "$": "美元", "€": "欧元", "£": "英镑"}
_UNITS = {"km/h": "公里每小时", "m/s": "米每秒", "km²": "平方公里", "m²": "平方米", "m³": "立方米",
          "km2": "平方公里", "m2": "平方米", "m3": "立方米", "cm²": "平方厘米", "cm2": "平方厘米",
          "km": "公里", "cm": "厘米", "mm": "毫米", "m": "米", "kg": "公斤", "mg": "毫克", "g": "克",
          "t": "吨", "ml": "毫升", "mL": "毫升", "L": "升", "°C": "摄氏度", "°": "度", "h": "小时",
          "min": "分钟", "s": "秒", "ms": "毫秒", "W": "瓦", "kW": "千瓦", "kWh": "千瓦时", "V": "伏",
          "mAh": "毫安时", "dB": "分贝", "GHz": "吉赫", "MHz": "兆赫", "Hz": "赫兹", "KB": "千字节",
          "MB": "兆字节", "GB": "吉字节", "TB": "太字节"}
_MARKS = str.maketrans({**dict(zip("，。？！；：、", ",.?!;:,")), "·": " ",
                        **dict.fromkeys("（）【】—", ","), **dict.fromkeys("《》“”‘’「」『』", " ")})
_SIGNS = {"+": "加", "=": "等于", "×": "乘以", "÷": "除以", "%": "百分号", "&": "和", "@": "艾特",
          "<": "小于", ">": "大于", "≤": "小于等于", "≥": "大于等于", "≠": "不等于", "≈": "约等于",
          "±": "正负", "²": "的平方", "³": "的立方", "°": "度"}
# Before these a number of a year's size is a duration, behind the others too if it is round.
_LASTS = re.compile("历史|的历史|前|来|间|左右|之久|时间|的时间")
_LASTED = re.compile("(?:(?<!到)了|[近约达过逾满长有第]|上下)$")

# --- numbers


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


# --- dates, times, money


def _date(match):
  return f"{digits(match[1])}年{cardinal(int(match[3]))}月{cardinal(int(match[4]))}日"


def _year(match):
  """2024年 is a date, 2000年历史 two thousand years."""
  text, number = match.string, match[0]
  if number.endswith("00") and (_LASTS.match(text, match.end() + 1)
                                or _LASTED.search(text[max(0, match.start() - 3):match.start()])):
    return _two(cardinal(int(number)))
  return digits(number)


def _time(match):
  hour, minute, second = (int(part or 0) for part in match.groups())
  if hour > 24 or minute > 59:
    return f"{cardinal(hour)}比{cardinal(minute)}"
  spoken = f"{_two(cardinal(hour))}点"
  if minute or second:
    spoken += ("零" if 0 < minute < 10 else "") + f"{cardinal(minute)}分"
  return spoken + (f"{cardinal(second)}秒" if second else "")


def _two(spoken):
  """两 before what is measured: 两元, 两千年."""
  return "两" + spoken[1:] if spoken in ("二", "二千") else spoken


def _money(match):
  return f"{_two(decimal(match['number']))}{match['scale'] or ''}{_MONEY[match['sign'].upper()]}"


def _fraction(match):
  return f"{cardinal(int(match[2]))}分之{cardinal(int(match[1]))}"


def _code(match):
  """A telephone number and its like, each group digit by digit."""
  return match[1] + digits(match[2], "幺")


_NUMBER = r"(?:\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?)"
_CURRENCY = "|".join(re.escape(sign) for sign in sorted(_MONEY, key=len, reverse=True))
_UNIT = "|".join(re.escape(unit) for unit in sorted(_UNITS, key=len, reverse=True))
_DASH = r"\s?(?:[-–—]+|~)\s?"
_CODES = "拨打|致电|电话|手机|热线|传真|座机|号码|邮编|邮政编码|QQ|微信|[账帐卡学工]号|编号|密码|验证码"
_COUNTED = r"(?![\d.]*\s?(?:[元块个次年月日天点分秒%万人]|小时))"

_RULES = [(re.compile(pattern), function) for pattern, function in (
    (r"\d{17,}", lambda m: digits(m[0])),  # no quantity
    # Dashes and points of other things.
    (r"(?<!\d)(\d{4})([-/.])(\d\d?)\2(\d\d?)(?!\d)", _date),
    (rf"((?:{_CODES})(?:号码|号|群|是|为|[: ]){{0,3}})(\d[\d -]*\d){_COUNTED}", _code),
    (r"(?<!\d)(?:\+86[ -]?)?()(1[3-9]\d[ -]?\d{4}[ -]?\d{4}|0\d{2,3}[ -]\d{7,8}|\d+(?:-\d+){2,})"
     r"(?!\d)", _code),
    (r"(?i)https?://(www\.)?|(?<![a-z])(www\.)", lambda m: "W W W点" if m[1] or m[2] else ""),
    (r"(?<=\w)\?(?=\w+=)", lambda m: "问号"),
    (rf"(?<!\S)(\d{{1,3}})\.\s?(?={HAN})", lambda m: f"{m[1]}、"),  # of a list
    (rf"(?<![A-Za-z])([A-Z])\.(?=\s?(?:[A-Z]\.|{HAN}))", lambda m: f"{m[1]} "),
    (r"(?<=[A-Za-z])\.(?=[A-Za-z\d])|(?<=\d)\.(?=[A-Za-z])", lambda m: "点"),
    # Ranges, scores, differences.
    (r"(比分\D{0,3}\d+)\s?[-:]\s?(?=\d)", lambda m: f"{m[1]}比"),
    (r"(?<=\d)\s?[-−]\s?(?=\d+\s?=)", lambda m: "减"),
    (rf"(?<!\d)((?:1\d|20)\d\d)(年?){_DASH}(?=(?:1\d|20)\d\d年)",
     lambda m: f"{digits(m[1])}{m[2]}到"),
    (rf"({_NUMBER}){_DASH}(?={_NUMBER}\s?%)", lambda m: f"{m[1]}%到"),
    (rf"({_CURRENCY})\s?({_NUMBER}){_DASH}(?=\d)", lambda m: f"{m[2]}到{m[1]}"),
    (rf"(\d(?:\s?(?:[%‰]|{_UNIT}|[年月日号点时分元块万个天岁度米]))?)(?:{_DASH}(?=(?:{_CURRENCY})?\d)|"
     r"\s?~\s?(?=-\d))", lambda m: f"{m[1]}到"),
    # Years and times.
    (r"(?<!\d)(?:\d{4}(?=年代)|20\d\d(?=[级届]))|(?<!\d)\d\d(?=年\d\d?月)", lambda m: digits(m[0])),
    (r"(?<![\d第.])(?:1\d|20)\d\d(?=年(?!级))", _year),
    (r"(?<![\d.])(\d[05])(?=后(?![面退来天]))", lambda m: digits(m[1])),
    (r"(?<!\d)(\d\d?):(\d\d)(?::(\d\d))?(?!\d)", _time),
    (r"(?<=\d)\s?:\s?(?=\d)", lambda m: "比"),
    # Money, shares, units.
    (rf"({_CURRENCY})\s?[-−](?=\d)", lambda m: f"负{m[1]}"),
    (rf"(?<![A-Za-z\d.%)\]°^])[-−](?=\d|(?:{_CURRENCY})\d)", lambda m: "负"),
    (rf"(?P<sign>{_CURRENCY})\s?(?P<number>{_NUMBER})(?P<scale>[百千万亿]*)", _money),
    (rf"(?P<number>{_NUMBER})(?P<scale>[百千万亿]*)\s?(?P<sign>{_CURRENCY})", _money),
    (rf"({_NUMBER})\s?%", lambda m: f"百分之{decimal(m[1])}"),
    (rf"({_NUMBER})\s?‰", lambda m: f"千分之{decimal(m[1])}"),
    (r"(?<![\d/])24/7(?![\d/])", lambda m: "二十四七"),
    (r"(?<![\d/])(\d{1,3})/(\d{1,3})(?![\d/])", _fraction),
    (rf"({_NUMBER})\s?({_UNIT})(?![A-Za-z\d])", lambda m: _two(decimal(m[1])) + _UNITS[m[2]]),
    (r"(?<=\d)\s?\*\s?(?=\d)", lambda m: "乘以"),
    (r"(\d)\^([-−]?)(\d+)", lambda m: f"{m[1]}的{'负' if m[2] else ''}{m[3]}次方"),
    (r"~\s?(?=\d)", lambda m: "约"),
    (rf"(?<=[元块米里克斤升])/(?={HAN})", lambda m: "每"),
    # Numbers.
    (rf"(?<![\d.第])2(?=(?:到3)?(?:{_MEASURES}))", lambda m: "两"),
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


# --- readings

# Where the dictionary has the wrong reading, or phrases with sandhi beside others without: the
# last character of each pattern.
_READINGS = [(re.compile(pattern), syllable) for pattern, syllable in (
    ("一", "yi1"), ("不", "bu4"),
    ("[我你您他她它们咱还就都总也]得(?![到了出过起知意以的分奖名胜病罪])", "dei3"),
    (r"(.)\1地(?![方面区上下图球铁点位址带])", "de5"),
    ("(?<![生增成校部局院市省县村组会队船家首班])长(?=约?[一二两三四五六七八九十百千万零点]+"
     "(?:[千分厘毫]?米|公里|[英]?[尺里]|丈))", "chang2"),
)]
# Traditional characters of words whose reading depends on the word; the dictionary knows them by
# their simplified forms.
_SIMPLIFIED = str.maketrans("銀長樂業發會計還錢複調數種應當處傳強興覺單參",
                            "银长乐业发会计还钱复调数种应当处传强兴觉单参")


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
  runs = re.split(f"({HAN}+)", text.translate(_SIMPLIFIED))  # the dictionary's at the odd places
  return "".join(f" {_syllables(pypinyin.lazy_pinyin(run, **style), run)} " if i % 2 else run
                 for i, run in enumerate(runs))


def _syllables(found, run):
  found = [syllable if syllable.isascii() else "" for syllable in found]  # unknown to it
  for pattern, syllable in _READINGS:
    for match in pattern.finditer(run):
      found[match.end() - 1] = syllable
  return " ".join(found)


def marks(text):
  """Chinese punctuation as its nearest of ours.  text: str.  Returns: str."""
  return text.translate(_MARKS)
