"""The loop: exact resume, damage, roll-back, refusal, full disks."""

import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import tensorflow as tf

from aigc_tf import recipe
from aigc_tf import runs
from aigc_tf.errors import UserError
from aigc_tf.nn import paths
from aigc_tf.training import checkpoints
from aigc_tf.training import loop
from aigc_tf.training import metrics_log
from tests import cases

QUICK = {"train.steps": 12, "train.log_every": 3, "train.preview_every": 6,
         "train.evaluate_every": 0, "train.checkpoint_every": 4}


def config_for(name="dcgan_mnist", **overrides):
  config = recipe.load(f"{name}:tiny").copy_and_resolve_references()
  with config.unlocked():
    config.update_from_flattened_dict({**QUICK, **overrides})
  return config


def train(folder, **overrides):
  folder.mkdir(exist_ok=True)
  return loop.train("dcgan_mnist", config_for(**overrides), folder)


def final_state(folder):
  """Every variable of the newest checkpoint, and metrics.jsonl without times."""
  path = checkpoints.Checkpoints(folder / "checkpoints", None, 1).paths()[-1] / "variables"
  reader = tf.train.load_checkpoint(str(path))
  variables = {key: reader.get_tensor(key) for key in reader.get_variable_to_shape_map()
               if not key.startswith(("save_counter", "_CHECKPOINTABLE"))}
  metrics = [{key: value for key, value in line.items() if not key.startswith("time/")}
             for line in metrics_log.read(folder / "metrics.jsonl")]
  return variables, metrics


def assert_same(a, b):
  (variables_a, metrics_a), (variables_b, metrics_b) = a, b
  assert metrics_a == metrics_b
  assert variables_a.keys() == variables_b.keys()
  for key, value in variables_a.items():
    np.testing.assert_array_equal(value, variables_b[key], err_msg=key)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
  """A run that was never stopped."""
  folder = tmp_path_factory.mktemp("whole")
  assert train(folder) == 0
  return folder


def test_run_folder_holds_what_it_promises(whole):
  assert {p.name for p in whole.iterdir()} >= {
      "recipe.json", "metrics.jsonl", "checkpoints", "samples"}
  assert [p.name for p in sorted((whole / "samples").iterdir())] == [
      "step_000006.png", "step_000012.png"]
  assert [p.name for p in sorted((whole / "checkpoints").iterdir())] == [
      "step_00000008", "step_00000012"]
  assert list(whole.glob("events.*"))
  steps = [line["step"] for line in metrics_log.read(whole / "metrics.jsonl") if "loss" in line]
  assert steps == [3, 6, 9, 12]


def test_stopping_and_resuming_changes_no_bit(whole, tmp_path):
  # 5 and 8 lie inside a log interval, so the sums must survive too.
  for steps in (5, 8, 12):
    assert train(tmp_path / "run", **{"train.steps": steps}) == 0
  stopped = final_state(tmp_path / "run")
  # Stopping ends an interval: such a stop logs once more than a run never stopped.
  logged = [line for line in stopped[1] if line["step"] % 3 == 0]
  assert [line["step"] for line in logged if "loss" in line] == [3, 6, 9, 12]
  variables, _ = final_state(whole)
  for key, value in variables.items():
    if "sums" not in key and "count" not in key:
      np.testing.assert_array_equal(value, stopped[0][key], err_msg=key)


COMMAND = """
import sys, pathlib
from tests import test_training
sys.exit(test_training.train(pathlib.Path(sys.argv[1]), **{"train.steps": 60}))
"""


