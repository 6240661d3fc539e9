"""Prompts of a user: all are prepared before the first is worked on."""

from aigc_tf.errors import UserError

SHOWN_CHARACTERS = 30


def prepared(prepare, prompts):
  """prepare: function of one prompt.  prompts: list of str.

  Returns: list of what it returns.  Raises: UserError that names the prompt, if there are several.
  """
  found = []
  for number, prompt in enumerate(prompts, 1):
    try:
      found.append(prepare(prompt))
    except UserError as error:
      if len(prompts) == 1:
        raise
      raise UserError(f"prompt {number}, {prompt[:SHOWN_CHARACTERS]!r}: {error}") from error
  return found
