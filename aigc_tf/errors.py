"""A user's mistake: said in one line, with the fix in it, never as a traceback."""


class UserError(Exception):
  """What is wrong and what to do, in one line. Commands print it and exit with status 1."""
