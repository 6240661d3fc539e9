"""Spanish telephone prompts, one voice, out of two Debian packages (asterisk_prompts.py).

The texts are written without accents.
"""

from aigc_tf.data.builders import asterisk_prompts


class AsteriskEs(asterisk_prompts.Prompts):
  """audio, text, speaker, key."""

  name = "asterisk_es"
  LANGUAGE = "es"


Builder = AsteriskEs
