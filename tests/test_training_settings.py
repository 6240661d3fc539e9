"""The loop under settings and data that are rare: one image, profiles, two trainings at once."""

import numpy as np
import pytest

from aigc_tf import samples
from aigc_tf.errors import UserError
from aigc_tf.training import checkpoints
from aigc_tf.training import health
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


def test_a_preview_that_fails_loses_no_step(tmp_path, monkeypatch):
  def fail(*given):
    raise UserError("nothing to show")
  settings = {"train.preview_every": 3, "train.checkpoint_every": 100, "train.steps": 4}
  with monkeypatch.context() as patch:
    patch.setattr(samples, "write_preview", fail)
    with pytest.raises(UserError, match="nothing to show"):
      test_training.train(tmp_path / "run", **settings)
  newest = checkpoints.Checkpoints(tmp_path / "run" / "checkpoints", None, 1).paths()[-1]
  assert checkpoints.read_state(newest)["step"] == 3
