"""The rules of the house: who imports whom, sizes, what the wheel holds, what README promises."""

import ast
import configparser
import importlib
import importlib.machinery
import importlib.util
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys
import zipfile

from absl import flags
import pytest

from aigc_tf import recipe
from aigc_tf import runs

ROOT = pathlib.Path(__file__).parent.parent
PACKAGE = ROOT / "aigc_tf"
SCRIPTS = [path for path in sorted((ROOT / "tools").iterdir())
           if path.is_file() and re.match(rb"#!.*python", path.read_bytes())]
PYTHON = [path for folder in ("aigc_tf", "zoo", "tests")
          for path in sorted((ROOT / folder).rglob("*.py"))] + SCRIPTS

COMMANDS = {path.stem for path in PACKAGE.glob("*.py") if "def define(values)" in path.read_text()}
# What each room may import of ours, besides itself. Whole files of a room may be commands.
ALLOWED = {
    "nn": {"errors"},
    "models": {"errors", "nn"},
    "data": {"errors", "nn", "recipe"},
    "metrics": {"errors", "nn", "recipe", "data"},
    "serving": {"errors", "nn"},
    "generation": {"errors", "nn", "samples", "data"},
    "training": {"errors", "nn", "recipe", "runs", "samples", "data", "metrics"},
}
# A package that can be called, and a command that lives in its room.
EXCEPTIONS = {"models/__init__.py": {"runs"}, "data/__main__.py": {"command"}}
MAX_LINES, MAX_FUNCTION_LINES = 400, 60
MAX_MODEL_MB, MAX_ZOO_MB = 8, 60


def short(path):
  return str(path.relative_to(ROOT))


def tool(name):
  path = str(ROOT / "tools" / name)
  loader = importlib.machinery.SourceFileLoader(name, path)
  module = importlib.util.module_from_spec(importlib.util.spec_from_loader(name, loader))
  loader.exec_module(module)
  return module


# --- rooms


def imported(path):
  """Rooms and files of ours that a file imports, anywhere in it: {"nn", "errors", ...}."""
  names = set()
  for node in ast.walk(ast.parse(path.read_text())):
    if isinstance(node, ast.Import):
      names |= {alias.name for alias in node.names}
    elif isinstance(node, ast.ImportFrom):
      assert not node.level, f"{short(path)}: relative import"
      names |= {f"{node.module}.{alias.name}" for alias in node.names}
  return {name.split(".")[1] for name in names if name.startswith("aigc_tf.")}


@pytest.mark.parametrize("room", ALLOWED)
def test_dependencies_point_one_way(room):
  for path in sorted((PACKAGE / room).rglob("*.py")):
    inside = str(path.relative_to(PACKAGE))
    allowed = ALLOWED[room] | {room} | EXCEPTIONS.get(inside, set())
    if room == "models":
      allowed -= {"models"}  # models never import each other
    assert imported(path) <= allowed, inside


def test_every_room_has_a_rule():
  rooms = {path.parent.name for path in PACKAGE.glob("*/*.py")}
  assert rooms == set(ALLOWED)


def test_nothing_imports_a_command():
  for path in PYTHON:
    if path.parent.name != "tests" and path not in SCRIPTS:
      assert not imported(path) & COMMANDS, short(path)