def spawn(folder):
  return subprocess.Popen(
      [sys.executable, "-c", COMMAND, str(folder)], cwd=pathlib.Path(__file__).parent.parent,
      stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
      env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"})


def wait_for(condition, process, seconds=60):
  """Polls until condition() or the process ends."""
  end = time.time() + seconds
  while time.time() < end and process.poll() is None and not condition():
    time.sleep(0.01)


def test_killed_at_random_moments_ends_bit_equal(tmp_path):
  """The number of kills can be raised by the variable AIGC_TF_KILLS."""
  assert train(tmp_path / "whole", **{"train.steps": 60}) == 0
  folder = tmp_path / "killed"
  moment = random.Random(0)
  for _ in range(int(os.environ.get("AIGC_TF_KILLS", 2))):
    process = spawn(folder)
    log = folder / "metrics.jsonl"
    seen = log.read_text() if log.exists() else ""
    wait_for(lambda: log.exists() and len(log.read_text()) > len(seen), process)
    time.sleep(moment.uniform(0, 0.5))
    process.kill()
    process.communicate()
  process = spawn(folder)
  output, _ = process.communicate(timeout=120)
  assert process.returncode == 0, output
  assert_same(final_state(tmp_path / "whole"), final_state(folder))


@pytest.mark.parametrize("number,status", [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_signals_save_first(tmp_path, number, status):
  process = spawn(tmp_path / "run")
  wait_for(lambda: (tmp_path / "run" / "metrics.jsonl").exists(), process)
  process.send_signal(number)
  output, _ = process.communicate(timeout=60)
  assert process.returncode == status, output
  assert "saved" in output and "Traceback" not in output
  state = checkpoints.read_state(
      checkpoints.Checkpoints(tmp_path / "run" / "checkpoints", None, 1).paths()[-1])
  assert f"stopped at step {state['step']}" in output


@pytest.mark.parametrize("damage", ["truncate_data", "truncate_index", "flip", "no_state"])
def test_a_damaged_checkpoint_falls_back_to_the_one_before(tmp_path, capsys, damage, whole):
  assert train(tmp_path / "run") == 0
  newest = tmp_path / "run" / "checkpoints" / "step_00000012"
  data, index = newest / "variables.data-00000-of-00001", newest / "variables.index"
  if damage == "truncate_data":
    os.truncate(data, data.stat().st_size // 2)
  elif damage == "truncate_index":
    os.truncate(index, index.stat().st_size // 2)
  elif damage == "flip":
    content = bytearray(data.read_bytes())
    content[len(content) // 2] ^= 255
    data.write_bytes(bytes(content))
  else:
    (newest / "state.json").unlink()
  capsys.readouterr()
  assert train(tmp_path / "run") == 0
  printed = capsys.readouterr().out
  assert "step_00000012 is damaged" in printed and "going on from step 8" in printed
  assert_same(final_state(whole), final_state(tmp_path / "run"))


@pytest.mark.parametrize("case", cases.CASES, ids=lambda case: case.name)
def test_a_checkpoint_holds_every_weight(tmp_path, case):
  """Those of layers in lists too."""
  model, twin = case.build(compiled=False), case.build(compiled=False)
  for weight in model.weights:
    weight.assign_add(tf.ones_like(weight))
  whole = tf.train.Checkpoint(twin=paths.raw(model))
  checkpoints.Checkpoints(tmp_path, whole, 1).save(7, 0, {"step": 7})
  assert checkpoints.read_twin(tmp_path, twin) == 7
  for weight, expected in zip(twin.weights, model.weights, strict=True):
    np.testing.assert_array_equal(weight, expected, err_msg=weight.path)


def test_all_checkpoints_damaged_is_one_line(tmp_path):
  train(tmp_path / "run", **{"train.steps": 4})
  for path in (tmp_path / "run" / "checkpoints").iterdir():
    (path / "variables.index").write_bytes(b"")
  with pytest.raises(UserError, match="every checkpoint .* is damaged"):
    train(tmp_path / "run")


def test_another_recipe_is_refused_with_the_difference(whole):
  with pytest.raises(UserError, match=r"model.width: 8 -> 16.*--workdir"):
    train(whole, **{"model.width": 16})


def test_free_keys_may_change(tmp_path):
  assert train(tmp_path / "run", **{"train.steps": 4}) == 0
  assert train(tmp_path / "run", **{"train.steps": 6, "train.log_every": 1, "train.keep": 1}) == 0
  assert runs.read(tmp_path / "run").config.train.steps == 6
  assert len(list((tmp_path / "run" / "checkpoints").iterdir())) == 1


def poison(monkeypatch, bad_positions):
  """Makes the data of some batches NaN, as a broken file would."""
  from aigc_tf.data import images
  load = images.load

  def poisoned(cfg, split, seed, position, context=None):
    def spoil(count, batch):
      is_bad = tf.reduce_any(count + position == tf.constant(bad_positions, tf.int64))
      return {**batch, "image": tf.where(is_bad, np.nan, batch["image"])}
    return load(cfg, split, seed, position, context).enumerate().map(spoil)
  monkeypatch.setattr(images, "load", poisoned)


def test_a_non_finite_loss_rolls_back_and_skips_the_data(tmp_path, monkeypatch, capsys):
  poison(monkeypatch, [6])
  assert train(tmp_path / "run") == 0
  printed = capsys.readouterr().out
  assert "d_loss" in printed and "not finite at step 7: back to step 4" in printed
  variables, metrics = final_state(tmp_path / "run")
  assert all(np.all(np.isfinite(v)) for v in variables.values() if v.dtype.kind == "f")
  assert [line["step"] for line in metrics if "loss" in line] == [3, 6, 9, 12]
  state = checkpoints.read_state(tmp_path / "run" / "checkpoints" / "step_00000012")
  assert (state["step"], state["position"]) == (12, 15)  # batches 4, 5 and 6 were skipped


def test_it_gives_up_after_three_roll_backs(tmp_path, monkeypatch):
  poison(monkeypatch, list(range(6, 100)))
  with pytest.raises(UserError, match="not finite at step .*fourth time.*lower the learning"):
    train(tmp_path / "run")
  variables, _ = final_state(tmp_path / "run")
  assert all(np.all(np.isfinite(v)) for v in variables.values() if v.dtype.kind == "f")


def test_best_is_kept_and_early_stopping_stops(tmp_path, capsys):
  status = train(tmp_path / "run", **{
      "train.steps": 40, "train.evaluate_every": 2, "train.early_stop_evaluations": 3,
      "evaluate.metric": "recall", "evaluate.mode": "max", "evaluate.num": 16})
  assert status == 0
  assert "no better recall in 3 evaluations" in capsys.readouterr().out
  lines = [line for line in metrics_log.read(tmp_path / "run" / "metrics.jsonl")
           if "evaluate/recall" in line]
  best = max(lines, key=lambda line: line["evaluate/recall"])  # the first of equals
  state = checkpoints.read_state(tmp_path / "run" / "checkpoints" / "best")
  assert state["step"] == best["step"] and len(lines) < 20


def test_the_twin_is_the_average_that_numpy_computes(tmp_path):
  """One weight, followed through every step."""
  config = config_for(**{"train.steps": 6})
  strategy = tf.distribute.get_strategy()
  (tmp_path / "run").mkdir()
  a_loop = loop.Loop("dcgan_mnist", config, tmp_path / "run", strategy)
  a_loop._resume()
  average = a_loop.twin.weights[0].numpy()
  for step in range(1, 7):
    a_loop.steps(a_loop.iterator, 1)
    decay = min(config.train.ema_decay, (1 + step) / (10 + step))
    average = decay * average + (1 - decay) * a_loop.model.weights[0].numpy()
    np.testing.assert_allclose(a_loop.twin.weights[0].numpy(), average, rtol=1e-5, atol=1e-7)
  assert a_loop.steps.trace_count == 1


def test_a_full_disk_is_one_line_and_loses_nothing(tmp_path):
  """Files may not grow beyond 30 kB in the child: the checkpoint does not fit."""
  train(tmp_path / "run", **{"train.steps": 4})
  before = sorted(p.name for p in (tmp_path / "run" / "checkpoints").iterdir())
  code = ("import resource, sys, pathlib; from tests import test_training; "
          "from aigc_tf import command; "
          "resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, 30_000)); "
          "sys.exit(command.guarded(lambda: test_training.train(pathlib.Path(sys.argv[1]))))")
  done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "run")], text=True,
                        capture_output=True, cwd=pathlib.Path(__file__).parent.parent)
  assert done.returncode == 1, done.stderr
  errors = [line for line in done.stderr.splitlines() if line.startswith("error:")]
  assert len(errors) == 1 and "Traceback" not in done.stderr
  assert sorted(p.name for p in (tmp_path / "run" / "checkpoints").iterdir()) == before
  assert train(tmp_path / "run") == 0


def test_precision_and_jit_settings_are_checked(tmp_path):
  with pytest.raises(UserError, match="train.precision='float8'"):
    train(tmp_path / "a", **{"train.precision": "float8"})
  with pytest.raises(UserError, match="train.jit='maybe'"):
    train(tmp_path / "b", **{"train.jit": "maybe"})
  with pytest.raises(UserError, match="batch_size=8 cannot be cut into 3 equal parts.*=9"):
    train(tmp_path / "c", **{"train.micro_batches": 3})


def test_too_few_held_out_images_are_told_before_training(tmp_path):
  with pytest.raises(UserError, match="held out, too few.*data.split=all"):
    train(tmp_path / "run", **{"data.split": "train", "train.evaluate_every": 2, "data.size": 20})
  assert not (tmp_path / "run" / "recipe.json").exists()


def test_unknown_keywords_of_compile_are_one_line(tmp_path, monkeypatch):
  config = config_for()
  with config.unlocked():
    config.compile.learning_rate = 1.0
  with pytest.raises(UserError, match="compile.learning_rate: dcgan has no such keyword.*g_lr"):
    loop.train("dcgan_mnist", config, tmp_path)


def test_jit_auto_is_measured_once_and_stored(tmp_path, capsys):
  assert train(tmp_path / "run", **{"train.steps": 2, "train.jit": "auto"}) == 0
  stored = json.loads((tmp_path / "run" / "recipe.json").read_text())["jit"]
  assert stored in ("on", "off") and "XLA" in capsys.readouterr().out
  assert train(tmp_path / "run", **{"train.steps": 4, "train.jit": "auto"}) == 0
  assert "XLA" not in capsys.readouterr().out


def events(folder):
  """{tag: number of values} of a run's event files."""
  tags = {}
  for path in folder.glob("events.*"):
    for event in tf.compat.v1.train.summary_iterator(str(path)):
      for value in event.summary.value:
        tags[value.tag] = tags.get(value.tag, 0) + 1
  return tags


def test_tensorboard_gets_scalars_pictures_and_hyper_parameters(whole):
  tags = events(whole)
  assert tags["loss"] == 4 and tags["samples"] == 2 and tags["time/data_wait"] == 4
  assert "_hparams_/session_start_info" in tags


def test_pictures_stop_at_the_cap_and_it_is_said_once(tmp_path, capsys):
  assert train(tmp_path / "run", **{"train.max_event_mb": 0, "train.preview_every": 1}) == 0
  assert "samples" not in events(tmp_path / "run")
  assert capsys.readouterr().out.count("train.max_event_mb=0") == 1
  assert len(list((tmp_path / "run" / "samples").iterdir())) == 12


def test_a_profile_of_the_asked_steps_is_written(tmp_path):
  assert train(tmp_path / "run", **{"train.profile_steps": (2, 4)}) == 0
  assert list((tmp_path / "run").glob("plugins/profile/*/*.xplane.pb"))
