"""The manager: the wanted versions are loaded, swapped without a failed request, and told of."""

from concurrent import futures
import os
import re
import shutil
import threading
import time
import weakref

import numpy as np
import pytest
import tensorflow as tf

from aigc_tf.errors import UserError
from aigc_tf.serving import manager as managers
from aigc_tf.serving import server_config
from aigc_tf.serving import status
from aigc_tf.serving import versions
from aigc_tf.serving import warmup
from tests import serve_models

X = {"x": np.array([1, 2, 5], np.float32)}
WAIT_SECONDS = 60


@pytest.fixture(scope="module", name="saved")
def _saved(tmp_path_factory):
  return serve_models.make_half_plus_two(tmp_path_factory.mktemp("saved"), "half", 1)


@pytest.fixture(name="base")
def _base(tmp_path, saved):
  """A base path with version 1."""
  shutil.copytree(saved, tmp_path / "half" / "1")
  return str(tmp_path / "half")


@pytest.fixture(name="serve")
def _serve():
  started = []

  def serve(*configs, poll_seconds=0.05, **keywords):
    manager = managers.Manager(configs, poll_seconds, start_wait_seconds=0.3, **keywords)
    started.append(manager)
    manager.start()
    return manager

  yield serve
  for manager in started:
    manager.stop()


def _publish(base, version):
  return serve_models.copy(f"{base}/1", version)


def _run(manager, *arguments, **keywords):
  with manager.servable(*arguments, **keywords) as servable:
    assert servable.run("serving_default", X, ("y",))[0].tolist() == [2.5, 3, 4.5]
    return servable.version


def _states(manager, name="half"):
  return {state.version: state.state for state in manager.versions(name)}


def _wait_until(condition):
  deadline = time.monotonic() + WAIT_SECONDS
  while not condition():
    assert time.monotonic() < deadline, "nothing came of it"
    time.sleep(0.02)


def _error(call, *arguments, **keywords):
  with pytest.raises(status.ServingError) as caught:
    result = call(*arguments, **keywords)
    if hasattr(result, "__enter__"):
      with result:
        pass
  return caught.value.code, caught.value.message


def test_requests_and_texts(base, serve):
  _publish(base, 7)
  manager = serve(server_config.single("half", base))
  assert _run(manager, "half") == _run(manager, "half", 7) == 7
  assert manager.model_names() == ["half"]
  assert manager.versions("half") == [versions.VersionState(7, "AVAILABLE", 0, "")]
  assert manager.versions("half", 7) == manager.versions("half")
  not_found = status.NOT_FOUND
  assert _error(manager.servable, "half", 1) == (
      not_found, "Servable not found for request: Specific(half, 1)")
  assert _error(manager.servable, "other") == (
      not_found, "Servable not found for request: Latest(other)")
  assert _error(manager.servable, "half", label="stable") == (
      status.INVALID_ARGUMENT, "Unrecognized servable version label: stable")
  assert _error(manager.versions, "half", 9) == (
      not_found, "Could not find version 9 of model half")
  assert _error(manager.versions, "other") == (
      not_found, "Could not find any versions of model other")


def test_versions_come_and_go(base, serve):
  manager = serve(server_config.single("half", base))
  events = []
  manager.listeners.append(lambda event, servable: events.append((event, servable.version)))
  two = _publish(base, 2)
  _wait_until(lambda: _states(manager) == {2: "AVAILABLE", 1: "END"})
  assert events == [("loaded", 2), ("unloaded", 1)]  # in this order: one was always there
  shutil.rmtree(two)
  _wait_until(lambda: _states(manager) == {2: "END", 1: "AVAILABLE"})
  assert events[2:] == [("loaded", 1), ("unloaded", 2)]
  assert _run(manager, "half") == 1
  shutil.rmtree(base)  # a folder that cannot be reached withdraws nothing
  time.sleep(0.3)
  assert _run(manager, "half") == 1


