"""Recipes: found, loaded, overridden, frozen, compared; and what every recipe of the zoo holds."""

import json
import pathlib
import re
import subprocess
import sys

from ml_collections import ConfigDict
import pytest

from aigc_tf import recipe
from aigc_tf.errors import UserError

each_recipe = pytest.mark.parametrize("name", recipe.names())
ROOT = pathlib.Path(__file__).parent.parent


@pytest.fixture
def write(tmp_path):
  """Writes a recipe file.  Returns: its path as str."""
  def write_file(text, name="mine.py"):
    (tmp_path / name).write_text(text)
    return str(tmp_path / name)
  return write_file


MINE = """
from ml_collections import ConfigDict
def get_config():
  return ConfigDict({
      "seed": 3, "data": {"modality": "images", "name": "x", "split": "all", "batch_size": 4},
      "model": {"name": "y"}, "compile": {"lr": 1e-3}, "train": {"steps": 7},
      "evaluate": {"num": 2, "metric": "fid", "mode": "min"}})
TINY = {"train.steps": 2}
"""


# --- finding and loading


def test_bare_name_and_path_and_tiny(write):
  assert recipe.load("dcgan_mnist").model.name == "dcgan"
  assert recipe.load(str(recipe.zoo_folder() / "dcgan_mnist.py")) == recipe.load("dcgan_mnist")
  mine = write(MINE)
  assert recipe.load(mine).train.to_dict() == {**recipe.TRAIN, "steps": 7}
  assert recipe.load(mine + ":tiny").train.steps == 2


def test_a_loaded_recipe_is_locked():
  with pytest.raises(AttributeError, match="setps"):
    recipe.load("dcgan_mnist").train.setps = 3


@pytest.mark.parametrize("name,message", [
    ("dcgan_mnits", "no recipe 'dcgan_mnits'; did you mean 'dcgan_mnist'?"),
    ("vae-mnist", "did you mean 'vae_mnist'?"),
    ("zzz", f"no recipe 'zzz'; there are: {recipe.names()[0]}"),
    ("", f"no recipe ''; there are: {recipe.names()[0]}"),
    ("nowhere/mine.py", "no recipe 'nowhere/mine.py'"),
    ("__init__", "no recipe '__init__'"),
    ("dcgan_mnist:huge", "has no variant 'huge'; there is only ':tiny'"),
])
def test_what_is_not_there_is_named_with_the_nearest(name, message):
  with pytest.raises(UserError, match=re.escape(message)):
    recipe.load(name)


@pytest.mark.parametrize("text,message", [
    ("import nothing_of_this_name", "cannot be imported: ModuleNotFoundError"),
    ("1 / 0", "cannot be imported: ZeroDivisionError"),
    ("def broken(:", "cannot be imported: SyntaxError"),
    ("x = 1", "cannot be read: .*get_config"),
    ("def get_config():\n  return 1 / 0", "cannot be read: division by zero"),
    ("def get_config():\n  return open('/nowhere/at/all')", "cannot be read: .*No such file"),
    ("def get_config():\n  return {'seed': 1}", "must return a ConfigDict"),
    (MINE.replace('"train": {"steps": 7},', ""), "lacks train: a recipe has seed, data"),
    (MINE.replace('"batch_size": 4', ""), "lacks data.batch_size; zoo/dcgan_mnist.py is an"),
    (MINE.replace("images", "text"), "lacks data.task, data.tokenizer, data.vocab_size, "
     "data.length, data.source_length, data.packed, data.clean.normalize, .*; zoo/gpt_poetry.py"),
    (MINE.replace('"images"', '"text", "task": "t", "tokenizer": "char", "vocab_size": 9, '
                  '"length": 8, "source_length": 0, "packed": True, '
                  '"clean": {"normalize": "", "dedupe": True}'),
     "lacks data.clean.min_chars, data.clean.max_chars; zoo/gpt_poetry.py is an example"),
    (MINE.replace('"steps": 7', '"setps": 7'), "train has no 'setps'; there is steps$"),
])
def test_a_broken_file_is_one_line(write, text, message):
  with pytest.raises(UserError, match=message):
    recipe.load(write(text))


