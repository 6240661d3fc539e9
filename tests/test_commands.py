"""The commands as a user types them, and every mistake of a user."""

import importlib
import os
import pathlib
import resource
import shutil
import signal
import subprocess
import sys

import numpy as np
from PIL import Image
import pytest

from aigc_tf import evaluate
from aigc_tf import export
from aigc_tf import generate
from aigc_tf import runs
from aigc_tf import train
from aigc_tf.generation import text

ROOT = pathlib.Path(__file__).parent.parent
COMMANDS = ("train", "generate", "evaluate", "export", "doctor", "data")


def run_train(folder, name, *words):
  return train.main(["train", f"--recipe={name}", f"--workdir={folder}", *words])


# --- the main job


def test_real_processes_and_files(tmp_path):
  """From train to export as a user types it; stderr holds nothing but progress bars."""
  def command(name, *words):
    done = subprocess.run([sys.executable, "-m", f"aigc_tf.{name}", *words], cwd=tmp_path,
                          env={**os.environ, "PYTHONPATH": str(ROOT)}, text=True,
                          capture_output=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout
  folder = "--model=runs/vae_mnist_tiny"
  assert folder in command("train", "--recipe=vae_mnist:tiny")
  command("generate", folder, "--out=out", "--num=2", "--seed=7")
  command("evaluate", folder, "--num=8")
  assert "verified" in command("export", folder, "--out=exports")
  assert {p.name for p in (tmp_path / "runs" / "vae_mnist_tiny").iterdir()} >= {
      "recipe.json", "metrics.jsonl", "checkpoints", "samples", "report.json"}


# --- what generate promises


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
  folder = tmp_path_factory.mktemp("plain") / "run"
  assert run_train(folder, "dcgan_mnist:tiny", "--recipe.train.evaluate_every=0") == 0
  return folder


@pytest.fixture(scope="module")
def conditional(tmp_path_factory):
  folder = tmp_path_factory.mktemp("conditional") / "run"
  assert run_train(folder, "dcgan_mnist_conditional:tiny", "--recipe.train.evaluate_every=0") == 0
  return folder


def pixels(path):
  with Image.open(path) as image:
    return np.asarray(image).astype(int)


def test_a_sample_depends_on_its_seed_alone(plain, tmp_path):
  for out, words in (("a", ["--num=70", "--seed=5"]), ("b", ["--num=2", "--seed=73"])):
    assert generate.main(["generate", f"--model={plain}", f"--out={tmp_path / out}", *words]) == 0
  # Alone or among others: a matrix product's last bits may differ, hence one grey level.
  assert np.abs(pixels(tmp_path / "a/00069.png") - pixels(tmp_path / "b/00001.png")).max() <= 1
  assert np.abs(pixels(tmp_path / "a/00069.png") - pixels(tmp_path / "a/00068.png")).max() > 1


def test_a_label_chooses_the_class(conditional, tmp_path):
  for label in (3, 4):
    assert generate.main(["generate", f"--model={conditional}", f"--out={tmp_path / str(label)}",
                          "--num=2", f"--label={label}"]) == 0
  assert np.any(pixels(tmp_path / "3/00000.png") != pixels(tmp_path / "4/00000.png"))


# --- mistakes: exit status 1 and exactly one line


def assert_one_line(status, capsys, message):
  errors = capsys.readouterr().err
  assert status == 1
  assert errors.startswith("error: ") and errors.count("\n") == 1, errors
  assert message in errors, errors


@pytest.fixture
def under_a_file(tmp_path):
  (tmp_path / "file").write_text("")
  return tmp_path / "file" / "below"


@pytest.mark.parametrize("words,message", [
    (["--recipe=dcgan_mnits"], "did you mean 'dcgan_mnist'?"),
    (["--recipe=missing.py"], "no recipe 'missing.py'"),
    (["--recipe=dcgan_mnist:tiny", "--recipe.train.setps=3"], "did you mean 'train.steps'?"),
    (["--recipe=dcgan_mnist:tiny", "--recipe.train.steps=many"], "train.steps"),
    (["--recipe=dcgan_mnist:tiny", "--recipe.model.name=cgan"], "there is no aigc_tf/models/cgan"),
    (["--recipe=dcgan_mnist:tiny", "--recipe.data.size=30"], "try --recipe.data.size=32"),
    (["--recipe=dcgan_mnist:tiny", "--recipe.data.modality=smells"], "data.modality='smells'"),
    (["--recipe=dcgan_mnist:tiny", "--recipe.data.split=half"], "split='half'"),
    (["--recipe=dcgan_mnist:tiny", "--recipe.data.batch_size=0"], "data.batch_size=0"),
    (["--recipe=dcgan_mnist:tiny", "--recipe.train.micro_batches=0"], "train.micro_batches=0"),
    (["--recipe=dcgan_mnist:tiny", "--recipe.train.keep=0"], "train.keep=0"),
    (["--recipe=dcgan_mnist:tiny", "--recipe.train.preview_every=-1"], "train.preview_every=-1"),
    (["--recipe=dcgan_mnist:tiny", "--recipe.train.profile_steps=(3,)"], "train.profile_steps"),
    (["--recipe=dcgan_mnist:tiny", "--recipe.train.profile_steps=(30,20)"], "such as (20, 30)"),
    (["--recipe=dcgan_mnist:tiny", "--recipe.train.profile_steps=(-1,2)"], "such as (20, 30)"),
    (["--recipe=dcgan_mnist:tiny", "--recipe.seed=-1"], "seed=-1: must be from 0 to 4294967295"),
    (["--recipe=dcgan_mnist:tiny", "--recipe.seed=4294967296"], "seed=4294967296"),
    (["--recipe=dcgan_mnist:tiny", "--recipe.model.width=0"], "model.width=0"),
    (["--recipe=dcgan_mnist:tiny", "--recipe.compile.loss=best"], "compile.loss='best'"),
    (["--recipe=vae_mnist:tiny", "--recipe.model.likelihood=flat"], "model.likelihood='flat'"),
    (["--recipe=dcgan_mnist:tiny", "--recipe.evaluate.features=eyes"], "features='eyes'"),
    (["--recipe=dcgan_mnist:tiny", "--recipe.evaluate.mode=best"], "evaluate.mode='best'"),
    (["word"], "unexpected argument 'word'"),
    (["--speed=9"], "speed"),
])
def test_mistakes_with_train(words, message, tmp_path, capsys):
  assert_one_line(train.main(["train", f"--workdir={tmp_path / 'run'}", *words]), capsys, message)


def test_a_metric_that_is_not_measured_is_told_with_those_that_are(tmp_path, capsys):
  assert run_train(tmp_path / "run", "dcgan_mnist:tiny", "--recipe.evaluate.metric=beauty") == 0
  assert "evaluate.metric='beauty' is not measured" in capsys.readouterr().out


def test_a_folder_that_cannot_be_made(under_a_file, capsys):
  assert_one_line(run_train(under_a_file, "dcgan_mnist:tiny"), capsys, "cannot create the folder")


def test_a_run_folder_of_another_recipe(plain, capsys):
  status = run_train(plain, "dcgan_mnist:tiny", "--recipe.model.width=16")
  assert_one_line(status, capsys, "model.width: 8 -> 16")
  assert_one_line(run_train(plain, "vae_mnist:tiny"), capsys, "model.name: dcgan -> vae")


@pytest.mark.parametrize("command", [generate, evaluate, export])
def test_a_model_that_is_not_there(command, tmp_path, capsys):
  name, out = command.__name__.split(".")[-1], f"--out={tmp_path / 'out'}"
  assert_one_line(command.main([name, out]), capsys, "--model")
  assert_one_line(command.main([name, out, "--model=nothing"]), capsys, "no model 'nothing'")
  assert_one_line(command.main([name, out, f"--model={tmp_path}"]), capsys, "not a run folder")
  assert_one_line(command.main([name, out, "--model=dcgan_celeba"]), capsys,
                  "no published weights: train it with")
  assert_one_line(command.main([name, out, "--model=x", "y"]), capsys, "unexpected argument 'y'")
  assert_one_line(command.main([name, "--depth=3"]), capsys, "depth")


@pytest.mark.parametrize("words,message", [
    (["--label=3"], "--label is for class-conditional models"),
    (["--mode=reconstruct"], "dcgan cannot reconstruct; it can interpolate and sample"),
    (["--mode=dream"], "mode"),
    (["--num=0"], "num"),
    (["--num=three"], "num"),
    (["--seed=9999999999999999999999"], "seed"),
    (["--truncation=2"], "truncation"),
    (["--prompt=once"], "--prompt is for text models"),
    (["--top_k=3"], "--top_k does not go with --mode=sample of dcgan"),
    (["--mode=interpolate", "--truncation=0.5"], "--truncation does not go with"),
    (["--prompt_file=nowhere.txt"], "--prompt_file=nowhere.txt cannot be read"),
])
def test_mistakes_with_generate(plain, words, message, tmp_path, capsys):
  status = generate.main(["generate", f"--model={plain}", f"--out={tmp_path / 'out'}", *words])
  assert_one_line(status, capsys, message)


@pytest.mark.parametrize("model,words,message", [
    ("gpt_poetry", ["--prompt=" + "春" * 100], "a prompt has 102 tokens, the model reads at most"),
    ("gpt_poetry", ["--prompt=\udcff"], "--prompt is not valid UTF-8"),
    ("gpt_poetry", ["--label=3"], "--label does not go with this gpt; it takes --max_new_tokens"),
    ("gpt_poetry", ["--beam_size=2"], "--beam_size does not go with"),
    ("gpt_poetry", ["--mode=interpolate"], "gpt cannot interpolate; it can sample"),
    ("gpt_poetry", ["--prompt_file=x", "--num=2"], "leave out --prompt and --num"),
    ("transformer_help_en_zh", [], "--prompt is missing: transformer works on a text of yours"),
    ("transformer_help_en_zh", ["--prompt=" + "a b " * 40], "longer than the 32 tokens"),
])
def test_mistakes_with_texts(model, words, message, capsys):
  status = generate.main(["generate", f"--model={model}", *words])
  assert_one_line(status, capsys, message)


def test_a_prompt_file_without_prompts(tmp_path, capsys):
  (tmp_path / "prompts.txt").write_text("\n  \n")
  status = generate.main(["generate", "--model=gpt_poetry",
                          f"--prompt_file={tmp_path / 'prompts.txt'}"])
  assert_one_line(status, capsys, "has no prompt in it")


def test_each_line_of_a_prompt_file_is_one_prompt(tmp_path):
  """Whoever wrote it; what other programs take for the end of a line stays in the prompt."""
  path = tmp_path / "prompts.txt"
  path.write_bytes("\ufeffone\r\ntwo\u2028and\x85still\x0ctwo\n\nthree".encode())
  values = generate.command.parse(["generate", f"--prompt_file={path}"], "", generate.define)
  assert generate._prompts(values) == ["one", "two\u2028and\x85still\x0ctwo", "three"]


@pytest.mark.parametrize("model,message", [
    ("gpt_poetry", "prompt 3, '春春春春春春春春春春春春春春春春春春春春春春春春春春春春春春': a prompt has 102"),
    ("transformer_help_en_zh", "longer than the 32 tokens that this model reads"),
])
def test_a_prompt_that_is_too_long_is_told_before_any_is_answered(model, message, tmp_path, capsys):
  (tmp_path / "prompts.txt").write_text("春\n夏\n" + "春" * 100 + "\n", encoding="utf-8")
  status = generate.main(["generate", f"--model={model}", f"--out={tmp_path / 'out'}",
                          f"--prompt_file={tmp_path / 'prompts.txt'}"])
  assert_one_line(status, capsys, message)
  assert not list((tmp_path / "out").iterdir())


def test_each_batch_of_texts_is_written_as_it_is_made(tmp_path, monkeypatch):
  answers, seen = text._answers, []

  def watched(*given):
    seen.append(sorted(path.name for path in (tmp_path / "out").iterdir()))
    return answers(*given)
  monkeypatch.setattr(text, "_answers", watched)
  monkeypatch.setattr(text, "BATCH_ROWS", 1)
  assert generate.main(["generate", "--model=gpt_poetry", f"--out={tmp_path / 'out'}", "--num=2",
                        "--max_new_tokens=2"]) == 0
  assert seen == [[], ["00000.txt"]]


def test_a_reader_that_has_enough_is_no_mistake():
  done = subprocess.run(
      f"{sys.executable} -c \"from aigc_tf import command; "
      "raise SystemExit(command.guarded(lambda: print('line\\n' * 100_000)))\" | head -1; "
      "exit ${PIPESTATUS[0]}", cwd=ROOT, shell=True, executable="/bin/bash", capture_output=True,
      text=True)
  assert (done.stdout, done.stderr, done.returncode) == ("line\n", "", 128 + signal.SIGPIPE)


def test_a_text_is_printed_as_it_is_written_to_a_file(tmp_path, capsys):
  words = ["generate", "--model=gpt_poetry", "--prompt=五绝：春", "--max_new_tokens=12"]
  assert generate.main([*words, "--seed=4"]) == 0
  printed = capsys.readouterr().out.strip()
  assert printed.startswith("五绝：春\n") and len(printed) > 12
  assert generate.main([*words, "--seed=3", "--num=2", f"--out={tmp_path}"]) == 0
  assert (tmp_path / "00001.txt").read_text().strip() == printed  # seed 4, alone or in a batch


def test_labels_out_of_range(conditional, tmp_path, capsys):
  for label in (-1, 10):
    for mode in ("sample", "interpolate"):
      status = generate.main(["generate", f"--model={conditional}", f"--out={tmp_path}",
                              f"--label={label}", f"--mode={mode}"])
      assert_one_line(status, capsys, f"--label={label}: this model has the classes 0 to 9")


@pytest.mark.parametrize("command", [generate, evaluate, export])
def test_an_output_folder_that_cannot_be_made(command, plain, under_a_file, capsys):
  name = command.__name__.split(".")[-1]
  status = command.main([name, f"--model={plain}", f"--out={under_a_file}"])
  assert_one_line(status, capsys, str(under_a_file.parent))


def test_an_output_file_that_is_a_folder(plain, tmp_path, capsys):
  (tmp_path / "grid.png").mkdir()
  (tmp_path / "report.json").mkdir()
  for command, name in ((generate, "generate"), (evaluate, "evaluate")):
    status = command.main([name, f"--model={plain}", f"--out={tmp_path}", "--num=16"])
    assert_one_line(status, capsys, str(tmp_path))


@pytest.mark.parametrize("content", ["", "{", "[]", '{"name": 3}', "\x00\xff",
                                     '{"name": "x", "recipe": {}, "spec": {}}',
                                     '{"name": "x", "recipe": 3, "spec": {}}'])
def test_a_corrupt_record(content, plain, tmp_path, capsys):
  folder = tmp_path / "run"
  shutil.copytree(plain, folder)
  (folder / "recipe.json").write_text(content, encoding="latin-1")
  status = generate.main(["generate", f"--model={folder}", f"--out={tmp_path / 'out'}"])
  assert_one_line(status, capsys, "recipe.json cannot be read")
  assert_one_line(run_train(folder, "dcgan_mnist:tiny"), capsys, "recipe.json cannot be read")


def test_a_record_that_the_machine_does_not_give(plain, tmp_path, capsys):
  """Nobody is told to remove checkpoints for that."""
  shutil.copytree(plain, tmp_path / "run")
  (tmp_path / "run" / "recipe.json").unlink()
  (tmp_path / "run" / "recipe.json").mkdir()
  assert_one_line(run_train(tmp_path / "run", "dcgan_mnist:tiny"), capsys,
                  "recipe.json cannot be read: Is a directory\n")


def test_a_run_without_checkpoints(plain, tmp_path, capsys):
  shutil.copytree(plain, tmp_path / "run", ignore=shutil.ignore_patterns("checkpoints"))
  status = generate.main(["generate", f"--model={tmp_path / 'run'}", f"--out={tmp_path / 'out'}"])
  assert_one_line(status, capsys, "no readable checkpoint")


@pytest.mark.parametrize("left", [0.5, 0])
def test_truncated_weights(left, plain, tmp_path, capsys):
  """In a folder as published models have it."""
  runs.load_model(plain).save_weights(tmp_path / runs.WEIGHTS)
  shutil.copy(plain / "recipe.json", tmp_path)
  os.truncate(tmp_path / runs.WEIGHTS, int(left * (tmp_path / runs.WEIGHTS).stat().st_size))
  status = generate.main(["generate", f"--model={tmp_path}", f"--out={tmp_path / 'out'}"])
  assert_one_line(status, capsys, f"the weights in {tmp_path} cannot be read")


# --- a user's own folder of images


@pytest.fixture
def own_folder(tmp_path, monkeypatch):
  monkeypatch.setenv("AIGC_TF_CACHE", str(tmp_path / "cache"))
  folder = tmp_path / "photos"
  folder.mkdir()
  return folder


def own_data(folder):
  return ["--recipe.data.split=all", f"--recipe.data.name={folder}",
          "--recipe.train.evaluate_every=0"]


def test_a_corrupt_image_is_skipped_and_named(own_folder, tmp_path, capsys):
  noise = np.random.default_rng(0)
  for i in range(12):
    Image.fromarray(noise.integers(0, 256, (40, 30, 3), np.uint8)).save(own_folder / f"{i}.png")
  (own_folder / "broken.jpg").write_bytes(b"no image at all")
  assert run_train(tmp_path / "run", "dcgan_mnist:tiny", *own_data(own_folder)) == 0
  output, errors = capsys.readouterr()
  assert "12 images kept, 1 files skipped (broken.jpg: unreadable" in errors
  assert "12 examples" in output
  status = run_train(tmp_path / "labels", "dcgan_mnist_conditional:tiny", *own_data(own_folder))
  assert_one_line(status, capsys, "put the images into one folder for each class")


def test_an_empty_folder_as_data(own_folder, tmp_path, capsys):
  status = run_train(tmp_path / "run", "dcgan_mnist:tiny", *own_data(own_folder))
  assert_one_line(status, capsys, "holds no images")
  status = run_train(tmp_path / "other", "dcgan_mnist:tiny", *own_data(own_folder / "nowhere"))
  assert_one_line(status, capsys, "does not exist")


# --- speed


def least_cpu_seconds(*words):
  """Of three runs; the processor's time, because other work of the machine must not count."""
  def seconds():
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, *words], cwd=ROOT, capture_output=True, text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 0, done.stderr
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, done.stdout
  return min(seconds() for _ in range(3))


@pytest.mark.parametrize("command", COMMANDS)
def test_help_is_fast_and_shows_the_command(command):
  seconds, text = least_cpu_seconds("-m", f"aigc_tf.{command}", "--help")
  assert seconds < 2.0
  assert f"python -m aigc_tf.{command}" in text and "Flags:" in text
  docstring = importlib.import_module(
      "aigc_tf.data.__main__" if command == "data" else f"aigc_tf.{command}").__doc__
  assert docstring.strip() in text


def test_import_is_fast_and_brings_no_tensorflow():
  code = "import sys, aigc_tf; sys.exit('tensorflow' in sys.modules)"
  with_it, _ = least_cpu_seconds("-c", code)
  without, _ = least_cpu_seconds("-c", "import sys")
  assert with_it - without < 0.2
