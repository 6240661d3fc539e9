"""English numbers in words. American usage: no "and" within a number."""

from aigc_tf.data import speech_text_en_words as words


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


def decade(number):
  """number: int, 1990 or 90, or 1900 for a century.  Returns: str, "nineteen nineties"."""
  century, last = divmod(number, 100)
  if last == 0:
    return plural(year(number))
  spoken = plural(words.TENS[last // 10] if last > 10 else "ten")
  return f"{cardinal(century)} {spoken}" if century else spoken


def decimal(text):
  """text: digits, perhaps with commas and a point: "1,234.50".  Returns: str."""
  whole, point, fraction = text.replace(",", "").partition(".")
  if len(whole) > 15 or (len(whole) > 1 and whole.startswith("0") and not point):
    return digits(whole)  # 007 is no quantity
  spoken = cardinal(int(whole or "0"))
  return f"{spoken} point {digits(fraction)}" if fraction else spoken


def fraction(top, bottom):
  """top, bottom: int.  Returns: str, "three quarters"; "nine over one hundred" for odd ones."""
  if bottom not in (2, 4) and not 3 <= bottom <= 20 or top >= bottom:
    return f"{cardinal(top)} over {cardinal(bottom)}"
  name = {2: "half", 4: "quarter"}.get(bottom) or ordinal(bottom)
  return f"{cardinal(top)} {name if top == 1 else plural(name)}"


def plural(name):
  """name: str, of one: "square foot".  Returns: str, "square feet"."""
  before, space, last = name.rpartition(" ")
  if name in words.IRREGULAR:
    return words.IRREGULAR[name]
  if last in words.IRREGULAR:
    last = words.IRREGULAR[last]
  elif last.endswith("y") and last[-2:-1] not in tuple("aeiou"):
    last = last[:-1] + "ies"
  else:
    last += "es" if last.endswith(("x", "ch", "s")) else "s"
  return before + space + last


def counted(number, name):
  """number: as in `decimal`.  name: of one, "mile per hour".  Returns: str with the plural."""
  head, per, behind = name.partition(" per ")
  if number.replace(",", "") != "1":
    head = plural(head)
  return f"{decimal(number)} {head}{per}{behind}"


def roman(letters):
  """letters: str of I, V, X.  Returns: int."""
  values, total = {"I": 1, "V": 5, "X": 10}, 0
  for letter, behind in zip(letters, letters[1:] + " "):
    total += -values[letter] if values.get(behind, 0) > values[letter] else values[letter]
  return total
