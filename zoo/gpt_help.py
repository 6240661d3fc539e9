"""English and Chinese by one GPT, arXiv:1706.03762: what the dialogue recipes start from.

Run:     python -m aigc_tf.train --recipe=gpt_help
Expect:  bits per character 1.81 (held-out help texts of both languages); one run, 9 minutes on 2
         busy CPU cores, 2026-11-22
Data:    libreoffice_help_en_zh, 15,600 sentences with their translations (Debian's
         libreoffice-help packages, MPL-2.0; 5.2 MB)
"""

from ml_collections import ConfigDict


def get_config():
  return ConfigDict({
      "seed": 0,
      "data": {
          "modality": "text", "name": "libreoffice_help_en_zh", "split": "train",
          "task": "language_model", "tokenizer": "bpe", "vocab_size": 4000, "length": 128,
          "source_length": 0, "packed": True, "batch_size": 32,
          "clean": {"normalize": "NFC", "dedupe": True, "min_chars": 1, "max_chars": 0},
      },
      "model": {"name": "gpt", "width": 128, "depth": 4, "heads": 4, "context": 0, "rotary": True,
                "dropout": 0.1},
      "compile": {"lr": 2e-3, "beta_1": 0.9, "beta_2": 0.99, "weight_decay": 0.1,
                  "warmup_steps": 100, "decay_steps": 1000},
      "train": {"steps": 1000, "clip_norm": 1.0, "jit": "on", "evaluate_every": 500},
      "evaluate": {"num": 256, "metric": "test_loss", "mode": "min"},
  })


TINY = {
    "data.name": "fake", "data.batch_size": 8, "data.length": 8, "data.tokenizer": "char",
    "data.vocab_size": 32, "model.width": 8, "model.depth": 1, "model.heads": 2,
    "train.steps": 4, "train.log_every": 2, "train.preview_every": 2,
    "train.evaluate_every": 2, "train.checkpoint_every": 2, "compile.warmup_steps": 0,
    "evaluate.num": 16,
}
