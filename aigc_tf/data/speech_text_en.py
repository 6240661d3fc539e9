"""English as it is spoken: what is written in digits, signs and abbreviations becomes words.

Each kind of writing is one pattern and one function; they are tried in the order of the rules:
abbreviations, what only looks like a range, ranges, dates and times, money, units, numbers. What
is a number to two things ("$10-20", "May 3-5") is rewritten as two of them first.
American usage: month before day.
"""

import re

from aigc_tf.data import speech_text_en_numbers as numbers
from aigc_tf.data import speech_text_en_short as short
from aigc_tf.data import speech_text_en_words as words

# --- dates and times


def _month(match):
  return words.MONTHS[match["month"].lower()[:3]]


def _of_year(match):
  return f", {numbers.year(int(match['year']))}" if match["year"] else ""


def _month_day(match):
  return f"{_month(match)} {numbers.ordinal(int(match['day']))}{_of_year(match)}"


def _day_month(match):
  return f"the {numbers.ordinal(int(match['day']))} of {_month(match)}{_of_year(match)}"


def _month_year(match):
  return f"{_month(match)} {numbers.year(int(match['year']))}"


def _numeric_date(match):
  month, day, of_year = int(match["month"]), int(match["day"]), int(match["year"])
  if month > 12 >= day or "." in match[0] and day <= 12:  # with points the day is the first
    month, day = day, month
  if not 1 <= month <= 12 or not 1 <= day <= 31:
    return " ".join(numbers.decimal(part) for part in re.split(r"\D", match[0]))
  if len(match["year"]) == 2:
    of_year += 2000 if of_year < 50 else 1900
  name = list(words.MONTHS.values())[month - 1]
  return f"{name} {numbers.ordinal(day)}, {numbers.year(of_year)}"


def _time(match):
  hour, minute, second = (int(match[part] or 0) for part in ("hour", "minute", "second"))
  half = " ".join((match["half"] or "").lower())
  if hour > 24 or minute > 59:
    return f"{numbers.cardinal(hour)} to {numbers.cardinal(minute)}"  # a score, or a ratio
  spoken = [numbers.cardinal(hour)]
  if minute:
    spoken += ["oh"] if minute < 10 else []
    spoken += [numbers.cardinal(minute)]
  elif not half:
    spoken += ["o'clock"] if 1 <= hour <= 12 else ["hundred"]
  seconds = ["and", numbers.counted(str(second), "second")] if second else []
  return " ".join([*spoken, *([half] if half else []), *seconds])


# --- money, units, the rest


def _money(match):
  sign, number, scale = match["sign"].upper(), match["number"], (match["scale"] or "").lower()
  whole, part = words.MONEY[sign]
  if scale:
    return f"{numbers.decimal(number)} {words.SCALES.get(scale, scale)} {numbers.plural(whole)}"
  amount, _, fraction = number.replace(",", "").partition(".")
  cents = int(fraction) if len(fraction) == 2 else 0
  if not part or len(fraction) not in (0, 2):
    return numbers.counted(number, whole)
  pieces = [numbers.counted(amount, whole)] if int(amount or "0") or not cents else []
  return " and ".join(pieces + ([numbers.counted(str(cents), part)] if cents else []))


def _unit(match):
  number, name = match["number"], words.UNITS[match["unit"]]
  if match["space"] == "-":  # a 100-km race
    return f"{numbers.decimal(number)} {name}"
  return numbers.counted(number, name) + (short.stop(match) if match[0].endswith(".") else "")


def _hours_and_minutes(match):
  return f"{numbers.counted(match[1], 'hour')} {numbers.counted(match[2], 'minute')}"


def _fraction(match):
  spoken = numbers.fraction(int(match["top"]), int(match["bottom"]))
  return f"{numbers.cardinal(int(match['whole']))} and {spoken}" if match["whole"] else spoken


def _telephone(match):
  groups = re.findall(r"\d+", match[0])
  plus = "plus " if match[0].startswith("+") else ""
  return plus + ", ".join(numbers.digits(group) for group in groups)


def _version(match):
  return " " + " point ".join(numbers.decimal(part) for part in match[0].split("."))


def _any(strings):
  return "|".join(re.escape(string) for string in sorted(strings, key=len, reverse=True))


