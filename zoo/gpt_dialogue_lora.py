"""Customer service by a frozen GPT with low-rank additions (LoRA, arXiv:2106.09685).

Run:     python -m aigc_tf.train --recipe=gpt_dialogue_lora
Expect:  bits per character 0.417 (held-out dialogues; 0.360 where all weights are trained), with
         197,120 numbers trained instead of 1.37 million; one run, 13 minutes on 2 busy CPU cores,
         2026-11-22
Data:    customer_service, 15,500 dialogues in both languages, synthetic: made out of the project's
         own templates (Apache-2.0); starts from the weights of gpt_help
"""

from ml_collections import ConfigDict


def get_config():
  return ConfigDict({
      "seed": 0,
      "data": {
          "modality": "text", "name": "customer_service", "split": "train",
          "task": "language_model", "tokenizer": "bpe", "vocab_size": 4000, "length": 128,
          "source_length": 0, "packed": False, "batch_size": 32,
          "clean": {"normalize": "NFC", "dedupe": True, "min_chars": 1, "max_chars": 0},
      },
      "model": {"name": "gpt", "width": 128, "depth": 4, "heads": 4, "context": 0, "rotary": True,
                "dropout": 0.1},
      "compile": {"lr": 4e-3, "beta_1": 0.9, "beta_2": 0.99, "weight_decay": 0.0,
                  "warmup_steps": 50, "decay_steps": 2000},
      "train": {"init_from": "gpt_help", "lora_rank": 16, "lora_alpha": 32.0,
                "lora_layers": ("blocks/*", "embedding"), "steps": 2000, "ema_decay": 0.99,
                "clip_norm": 1.0, "jit": "on"},
      "evaluate": {"num": 256, "metric": "test_loss", "mode": "min"},
  })


TINY = {
    "data.name": "fake", "data.batch_size": 8, "data.length": 16, "data.tokenizer": "char",
    "data.vocab_size": 32, "model.width": 8, "model.depth": 1, "model.heads": 2,
    "train.init_from": "",
    "train.steps": 4, "train.log_every": 2, "train.preview_every": 2,
    "train.evaluate_every": 2, "train.checkpoint_every": 2, "compile.warmup_steps": 0,
    "evaluate.num": 16,
}
