"""English as it is spoken: what is written in digits, signs and abbreviations becomes words.

Each kind of writing is one pattern and one function; they are tried in the order of _RULES, dates
before years, years before numbers. American usage: no "and" in numbers, month before day.
"""

import re

from aigc_tf.data import speech_text_en_words as words

# --- numbers


def cardinal(number):
  """number: int.  Returns: str, "minus one hundred twenty three"; digit by digit from 10^15 on."""
  if number < 0:
    return f"minus {cardinal(-number)}"
  if number >= 10**15:
    return digits(str(number))
  if number < 20:
    return words.SMALL[number]
  if number < 100:
    return " ".join([words.TENS[number // 10], *_rest(number % 10)])
  for size, name in words.LARGE:
    if number >= size:
      return " ".join([cardinal(number // size), name, *_rest(number % size)])
  raise AssertionError("100 is the least of the large ones")


def _rest(number):
  return [cardinal(number)] if number else []


def ordinal(number):
  """number: int >= 0.  Returns: str, "one hundred twenty third"."""
  *before, last = cardinal(number).split()
  if last in words.ORDINALS:
    last = words.ORDINALS[last]
  else:
    last = last[:-1] + "ieth" if last.endswith("y") else last + "th"
  return " ".join([*before, last])


def digits(text):
  """Digit by digit; what else there is, is left out.  text: str.  Returns: str."""
  return " ".join(words.SMALL[int(digit)] for digit in text if digit in "0123456789")


def year(number):
  """number: int in 1 to 9999.  Returns: str, "nineteen oh five", "two thousand eight"."""
  high, low = divmod(number, 100)
  if number < 1000 or high % 10 == 0 and low < 10:
    return cardinal(number)
  if low == 0:
    return f"{cardinal(high)} hundred"
  return f"{cardinal(high)} {'oh ' if low < 10 else ''}{cardinal(low)}"


def decimal(text):
  """text: digits, perhaps with commas and a point: "1,234.50".  Returns: str."""
  whole, point, fraction = text.replace(",", "").partition(".")
  if len(whole) > 15 or (len(whole) > 1 and whole.startswith("0") and not point):
    return digits(whole)  # 007 is no quantity
  spoken = cardinal(int(whole or "0"))
  return f"{spoken} point {digits(fraction)}" if fraction else spoken


def _plural(word):
  if word in words.IRREGULAR:
    return words.IRREGULAR[word]
  if word.endswith("y") and word[-2:-1] not in tuple("aeiou"):
    return word[:-1] + "ies"
  return word + ("es" if word.endswith(("x", "ch", "s")) else "s")


def _counted(number, name):
  """number: as in `decimal`.  name: of one, "mile per hour".  Returns: str with the plural."""
  first, *behind = name.split(" ")
  if number.replace(",", "") != "1":
    behind, first = (behind[:-1] + [_plural(behind[-1])], first) if first in words.PREFIXES else (
        behind, _plural(first))
  return " ".join([decimal(number), first, *behind])


# --- dates and times


def _month_day(match):
  month, day, of_year = match["month"], match["day"], match["year"]
  spoken = f"{words.MONTHS[month.lower()[:3]]} {ordinal(int(day))}"
  return spoken + (f", {year(int(of_year))}" if of_year else "")


def _day_month(match):
  month, day, of_year = match["month"], match["day"], match["year"]
  spoken = f"the {ordinal(int(day))} of {words.MONTHS[month.lower()[:3]]}"
  return spoken + (f", {year(int(of_year))}" if of_year else "")


def _month_year(match):
  return f"{words.MONTHS[match['month'].lower()[:3]]} {year(int(match['year']))}"


def _numeric_date(match):
  month, day, of_year = int(match["month"]), int(match["day"]), int(match["year"])
  if month > 12 >= day:
    month, day = day, month
  if not 1 <= month <= 12 or not 1 <= day <= 31:
    return " ".join(decimal(part) for part in re.split(r"\D", match[0]))
  if len(match["year"]) == 2:
    of_year += 2000 if of_year < 50 else 1900
  name = list(words.MONTHS.values())[month - 1]
  return f"{name} {ordinal(day)}, {year(of_year)}"


def _time(match):
  hour, minute = int(match["hour"]), int(match["minute"] or 0)
  half = " ".join(letter for letter in (match["half"] or "").lower() if letter in "apm")
  if hour > 24 or minute > 59:
    return f"{cardinal(hour)} to {cardinal(minute)}"  # a score, or a ratio
  spoken = [cardinal(hour)]
  if minute:
    spoken += ["oh"] if minute < 10 else []
    spoken += [cardinal(minute)]
  elif not half:
    spoken += ["o'clock"] if 1 <= hour <= 12 else ["hundred"]
  seconds = match["second"]
  return " ".join([*spoken, *([half] if half else []), *(
      ["and", _counted(str(int(seconds)), "second")] if seconds else [])])


def _decade(match):
  """1990s, '90s and 90s."""
  number = int(match["decade"])
  century = [year(number - number % 100).removesuffix(" hundred")] if number >= 100 else []
  if number % 100 == 0:
    return _plural(year(number))
  last = number % 100 // 10 * 10
  return " ".join([*century, _plural(words.TENS[last // 10] if last > 10 else "ten")])


def _years(match):
  return f"{year(int(match[1]))} to {year(int(match[2]))}"


# --- money, units, the rest


def _money(match):
  sign, number, scale = match["sign"].upper(), match["number"], (match["scale"] or "").lower()
  whole, part = words.MONEY[sign]
  scale = words.SCALES.get(scale, scale)
  if scale:
    return f"{decimal(number)} {scale} {_plural(whole)}"
  amount, _, fraction = number.replace(",", "").partition(".")
  cents = int(fraction) if len(fraction) == 2 else 0
  if not part or len(fraction) not in (0, 2):
    return _counted(number, whole)
  pieces = [_counted(amount, whole)] if int(amount) or not cents else []
  return " and ".join(pieces + ([_counted(str(cents), part)] if cents else []))


def _unit(match):
  name = words.UNITS.get(match["unit"]) or words.UNITS[match["unit"].lower()]
  return _counted(match["number"], name)


def _fraction(match):
  whole, top, bottom = match["whole"], int(match["top"]), int(match["bottom"])
  if (top, bottom) == (24, 7):
    return "twenty four seven"
  if bottom not in (2, 4) and not 3 <= bottom <= 20 or top >= bottom:
    spoken = f"{cardinal(top)} over {cardinal(bottom)}"
  else:
    name = {2: "half", 4: "quarter"}.get(bottom) or ordinal(bottom)
    spoken = f"{cardinal(top)} {name if top == 1 else _plural(name)}"
  return f"{cardinal(int(whole))} and {spoken}" if whole else spoken


def _telephone(match):
  groups = re.findall(r"\d+", match[0])
  plus = "plus " if match[0].startswith("+") else ""
  return plus + ", ".join(digits(group) for group in groups)


def _version(match):
  return " point ".join(decimal(part) for part in match[0].split("."))


def _roman(match):
  values, total = {"I": 1, "V": 5, "X": 10, "L": 50, "C": 100}, 0
  for letter, behind in zip(match["roman"], match["roman"][1:] + " "):
    value = values[letter]
    total += -value if values.get(behind, 0) > value else value
  before, roman = match["before"], match["roman"]
  if before.lower() in words.NUMBERED:
    return f"{before} {cardinal(total)}"
  return f"{before} the {ordinal(total)}" if before.istitle() and len(roman) > 1 else match[0]


def _address(match):
  spoken = re.sub(r"^https?://", "", match[0])
  spoken = re.sub(r"^www\.", "w w w dot ", spoken)
  for sign, name in (("@", "at"), (".", "dot"), ("/", "slash"), ("-", "dash"), ("_", "underscore")):
    spoken = spoken.replace(sign, f" {name} ")
  return spoken


def _acronym(match):
  """Letter by letter, unless it is spoken as a word or is one."""
  word, end = match["word"], match["end"] or ""
  if word in words.SPOKEN_ACRONYMS:
    return f"{words.SPOKEN_ACRONYMS[word]}{end}"
  if word in words.CAPITALS or (len(word) > 5 and re.search("[AEIOUY]", word)):
    return word.lower() + end
  return " ".join(word.lower()) + ("'s" if end else "")


_MONTH = (r"(?P<month>Jan(?:uary)?|Feb(?:ruary)?|Mar(?:ch)?|Apr(?:il)?|May|June?|July?|"
          r"Aug(?:ust)?|Sept?(?:ember)?|Oct(?:ober)?|Nov(?:ember)?|Dec(?:ember)?)\b\.?")
_DAY = r"(?P<day>3[01]|[12]\d|0?[1-9])(?:st|nd|rd|th)?"
_YEAR = r"(?P<year>1\d{3}|20\d\d)"
_NUMBER = r"(?P<number>\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?)"
_SCALE = r"(?:\s?(?P<scale>hundred|thousand|million|billion|trillion|[kmb]n?)\b)?"
_SIGNS = "|".join(re.escape(sign) for sign in sorted(words.MONEY, key=len, reverse=True))
_UNITS = "|".join(re.escape(unit) for unit in sorted(words.UNITS, key=len, reverse=True))
_TITLES = "|".join(map(re.escape, sorted(words.ABBREVIATIONS, key=len, reverse=True)))


def _abbreviation(match):
  spoken = words.ABBREVIATIONS[match[1].lower()]
  # The point of the abbreviation is also the end of a sentence, where nothing or a capital follows
  # what is no title.
  is_end = match["last"] is not None and match[1].lower() not in words.TITLES
  return spoken + ("." if is_end else "")


_RULES = [(re.compile(pattern, flags), function) for pattern, flags, function in (
    (r"\d{16,}", 0, lambda m: f" {digits(m[0])} "),  # no quantity
    (r"\bhttps?://[\w./-]+\w|\bwww\.[\w./-]+\w|\b[\w.+-]+@[\w-]+(?:\.[\w-]+)+", 0, _address),
    (r"\b\w[\w-]*\.(?:com|org|net|edu|gov|io|dev)\b", 0, _address),
    (r"\bSt\.(?=\s+[A-Z])", 0, lambda m: "saint"),
    (r"\bDr\.(?=\s+[A-Z])", 0, lambda m: "doctor"),
    (r"\bNos?\.\s*(?=\d)", 0, lambda m: "number "),
    (r"#\s?(?=\d)", 0, lambda m: "number "),
    (r"(?<!\S)\*(?!\S)", 0, lambda m: "star"),
    (rf"(?<!\d)(?<!\d )\b({_TITLES})\.(?P<last>(?=\s*$))?", re.IGNORECASE, _abbreviation),
    (r"\b(?:[A-Za-z]\.){2,}(?P<last>(?=\s*$))?", 0,
     lambda m: " ".join(m[0].replace(".", "").lower()) + ("." if m["last"] is not None else "")),
    (r"\b(?P<before>[A-Za-z][a-z]+) (?P<roman>X{0,3}(?:IX|IV|V?I{1,3}|V|X))\b", 0, _roman),
    (r"(?:\+\d{1,3}[ .-]?)?(?:\(\d{3}\) ?|\b\d{3}[ .-])\d{3}[ .-]\d{4}\b|"
     r"\b\d{3}-\d{4}\b|\+\d{1,3}(?: \d{2,4}){2,4}\b", 0, _telephone),
    (r"\b(?P<year>\d{4})-(?P<month>\d\d)-(?P<day>\d\d)\b", 0, _numeric_date),
    (r"\b(?P<month>\d{1,2})/(?P<day>\d{1,2})/(?P<year>\d{4}|\d\d)\b", 0, _numeric_date),
    (rf"\b{_MONTH} {_DAY}\b(?:,? {_YEAR}\b)?", 0, _month_day),
    (rf"\b{_DAY} (?:of )?{_MONTH}(?:,? {_YEAR}\b)?", 0, _day_month),
    (rf"\b{_MONTH},? {_YEAR}\b", 0, _month_year),
    (r"\b(?P<hour>\d{1,2}):(?P<minute>\d\d)(?::(?P<second>\d\d))?(?:\s?(?P<half>[ap]\.?m\b\.?))?",
     re.IGNORECASE, _time),
    (r"\b(?P<hour>1[0-2]|0?[1-9])(?P<minute>)(?P<second>)\s?(?P<half>[ap]\.?m\b\.?)",
     re.IGNORECASE, _time),
    (rf"(?<![\w.])[-−](?=\.?\d|(?:{_SIGNS})\d)", 0, lambda m: "minus "),
    (rf"(?P<sign>{_SIGNS})\s?{_NUMBER}{_SCALE}", re.IGNORECASE, _money),
    (r"\b(?P<number>\d+)\s?¢", 0, lambda m: _counted(m["number"], "cent")),
    (rf"{_NUMBER}\s?%", 0, lambda m: f"{decimal(m['number'])} percent"),
    (r"'?\b(?P<decade>(?:1\d|20)\d0|[1-9]0)'?s\b", 0, _decade),
    (r"(?:(?<![\d/])(?P<whole>\d+) )?\b(?P<top>\d{1,3})/(?P<bottom>\d{1,3})\b(?!/)", 0, _fraction),
    (rf"(?<![\w.]){_NUMBER}[ -]?(?P<unit>{_UNITS})(?!\w)(?:\.(?=\s+[a-z]))?", 0, _unit),
    (r"\b(1\d{3}|20\d\d)(?:[-–]|\s[-–]\s)(1\d{3}|20\d\d)\b", 0, _years),
    (r"(?<=\d)(?:[-–]|\s[-–]\s)(?=\d)", 0, lambda m: " to "),
    (r"\b\d+(?:\.\d+){2,}\b", 0, _version),
    (r"\b(\d{1,15})(?:st|nd|rd|th)\b", re.IGNORECASE, lambda m: ordinal(int(m[1]))),
    (r"(?<![\w.,])(1[1-9]\d\d|20\d\d)(?![\w]|[.,]\d)", 0, lambda m: year(int(m[1]))),
    (r"(?<=\d)(?=[A-Za-z])|(?<=[A-Za-z])(?=\d)", 0, lambda m: " "),
    (r"\d{1,3}(?:,\d{3})+(?:\.\d+)?|(?<!\w)\.\d+|\d+(?:\.\d+)?", 0, lambda m: f" {decimal(m[0])} "),
    (r"\b(?P<word>[A-Z]{2,})(?P<end>'?s)?\b", 0, _acronym),
)]


def write_out(text):
  """text: str, with plain quotes and dashes.  Returns: str without digits; signs may be left."""
  if _is_shouted(text):
    text = text.lower()
  for pattern, function in _RULES:
    text = pattern.sub(function, text)
  for sign, name in words.SIGNS.items():
    text = text.replace(sign, f" {name} ")
  return text


def _is_shouted(text):
  """Whether all of several words are capitals: then none is an acronym."""
  long = re.findall(r"[A-Za-z]{2,}", text)
  return len(long) > 3 and all(word.isupper() for word in long)