def test_commands_name_no_model():
  assert {"train", "generate", "evaluate", "export"} <= COMMANDS
  models = {path.stem for path in (PACKAGE / "models").glob("[a-z]*.py")}
  assert models
  for name in COMMANDS:
    tree = ast.parse((PACKAGE / f"{name}.py").read_text())
    said = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)}
    said |= {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    assert not models & {word.lower() for word in said if isinstance(word, str)}, name
    assert "models" not in imported(PACKAGE / f"{name}.py"), name


# --- sizes and words


@pytest.mark.parametrize("path", PYTHON, ids=short)
def test_size_and_words(path):
  text = path.read_text()
  assert len(text.splitlines()) <= MAX_LINES
  for node in ast.walk(ast.parse(text)):
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
      assert node.end_lineno - node.lineno < MAX_FUNCTION_LINES, node.name
  unfinished = "NotImplemented" + "Error", "TO" + "DO", "FIX" + "ME", "XX" + "X"
  assert not [word for word in unfinished if word in text]


# --- zoo


def test_every_weight_has_its_recipe_and_the_card():
  for folder in sorted(path for path in (ROOT / "zoo/weights").iterdir()):
    names = {path.name for path in folder.iterdir()}
    if folder.name == "digit_features":
      assert names == {"CARD.md", "weights.npz", "reference.npz"}
    else:
      assert folder.name in recipe.names()
      spec = runs.describe(folder.name).spec
      sample = {"images": {"sample.png"}, "text": {"sample.txt"},
                "speech": {"sample.png", "sample.wav"}}[spec["modality"]]
      if spec.get("task") == "vocoder":
        sample.add("sample_original.wav")
      assert names == {"recipe.json", runs.WEIGHTS, "report.json", "CARD.md", *sample}


def test_published_weights_are_of_the_recipe_as_it_is():
  for name in runs.published():
    run = runs.describe(name)
    assert run.name == name
    changed = recipe.differences(run.config, recipe.load(name))
    # A key that is newer than the weights stands at what the trainer did then.
    assert not [line for line in changed if ": absent -> " not in line], name


def test_weights_are_small():
  sizes = {folder.name: sum(path.stat().st_size for path in folder.iterdir()) / 1e6
           for folder in (ROOT / "zoo/weights").iterdir()}
  assert not {name: size for name, size in sizes.items() if size > MAX_MODEL_MB}
  assert sum(sizes.values()) <= MAX_ZOO_MB


def test_readme_and_recipes_say_what_was_measured():
  zoo_table = tool("zoo_table")
  readme = (ROOT / "README.md").read_text()
  assert zoo_table.replace_table(readme, zoo_table.table()) == readme, "run tools/zoo_table"
  assert not zoo_table.broken_promises()


# --- the wheel


def test_every_package_is_in_setup_cfg():
  setup = configparser.ConfigParser()
  setup.read(ROOT / "setup.cfg")
  folders = {path.parent.relative_to(ROOT) for path in PACKAGE.rglob("*.py")}
  names = {".".join(folder.parts) for folder in folders} | {"aigc_tf.zoo"}
  assert set(setup["options"]["packages"].split()) == names


def tracked():
  """Names of the files that git knows and that exist."""
  # A clone may belong to another user.
  done = subprocess.run(["git", "-c", "safe.directory=*", "ls-files", "-z"], cwd=ROOT, check=True,
                        capture_output=True, text=True)
  return [name for name in done.stdout.split("\0") if name and (ROOT / name).is_file()]


def test_wheel_holds_the_tree(tmp_path):
  names = tracked()
  for name in names:
    (tmp_path / "tree" / name).parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(ROOT / name, tmp_path / "tree" / name)
  done = subprocess.run(
      [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--no-index",
       "--disable-pip-version-check", f"--wheel-dir={tmp_path}", str(tmp_path / "tree")],
      capture_output=True, text=True, check=False, env={**os.environ, "PYTHONWARNINGS": ""})
  assert done.returncode == 0, done.stderr
  wheel, = tmp_path.glob("*.whl")
  with zipfile.ZipFile(wheel) as whole:
    held = {name for name in whole.namelist() if not name.endswith("/")}
  expected = {name for name in names if name.startswith("aigc_tf/")}
  expected |= {f"aigc_tf/{name}" for name in names if name.startswith("zoo/")}
  assert {name for name in held if ".dist-info/" not in name} == expected
  assert [name for name in held if name.endswith("/LICENSE")]


# --- what README says


def readme_commands():
  """Words of each command of ours in the fenced blocks of README.md and WORKSPACE.md."""
  for document in ("README.md", "WORKSPACE.md"):
    inside = False
    for line in (ROOT / document).read_text().splitlines():
      if line.startswith("```"):
        inside = not inside
      found = re.search(r"(?:python -m aigc_tf\.|\btools/)[a-z].*", line)
      if inside and found:
        yield shlex.split(found[0], comments=True)


def test_readme_promises_the_two_commands():
  text = (ROOT / "README.md").read_text().splitlines()
  assert "pip install -e . && python -m aigc_tf.train" in text
  assert "pip install -e '.[test]' && python -m pytest" in text


def test_readme_names_commands_and_flags_that_exist():
  commands = list(readme_commands())
  assert commands
  for words in commands:
    if words[0].startswith("tools/"):
      assert os.access(ROOT / words[0], os.X_OK), words
      continue
    name, words = words[2], words[3:]
    module = importlib.import_module(f"{name}.__main__" if name == "aigc_tf.data" else name)
    recipe_name, overrides, rest = recipe.split_argv([name, *words])
    if not recipe_name.endswith(".py"):
      recipe.override(recipe.load(recipe_name), overrides)
    values = flags.FlagValues()
    module.define(values)
    for word in rest[1:]:
      if word.startswith("-"):
        assert word.lstrip("-").split("=")[0] in values, f"{name} {word}"


def test_recipes_say_how_to_run_them():
  for name in recipe.names():
    text = (ROOT / "zoo" / f"{name}.py").read_text()
    assert f"Run:     python -m aigc_tf.train --recipe={name}\n" in text, name
    assert len(text.splitlines()) <= 60, name
