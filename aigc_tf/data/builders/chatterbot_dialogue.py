"""Small talk, questions and technical support, out of the PyPI package chatterbot-corpus.

A document is a conversation, "question\\nanswer\\n...", at most six lines of it. The English half
is hand-made; the Chinese one is a machine translation and weak. One in ten is held out, by a hash
of the first question, so that answers to one question lie on one side.
"""

import tensorflow_datasets as tfds
import yaml

from aigc_tf.data import packages
from aigc_tf.data import pipeline

PROMPT_SUFFIX = "\n"  # a prompt is the first question

_LANGUAGES = ("english", "chinese")
_MOST_LINES = 6


def config_for(name):
  """The builder config of this name: english, chinese, or "" for both."""
  listed = {config.name: config for config in ChatterbotDialogue.BUILDER_CONFIGS}
  return listed[name or "all"]


class ChatterbotDialogue(tfds.core.GeneratorBasedBuilder):
  """text: the conversation.  source, target: its first two lines.  topic: the file it is from."""

  name = "chatterbot_dialogue"
  VERSION = tfds.core.Version("1.0.0")
  BUILDER_CONFIGS = [tfds.core.BuilderConfig(name=name, description=f"language: {name}")
                     for name in ("all", *_LANGUAGES)]

  def _info(self):
    return tfds.core.DatasetInfo(
        builder=self,
        description="Conversations in English and Chinese.",
        homepage="https://github.com/gunthercox/chatterbot-corpus",
        license=packages.PACKAGES["chatterbot-corpus"].licence,
        features=tfds.features.FeaturesDict({
            key: tfds.features.Text()
            for key in ("text", "source", "target", "topic", "language")}))

  def _split_generators(self, dl_manager):
    folder = packages.fetch("chatterbot-corpus") / "chatterbot_corpus/data"
    chosen = self.builder_config.name
    sides, seen = {"train": [], "test": []}, set()
    for language in _LANGUAGES if chosen == "all" else (chosen,):
      for path in sorted((folder / language).glob("*.yml")):
        for lines in conversations(path.read_text(encoding="utf-8")):
          text = "\n".join(lines)
          if text not in seen:
            seen.add(text)
            held_out = pipeline.is_test(lines[0].casefold().encode())
            sides["test" if held_out else "train"].append((language, path.stem, lines))
    return {split: self._generate_examples(rows) for split, rows in sides.items()}

  def _generate_examples(self, rows):
    for language, topic, lines in rows:
      text = "\n".join(lines)
      yield f"{language} {text}", {"text": text, "source": lines[0], "target": lines[1],
                                   "topic": topic, "language": language}


def conversations(text):
  """The conversations of one file.  text: str, YAML.  Yields: list of 2 to 6 str, one line each."""
  for lines in yaml.safe_load(text)["conversations"]:
    lines = [" ".join(str(line).split()) for line in lines[:_MOST_LINES]]
    if len(lines) > 1 and all(lines):
      yield lines


Builder = ChatterbotDialogue
