"""The versions of one model: which are on disk, which ought to be loaded, what to do next.

The rules are TF Serving's: a folder named by a number is a version; the policy says which of them
are wanted; a new version is loaded before the old one goes (its AvailabilityPreservingPolicy).
"""

import dataclasses
import os

from absl import logging
import tensorflow as tf

from aigc_tf.serving import status

START, LOADING, AVAILABLE, UNLOADING, END = "START", "LOADING", "AVAILABLE", "UNLOADING", "END"
MAX_VERSION = 2**63 - 1


@dataclasses.dataclass(frozen=True)
class VersionState:
  """What the status of a model says of one version.

  version: int.  state: START, LOADING, AVAILABLE, UNLOADING or END.  error_code: int, 0 if nothing
  is wrong.  error_message: str.
  """

  version: int
  state: str
  error_code: int
  error_message: str


class Version:
  """One version of a model on its way from START to END. The manager's lock guards all of it.

  wanted: whether the policy asks for it.  references: requests that run on it now.  failures: loads
  that failed.  retry_seconds: when to load again, on the monotonic clock; None is never.
  """

  def __init__(self, name, number, path):
    self.name, self.number, self.path = name, number, path
    self.state, self.error = START, None
    self.wanted = True
    self.servable = None
    self.references = 0
    self.failures = 0
    self.retry_seconds = None
    self._tried_files = self._seen_files = None

  def described(self):
    """Returns: VersionState.  To the outside a load lasts until no retry is left."""
    waits = self.state == END and self.wanted and self.retry_seconds is not None
    if waits or self.state == LOADING:
      return VersionState(self.number, LOADING, status.OK, "")
    error = self.error
    return VersionState(self.number, self.state, error.code if error else status.OK,
                        error.message if error else "")

  def why_not(self):
    """Returns: (what is wrong in one line, the same in TF Serving's words)."""
    return (f"version {self.number} cannot be loaded: {' '.join(self.error.message.split())}",
            f"{{name: {self.name} version: {self.number}}} due to error: "
            f"{status.NAMES[self.error.code]}: {self.error.message}")

  def is_loadable(self, now_seconds):
    if self.state == START:
      return True
    return self.state == END and self.retry_seconds is not None and (
        now_seconds >= self.retry_seconds)

  def is_settled(self):
    """Loaded, or known to fail."""
    return self.state == AVAILABLE or self.state == END and self.error is not None

  def fail(self, error, retry_seconds):
    """error: ServingError.  retry_seconds: as above."""
    self.state, self.error, self.servable = END, error, None
    self.failures += 1
    self.retry_seconds = retry_seconds

  def note_attempt(self):
    """To be called before a load: what is on disk now is what is tried."""
    self._tried_files = fingerprint(self.path)

  def files_have_settled(self):
    """Whether its files differ from those that failed and have been at rest for one poll."""
    files, before = fingerprint(self.path), self._seen_files
    self._seen_files = files
    return files == before and files != self._tried_files


def fingerprint(path):
  """Names, sizes and times of all files below a folder.  Returns: tuple, () if it is gone."""
  found = []
  try:
    for folder, _, names in tf.io.gfile.walk(path):
      for name in names:
        file = os.path.join(folder, name)
        stat = tf.io.gfile.stat(file)
        found.append((file, stat.length, stat.mtime_nsec))
  except tf.errors.OpError:  # removed meanwhile
    return ()
  return tuple(sorted(found))


def on_disk(config):
  """The versions that a model's policy asks for, of those below its base path.

  config: ModelConfig.  Returns: {version: path}.  Raises: ServingError INVALID_ARGUMENT if there is
  no base path: what is loaded then stays.
  """
  children = _numbered(config)
  if config.policy[0] == "latest":
    return {number: children[number] for number in sorted(children)[-config.policy[1]:]}
  if config.policy[0] == "specific":
    return {number: children[number] for number in config.policy[1] if number in children}
  return children


def _numbered(config):
  """Returns: {version: path} of all numbered folders; of 1 and 001 the last by name counts."""
  try:
    names = sorted(name.rstrip("/") for name in tf.io.gfile.listdir(config.base_path))
  except tf.errors.OpError as error:
    raise status.ServingError(status.INVALID_ARGUMENT, (
        f"Could not find base path {config.base_path} for servable {config.name} with error "
        f"{status.text(error.message)}")) from error
  found = {}
  for name in names:
    if not (name.isascii() and name.isdigit()) or int(name) > MAX_VERSION:
      continue
    path = os.path.join(config.base_path, name)
    if tf.io.gfile.isdir(path):
      if int(name) in found:
        logging.log_first_n(logging.WARNING, "Version %d of %s is loaded from %s, not from %s", 1,
                            int(name), config.name, path, found[int(name)])
      found[int(name)] = path
  return found


def next_action(versions, now_seconds):
  """The next step towards the versions wanted, so that one is always available.

  versions: list of Version, of one model.  now_seconds: the monotonic clock.
  Returns: ("load" or "unload", Version), or None if there is nothing to do.
  """
  wanted = [version for version in versions if version.wanted]
  serving = any(version.state == AVAILABLE for version in wanted)
  leaving = [version for version in versions
             if not version.wanted and version.state == AVAILABLE]
  if leaving and (serving or not wanted or len(leaving) > 1):
    return "unload", min(leaving, key=_number)
  loadable = [version for version in wanted if version.is_loadable(now_seconds)]
  return ("load", max(loadable, key=_number)) if loadable else None


def _number(version):
  return version.number
