"""A headless Chromium for the tests of pages, driven by the DevTools protocol over a pipe."""

import base64
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time

PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "chrome")
FLAGS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
         "--remote-debugging-pipe", "--no-first-run", "--hide-scrollbars", "--lang=en-US")
# DevTools reads from descriptor 3 and writes to 4, wherever the pipes are.
EXECUTE = """
import fcntl, os, sys
pipes = [fcntl.fcntl(int(word), fcntl.F_DUPFD, 10) for word in sys.argv[1:3]]
os.dup2(pipes[0], 3), os.dup2(pipes[1], 4)
os.execv(sys.argv[3], sys.argv[3:])
"""
WAIT_SECONDS = 60


def find():
  """Returns: path of a Chromium, or None."""
  return next((path for path in map(shutil.which, PROGRAMS) if path), None)


class Page:
  """One tab. `problems` are the errors of its console: scripts, policies, requests."""

  def __init__(self, read, write):
    self._read, self._write, self._buffer, self._number = read, write, b"", 0
    self.problems = []
    target = self._send("Target.createTarget", url="about:blank")["targetId"]
    self._session = None
    self._session = self._send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
    for domain in ("Page", "Runtime", "Log"):
      self._send(f"{domain}.enable")

  def _send(self, method, **parameters):
    """Returns: dict, the answer.  Notes what the page complains about meanwhile."""
    self._number += 1
    message = {"id": self._number, "method": method, "params": parameters}
    if method.partition(".")[0] != "Target":
      message["sessionId"] = self._session
    os.write(self._write, json.dumps(message).encode() + b"\0")
    while True:
      answer = self._next()
      if answer.get("id") == self._number:
        assert "error" not in answer, answer
        return answer["result"]
      self._note(answer)

  def _next(self):
    while b"\0" not in self._buffer:
      data = os.read(self._read, 1 << 20)
      assert data, "the browser has gone"
      self._buffer += data
    message, _, self._buffer = self._buffer.partition(b"\0")
    return json.loads(message)

  def _note(self, event):
    if event.get("method") == "Runtime.exceptionThrown":
      self.problems.append(event["params"]["exceptionDetails"])
    elif event.get("method") == "Log.entryAdded" and event["params"]["entry"]["level"] == "error":
      self.problems.append(event["params"]["entry"]["text"])

  def resize(self, width, height, dark=False):
    """width, height: CSS pixels, of a phone below 600."""
    self._send("Emulation.setDeviceMetricsOverride", width=width, height=height,
               deviceScaleFactor=2, mobile=width < 600)
    self._send("Emulation.setEmulatedMedia", features=[
        {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}])

  def open(self, url):
    self._send("Page.navigate", url=url)
    self.wait_for("document.readyState === 'complete'")

  def run(self, script):
    """script: a JavaScript expression, a promise is waited for.  Returns: its value."""
    found = self._send("Runtime.evaluate", expression=script, awaitPromise=True,
                       returnByValue=True)
    assert "exceptionDetails" not in found, found["exceptionDetails"]
    return found["result"].get("value")

  def wait_for(self, script):
    """Returns: the value of a script as soon as it is a true one."""
    deadline = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < deadline:
      value = self.run(script)
      if value:
        return value
      time.sleep(0.05)
    raise AssertionError(f"in vain: {script}: {self.problems}")

  def screenshot(self, path):
    """The whole page, as a PNG file."""
    made = self._send("Page.captureScreenshot", captureBeyondViewport=True)
    with open(path, "wb") as file:
      file.write(base64.b64decode(made["data"]))


@contextlib.contextmanager
def page():
  """Yields a Page of a browser that is new, and gone afterwards."""
  read, child_write = os.pipe()
  child_read, write = os.pipe()
  with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
    with subprocess.Popen(
        [sys.executable, "-S", "-c", EXECUTE, str(child_read), str(child_write), find(), *FLAGS,
         f"--user-data-dir={profile}"],
        pass_fds=(child_read, child_write), stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as browser:
      os.close(child_read)
      os.close(child_write)
      try:
        yield Page(read, write)
      finally:
        browser.terminate()
        browser.wait()
        os.close(read)
        os.close(write)
