"""Colour icons (emoji) by a DCGAN, arXiv:1511.06434.

Run:     python -m aigc_tf.train --recipe=dcgan_emoji
Expect:  FID 17.3 (VGG16 features, 2,048 samples, icons not trained on): shapes and colours of
         icons, few finished ones; one run, 16 minutes on 2 busy CPU cores, 2026-11-22
Data:    fluent_emoji, 3,391 icons, here 32x32 (npm package @lobehub/fluent-emoji-3d, MIT; 16 MB)
"""

from ml_collections import ConfigDict


def get_config():
  return ConfigDict({
      "seed": 0,
      "data": {
          "modality": "images", "name": "fluent_emoji", "split": "train",
          "size": 32, "channels": 3, "batch_size": 64,
          "augment": {"rotate_degrees": 0.0, "crop_pixels": 1, "flip": True, "colour": 0.0,
                      "noise": 0.0},
      },
      "model": {"name": "dcgan", "latent_dim": 100, "width": 64, "conditional": False,
                "batch_norm": True},
      "compile": {"loss": "non_saturating", "g_lr": 4e-4, "d_lr": 4e-4, "beta_1": 0.5,
                  "warmup_steps": 0, "decay_steps": 6000},
      "train": {"steps": 6000, "parallel_ops": 2},
      "evaluate": {"num": 2048, "features": "auto", "metric": "", "mode": "min"},
  })


TINY = {
    "data.name": "fake", "data.batch_size": 8, "model.width": 8, "model.latent_dim": 8,
    "train.steps": 4, "train.log_every": 2, "train.preview_every": 2, "train.checkpoint_every": 2,
    "evaluate.num": 16, "evaluate.features": "pixels",
}
