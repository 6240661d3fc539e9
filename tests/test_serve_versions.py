"""The rules by which versions are loaded and unloaded."""

import itertools

from aigc_tf.serving import status
from aigc_tf.serving import versions


def test_retries_are_limited():
  version = versions.Version("m", 1, "/m/1")
  assert version.is_loadable(0)
  version.fail(status.ServingError(status.DATA_LOSS, "bad"), retry_seconds=60)
  assert not version.is_loadable(59) and version.is_loadable(60)
  assert version.described() == versions.VersionState(1, "LOADING", status.OK, "")
  version.fail(status.ServingError(status.DATA_LOSS, "bad"), retry_seconds=None)
  assert version.described() == versions.VersionState(1, "END", status.DATA_LOSS, "bad")
  assert not version.is_loadable(1e9)


def _steps(model, now_seconds):
  """Takes all steps until there are none; every third version cannot be loaded."""
  while action := versions.next_action(model, now_seconds):
    what, version = action
    if what == "unload":
      version.state = versions.END
    elif version.number % 3:
      version.state = versions.AVAILABLE
    else:
      version.fail(status.ServingError(status.INTERNAL, "no"), None)
    yield


STATES = [(versions.START, True), (versions.AVAILABLE, True), (versions.AVAILABLE, False),
          (versions.END, False)]


def _available(model):
  return {version.number for version in model if version.state == versions.AVAILABLE}


def test_one_version_is_always_available():
  for states in itertools.product(STATES, repeat=4):
    model = [versions.Version("m", number, "") for number in range(1, 5)]
    for version, (version.state, version.wanted) in zip(model, states, strict=True):
      pass
    was, wanted = _available(model), {version.number for version in model if version.wanted}
    for _ in _steps(model, 0):
      assert _available(model) or not was or not wanted
    loaded = _available(model) & wanted
    assert loaded >= {number for number in wanted if number % 3}
    if loaded or not wanted:
      assert _available(model) == loaded  # nothing else is kept
