"""The loop under settings and data that are rare: one image, profiles, two trainings at once."""

import errno
import pathlib

import keras
import numpy as np
import pytest
import tensorflow as tf

from aigc_tf import samples
from aigc_tf.errors import UserError
from aigc_tf.metrics import measurement
from aigc_tf.nn import paths
from aigc_tf.training import checkpoints
from aigc_tf.training import evaluation
from aigc_tf.training import health
from aigc_tf.training import record
from tests import test_training


def images(rows, apart):
  """f32[rows, 2, 2, 1], each `apart` from the one before."""
  return np.arange(rows, dtype=np.float32)[:, None, None, None] * np.full((2, 2, 1), apart)


@pytest.mark.parametrize("generated,real,ratio", [
    (images(4, 1.0), images(4, 2.0), 0.5),
    (images(4, 1.0), images(1, 2.0), None),
    (images(1, 1.0), images(4, 2.0), None),
    (images(4, 1.0), images(4, 0.0), None),
])
def test_samples_are_compared_with_real_images_that_differ(generated, real, ratio):
  scalars = health.sample_scalars({"samples": {"image": generated}}, {"image": real})
  assert scalars == ({} if ratio is None else {"sample_distance_ratio": pytest.approx(ratio)})


def test_one_image_a_batch_trains_through_its_previews(tmp_path):
  assert test_training.train(tmp_path / "run", **{
      "data.batch_size": 1, "train.steps": 2, "train.preview_every": 1}) == 0


@pytest.mark.parametrize("module,function,event", [
    (samples, "write_preview", "preview"), (evaluation, "evaluate", "evaluate")])
def test_an_event_that_fails_loses_no_step(tmp_path, monkeypatch, module, function, event):
  def fail(*given):
    raise UserError("nothing to show")
  settings = {f"train.{event}_every": 3, "train.checkpoint_every": 100, "train.steps": 4}
  with monkeypatch.context() as patch:
    patch.setattr(module, function, fail)
    with pytest.raises(UserError, match="nothing to show"):
      test_training.train(tmp_path / "run", **settings)
  newest = checkpoints.Checkpoints(tmp_path / "run" / "checkpoints", None, 1).paths()[-1]
  assert checkpoints.read_state(newest)["step"] == 3
  assert test_training.train(tmp_path / "run", **settings) == 0


def test_a_profile_that_was_cut_short_goes_on(tmp_path):
  """Stopped amid the profiled steps, and started again there."""
  for steps in (3, 6):
    assert test_training.train(tmp_path / "run", **{
        "train.profile_steps": (2, 5), "train.steps": steps, "train.preview_every": 0}) == 0
    for profile in (tmp_path / "run").glob("plugins/profile/*"):
      assert list(profile.glob("*.xplane.pb"))
      profile.rename(tmp_path / f"profile_{steps}")
  assert {path.name for path in tmp_path.glob("profile_*")} == {"profile_3", "profile_6"}


def test_a_second_training_in_the_same_folder_is_refused(tmp_path):
  folder = tmp_path / "run"
  with record.locked(folder, True):
    with pytest.raises(UserError, match="another training runs in"):
      test_training.train(folder)
    with record.locked(folder, False):  # a worker beside its chief
      pass
  with record.locked(folder, True):
    pass


def test_a_best_that_is_no_number_is_replaced(tmp_path, monkeypatch):
  values = iter([np.nan, 3.0, np.nan, 2.0, np.nan])

  def measure(*given):
    return [measurement.Measurement("fid", next(values), "fid")]
  monkeypatch.setattr(evaluation, "evaluate", measure)
  test_training.train(tmp_path / "run", **{
      "train.steps": 5, "train.evaluate_every": 1, "train.preview_every": 0,
      "evaluate.metric": "fid", "evaluate.mode": "min"})
  newest = checkpoints.Checkpoints(tmp_path / "run" / "checkpoints", None, 1).paths()[-1]
  state = checkpoints.read_state(newest)
  assert state["best"] == {"step": 4, "value": 2.0} and state["since_best"] == 1


def saved(folder, step, value):
  """best/ of a model of one weight, with its state.  Returns: the model."""
  model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, use_bias=False)])
  model.set_weights([np.full((1, 1), value, np.float32)])
  store = checkpoints.Checkpoints(folder, tf.train.Checkpoint(twin=paths.raw(model)), 2)
  store.save(step, 0, {"step": step})
  store.save_best({"step": step})
  return model


def test_a_damaged_best_is_told_with_what_is_used(tmp_path, capsys):
  model = saved(tmp_path, 3, 1.0)
  assert checkpoints.read_twin(tmp_path, model) == 3 and not capsys.readouterr().err
  (tmp_path / "best" / "state.json").unlink()
  assert checkpoints.read_twin(tmp_path, model) == 3
  said = capsys.readouterr().err
  assert "best (No such file" in said and "step_00000003 are used, step 3" in said
  assert said.count("\n") == 1


def test_the_best_survives_a_replacement_that_fails(tmp_path, monkeypatch):
  saved(tmp_path, 3, 1.0)
  rename = pathlib.Path.rename

  def full(path, target):
    if path.name == checkpoints.TEMPORARY and target.name == checkpoints.BEST:
      raise OSError(errno.ENOSPC, "No space left on device")
    return rename(path, target)
  with monkeypatch.context() as patch:
    patch.setattr(pathlib.Path, "rename", full)
    with pytest.raises(UserError, match="No space left"):
      saved(tmp_path, 4, 2.0)
  model = saved(tmp_path / "other", 5, 0.0)
  assert checkpoints.read_twin(tmp_path, model) == 3 and model.get_weights()[0] == 1.0
  saved(tmp_path, 6, 3.0)
  assert checkpoints.read_twin(tmp_path, model) == 6
  assert {path.name for path in tmp_path.iterdir()} == {
      "best", "other", "step_00000004", "step_00000006"}
