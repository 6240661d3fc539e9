"""Jane Austen's novels, letter by letter, by a GPT, arXiv:1706.03762.

Run:     python -m aigc_tf.train --recipe=gpt_austen
Expect:  bits per character 1.55 (held-out chapters); one run, 18 minutes on 2 busy CPU cores,
         2026-11-22
Data:    austen, six novels, 4 MB of English (inside the Debian package r-cran-janeaustenr; public
         domain)
"""

from ml_collections import ConfigDict


def get_config():
  return ConfigDict({
      "seed": 0,
      "data": {
          "modality": "text", "name": "austen", "split": "train",
          "task": "language_model", "tokenizer": "char", "vocab_size": 128, "length": 128,
          "source_length": 0, "packed": True, "batch_size": 32,
          "clean": {"normalize": "NFC", "dedupe": True, "min_chars": 1, "max_chars": 0},
      },
      "model": {"name": "gpt", "width": 192, "depth": 4, "heads": 6, "context": 0, "rotary": True,
                "dropout": 0.0},
      "compile": {"lr": 2e-3, "beta_1": 0.9, "beta_2": 0.99, "weight_decay": 0.1,
                  "warmup_steps": 100, "decay_steps": 3000},
      "train": {"steps": 3000, "clip_norm": 1.0, "jit": "on", "preview_every": 1000,
                "evaluate_every": 1000},
      "evaluate": {"num": 256, "metric": "test_loss", "mode": "min"},
  })


TINY = {
    "data.name": "fake", "data.batch_size": 8, "data.length": 8, "data.vocab_size": 32,
    "model.width": 8, "model.depth": 1, "model.heads": 2, "train.steps": 4, "train.jit": "off",
    "train.log_every": 2, "train.preview_every": 2, "train.evaluate_every": 2,
    "train.checkpoint_every": 2, "compile.warmup_steps": 0, "evaluate.num": 16,
}
