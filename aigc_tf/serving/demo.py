"""The demo page of the embedded server: try each model in a browser, without a line of code.

Plain HTML, CSS and JavaScript under demo/, no build step, no other host. The page asks this module
for the names of the models, and for all else the REST API that every client uses.
"""

import json
import pathlib

FOLDER = pathlib.Path(__file__).parent / "demo"
TYPES = {".html": "text/html; charset=utf-8", ".css": "text/css; charset=utf-8",
         ".js": "text/javascript; charset=utf-8"}


def pages(manager):
  """The page, to be asked for paths that the API does not know.

  manager: has `model_names()` -> names of the models served.
  Returns: function (method, path) -> (status, content type, bytes), or None for a path that is not
    the page's. Files are read once, and no path leads to another one.
  """
  files = {f"/demo/{path.name}": (TYPES[path.suffix], path.read_bytes())
           for path in FOLDER.iterdir() if path.suffix in TYPES}
  files["/"] = files.pop("/demo/index.html")

  def page(method, path):
    if method != "GET":
      return None
    path = path.partition("?")[0]
    if path == "/demo/models":
      names = sorted(manager.model_names())
      return 200, "application/json", json.dumps({"models": names}).encode()
    if path in files:
      return 200, *files[path]
    return None

  return page
