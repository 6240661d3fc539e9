"""3,391 colour icons with English and Chinese labels, out of two npm packages.

The icons are WebP with alpha (@lobehub/fluent-emoji-3d), put on white and resized with antialias;
the words and the ten groups are joined by code point (emojibase-data). Icons that differ in skin
tone alone are nearly equal: all of one base icon lie on the same side of the split.
"""

import dataclasses
import json

from PIL import Image
import tensorflow_datasets as tfds

from aigc_tf.data import packages
from aigc_tf.data import pipeline
from aigc_tf.data import pixels

GROUPS = ("smileys-emotion", "people-body", "component", "animals-nature", "food-drink",
          "travel-places", "activities", "objects", "symbols", "flags")


@dataclasses.dataclass
class EmojiConfig(tfds.core.BuilderConfig):
  """size: int pixels of a side."""
  size: int = 64


def config_for(size):
  """The builder config for square icons of a side of `size` pixels."""
  listed = [config for config in FluentEmoji.BUILDER_CONFIGS if config.size == size]
  return listed[0] if listed else _config(size)  # TFDS refuses a second config of one name


def _config(size):
  return EmojiConfig(name=f"{size}px", description=f"{size}x{size} RGB on white", size=size)


class FluentEmoji(tfds.core.GeneratorBasedBuilder):
  """image: uint8[size, size, 3].  label: the group.  english, chinese: words for the icon."""

  name = "fluent_emoji"
  VERSION = tfds.core.Version("1.0.0")
  BUILDER_CONFIGS = [_config(64), _config(32)]

  def _info(self):
    size = self.builder_config.size
    return tfds.core.DatasetInfo(
        builder=self,
        description="3,391 colour icons with English and Chinese labels, in ten groups.",
        homepage="https://github.com/lobehub/fluent-emoji",
        license=packages.PACKAGES["@lobehub/fluent-emoji-3d"].licence,
        features=tfds.features.FeaturesDict({
            "image": tfds.features.Image(shape=(size, size, 3)),
            "label": tfds.features.ClassLabel(names=GROUPS),
            "english": tfds.features.Text(),
            "chinese": tfds.features.Text(),
            "group": tfds.features.Text(),
            "code": tfds.features.Text(),
        }),
        supervised_keys=("image", "label"))

  def _split_generators(self, dl_manager):
    paths = sorted((packages.fetch("@lobehub/fluent-emoji-3d") / "assets").glob("*.webp"))
    folder = packages.fetch("emojibase-data")
    english, chinese = (_entries(folder / language / "data.json") for language in ("en", "zh"))
    rows = [(path, english[code], chinese[code])
            for path, code in ((path, plain_code(path.stem)) for path in paths)]
    return {
        split: self._generate_examples(
            [row for row in rows if pipeline.is_test(row[1]["base"].encode()) == held_out])
        for split, held_out in (("train", False), ("test", True))}

  def _generate_examples(self, rows):
    for path, english, chinese in rows:
      with Image.open(path) as image:
        fitted = pixels.fit(image, self.builder_config.size, 3)
      group = GROUPS[english["group"]]
      yield path.stem, {"image": fitted, "label": group, "group": group, "code": path.stem,
                        "english": english["label"], "chinese": chinese["label"]}


def plain_code(code):
  """Code points as both packages can write them: no leading zeros, variation selector, end tag.

  "00A9-FE0F" -> "a9", "1f3f4-e0067_e0062" -> "1f3f4-e0067-e0062".
  """
  points = [point.lstrip("0") for point in code.lower().replace("_", "-").split("-")]
  return "-".join(point for point in points if point not in ("fe0f", "e007f"))


def _entries(path):
  # Code -> label, group and the code of the base icon; skin tones lie below their base.
  entries = {}
  for base in json.loads(path.read_text(encoding="utf-8")):
    for entry in (base, *base.get("skins", ())):
      entries[plain_code(entry["hexcode"])] = {
          "label": entry["label"], "group": base.get("group"), "base": plain_code(base["hexcode"])}
  return entries


Builder = FluentEmoji
