"""The words that the files of English write: numbers, units, months, abbreviations, acronyms."""

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
             "degree celsius": "degrees celsius", "degree fahrenheit": "degrees fahrenheit"}

MONTHS = {name[:3]: name for name in (
    "january february march april may june july august september october november december"
).split()}

MONEY = {"US$": ("dollar", "cent"), "A$": ("dollar", "cent"), "$": ("dollar", "cent"),
         "£": ("pound", "penny"), "€": ("euro", "cent"), "¥": ("yen", ""), "₹": ("rupee", ""),
         "₩": ("won", "")}
SCALES = {"k": "thousand", "m": "million", "mn": "million", "b": "billion", "bn": "billion"}
# Behind a number's k, m or b, which is then a scale: "1.5m people".
CROWDS = ("people users views followers subscribers downloads visitors customers members players "
          "residents households jobs copies men women children deaths votes times").split()

UNITS = {
    "kph": "kilometer per hour", "mph": "mile per hour", "Mbps": "megabit per second",
    "fps": "frame per second", "rpm": "revolution per minute", "bpm": "beat per minute",
    "km²": "square kilometer", "m²": "square meter", "m2": "square meter", "m³": "cubic meter",
    "cm²": "square centimeter", "cm³": "cubic centimeter", "sq ft": "square foot",
    "nm": "nanometer", "µm": "micrometer", "mm": "millimeter",
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
# Behind a slash: "$20/month".
EACH = {**UNITS, **{name: name for name in (
    "second minute hour day night week month year person head piece item unit user page room seat "
    "share mile liter gallon pound").split()}, "wk": "week", "mo": "month", "dL": "deciliter"}

# Of a sentence that begins behind an abbreviation, where any other capital may be a name's.
OPENINGS = (
    "A An The This That These Those There Here I We You He She It They My Our Your His Her Its "
    "Their Who What When Where Why How Which And But Or So Yet For If As At In On By To From With "
    "Without After Before Since Until While Because Although Though Unless Despite Instead During "
    "Then Now Later Soon Today Yesterday Tomorrow Once Still Also Even Just Only Perhaps Maybe "
    "However Meanwhile Finally Sometimes Never Always Is Are Am Was Were Do Does Did Don't Have "
    "Has Had Can Could Would Should Must Let Please Thanks Yes No Not Nobody Nothing Everyone "
    "Everything Each Every Both Some Many Most All Another Other Such").split()
# Capitals that go on with a time: "5 p.m. Monday".
TIMES = ("Monday Tuesday Wednesday Thursday Friday Saturday Sunday Mon Tue Wed Thu Fri Sat Sun "
         "January February March April May June July August September October November December "
         "Jan Feb Mar Apr Jun Jul Aug Sep Sept Oct Nov Dec Eastern Central Mountain Pacific "
         "Greenwich Local").split()

ABBREVIATIONS = {  # in small or large letters, before anything
    "mr": "mister", "mrs": "missus", "dr": "doctor", "prof": "professor", "messrs": "messieurs",
    "st": "street", "jr": "junior", "sr": "senior", "ave": "avenue", "blvd": "boulevard",
    "rd": "road", "vs": "versus", "etc": "et cetera", "e.g": "for example", "i.e": "that is",
    "approx": "approximately", "dept": "department", "inc": "incorporated", "ltd": "limited",
    "corp": "corporation", "assn": "association", "bros": "brothers", "vol": "volume",
    "pp": "pages", "cf": "compare", "ext": "extension", "tel": "telephone", "oz": "ounce"}
NEVER_LAST = ("mr", "mrs", "dr", "prof", "messrs", "vs", "e.g", "i.e", "approx", "cf", "vol", "pp")
CAPITALIZED = {
    "Co": "company", **{name[:3].title(): name for name in MONTHS.values() if name != "may"},
    "Sept": "september", "Mon": "monday", "Tue": "tuesday", "Tues": "tuesday", "Wed": "wednesday",
    "Thu": "thursday", "Thurs": "thursday", "Fri": "friday", "Sat": "saturday", "Sun": "sunday"}
TITLES = {  # before a name
    "Ms": "miz", "Gen": "general", "Col": "colonel", "Lt": "lieutenant", "Maj": "major",
    "Sgt": "sergeant", "Capt": "captain", "Rev": "reverend", "Hon": "honorable",
    "Gov": "governor", "Sen": "senator", "Rep": "representative", "Pres": "president",
    "Mt": "mount", "Ft": "fort"}
BRITISH_TITLES = {"Mr": "mister", "Mrs": "missus", "Ms": "miz", "Dr": "doctor", "Prof": "professor"}
BEFORE_NUMBERS = {
    "no": "number", "nos": "numbers", "p": "page", "fig": "figure", "figs": "figures",
    "sec": "section", "ch": "chapter", "art": "article", "apt": "apartment", "rm": "room",
    "eq": "equation"}
BEFORE_QUANTITIES = {"max": "maximum", "min": "minimum", "est": "established", "ca": "circa",
                     "c": "circa"}  # in small letters: Max is a name

# Before a Roman number: "chapter four", where a name has "the fourth".
NUMBERED = ("chapter", "part", "volume", "book", "act", "scene", "war", "section", "phase", "type",
            "level", "round", "version", "article", "appendix", "bowl", "figure")

# --- words in capitals

SPOKEN_ACRONYMS = {"OK": "okay", "WIFI": "wifi", "JPEG": "jay peg", "ASCII": "askey",
                   "GUI": "gooey"}
SHORT_WORDS = ("AH AM AN AS AT BE BY DO EX GO HA HE HI IF IN IS IT ME MY NO OF OH ON OR OW OX SO "
               "TO UP WE YE YO").split()  # all others of two letters are spelled
# Those that could be read as words but are not.
ACRONYMS = frozenset((
    "AAA AARP ABC ACLU ADHD AED AES AKA AMD AOL APA API APR ATM AUD AWS BBQ BIOS BYOB CAD CEO CIA "
    "CIO COO DEA DIY DOB DOJ DUI ECG EEG EKG EOD EOF EPA ERP ESPN EST ETA ETF EUR EXE FAA FAQ FIA "
    "FYI GED GOP HIV HUD IAX IBM ICU IDE IDK IEEE IMF IMO INR INS IOS IOU IPA IPO IRA IRS ISBN "
    "ISO ISP ITV IUD IVF IVR LAPD LED MIA MIT NAACP NIH NYC NYPD NYSE NYU OAS OCD OCR OECD OED "
    "OEM OLE OLED OMG PLO POV PSA RIP ROI RSVP SEO SOS SPCA SUV TBA UAE UAV UCLA UFC UFO UHF "
    "UNHCR UPC UPS URI URL USA USB USC USD USDA USMC USPS USSR UTC VIP VOIP").split())
BEGINNINGS = ("BL BR CH CL CR DR DW FL FR GH GL GN GR KN KR PH PL PR PS QU RH SC SH SK SL SM SN SP "
              "SQ ST SW TH TR TW WH WR").split()  # two consonants that begin words

SIGNS = {"&": "and", "%": "percent", "+": "plus", "=": "equals", "@": "at", "°": "degrees",
         "×": "times", "÷": "divided by", "<": "less than", ">": "greater than", "§": "section",
         "#": "hash", "$": "dollar", "€": "euro", "£": "pound", "±": "plus or minus",
         "≤": "less than or equal to", "≥": "greater than or equal to", "≠": "not equal to",
         "≈": "approximately", "²": "squared", "³": "cubed"}
ADDRESS_SIGNS = {"@": "at", ".": "dot", "/": "slash", "-": "dash", "_": "underscore",
                 "?": "question mark", "=": "equals", "&": "and", "#": "hash", "%": "percent",
                 "~": "tilde", ":": "colon", "+": "plus"}
