"""metrics.jsonl: one JSON object a line, each with its step."""

import json
import os


class MetricsLog:
  """Appends to a file; cut back to a checkpoint's step, it goes on as if nothing had happened."""

  def __init__(self, path):
    self.path = path

  def append(self, step, values):
    """values: {name: number}. Times stand in keys that begin with time/."""
    with open(self.path, "a", encoding="utf-8") as file:
      file.write(json.dumps({"step": step, **values}) + "\n")

  def cut(self, step):
    """Drops the lines after `step`, and a last line that a kill left unfinished."""
    if not self.path.exists():
      return
    kept = [line for line in self.path.read_text(encoding="utf-8").splitlines()
            if _step_of(line) <= step]
    temporary = self.path.with_name("." + self.path.name)
    temporary.write_text("".join(line + "\n" for line in kept), encoding="utf-8")
    os.replace(temporary, self.path)


def read(path):
  """All lines of a metrics.jsonl, as dicts."""
  with open(path, encoding="utf-8") as file:
    return [json.loads(line) for line in file]


def _step_of(line):
  try:
    return json.loads(line)["step"]
  except (ValueError, KeyError):
    return float("inf")
