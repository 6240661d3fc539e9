"""English telephone prompts, one voice, out of two Debian packages (asterisk_prompts.py)."""

from aigc_tf.data.builders import asterisk_prompts


class AsteriskEn(asterisk_prompts.Prompts):
  """audio, text, speaker, key."""

  name = "asterisk_en"
  LANGUAGE = "en"


Builder = AsteriskEn
