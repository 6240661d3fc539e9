"""French telephone prompts, one voice, out of two Debian packages (asterisk_prompts.py)."""

from aigc_tf.data.builders import asterisk_prompts


class AsteriskFr(asterisk_prompts.Prompts):
  """audio, text, speaker, key."""

  name = "asterisk_fr"
  LANGUAGE = "fr"


Builder = AsteriskFr
