"""English texts as they are spoken: numbers against num2words, other writing by example."""

import num2words
import numpy as np
import pytest

from aigc_tf.data import speech_text
from aigc_tf.data import speech_text_en_numbers as numbers

NUMBERS = sorted({*range(125), *range(900, 1125, 7), 10**3, 10**6, 10**9, 20_000_100, 100_010_000,
                  *(int(10**x) for x in np.random.default_rng(0).uniform(2, 14, 200))})


def plain(words):
  return words.replace(" and ", " ").replace("-", " ").replace(",", "")


# Each line is read as it is: written => spoken. A line with # says what is below.
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
H.323 => h dot three hundred twenty three
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
# numbers
.5 km => zero point five kilometers
1,000th => one thousandth
v1.2.3 and v2.0 => v one point two point three and v two point zero
3:2, 16:9, 1:100 => three to two, sixteen to nine, one to one hundred
10 / 2 => ten divided by two
2*3, 2 × 3 => two times three, two times three
5 - 3 = 2 => five minus three equals two
5 − 3 => five minus three
10^6, 10⁶ => ten to the power of six, ten to the power of six
x² + y³ => x squared plus y cubed
±5, ≤ 5 => plus or minus five, less than or equal to five
~5 people => about five people
① One ② Two => one, one, two, two
100s, 1000s of people => hundreds, thousands of people
1.5m people and 10k users => one point five million people and ten thousand users
1.5m tall => one point five meters tall
# ranges
5-10 km => five to ten kilometers
20-30% off => twenty to thirty percent off
10%-20% => ten percent to twenty percent
10-15°C => ten to fifteen degrees celsius
3.5mm-5mm => three point five millimeters to five millimeters
5 km - 10 km => five kilometers to ten kilometers
$10-20 => ten to twenty dollars
$10-$20 => ten dollars to twenty dollars
$1-2 million => one to two million dollars
5-6 pm => five to six p m
9 a.m. - 5 p.m. => nine a m to five p m.
9:30-10 a.m. => nine thirty to ten a m.
9:00-10:30 => nine o'clock to ten thirty
May 3-5 => may third to fifth
May 3-5, 2024 => may third to fifth, twenty twenty four
May 3 - June 5 => may third to june fifth
3-5 May => the third to the fifth of may
from the 3rd-5th of May => from the third to the fifth of may
1990-91 => nineteen ninety to ninety one
-5-10 => minus five to ten
500-1000 people => five hundred to one thousand people
1-800-555-1234 => one eight zero zero, five five five, one two three four
1st-3rd => first to third
# dates and times
5 a.m, 6 lbs., 9/11 => five a m, six pounds, nine eleven
on the 5th of May => on the fifth of may
2024/03/14 => march fourteenth, twenty twenty four
12-31-1999 => december thirty first, nineteen ninety nine
14.03.2024, 03.04.2024 => march fourteenth, twenty twenty four, april third, twenty twenty four
the 2020s and 2010s => the twenty twenties and twenty tens
the 2000s => the two thousands
9.30 am => nine thirty a m
10:30:00 => ten thirty
1h 30m => one hour thirty minutes
# money and units
$.50 => fifty cents
$-5 => minus five dollars
5€, 100¥ => five euros, one hundred yen
$20/month => twenty dollars per month
5 m/s, 1 m/s => five meters per second, one meter per second
5 kWh, 1 kWh, 3000 mAh => five kilowatt hours, one kilowatt hour, three thousand milliampere hours
a 100-km race => a one hundred kilometer race
8 oz. of it => eight ounces of it
# points that end a sentence
He left at 5 p.m. She stayed. => he left at five p m. she stayed.
He left at 5 pm. Tom stayed. => he left at five p m. tom stayed.
He left at 5 p.m. Tom stayed. => he left at five p m. tom stayed.
I live in the U.S. We like it. => i live in the u s. we like it.
"I live in the U.S." Then he left. => i live in the u s. then he left.
Tea, etc. Then we left. => tea, et cetera. then we left.
It was on 4 July. We left. => it was on the fourth of july. we left.
On the 4th of July. => on the fourth of july.
on 4 Dec. We left. => on the fourth of december. we left.
Smith & Co. It is big. => smith and company. it is big.
5th Ave. She does not. => fifth avenue. she does not.
D.C. It rained. => d c. it rained.
He moved from Main St. He was sad. => he moved from main street. he was sad.
Plan B. We left. => plan b. we left.
So do I. Tom left. => so do i. tom left.
It is 5 in. We left. => it is five inches. we left.
Hello.World is here. => hello. world is here.
# points that do not
the U.S. Army => the u s army
at 5 p.m. Monday => at five p m monday
5 P.M. EST. => five p m e s t.
a Ph.D. in math => a p h d in math
J. K. Rowling met George W. Bush. => j k rowling met george w bush.
p. 5, pp. 5-6 => page five, pages five to six
no. 5, nos. 5 and 6 => number five, numbers five and six
sec. 2, Ch. 4, Apt. 5 => section two, chapter four, apartment five
Vol. II => volume two
Sat. and Sun. at ten => saturday and sunday at ten
in Sept. we => in september we
Rep. Smith, Pres. Bush => representative smith, president bush
Rev. Dr. King Jr. was => reverend doctor king junior was
an oz. of gold => an ounce of gold
file.txt, node.js => file dot txt, node dot js
https://x.org/a?b=1&c => x dot org slash a question mark b equals one and c
github.com/a, example.co.uk => github dot com slash a, example dot co dot uk
# no abbreviations
His name is Max. He left. => his name is max. he left.
Max. text length, max. 5 => maximum text length, maximum five
I ate a fig. It was good, see fig. 5 => i ate a fig. it was good, see figure five
Los Angeles, CA. => los angeles, c a.
They were wed. It rained. => they were wed. it rained.
in the Sun. We => in the sun. we
Thanks, hon. Go. => thanks, hon. go.
rev. the engine => rev. the engine
# without points
Mr Smith, Mrs Hill, Dr Jones => mister smith, missus hill, doctor jones
Oak St, St Paul => oak street, saint paul
PhD => p h d
# capitals
STOP RIGHT NOW => stop right now
This is GREAT, WAIT, HAPPY. => this is great, wait, happy.
FBI, DNA, USA, IBM, the CEO's TV => f b i, d n a, u s a, i b m, the c e o's t v
UNESCO, IT, WE => unesco, it, we
GIVE US SOME FOOD NOW => give us some food now
"""


def test_cardinals_equal_num2words():
  for number in NUMBERS:
    assert numbers.cardinal(number) == plain(num2words.num2words(number))
  assert numbers.cardinal(-12) == "minus twelve"


def test_ordinals_equal_num2words():
  for number in NUMBERS:
    assert numbers.ordinal(number) == plain(num2words.num2words(number, to="ordinal"))


def test_years_equal_num2words():
  for number in range(1100, 2100):
    expected = plain(num2words.num2words(number, to="year")).replace("oh-", "oh ")
    assert numbers.year(number) == expected


@pytest.mark.parametrize("line", [line for line in ENGLISH.strip().splitlines()
                                  if not line.startswith("# ")])
def test_english(line):
  written, spoken = line.split("=>")
  assert speech_text.normalize(written, "en") == spoken.strip()
  assert speech_text.normalize(spoken, "en") == spoken.strip()


def test_english_holds_no_other_characters_and_is_its_own_normal_form():
  assert speech_text.normalize("", "en") == ""
  noise = np.random.default_rng(1)
  letters = list("abcXYZ 0123456789.,:;!?'\"-–—/%$€£#&@()[]{}°²½éß日\n\t\\|<>*_~^=+")
  for _ in range(300):
    text = speech_text.normalize("".join(noise.choice(letters, 40)), "en")
    assert set(text) <= set("abcdefghijklmnopqrstuvwxyz .,?!;:'-")
    assert text == text.strip() and "  " not in text
    assert speech_text.normalize(text, "en") == text