@pytest.mark.parametrize("change,message", [
    ('"train.setps": 2', "cannot be read: .*setps"),
    ('"train.steps": "two"', "cannot be read: .*steps"),
])
def test_broken_tiny_overrides_are_one_line(write, change, message):
  with pytest.raises(UserError, match=message):
    recipe.load(write(MINE.replace('"train.steps": 2', change)) + ":tiny")


def test_tiny_without_tiny_is_one_line(write):
  with pytest.raises(UserError, match="TINY"):
    recipe.load(write(MINE.replace("TINY", "OTHER")) + ":tiny")


# --- overriding


def test_argv_is_taken_apart():
  argv = ["train", "--recipe=x", "--workdir=w", "--recipe.train.steps=5", "-recipe.seed=1", "word"]
  assert recipe.split_argv(argv) == (
      "x", ["--recipe.train.steps=5", "--recipe.seed=1"], ["train", "--workdir=w", "word"])
  assert recipe.split_argv(["train"]) == (recipe.DEFAULT, [], ["train"])
  assert recipe.split_argv(["train", "--recipe", "y"])[0] == "y"


def test_overrides_are_typed():
  config = recipe.override(recipe.load("dcgan_mnist"), [
      "--recipe.train.steps=500", "--recipe.compile.g_lr=1e-3", "--recipe.data.name=a=b",
      "--recipe.model.conditional=True", "--recipe.train.profile_steps=(3, 5)"])
  assert config.train.steps == 500 and config.compile.g_lr == 1e-3
  assert config.data.name == "a=b" and config.model.conditional is True
  assert config.train.profile_steps == (3, 5)
  assert recipe.load("dcgan_mnist").train.steps != 500  # the file's own is untouched


@pytest.mark.parametrize("value", ["encoder/*,head*", "('encoder/*', 'head*')"])
def test_tuples_of_words_need_no_quotes(value):
  config = recipe.override(recipe.load("dcgan_mnist"), [
      f"--recipe.train.freeze={value}", "--recipe.train.lora_layers=dense"])
  assert config.train.freeze == ("encoder/*", "head*")
  assert config.train.lora_layers == ("dense",)


@pytest.mark.parametrize("word,message", [
    ("--recipe.train.setps=5", "no recipe key 'train.setps'; did you mean 'train.steps'?"),
    ("--recipe.steps=5", "no recipe key 'steps'; did you mean 'train.steps'?"),
    ("--recipe.model.g_lr=1", "no recipe key 'model.g_lr'; did you mean 'compile.g_lr'?"),
    ("--recipe.qqqqqq=5", "no recipe key 'qqqqqq'; there are: "),
    ("--recipe.train=5", "no recipe key 'train'"),
    ("--recipe.train.steps=many", "wrong value for a recipe key.*train.steps.*many"),
    ("--recipe.train.steps=1.5", "wrong value for a recipe key.*train.steps"),
    ("--recipe.model.conditional=perhaps", "wrong value for a recipe key.*conditional"),
    ("--recipe.compile.g_lr=fast", "wrong value for a recipe key.*g_lr"),
    ("--recipe.train.profile_steps=a,b", "wrong value for a recipe key.*profile_steps"),
    ("--recipe.train.steps", "recipe key 'train.steps' needs a value: --recipe.train.steps=VALUE"),
    ("--recipe.train.steps=", "wrong value for a recipe key.*train.steps"),
])
def test_wrong_overrides_are_one_line(word, message):
  with pytest.raises(UserError, match=message) as caught:
    recipe.override(recipe.load("dcgan_mnist"), ["--recipe.seed=1", word])
  assert "\n" not in str(caught.value)


def test_an_integer_is_fine_where_a_float_stands():
  config = recipe.override(recipe.load("dcgan_mnist"), ["--recipe.compile.g_lr=1"])
  assert config.compile.g_lr == 1.0 and isinstance(config.compile.g_lr, float)


