"""The words that speech_text_en.py writes: names of numbers, units, months, abbreviations."""

SMALL = ("zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen "
         "fifteen sixteen seventeen eighteen nineteen").split()
TENS = "zero ten twenty thirty forty fifty sixty seventy eighty ninety".split()
LARGE = ((10**12, "trillion"), (10**9, "billion"), (10**6, "million"), (1000, "thousand"),
         (100, "hundred"))
ORDINALS = {"one": "first", "two": "second", "three": "third", "five": "fifth", "eight": "eighth",
            "nine": "ninth", "twelve": "twelfth"}
IRREGULAR = {"foot": "feet", "inch": "inches", "half": "halves", "hertz": "hertz", "yen": "yen",
             "yuan": "yuan", "won": "won", "percent": "percent", "penny": "pence",
             "kilohertz": "kilohertz", "megahertz": "megahertz", "gigahertz": "gigahertz",
             "celsius": "celsius"}
PREFIXES = ("square", "cubic")  # the word behind them has the plural

MONTHS = {name[:3]: name for name in (
    "january february march april may june july august september october november december"
).split()}

MONEY = {"US$": ("dollar", "cent"), "A$": ("dollar", "cent"), "$": ("dollar", "cent"),
         "£": ("pound", "penny"), "€": ("euro", "cent"), "¥": ("yen", ""), "₹": ("rupee", ""),
         "₩": ("won", "")}
SCALES = {"k": "thousand", "m": "million", "mn": "million", "b": "billion", "bn": "billion"}

UNITS = {
    "km/h": "kilometer per hour", "kph": "kilometer per hour", "mph": "mile per hour",
    "m/s": "meter per second", "Mbps": "megabit per second", "fps": "frame per second",
    "rpm": "revolution per minute", "km²": "square kilometer", "m²": "square meter",
    "m2": "square meter", "m³": "cubic meter", "cm²": "square centimeter",
    "sq ft": "square foot", "nm": "nanometer", "µm": "micrometer", "mm": "millimeter",
    "cm": "centimeter", "km": "kilometer", "m": "meter", "ft": "foot", "yd": "yard", "mi": "mile",
    "in.": "inch",
    "mg": "milligram", "kg": "kilogram", "g": "gram", "lb": "pound", "lbs": "pound", "oz": "ounce",
    "ml": "milliliter", "mL": "milliliter", "l": "liter", "L": "liter", "gal": "gallon",
    "ms": "millisecond", "s": "second", "sec": "second", "secs": "second", "min": "minute",
    "mins": "minute", "h": "hour", "hr": "hour", "hrs": "hour", "yr": "year", "yrs": "year",
    "Hz": "hertz", "kHz": "kilohertz", "MHz": "megahertz", "GHz": "gigahertz",
    "KB": "kilobyte", "kB": "kilobyte", "MB": "megabyte", "GB": "gigabyte", "TB": "terabyte",
    "V": "volt", "kV": "kilovolt", "mA": "milliampere", "W": "watt", "kW": "kilowatt",
    "MW": "megawatt", "kWh": "kilowatt hour", "mAh": "milliampere hour", "dB": "decibel",
    "px": "pixel", "°C": "degree celsius", "°F": "degree fahrenheit", "°": "degree"}

TITLES = {"mr": "mister", "mrs": "missus", "ms": "miz", "dr": "doctor", "prof": "professor",
          "gen": "general", "col": "colonel", "lt": "lieutenant",
          "sgt": "sergeant", "capt": "captain", "rev": "reverend", "hon": "honorable",
          "gov": "governor", "sen": "senator", "mt": "mount", "ft": "fort", "messrs": "messieurs"}
ABBREVIATIONS = {
    **TITLES, "st": "street", "jr": "junior", "sr": "senior", "ave": "avenue",
    "blvd": "boulevard", "rd": "road",
    "vs": "versus", "etc": "et cetera", "e.g": "for example", "i.e": "that is", "approx":
    "approximately", "dept": "department", "est": "established", "inc": "incorporated",
    "ltd": "limited", "co": "company", "corp": "corporation", "assn": "association",
    "bros": "brothers", "vol": "volume", "fig": "figure", "pp": "pages", "ca": "circa",
    "cf": "compare", "ext": "extension", "max": "maximum", "min": "minimum", "tel": "telephone",
    "mon": "monday", "tue": "tuesday", "tues": "tuesday", "wed": "wednesday", "thu": "thursday",
    "thurs": "thursday", "fri": "friday"}

# Before a Roman number: "chapter four", where a name has "the fourth".
NUMBERED = ("chapter", "part", "volume", "book", "act", "scene", "war", "section", "phase", "type",
            "level", "round", "version", "article", "appendix", "bowl")

SPOKEN_ACRONYMS = {
    **{word: word.lower() for word in (
        "NASA", "NATO", "UNESCO", "UNICEF", "OPEC", "COVID", "AIDS", "RAM", "ROM", "SIM", "PIN",
        "LASER", "RADAR", "SONAR", "SCUBA", "YOLO", "FIFA", "IKEA", "BASIC", "NAFTA", "ASAP")},
    "OK": "okay", "WIFI": "wifi", "JPEG": "jay peg", "GIF": "gif", "ASCII": "askey", "GUI": "gooey"}

# Words that people write in capitals.
CAPITALS = frozenset((
    "A AM AN AND ARE AS AT BE BUT BY CAN DO DONT FOR FREE FROM GET GO GOOD HE HER HIS HOW IF IN IS "
    "IT ME MUST MY NEVER NEW NO NOT NOTE NOW OF OFF ON ONE ONLY OR OUR OUT OVER SHE SO STOP THAT "
    "THE THEY THIS TO TOO UP VERY WAS WE WHAT WHEN WHO WHY WILL WITH YES YOU YOUR ALL ANY EVER "
    "HELP BIG BAD LOVE OH WOW EXIT OPEN PUSH PULL START END HELLO PLEASE").split())

SIGNS = {"&": "and", "%": "percent", "+": "plus", "=": "equals", "@": "at", "°": "degrees",
         "×": "times", "÷": "divided by", "<": "less than", ">": "greater than", "§": "section",
         "#": "hash", "$": "dollar", "€": "euro", "£": "pound"}