_NAME_OF_MONTH = (r"(?:Jan(?:uary)?|Feb(?:ruary)?|Mar(?:ch)?|Apr(?:il)?|May|June?|July?|"
                  r"Aug(?:ust)?|Sept?(?:ember)?|Oct(?:ober)?|Nov(?:ember)?|Dec(?:ember)?)\b")
_MONTH = f"(?P<month>{_NAME_OF_MONTH})"
_TH = "(?:st|nd|rd|th)?"
_DAY = rf"(?P<day>3[01]|[12]\d|0?[1-9]){_TH}"
_YEAR = r"(?P<year>1\d{3}|20\d\d)"
_QUANTITY = r"\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?|(?<!\w)\.\d+"
_NUMBER = f"(?P<number>{_QUANTITY})"
_SCALE = r"(?P<scale>hundred|thousand|million|billion|trillion|[kmb]n?)\b"
_SIGNS, _UNITS, _EACH = _any(words.MONEY), _any(words.UNITS), _any(words.EACH)
_DASH = r"(?:[-–~]|\s[-–~]\s)"
_BEHIND = rf"(?:\s?(?:%|{_SIGNS}|{_UNITS}|[ap]m|[AP]M)|st|nd|rd|th)"  # a number

_RULES = [(re.compile(pattern, flags), function) for pattern, flags, function in (
    # Dashes and points of other things.
    (r"(?<!\S)\*(?!\S)(?! \d)", 0, lambda m: "star"),
    (r"#\s?(?=\d)", 0, lambda m: "number "),
    (r"(?:\+\d{1,3}[ .-]?)?(?:\(\d{3}\) ?|\b\d{3}[ .-])\d{3}[ .-]\d{4}\b|"
     r"\b(?!\d\d0-\d\d00\b)[2-9]\d\d-\d{4}\b|\+\d{1,3}(?: \d{2,4}){2,4}\b", 0, _telephone),
    (r"\b(?P<year>\d{4})([-/.])(?P<month>\d\d?)\2(?P<day>\d\d?)\b", 0, _numeric_date),
    (r"\b(?P<month>\d\d?)([-/.])(?P<day>\d\d?)\2(?P<year>\d{4})\b", 0, _numeric_date),
    (r"\b(?P<month>\d\d?)/(?P<day>\d\d?)/(?P<year>\d\d)\b", 0, _numeric_date),
    (r"\b\d+(?:-\d+){2,}\b", 0, _telephone),
    # Ranges and differences.
    (rf"\b(?:[Tt]he )?(\d\d?){_TH}{_DASH}(?={_DAY} (?:of )?{_MONTH})", 0,
     lambda m: f"the {m[1]}th to "),
    (rf"\b({_NAME_OF_MONTH} \d\d?){_TH}{_DASH}(\d\d?){_TH}\b(?![:.]\d)", 0,
     lambda m: f"{m[1]} to {m[2]}th"),
    (r"(?<=\d)(?:\s?−\s?|\s?-\s?(?=\d+ ?=))(?=\d)", 0, lambda m: " minus "),
    (rf"({_SIGNS})\s?({_QUANTITY}){_DASH}(?=\d)", re.IGNORECASE, lambda m: f"{m[2]} to {m[1]}"),
    (rf"(\d(?:{_BEHIND})?){_DASH}(?=(?:{_SIGNS})?\.?\d|{_NAME_OF_MONTH} \d)", 0,
     lambda m: f"{m[1]} to "),
    # Dates and times.
    (rf"\b{_MONTH} {_DAY}\b(?:,? {_YEAR}\b)?", 0, _month_day),
    (rf"(?:\b[Tt]he )?\b{_DAY} (?:of )?{_MONTH}(?:,? {_YEAR}\b)?", 0, _day_month),
    (rf"\b{_MONTH},? {_YEAR}\b", 0, _month_year),
    (r"\b(?P<hour>\d\d?):(?P<minute>\d\d)(?::(?P<second>\d\d))?(?!\d)(?:\s?(?P<half>[ap]m)\b)?",
     re.IGNORECASE, _time),
    (r"\b(?P<hour>1[0-2]|0?[1-9])(?:\.(?P<minute>[0-5]\d))?(?P<second>)\s?(?P<half>[ap]m)\b",
     re.IGNORECASE, _time),
    (r"(?<=\d):(?=\d)", 0, lambda m: " to "),
    # Money and units.
    (rf"({_SIGNS})\s?[-−](?=\.?\d)", 0, lambda m: f"minus {m[1]}"),
    (rf"(?<![\w.%)\]°])[-−](?=\.?\d|(?:{_SIGNS})\.?\d)", 0, lambda m: "minus "),
    (rf"(\d(?:{_BEHIND}| ?{_SCALE})?)\s?/\s?(?P<each>{_EACH})(?!\w)", 0,
     lambda m: f"{m[1]} per {words.EACH[m['each']]}"),
    (rf"(?<=\d)\s?(?P<scale>[kmb]n?)(?= (?:{_any(words.CROWDS)})\b)", 0,
     lambda m: f" {words.SCALES[m['scale']]}"),
    (rf"(?P<sign>{_SIGNS})\s?{_NUMBER}(?:\s?{_SCALE})?", re.IGNORECASE, _money),
    (rf"{_NUMBER}\s?(?P<scale>)(?P<sign>{_SIGNS})(?!\s?\d)", 0, _money),
    (rf"{_NUMBER}\s?¢", 0, lambda m: numbers.counted(m["number"], "cent")),
    (rf"{_NUMBER}\s?%", 0, lambda m: f"{numbers.decimal(m['number'])} percent"),
    (r"\b(1,?000?)s\b", 0, lambda m: "hundreds" if m[1] == "100" else "thousands"),
    (r"'?\b((?:1\d|20)\d0|[1-9]0)'?s\b", 0, lambda m: numbers.decade(int(m[1]))),
    (r"(?<=\d)\s?\*\s?(?=\d)", 0, lambda m: " times "),
    (r"(?<=\d) / (?=\d)", 0, lambda m: " divided by "),
    (r"(?<=[\w)])\^(?=[\w(−-])", 0, lambda m: " to the power of "),
    (r"(?<!\w)~\s?(?=\d)", 0, lambda m: "about "),
    (r"(?<![\d/])(?:24/7|9/11)(?![\d/])", 0, lambda m: m[0].replace("/", " ")),
    (r"(?:(?<![\d/])(?P<whole>\d+) )?\b(?P<top>\d{1,3})/(?P<bottom>\d{1,3})\b(?!/)", 0, _fraction),
    (r"\b(\d+)\s?h\s?(\d\d?)\s?m(?:in)?\b", 0, _hours_and_minutes),
    (rf"(?<![\w.]){_NUMBER}(?P<space>[ -]?)(?P<unit>{_UNITS})(?!\w)(?:\.(?=\s+[a-z]|,))?", 0,
     _unit),
    # Numbers.
    (r"(?<![\d.])\d+(?:\.\d+){2,}\b", 0, _version),
    (r"\b(\d{1,3}(?:,\d{3})+|\d{1,15})(?:st|nd|rd|th)\b", re.IGNORECASE,
     lambda m: numbers.ordinal(int(m[1].replace(",", "")))),
    (r"(?<![\w.,])(1[1-9]\d\d|20\d\d)(?![\w]|[.,]\d)", 0, lambda m: numbers.year(int(m[1]))),
    (r"(?<=\d)(?=[A-Za-z])|(?<=[A-Za-z])(?=\d)", 0, lambda m: " "),
    (_QUANTITY, 0, lambda m: f" {numbers.decimal(m[0])} "),
)]
_LONG = re.compile(r"\d{16,}"), lambda m: f" {numbers.digits(m[0])} "  # no quantity


def write_out(text):
  """text: str, with plain quotes and dashes.  Returns: str without digits; signs may be left."""
  if _is_shouted(text):
    text = text.lower()
  for pattern, function in [_LONG, *short.RULES, *_RULES, short.ACRONYMS]:
    text = pattern.sub(function, text)
  for sign, name in words.SIGNS.items():
    text = text.replace(sign, f" {name} ")
  return text


def _is_shouted(text):
  """Whether all of several words are capitals: then none is an acronym."""
  long = re.findall(r"[A-Za-z]{2,}", text)
  return len(long) > 3 and all(word.isupper() for word in long)