@pytest.mark.parametrize("policy, expected", [
    (("latest", 1), [12]), (("latest", 2), [12, 3]), (("all",), [12, 3, 1]),
    (("specific", (1, 3, 99)), [3, 1])])
def test_policies(base, serve, policy, expected):
  for number in ("3", "00012"):
    _publish(base, number)
  for name in ("x4", "5.tmp", "-6", "", "³", str(2**63)):
    os.makedirs(os.path.join(base, name), exist_ok=True)
  with open(f"{base}/77", "w", encoding="utf-8"):
    pass  # a file is no version
  manager = serve(server_config.ModelConfig("half", base, policy))
  assert [state.version for state in manager.versions("half")] == expected
  for number in expected:
    assert _run(manager, "half", number) == number
  assert _run(manager, "half") == expected[0]


def test_labels(base, serve):
  _publish(base, 2)
  config = server_config.ModelConfig("half", base, ("all",))
  manager = serve(config)
  labelled = server_config.ModelConfig("half", base, ("all",), {"stable": 1, "canary": 2})
  manager.reload([labelled])
  assert _run(manager, "half", label="stable") == 1
  assert _run(manager, "half", label="canary") == 2
  absent = server_config.ModelConfig("half", base, ("all",), {"stable": 3})
  refused = (status.FAILED_PRECONDITION, "Request to assign label to version 3 of model half, "
             "which is not currently available for inference")
  assert _error(manager.reload, [absent]) == refused
  assert _run(manager, "half", label="stable") == 1  # nothing has changed
  with pytest.raises(UserError, match="--allow_version_labels_for_unavailable_models"):
    serve(labelled)


def test_labels_for_what_is_not_there_yet(base, serve):
  config = server_config.ModelConfig("half", base, ("all",), {"stable": 1, "next": 2})
  manager = serve(config, allow_labels_for_unavailable=True)
  assert _run(manager, "half", label="stable") == 1
  assert _error(manager.servable, "half", label="next") == (
      status.NOT_FOUND, "Servable not found for request: Specific(half, 2)")
  _publish(base, 2)
  _wait_until(lambda: 2 in _states(manager) and _states(manager)[2] == "AVAILABLE")
  assert _run(manager, "half", label="next") == 2
  moved = server_config.ModelConfig("half", base, ("all",), {"stable": 3})
  assert _error(manager.reload, [moved])[0] == status.FAILED_PRECONDITION


def test_a_half_written_version_waits_until_it_is_whole(base, serve, saved):
  manager = serve(server_config.single("half", base))
  os.mkdir(f"{base}/2")
  _wait_until(lambda: manager._models["half"].get(2) and manager._models["half"][2].failures)
  assert manager.versions("half", 2) == [versions.VersionState(2, "LOADING", status.OK, "")]
  assert _states(manager)[1] == "AVAILABLE"
  shutil.copytree(saved, f"{base}/2", dirs_exist_ok=True)  # long before the retry is due
  _wait_until(lambda: _states(manager) == {2: "AVAILABLE", 1: "END"})
  assert manager.versions("half", 2)[0].error_code == status.OK


def test_failed_loads_are_tried_again_a_few_times(base, serve, caplog):
  broken = serve_models.make_broken(os.path.dirname(base), "half", 2)
  manager = serve(server_config.ModelConfig("half", base, ("all",)), max_load_retries=2,
                  load_retry_seconds=0.5)
  assert _run(manager, "half") == 1  # the others are served meanwhile

  def attempts():
    return sum("Version 2 of half cannot be loaded" in line for line in caplog.messages)

  while attempts() < 3:  # to the outside that is one load
    assert manager.versions("half", 2) == [versions.VersionState(2, "LOADING", status.OK, "")] or (
        attempts() == 3)
    time.sleep(0.01)
  time.sleep(1)
  assert attempts() == 3
  assert _states(manager) == {2: "END", 1: "AVAILABLE"}
  state, = manager.versions("half", 2)
  assert state.error_code == status.DATA_LOSS and "Can't parse" in state.error_message
  shutil.rmtree(broken)
  _publish(base, 2)  # other files: a new chance
  _wait_until(lambda: _states(manager) == {2: "AVAILABLE", 1: "AVAILABLE"})


