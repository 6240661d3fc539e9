"""Keeps the wanted versions of all models loaded, and lends them to requests.

One thread looks at the folders (and at the file of models), and loads and unloads one version
after another. A new version is loaded and warmed up before the old one goes, and an old one is
closed only when the last request that runs on it has ended, so that no request fails meanwhile.
"""

import math
import threading
import time

from absl import logging

from aigc_tf.errors import UserError
from aigc_tf.serving import servable as servables
from aigc_tf.serving import server_config
from aigc_tf.serving import status
from aigc_tf.serving import versions

STOP_SECONDS = 30  # for requests under way, when the server stops
_NONE: tuple[dict, None] = ({}, None)


class Manager:
  """The versions of all models.

  configs: list of ModelConfig.  poll_seconds: how often the folders are looked at, 0 once.
  parallelism: threads of TensorFlow's pools, 0 one a core.  warm_up: replay warm-up requests.
  allow_labels_for_unavailable: a label may name a version that is not loaded (yet).
  max_load_retries, load_retry_seconds: after a failed load; files that changed are tried at once.
  config_file: models.config, read again every config_poll_seconds, 0 never.
  start_wait_seconds: how long `start` and `reload` wait for the first version of a model.

  listeners: list of function(event, servable), event "loaded" or "unloaded"; "loaded" comes before
  the first request, "unloaded" after the last.
  """

  def __init__(self, configs, poll_seconds=1.0, parallelism=0, warm_up=True,
               allow_labels_for_unavailable=False, max_load_retries=5, load_retry_seconds=60.0,
               config_file=None, config_poll_seconds=0, start_wait_seconds=10.0):
    self.listeners = []
    self._first_configs = list(configs)
    self._poll_seconds = poll_seconds
    self._parallelism, self._warm_up = parallelism, warm_up
    self._allow_labels = allow_labels_for_unavailable
    self._max_load_retries, self._load_retry_seconds = max_load_retries, load_retry_seconds
    self._config_file, self._config_poll_seconds = config_file, config_poll_seconds
    self._start_wait_seconds = start_wait_seconds
    self._reload_lock = threading.Lock()  # one change of the config at a time
    self._changed = threading.Condition()  # guards all that follows
    self._configs = {}
    self._labels = {}
    self._models = {}  # name -> {number: Version}, ended ones too
    self._available = {}  # name -> ({number: Version}, the highest), of what can be run now
    self._found = set()  # models of which a version was seen under the present config
    self._complaints = {}  # name -> what is wrong with its folder, to be told once
    self._poll_due_seconds = self._config_due_seconds = math.inf
    self._stopping = False
    self._thread = None

  # --- starting and stopping

  def start(self):
    """Loads all models; returns when every one can be run.

    Raises: UserError if a model cannot be loaded, or has no version after start_wait_seconds.
    """
    try:
      self._apply(self._first_configs)
    except status.ServingError as error:
      hint = ("; start with --allow_version_labels_for_unavailable_models"
              if error.code == status.FAILED_PRECONDITION else "")
      raise UserError(f"{error.message}{hint}") from error
    if self._config_file and self._config_poll_seconds > 0:
      self._config_due_seconds = time.monotonic() + self._config_poll_seconds
    self._thread = threading.Thread(target=self._work, name="aigc_tf versions", daemon=True)
    self._thread.start()
    missing = self._wait_for(list(self._configs))
    if missing:
      self.stop()
      raise UserError("; ".join(
          f"model {name} ({self._configs[name].base_path}): {text}"
          for name, (text, _) in missing.items()))

  def stop(self):
    """Unloads everything, after the requests under way; what is still in use then stays."""
    with self._changed:
      self._stopping = True
      self._available = {}
      self._changed.notify_all()
    if self._thread is not None:
      self._thread.join(STOP_SECONDS)
    with self._changed:
      every = [version for model in self._models.values() for version in model.values()]
      self._changed.wait_for(
          lambda: not any(version.references for version in every), STOP_SECONDS)
    for version in every:
      if not version.references:
        self._close(version)

  # --- requests

  def servable(self, name, version=None, label=None):
    """A version to run, kept alive meanwhile: `with manager.servable("m") as servable`.

    name: str.  version: int, or None for the highest that is loaded.  label: str instead of it.
    Returns: context manager that gives a Servable.  Raises: ServingError NOT_FOUND; for an unknown
    label INVALID_ARGUMENT.
    """
    return _Lease(self, name, version, label)

  def _acquire(self, name, number, label):
    with self._changed:
      if label is not None:
        number = self._labels.get(name, {}).get(label)
        if number is None:
          raise status.ServingError(
              status.INVALID_ARGUMENT, f"Unrecognized servable version label: {label}")
      numbered, highest = self._available.get(name, _NONE)
      version = highest if number is None else numbered.get(number)
      if version is None:
        wanted = f"Latest({name})" if number is None else f"Specific({name}, {number})"
        raise status.ServingError(
            status.NOT_FOUND, f"Servable not found for request: {wanted}")
      version.references += 1
      return version

  def _release(self, version):
    with self._changed:
      version.references -= 1
      if not version.references and (self._stopping or version.state == versions.UNLOADING):
        self._changed.notify_all()

  # --- what is there

  def model_names(self):
    """Returns: sorted list of str, the models of the config, loaded or not."""
    with self._changed:
      return sorted(self._configs)

  def versions(self, name, version=None):
    """States of a model's versions, ended ones too.

    Returns: list of VersionState, the highest first; one if `version` is given.
    Raises: ServingError NOT_FOUND.
    """
    with self._changed:
      model = self._models.get(name, {})
      if version is not None:
        if version not in model:
          raise status.ServingError(
              status.NOT_FOUND, f"Could not find version {version} of model {name}")
        return [model[version].described()]
      if not model:
        raise status.ServingError(
            status.NOT_FOUND, f"Could not find any versions of model {name}")
      return [model[number].described() for number in sorted(model, reverse=True)]

  # --- changing the config

  def reload(self, configs):
    """Serves these models from now on; returns when the new ones can be run.

    configs: list of ModelConfig.  Raises: ServingError, and then nothing has changed; UNKNOWN if a
    new model could not be loaded (which goes on being tried).
    """
    with self._reload_lock:
      old = self._configs
      self._apply(configs)
    missing = self._wait_for([config.name for config in configs if config.name not in old])
    if missing:
      text = "".join(f"{{{error}}}, " for _, error in missing.values())
      raise status.ServingError(
          status.UNKNOWN, f"{len(missing)} model(s) did not become available: {{{text}}}")

  def _apply(self, configs):
    """Takes over a config, all of it or nothing. The thread does the rest."""
    with self._changed:
      server_config.validate(configs, list(self._configs.values()))
      labels = {config.name: self._checked_labels(config) for config in configs}
      server_config.check_platforms(configs)
      new = {config.name: config for config in configs}
      self._found -= {name for name in new if new[name] != self._configs.get(name)}
      self._configs, self._labels = new, labels
      self._poll_due_seconds = 0
      self._changed.notify_all()

  def _checked_labels(self, config):
    """A label may not point to nothing, unless it is new and the flag allows it."""
    numbered, _ = self._available.get(config.name, _NONE)
    old = self._labels.get(config.name, {})
    for label, number in config.labels.items():
      may_wait = self._allow_labels and old.get(label, number) == number
      if number not in numbered and not may_wait:
        raise status.ServingError(status.FAILED_PRECONDITION, (
            f"Request to assign label to version {number} of model {config.name}, which is not "
            "currently available for inference"))
    return dict(config.labels)

  def _wait_for(self, names):
    """Waits until each model has been loaded or has failed.  Returns: {name: _why_not}."""
    deadline = time.monotonic() + self._start_wait_seconds
    with self._changed:
      while not self._stopping and not all(map(self._is_settled, names)):
        if time.monotonic() > deadline and not all(name in self._found for name in names):
          break
        self._changed.wait(0.1)
      return {name: self._why_not(name) for name in names if name not in self._available}

  def _is_settled(self, name):
    return name not in self._configs or name in self._found and all(
        version.is_settled() for version in self._models[name].values() if version.wanted)

  def _why_not(self, name):
    """Returns: (str for who starts the server, str in TF Serving's words)."""
    failed = [version for version in self._models.get(name, {}).values() if version.error]
    if failed:
      return failed[-1].why_not()
    text = self._complaints.get(name) or (
        f"no version after {self._start_wait_seconds:g} s: name its folder by a number, as in 1/")
    return text, f"{name}: {text}"

  # --- the thread

  def _work(self):
    while not self._stopping:
      try:
        self._poll_config()
        self._poll()
        self._close_unused()
        busy = self._act()
      except Exception as error:  # whatever it is, the versions that are loaded stay
        logging.error("Versions could not be updated: %s", error, exc_info=error)
        busy = False
      with self._changed:
        if not busy and not self._stopping:
          self._changed.wait(self._idle_seconds())

  def _idle_seconds(self):
    retries = [version.retry_seconds for version in self._wanted()
               if version.state == versions.END and version.retry_seconds is not None]
    due = min([self._poll_due_seconds, self._config_due_seconds, *retries])
    return min(max(due - time.monotonic(), 0), 3600)

  def _wanted(self):
    return [version for model in self._models.values() for version in model.values()
            if version.wanted]

  def _poll_config(self):
    if time.monotonic() < self._config_due_seconds:
      return
    self._config_due_seconds = time.monotonic() + self._config_poll_seconds
    try:
      configs = server_config.read_models(self._config_file)
      with self._reload_lock:
        self._apply(configs)
    except (UserError, status.ServingError) as error:
      logging.error("%s is not taken over: %s", self._config_file, error)

  def _poll(self):
    now = time.monotonic()
    with self._changed:
      if now < self._poll_due_seconds:
        return
      self._poll_due_seconds = now + self._poll_seconds if self._poll_seconds > 0 else math.inf
      configs = dict(self._configs)
      gone = [name for name in self._models if name not in configs]
    for name in gone:
      self._want(name, {})
    for name, config in configs.items():
      self._poll_model(config)
    for version in self._wanted():
      if version.state == versions.END and version.files_have_settled():
        with self._changed:
          version.failures, version.retry_seconds = 0, now

  def _poll_model(self, config):
    try:
      found = versions.on_disk(config)
      complaint = None if found else f"no version of {config.name} in {config.base_path} yet"
    except status.ServingError as error:
      found, complaint = None, error.message
    if complaint and complaint != self._complaints.get(config.name):
      logging.warning("%s", complaint)
    self._complaints[config.name] = complaint
    if found is not None:
      self._want(config.name, found, config)

  def _want(self, name, found, config=None):
    """Notes which versions of a model are wanted.

    found: {number: path}.  config: under which they were found; an outdated one changes nothing.
    """
    with self._changed:
      model = self._models.setdefault(name, {})
      if config != self._configs.get(name) or any(
          version.state == versions.UNLOADING and number in found
          for number, version in model.items()):
        return  # one that is wanted again must end first; until then the others stay as they are
      for number, path in found.items():
        old = model.get(number)
        if old is None or old.state == versions.END and not old.wanted:
          model[number] = versions.Version(name, number, path)
      for number, version in model.items():
        version.wanted = number in found
        if not version.wanted and version.state == versions.START:
          version.state = versions.END
      if found:
        self._found.add(name)
      self._changed.notify_all()

  def _act(self):
    """Takes one step, an unloading first.  Returns: bool whether there was one to take."""
    with self._changed:
      actions = [action for model in self._models.values() if (
          action := versions.next_action(list(model.values()), time.monotonic()))]
      if not actions:
        return False
      what, version = max(actions, key=lambda action: action[0] == "unload")
      version.state = versions.LOADING if what == "load" else versions.UNLOADING
      self._update_available(version.name)
    if what == "load":
      self._load(version)
    return True

  def _load(self, version):
    version.note_attempt()
    try:
      servable = servables.load(
          version.name, version.number, version.path, self._parallelism, self._warm_up)
    except status.ServingError as error:
      logging.error("Version %d of %s cannot be loaded: %s", version.number, version.name, error)
      again = version.failures < self._max_load_retries
      with self._changed:
        version.fail(error, time.monotonic() + self._load_retry_seconds if again else None)
        self._changed.notify_all()
      return
    if self._stopping:  # which may have waited long enough
      version.state = versions.END
      return servable.close()
    logging.info("Loaded version %d of %s in %.2f s, warmed it up in %.2f s", version.number,
                 version.name, servable.load_seconds, servable.warmup_seconds)
    self._tell("loaded", servable)
    with self._changed:
      version.servable, version.error, version.failures = servable, None, 0
      version.state = versions.AVAILABLE
      self._update_available(version.name)

  def _update_available(self, name):
    """Requests see all of a change or nothing."""
    ready = {number: version for number, version in self._models[name].items()
             if version.state == versions.AVAILABLE}
    if ready and not self._stopping:
      self._available[name] = ready, ready[max(ready)]
    else:
      self._available.pop(name, None)
    self._changed.notify_all()

  def _close_unused(self):
    with self._changed:
      unused = [version for model in self._models.values() for version in model.values()
                if version.state == versions.UNLOADING and not version.references]
    for version in unused:
      self._close(version)

  def _close(self, version):
    with self._changed:
      servable, version.servable = version.servable, None
    if servable is None:
      return
    self._tell("unloaded", servable)
    servable.close()
    logging.info("Unloaded version %d of %s", version.number, version.name)
    with self._changed:
      version.state = versions.END
      self._poll_due_seconds = 0  # it may be wanted again, and can now be loaded anew
      self._changed.notify_all()

  def _tell(self, event, servable):
    for listener in self.listeners:
      try:
        listener(event, servable)
      except Exception as error:  # a listener's fault is no reason to withdraw a version
        logging.error("A listener failed on %s: %s", event, error, exc_info=error)


class _Lease:
  """Holds a version for the time of a request."""

  __slots__ = ("_manager", "_arguments", "_version")

  def __init__(self, manager, *arguments):
    self._manager, self._arguments, self._version = manager, arguments, None

  def __enter__(self):
    self._version = self._manager._acquire(*self._arguments)
    return self._version.servable

  def __exit__(self, *unused):
    self._manager._release(self._version)
