"""Colour icons (emoji) by a convolutional VAE, arXiv:1312.6114.

Run:     python -m aigc_tf.train --recipe=vae_emoji
Expect:  FID 109 (VGG16 features, 2,048 samples, icons not trained on): good reconstructions, soft
         samples; one run, 6 minutes on 2 busy CPU cores, 2026-11-22
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
      "model": {"name": "vae", "latent_dim": 64, "width": 48, "likelihood": "gaussian",
                "conditional": False},
      "compile": {"lr": 5e-4, "beta": 1.0, "free_bits": 0.0, "kl_warmup_steps": 1000,
                  "warmup_steps": 200, "decay_steps": 4000},
      "train": {"steps": 4000},
      "evaluate": {"num": 2048, "features": "auto", "metric": "", "mode": "min"},
  })


TINY = {
    "data.name": "fake", "data.batch_size": 8, "model.width": 8, "model.latent_dim": 8,
    "train.steps": 4, "train.log_every": 2, "train.preview_every": 2, "train.checkpoint_every": 2,
    "evaluate.num": 16, "evaluate.features": "pixels",
}