def test_a_request_keeps_its_version(base, serve):
  manager = serve(server_config.single("half", base))
  with manager.servable("half") as servable:
    alive = weakref.ref(servable)
    _publish(base, 2)
    _wait_until(lambda: _states(manager) == {2: "AVAILABLE", 1: "UNLOADING"})
    assert _error(manager.servable, "half", 1)[0] == status.NOT_FOUND
    assert servable.run("serving_default", X, ("y",))[0].tolist() == [2.5, 3, 4.5]
  _wait_until(lambda: _states(manager) == {2: "AVAILABLE", 1: "END"})
  del servable
  _wait_until(lambda: alive() is None)


def test_a_version_wanted_again_before_it_ended(base, serve):
  manager = serve(server_config.single("half", base))
  with manager.servable("half"):
    two = _publish(base, 2)
    _wait_until(lambda: _states(manager) == {2: "AVAILABLE", 1: "UNLOADING"})
    shutil.rmtree(two)
    time.sleep(0.3)
    assert _run(manager, "half") == 2  # the only one that can be run
  _wait_until(lambda: _states(manager) == {2: "END", 1: "AVAILABLE"})


def test_no_request_fails_while_versions_change(base, serve):
  manager = serve(server_config.single("half", base))
  stop, failed, seen = threading.Event(), [], set()

  def work():
    while not stop.is_set():
      try:
        seen.add(_run(manager, "half"))
      except Exception as error:
        failed.append(error)

  threads = [threading.Thread(target=work) for _ in range(8)]
  for thread in threads:
    thread.start()
  try:
    for number in (2, 3):
      _publish(base, number)
      _wait_until(lambda: _states(manager).get(number) == "AVAILABLE" and number in seen)
    for number in (3, 2):
      shutil.rmtree(f"{base}/{number}")
      _wait_until(lambda: _states(manager).get(number) == "END")
  finally:
    stop.set()
    for thread in threads:
      thread.join()
  assert not failed
  assert seen == {1, 2, 3}


def test_reload(base, serve, tmp_path):
  shutil.copytree(base, tmp_path / "more")
  one, two = (server_config.single("half", base), server_config.single("more", f"{tmp_path}/more"))
  manager = serve(one)
  manager.reload([one, two])
  assert _run(manager, "more") == _run(manager, "half") == 1
  manager.reload([two])
  assert manager.model_names() == ["more"]
  _wait_until(lambda: _states(manager) == {1: "END"})
  assert _error(manager.servable, "half") == (
      status.NOT_FOUND, "Servable not found for request: Latest(half)")
  manager.reload([one, two])
  assert _run(manager, "half") == 1
  assert _error(manager.reload, [one, one]) == (
      status.INVALID_ARGUMENT, "Illegal to list model half multiple times in config list")
  third = server_config.single("third", f"{tmp_path}/none")
  code, message = _error(manager.reload, [one, third])
  assert code == status.UNKNOWN
  assert message.startswith(
      "1 model(s) did not become available: {{third: Could not find base path")
  serve_models.make_broken(tmp_path)
  broken = server_config.single("broken", f"{tmp_path}/broken")
  code, message = _error(manager.reload, [one, broken])
  assert code == status.UNKNOWN and re.fullmatch(
      r"1 model\(s\) did not become available: \{\{\{name: broken version: 1\} due to error: "
      r"DATA_LOSS: Can't parse .*\}, \}", message, re.DOTALL), message


