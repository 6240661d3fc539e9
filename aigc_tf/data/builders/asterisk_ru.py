"""Russian telephone prompts, one voice, out of two Debian packages (asterisk_prompts.py)."""

from aigc_tf.data.builders import asterisk_prompts


class AsteriskRu(asterisk_prompts.Prompts):
  """audio, text, speaker, key."""

  name = "asterisk_ru"
  LANGUAGE = "ru"


Builder = AsteriskRu
