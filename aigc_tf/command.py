"""What every command shares: flags of its own by absl, quiet TensorFlow, one-line errors.

A command is a module with a docstring (its help), `define(values)`, `run(values)` and

  def main(argv=None):
    return command.main(argv, __doc__, define, run)
"""

import contextlib
import errno
import os
import pathlib
import signal
import sys
import tempfile

from absl import flags

from aigc_tf.errors import UserError

EXIT_MISTAKE = 1
EXIT_SIGINT, EXIT_SIGPIPE = 128 + signal.SIGINT, 128 + signal.SIGPIPE
# Refused by the machine, not by a mistake of ours: full disks, folders that may not be written.
_ENVIRONMENT = (errno.EACCES, errno.EDQUOT, errno.EFBIG, errno.EISDIR, errno.ENOSPC, errno.ENOTDIR,
                errno.EPERM, errno.EROFS)


def parse(argv, doc, define):
  """Parses a command's flags.

  argv: list of str, argv[0] the program.  doc: the help text.  define: function(FlagValues).
  Returns: absl FlagValues.  Raises: UserError for unknown flags, wrong types and stray words.
  """
  values = flags.FlagValues()
  define(values)
  flags.DEFINE_bool("help", False, "Print this help.", short_name="h", flag_values=values)
  try:
    words = values(argv)
  except flags.Error as error:
    raise UserError(f"{error} (--help lists the flags)") from error
  if values.help:
    print(f"{doc.strip()}\n\nFlags:")
    print("\n".join(_describe(values[name]) for name in sorted(values) if len(name) > 1))
    raise SystemExit(0)
  if words[1:]:
    raise UserError(f"unexpected argument {words[1]!r}: flags are written --name=value")
  return values


def _describe(flag):
  default = "" if flag.default in (None, False) else f" [{flag.default}]"
  return f"  --{flag.name:20} {flag.help}{default}"


def main(argv, doc, define, run):
  """Parses and runs a command. Returns the exit status."""
  return guarded(lambda: run(parse(list(sys.argv if argv is None else argv), doc, define)))


def make_folder(name):
  """Creates a folder with its parents.  Returns: pathlib.Path.  Raises: UserError."""
  folder = pathlib.Path(name)
  try:
    folder.mkdir(parents=True, exist_ok=True)
  except OSError as error:
    raise UserError(f"cannot create the folder {folder}: {error.strerror}; "
                    "name another one") from error
  return folder


def import_tensorflow():
  """Imports TensorFlow without its notes about this machine's libraries and absent GPUs.

  They come from C++ before any log level is read, so the file descriptor itself is held back;
  should the import fail, they are shown.
  """
  with tempfile.TemporaryFile() as held, contextlib.ExitStack() as stack:
    sys.stderr.flush()
    stderr = os.dup(2)
    stack.callback(os.close, stderr)
    os.dup2(held.fileno(), 2)
    try:
      import tensorflow as tf
      tf.config.list_physical_devices()
    except BaseException:
      held.seek(0)
      os.write(stderr, held.read())
      raise
    finally:
      os.dup2(stderr, 2)


def guarded(function):
  """Runs a command's work; a user's mistake becomes one line. Returns the exit status."""
  os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # its errors reach us as exceptions
  os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
  try:
    status = function() or 0
    sys.stdout.flush()
    return status
  except UserError as error:
    print("error: " + " ".join(str(error).split()), file=sys.stderr)
    return EXIT_MISTAKE
  except BrokenPipeError:  # of `| head`, which has read enough: the rest goes nowhere
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    return EXIT_SIGPIPE
  except OSError as error:
    if error.errno not in _ENVIRONMENT:
      raise
    print(f"error: {error.filename or 'writing'}: {error.strerror}", file=sys.stderr)
    return EXIT_MISTAKE
  except KeyboardInterrupt:
    print("interrupted", file=sys.stderr)
    return EXIT_SIGINT
