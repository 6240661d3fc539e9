"""Chinese poems from a title or a tune by a GPT, arXiv:1706.03762.

Run:     python -m aigc_tf.train --recipe=gpt_poetry
Expect:  bits per character 5.89 (held-out poems), 98 % of the quatrains have the form asked for,
         they do not rhyme yet; one run, 34 minutes on 2 busy CPU cores, 2026-11-22
Data:    chinese_poetry, 115,000 quatrains and ci of the Tang and Song with their titles (npm
         package chinese-poetry, MIT, texts in the public domain; 86 MB)
"""

from ml_collections import ConfigDict


def get_config():
  return ConfigDict({
      "seed": 0,
      "data": {
          "modality": "text", "name": "chinese_poetry", "split": "train",
          "task": "language_model", "tokenizer": "char", "vocab_size": 5000, "length": 96,
          "source_length": 0, "packed": True, "batch_size": 64,
          "clean": {"normalize": "NFC", "dedupe": True, "min_chars": 1, "max_chars": 0},
      },
      "model": {"name": "gpt", "width": 192, "depth": 4, "heads": 6, "context": 0, "rotary": True,
                "dropout": 0.0},
      "compile": {"lr": 2e-3, "beta_1": 0.9, "beta_2": 0.99, "weight_decay": 0.1,
                  "warmup_steps": 100, "decay_steps": 2400},
      "train": {"steps": 2400, "clip_norm": 1.0, "jit": "on", "log_every": 50,
                "preview_every": 400, "checkpoint_every": 200},
      "evaluate": {"num": 256, "metric": "test_loss", "mode": "min"},
  })


TINY = {
    "data.name": "fake", "data.batch_size": 8, "data.length": 16, "data.vocab_size": 32,
    "model.width": 8, "model.depth": 1, "model.heads": 2, "train.steps": 4, "train.jit": "off",
    "train.log_every": 2, "train.preview_every": 2, "train.checkpoint_every": 2,
    "compile.warmup_steps": 0, "evaluate.num": 16,
}
