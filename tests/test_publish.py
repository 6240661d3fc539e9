"""tools/publish and tools/zoo_table, on a small zoo of their own."""

import importlib.machinery
import importlib.util
import json
import os
import pathlib
import shutil

import h5py
import numpy as np
import pytest

import aigc_tf
from aigc_tf import evaluate
from aigc_tf import export
from aigc_tf import generate
from aigc_tf import recipe
from aigc_tf import runs
from aigc_tf.training import loop

ROOT = pathlib.Path(__file__).parent.parent
EXPECT = "Expect:  not measured yet"


def tool(name):
  """A file of tools/ as a module."""
  path = str(ROOT / "tools" / name)
  loader = importlib.machinery.SourceFileLoader(name, path)
  module = importlib.util.module_from_spec(importlib.util.spec_from_loader(name, loader))
  loader.exec_module(module)
  return module


publish, zoo_table = tool("publish"), tool("zoo_table")


@pytest.fixture(scope="module")
def home(tmp_path_factory):
  """A folder with README.md, a zoo of one recipe, and its finished, measured run."""
  folder = tmp_path_factory.mktemp("home")
  source = (ROOT / "zoo" / "dcgan_mnist.py").read_text()
  # The tiny run, but as a recipe of its own: what publish refuses is the tiny variant of one.
  small = source.replace("def get_config():", "def whole_config():").replace(
      source[source.index("Expect:"):].splitlines()[0], EXPECT)
  small += ("\n\ndef get_config():\n  config = whole_config()\n"
            "  config.update_from_flattened_dict(TINY)\n  return config\n")
  zoo = folder / "zoo"
  shutil.copytree(ROOT / "zoo/weights/digit_features", zoo / "weights" / "digit_features")
  (zoo / "small.py").write_text(small)
  (folder / "README.md").write_text(f"# zoo\n\n{zoo_table.BEGIN}{zoo_table.END}\n\nend\n")
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(recipe, "zoo_folder", lambda: zoo)
    (folder / "run").mkdir()
    assert loop.train("small", recipe.load("small"), folder / "run") == 0
    assert evaluate.main(["evaluate", f"--model={folder / 'run'}"]) == 0
  return folder


@pytest.fixture
def zoo(home, tmp_path, monkeypatch):
  """A copy of `home` for each test, where the commands look."""
  shutil.copytree(home, tmp_path / "home")  # copies the times too
  monkeypatch.setattr(recipe, "zoo_folder", lambda: tmp_path / "home" / "zoo")
  return tmp_path / "home"


def published(zoo):
  assert publish.main(["publish", str(zoo / "run")]) == 0
  return zoo / "zoo" / "weights" / "small"


def arrays(path):
  """{name: array} of an .h5 file."""
  found = {}
  with h5py.File(path) as file:
    file.visititems(lambda name, entry: found.update(
        {name: entry[()]} if isinstance(entry, h5py.Dataset) else {}))
  return found


def test_weights_are_the_averaged_ones_in_half_precision(zoo):
  folder = published(zoo)
  halves = arrays(folder / runs.WEIGHTS)
  assert not [name for name in halves if "optimizer" in name]
  assert {array.dtype for array in halves.values()} == {np.dtype(np.float16)}
  whole, half = runs.load_model(zoo / "run"), aigc_tf.load("small")
  assert len(halves) == len(whole.weights)
  for a, b in zip(whole.weights, half.weights, strict=True):  # 8 binary digits; float16's least
    np.testing.assert_allclose(b, a, 0.0045, 2**-21, err_msg=a.path)


def test_rounding_is_to_the_nearest_of_eight_digits():
  values = np.array([1.0, 1 + 2**-8, 1 + 3 * 2**-10, -1.999, 0.0, 65504.0], np.float16)
  expected = [1.0, 1 + 2**-7, 1.0, -2.0, 0.0, np.inf]
  np.testing.assert_array_equal(publish.rounded(values), np.array(expected, np.float16))


def test_folder_is_enough_for_every_command(zoo, tmp_path, capsys):
  folder = published(zoo)
  shutil.rmtree(zoo / "run")
  assert aigc_tf.models() == ["small"]
  assert generate.main(["generate", "--model=small", f"--out={tmp_path}/out", "--num=64"]) == 0
  assert (tmp_path / "out" / "grid.png").read_bytes() == (folder / "sample.png").read_bytes()
  assert evaluate.main(["evaluate", "--model=small", f"--out={tmp_path}/measured"]) == 0
  assert (tmp_path / "measured" / "report.json").is_file()
  assert export.main(["export", "--model=small", f"--out={tmp_path}/exports"]) == 0
  assert (tmp_path / "exports" / "small" / "1" / "saved_model.pb").is_file()
  capsys.readouterr()


