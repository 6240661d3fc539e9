"""English to Chinese by a Transformer, arXiv:1706.03762, on the help texts of an office suite.

Run:     python -m aigc_tf.train --recipe=transformer_help_en_zh
Expect:  BLEU 41.1 (sacrebleu, greedy, 500 held-out pairs; 42.2 by 4 beams; the translation of the
         nearest training sentence gets 30.8); one run, 15 minutes on 2 busy CPU cores, 2026-11-22
Data:    libreoffice_help_en_zh, 15,600 pairs of sentences (Debian's libreoffice-help packages,
         5.2 MB, MPL-2.0)
"""

from ml_collections import ConfigDict


def get_config():
  return ConfigDict({
      "seed": 0,
      "data": {
          "modality": "text", "name": "libreoffice_help_en_zh", "split": "train",
          "batch_size": 64, "task": "text_to_text", "tokenizer": "bpe", "vocab_size": 5000,
          "length": 32, "source_length": 32, "packed": False,
          "clean": {"normalize": "NFC", "dedupe": True, "min_chars": 1, "max_chars": 0},
      },
      "model": {"name": "transformer", "width": 160, "depth": 3, "heads": 4, "hidden_dim": 640,
                "dropout": 0.1},
      "compile": {"lr": 0.0, "warmup_steps": 1000, "label_smoothing": 0.1, "beta_1": 0.9,
                  "beta_2": 0.98, "weight_decay": 0.0},
      "train": {"steps": 3000, "clip_norm": 1.0, "evaluate_every": 1500},
      "evaluate": {"num": 500, "metric": "test_loss", "mode": "min"},
  })


TINY = {
    "data.name": "fake", "data.batch_size": 8, "data.tokenizer": "char", "data.length": 12,
    "data.source_length": 12, "model.width": 16, "model.depth": 1, "model.heads": 2,
    "model.hidden_dim": 32, "train.steps": 4, "train.log_every": 2, "train.preview_every": 2,
    "train.evaluate_every": 2, "train.checkpoint_every": 2, "evaluate.num": 16,
}