def test_the_config_file_is_read_again(base, serve, tmp_path):
  pytest.importorskip("tensorflow_serving")
  file = tmp_path / "models.config"
  entry = ('config {{ name: "{}" base_path: "%s" model_platform: "tensorflow" }}' % base).format

  def write(*names):
    temporary = tmp_path / "temporary"
    temporary.write_text("model_config_list { " + " ".join(map(entry, names)) + "}")
    os.replace(temporary, file)

  write("one")
  manager = serve(*server_config.read_models(str(file)), config_file=str(file),
                  config_poll_seconds=0.1)
  write("one", "two")
  _wait_until(lambda: manager.model_names() == ["one", "two"])
  _wait_until(lambda: "two" in manager._available)
  assert _run(manager, "two") == 1
  file.write_text("model_config_list {{{")  # kept as it was
  time.sleep(0.3)
  assert _run(manager, "one") == _run(manager, "two") == 1


def test_start_tells_what_is_wrong(base, serve, tmp_path):
  def message(path):
    with pytest.raises(UserError) as caught:
      serve(server_config.single("half", str(path)))
    return str(caught.value)

  assert "Could not find base path" in message(tmp_path / "absent")
  os.mkdir(tmp_path / "empty")
  assert "no version of half in" in message(tmp_path / "empty")
  serve_models.make_broken(tmp_path)
  assert "version 1 cannot be loaded: Can't parse" in message(tmp_path / "broken")
  assert all("\n" not in message(tmp_path / name) for name in ("absent", "empty", "broken"))


def test_polling_once(base, serve):
  manager = serve(server_config.single("half", base), poll_seconds=0)
  _publish(base, 2)
  time.sleep(0.3)
  assert _states(manager) == {1: "AVAILABLE"}
  manager.reload([server_config.single("half", base)])
  _wait_until(lambda: _states(manager) == {2: "AVAILABLE", 1: "END"})


def test_after_stop_nothing_is_served_or_held(base, serve):
  manager = serve(server_config.single("half", base))
  with manager.servable("half") as servable:
    alive = weakref.ref(servable)
  del servable
  manager.stop()
  assert alive() is None
  assert _error(manager.servable, "half")[0] == status.NOT_FOUND
  assert _states(manager) == {1: "END"}


def test_stopping_twice_at_once_closes_once(base, serve):
  manager = serve(server_config.single("half", base))
  told = []

  def listen(event, servable):
    told.append((event, servable.version))
    time.sleep(0.2)

  manager.listeners.append(listen)
  with futures.ThreadPoolExecutor(4) as pool:
    with manager.servable("half"):
      stops = [pool.submit(manager.stop) for _ in range(4)]
      time.sleep(0.2)  # all wait for the request
    for stop in stops:
      stop.result()
  assert told == [("unloaded", 1)]


def test_what_is_in_use_is_not_closed(base, serve, monkeypatch):
  monkeypatch.setattr(managers, "STOP_SECONDS", 0.1)
  manager = serve(server_config.single("half", base))
  with manager.servable("half") as servable:
    manager.stop()
    assert servable.run("serving_default", X, ("y",))[0].tolist() == [2.5, 3, 4.5]
  manager.stop()
  assert _states(manager) == {1: "END"}


def test_a_load_that_ends_after_stop_is_undone(base, serve, monkeypatch):
  monkeypatch.setattr(managers, "STOP_SECONDS", 0.05)
  manager = serve(server_config.single("half", base))
  told = []
  manager.listeners.append(lambda event, servable: told.append((event, servable.version)))
  log = warmup.prediction_log("half", "serving_default", X)
  with_warmup = _publish(base, "tmp")
  os.makedirs(f"{with_warmup}/assets.extra")
  with tf.io.TFRecordWriter(f"{with_warmup}/{warmup.FILE}") as writer:
    for _ in range(1000):
      writer.write(log)
  os.rename(with_warmup, f"{base}/2")
  _wait_until(lambda: _states(manager).get(2) == "LOADING")
  manager.stop()
  assert manager._thread.is_alive()  # it loads
  manager._thread.join(WAIT_SECONDS)
  assert told == [("unloaded", 1)] and _states(manager) == {2: "END", 1: "END"}
