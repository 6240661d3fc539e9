"""Synthetic customer-service dialogues in English and Chinese, made here out of templates.

No customer wrote a line of it: sentences of customer_service_lines.py, their slots filled from a
fixed seed. A document is "question\\nanswer\\n...", 1 to 4 turns on one topic; the topic is the
class of its first question. One in ten is held out, by a hash of the first question's template with
its greeting, so that test questions are worded as no question to train on is.
"""

import random

import tensorflow_datasets as tfds

from aigc_tf.data import pipeline
from aigc_tf.data.builders import customer_service_lines as lines

PROMPT_SUFFIX = "\n"  # a prompt is the customer's question
CLASSIFIED = "source"  # what a classifier sees: the question, without its answer
INTENTS = tuple(lines.ENGLISH)

_DIALOGUES = 8000  # drawn a language; some come twice and are left out
_TURNS = (0, 0, 1, 1, 2)  # further turns, equally often each
_CUSTOMERS = ("order", "product", "city", "firm", "defect")
_PLAIN_INTENTS = ("greeting", "complaint")  # no polite words before these answers
_PLAIN_STARTS = ("Please", "Certainly", "I am sorry", "请", "正在", "很抱歉")


def config_for(name):
  """The builder config of this name: english, chinese, or "" for both."""
  listed = {config.name: config for config in CustomerService.BUILDER_CONFIGS}
  return listed[name or "all"]


class CustomerService(tfds.core.GeneratorBasedBuilder):
  """text: the dialogue.  source, target: its first two lines.  label: the customer's intent."""

  name = "customer_service"
  VERSION = tfds.core.Version("1.0.0")
  BUILDER_CONFIGS = [tfds.core.BuilderConfig(name=name, description=f"language: {name}")
                     for name in ("all", *lines.INTENTS)]

  def _info(self):
    return tfds.core.DatasetInfo(
        builder=self,
        description="Synthetic customer-service dialogues in English and Chinese.",
        license="Apache-2.0, as this project; synthetic: made from templates, no real customers",
        features=tfds.features.FeaturesDict({
            **{key: tfds.features.Text() for key in ("text", "source", "target", "language")},
            "label": tfds.features.ClassLabel(names=INTENTS)}))

  def _split_generators(self, dl_manager):
    chosen = self.builder_config.name
    sides = {"train": [], "test": []}
    for language in lines.INTENTS if chosen == "all" else (chosen,):
      for template, intent, dialogue in dialogues(language):
        side = "test" if pipeline.is_test(template.encode()) else "train"
        sides[side].append((language, intent, dialogue))
    return {split: self._generate_examples(rows) for split, rows in sides.items()}

  def _generate_examples(self, rows):
    for language, intent, dialogue in rows:
      text = "\n".join(dialogue)
      yield text, {"text": text, "source": dialogue[0], "target": dialogue[1], "label": intent,
                   "language": language}


def dialogues(language):
  """All dialogues of a language, each once, the same at every call.

  language: "english" or "chinese".  Yields: (template of the first question, intent, list of str).
  """
  draw = random.Random(f"customer_service {language}")
  seen = set()
  for i in range(_DIALOGUES):
    intent = INTENTS[i % len(INTENTS)]
    template, dialogue = _dialogue(language, intent, draw)
    if tuple(dialogue) not in seen:
      seen.add(tuple(dialogue))
      yield template, intent, dialogue


def _dialogue(language, intent, draw):
  # (template of the first question, the lines with their slots filled)
  questions, answers, turns = lines.INTENTS[language][intent]
  question = _opened(draw.choice(lines.OPENERS[language]), draw.choice(questions))
  written, known = [question + draw.choice(lines.CLOSERS[language])], _named(question)
  fitting = [answer for answer in answers if _named(answer) <= known]
  if not fitting:
    written += draw.choice(lines.ASK[language])
    known |= _named(written[-1])
    fitting = [answer for answer in answers if _named(answer) <= known]
  written.append(_polite(language, intent, draw, draw.choice(fitting)))
  turns = [turn for turn in turns if _named(turn[1]) <= known | _named(turn[0])]
  rest = draw.sample(turns, min(len(turns), draw.choice(_TURNS)))
  if rest and draw.random() < 0.4:
    rest[-1] = draw.choice(lines.LAST[language])
  written += (line for turn in rest for line in turn)
  slots = _slots(language, draw)
  return written[0], [line.format(**slots) for line in written]


def _opened(opener, question):
  lowered = opener.endswith(", ") and not question.startswith("I ")
  return opener + (question[0].lower() + question[1:] if lowered else question)


def _polite(language, intent, draw, answer):
  plain = intent in _PLAIN_INTENTS or answer.startswith(_PLAIN_STARTS)
  return answer if plain else draw.choice(lines.POLITE[language]) + answer


def _named(line):
  # Slots only the customer knows: an answer may use them once they were said.
  return {slot for slot in _CUSTOMERS if "{" + slot + "}" in line}


def _slots(language, draw):
  slots = {name: draw.choice(values) for name, values in lines.SLOTS[language].items()}
  return {**slots, "order": f"{draw.choice('ABCDEFGH')}{draw.randrange(10000, 99999)}",
          "day": draw.randrange(1, 29), "days": draw.randrange(2, 8),
          "amount": draw.randrange(1, 20) * 5, "years": draw.choice((2, 3, 5))}


Builder = CustomerService