def test_sys_argv_is_put_back():
  before = list(sys.argv)
  recipe.override(recipe.load("dcgan_mnist"), ["--recipe.seed=1"])
  with pytest.raises(UserError):
    recipe.override(recipe.load("dcgan_mnist"), ["--recipe.sead=1"])
  assert sys.argv == before


# --- freezing and comparing


@each_recipe
def test_frozen_and_read_back_it_is_the_same(name):
  config = recipe.load(name)
  frozen = json.loads(json.dumps(recipe.to_json(config)))
  again = recipe.from_json(frozen)
  assert again == config and again.is_locked
  assert again.train.profile_steps == (0, 0) and isinstance(again.train.profile_steps, tuple)
  assert recipe.differences(config, again) == []


def test_differences_name_the_keys_that_change_the_mathematics():
  old = recipe.load("dcgan_mnist")
  words = ["--recipe.train.steps=9", "--recipe.train.log_every=1", "--recipe.seed=4",
           "--recipe.train.strategy=mirrored", "--recipe.compile.g_lr=0.5"]
  new = recipe.override(recipe.load("dcgan_mnist"), words)
  assert recipe.differences(old, new) == [f"compile.g_lr: {old.compile.g_lr} -> 0.5",
                                          "seed: 0 -> 4"]


def test_differences_name_absent_keys():
  a, b = ConfigDict({"x": {"y": 1}}), ConfigDict({"x": {"z": (1, 2)}})
  assert recipe.differences(a, b) == ["x.y: 1 -> absent", "x.z: absent -> [1, 2]"]


def test_free_keys_exist():
  config = recipe.flatten(recipe.load("dcgan_mnist"))
  assert recipe.FREE_KEYS <= config.keys()


def test_a_settled_tokenizer_is_for_the_data_alone():
  config, tokenizer = recipe.load("dcgan_mnist"), {"kind": "char", "characters": "床前明月光"}
  settled = recipe.with_tokenizer(config, {"tokenizer": tokenizer})
  assert json.loads(settled.data.tokenizer_spec) == tokenizer and settled.is_locked
  assert recipe.differences(config, settled) == []
  assert recipe.to_json(settled) == recipe.to_json(config)
  assert recipe.with_tokenizer(config, {"tokenizer": None}) == config


def test_a_train_key_newer_than_the_frozen_recipe_stands_at_its_default():
  frozen = recipe.to_json(recipe.load("dcgan_mnist"))
  del frozen["train"]["lora_rank"]
  assert recipe.from_json(frozen) == recipe.load("dcgan_mnist")


# --- the zoo


@each_recipe
def test_a_recipe_tells_how_to_run_it_and_what_to_expect(name):
  text = (recipe.zoo_folder() / f"{name}.py").read_text()
  docstring = text.split('"""')[1]
  assert re.search(r"arXiv:\d{4}\.\d{4,5}", docstring.splitlines()[0])
  assert f"python -m aigc_tf.train --recipe={name}\n" in docstring
  assert re.search(r"^Expect: +\S", docstring, re.M) and re.search(r"^Data: +\S", docstring, re.M)
  assert len(text.splitlines()) <= 60


@each_recipe
def test_a_recipe_is_whole_and_its_tiny_variant_is_small(name):
  config, tiny = recipe.load(name), recipe.load(f"{name}:tiny")
  assert set(config) == set(recipe.GROUPS) and set(config.train) == set(recipe.TRAIN)
  assert tiny.data.name == "fake" and tiny.train.steps <= 10
  assert name.split("_")[0] == config.model.name
  assert tiny.model.name == config.model.name  # the very same code path
  assert not any(isinstance(value, list) for value in _leaves(config))


def _leaves(config):
  for value in config.values():
    yield from _leaves(value) if isinstance(value, ConfigDict) else [value]


def test_recipes_are_loaded_without_tensorflow():
  code = ("import sys; from aigc_tf import recipe; [recipe.load(n + ':tiny') for n in "
          "recipe.names()]; sys.exit('tensorflow' in sys.modules or 'keras' in sys.modules)")
  assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0