def test_report_and_card_tell_the_run(zoo):
  folder = published(zoo)
  report = json.loads((folder / "report.json").read_text())
  measured = json.loads((zoo / "run" / "report.json").read_text())
  state = json.loads((zoo / "run/checkpoints/step_00000004/state.json").read_text())
  assert report["measurements"] == measured["measurements"]
  assert report["training"]["steps"] == state["step"] == 4
  assert report["training"]["seconds"] == pytest.approx(state["seconds"], abs=0.1)
  card = (folder / "CARD.md").read_text()
  assert "{" not in card.replace('"{', "")
  for m in report["measurements"]:
    assert f"| {m['name']} | {m['value']:.4f} | " in card
    assert m["signature"].replace("|", "\\|") in card
  assert str(folder.parent) not in card + (folder / "recipe.json").read_text()


def test_publishing_again_replaces_all(zoo):
  folder = published(zoo)
  before = {path.name: path.read_bytes() for path in folder.iterdir()}
  (folder / "left_over").write_text("")
  assert {path.name: path.read_bytes() for path in published(zoo).iterdir()} == before
  assert [path.name for path in sorted(folder.parent.iterdir())] == ["digit_features", "small"]


def edit(path, **changes):
  path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def state_of(run):
  return run / "checkpoints" / "step_00000004" / "state.json"


def measured_with(run, number):
  assert evaluate.main(["evaluate", f"--model={run}", f"--num={number}"]) == 0


BREAK = {
    "is of 12 samples, the recipe says evaluate.num=16": lambda run: measured_with(run, 12),
    "no report.json": lambda run: (run / "report.json").unlink(),
    "is older than the weights": lambda run: os.utime(run / "report.json", (0, 0)),
    "is at step 3 of 4": lambda run: edit(state_of(run), step=3),
    "no recipe of the zoo": lambda run: edit(run / "recipe.json", name="small:tiny"),
    "no recipe.json": lambda run: (run / "recipe.json").unlink(),
    "has no checkpoint": lambda run: shutil.rmtree(run / "checkpoints"),
}


@pytest.mark.parametrize("said", BREAK)
def test_refuses(zoo, capsys, said):
  for best in (zoo / "run" / "checkpoints").glob("best"):
    shutil.rmtree(best)
  BREAK[said](zoo / "run")
  assert publish.main(["publish", str(zoo / "run")]) == 1
  error = capsys.readouterr().err.strip().splitlines()
  assert len(error) == 1 and said in error[0]
  assert not (zoo / "zoo" / "weights" / "small").exists()


def test_refuses_a_run_of_a_changed_recipe(zoo, capsys):
  path = zoo / "zoo" / "small.py"
  path.write_text(path.read_text().replace('"g_lr": ', '"g_lr": 10 * '))
  assert publish.main(["publish", str(zoo / "run")]) == 1
  assert "compile.g_lr" in capsys.readouterr().err


def test_refuses_what_is_too_large(zoo, monkeypatch, capsys):
  monkeypatch.setattr(publish, "MAX_MB", 0.01)
  assert publish.main(["publish", str(zoo / "run")]) == 1
  assert "the zoo takes 0.01 MB" in capsys.readouterr().err
  assert [path.name for path in (zoo / "zoo" / "weights").iterdir()] == ["digit_features"]


def test_half_precision_that_changes_the_samples_is_refused(zoo, monkeypatch, capsys):
  monkeypatch.setattr(publish, "TOLERANCE", {"images": 1e-9})
  assert publish.main(["publish", str(zoo / "run")]) == 1
  assert "half precision changes the samples" in capsys.readouterr().err


# --- the table


def test_table_says_what_the_report_says(zoo, capsys):
  folder = published(zoo)
  values = {m["name"]: m["value"]
            for m in json.loads((folder / "report.json").read_text())["measurements"]}
  assert zoo_table.main(["zoo_table"]) == 1  # the recipe still says "not measured"
  fid = f"FID {zoo_table.rounded(values['fid'])}"
  assert fid in capsys.readouterr().err
  path = zoo / "zoo" / "small.py"
  path.write_text(path.read_text().replace(EXPECT, f"Expect:  {fid}"))
  assert zoo_table.main(["zoo_table", "--check"]) == 0
  readme = (zoo / "README.md").read_text()
  row = next(line for line in readme.splitlines() if line.startswith("| [small](zoo/small.py)"))
  assert f"{zoo_table.rounded(values['fid'])} (digits)" in row
  assert readme.startswith("# zoo\n") and readme.endswith("\nend\n")
  (zoo / "README.md").write_text(readme.replace("(digits)", "(other)"))
  assert zoo_table.main(["zoo_table", "--check"]) == 1
  assert "README.md differs" in capsys.readouterr().err


@pytest.mark.parametrize("value, text", [
    (12.345, "12.3"), (0.98765, "0.988"), (123.4, "123"), (1234.5, "1234"), (0, "0"),
    (-0.00123, "-0.00123"), (9.996, "10.00")])
def test_rounded(value, text):
  assert zoo_table.rounded(value) == text
