"""Faces by a DCGAN, arXiv:1511.06434.

Run:     python -m aigc_tf.train --recipe=dcgan_celeba
Expect:  not measured
Data:    celeb_a of TensorFlow Datasets, 202,599 faces, here 64x64 (needs the network; research
         use only)
"""

from ml_collections import ConfigDict


def get_config():
  return ConfigDict({
      "seed": 0,
      "data": {
          "modality": "images", "name": "celeb_a", "split": "train",
          "size": 64, "channels": 3, "batch_size": 128,
          "augment": {"rotate_degrees": 0.0, "crop_pixels": 0, "flip": True, "colour": 0.0,
                      "noise": 0.0},
      },
      "model": {"name": "dcgan", "latent_dim": 100, "width": 64, "conditional": False,
                "batch_norm": True},
      "compile": {"loss": "non_saturating", "g_lr": 2e-4, "d_lr": 2e-4, "beta_1": 0.5,
                  "warmup_steps": 0, "decay_steps": 0},
      "train": {"steps": 100000},
      "evaluate": {"num": 10000, "features": "auto", "metric": "", "mode": "min"},
  })


TINY = {
    "data.name": "fake", "data.split": "all",  # too few of the fake images are held out
    "data.batch_size": 8, "model.width": 8, "model.latent_dim": 8,
    "train.steps": 4, "train.log_every": 2, "train.preview_every": 2, "train.checkpoint_every": 2,
    "evaluate.num": 16, "evaluate.features": "pixels",
}
