"""Chinese poems from a title or a tune by an LSTM, arXiv:1308.0850.

Run:     python -m aigc_tf.train --recipe=lstm_poetry
Expect:  bits per character 6.95 (held-out poems; the GPT of gpt_poetry 5.89 after as many steps);
         one run, 23 minutes on 2 busy CPU cores, 2026-11-22
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
      "model": {"name": "lstm", "width": 256, "num_layers": 2, "embedding_dim": 192,
                "cell": "lstm", "dropout": 0.0},
      "compile": {"lr": 2e-3, "warmup_steps": 100, "decay_steps": 2400, "weight_decay": 0.01},
      "train": {"steps": 2400, "clip_norm": 1.0},
      "evaluate": {"num": 256, "metric": "test_loss", "mode": "min"},
  })


TINY = {
    "data.name": "fake", "data.batch_size": 8, "data.length": 8, "data.vocab_size": 32,
    "model.width": 8, "model.num_layers": 1, "model.embedding_dim": 8,
    "train.steps": 4, "train.log_every": 2, "train.preview_every": 2,
    "train.checkpoint_every": 2, "evaluate.num": 16,
}
