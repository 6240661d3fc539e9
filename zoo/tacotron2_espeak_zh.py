"""A Mandarin voice by Tacotron 2, arXiv:1712.05884, taught by a synthetic speaker.

Run:     python -m aigc_tf.train --recipe=tacotron2_espeak_zh
Expect:  MCD 2.14 dB to the teacher, DNSMOS 2.28 (the teacher 2.55), on 100 sentences not trained
         on, all of which stop; through hifigan_flite; one run, 37 minutes on 2 busy CPU cores,
         2026-11-22
Data:    espeak_zh, sentences of the Chinese text sets spoken by espeak-ng, resampled to 16 kHz,
         with their pinyin; synthetic and deterministic
"""

from ml_collections import ConfigDict


def get_config():
  return ConfigDict({
      "seed": 0,
      "data": {
          "modality": "speech", "name": "espeak_zh", "split": "train",
          "task": "text_to_speech", "language": "zh", "symbols": "pinyin", "batch_size": 16,
          "audio": {"sample_rate_hz": 16000, "window_samples": 1024, "hop_samples": 256,
                    "fft_size": 1024, "num_mels": 80, "lowest_hz": 0.0, "highest_hz": 8000.0,
                    "mel_scale": "slaney", "log_floor": 1e-5},
          "trim_db": 40.0, "loudness_db": -24.0, "min_seconds": 0.5, "max_seconds": 8.0,
          "segment_frames": 0, "time_mask": 0, "freq_mask": 0, "buckets": 16,
      },
      "model": {"name": "tacotron2", "width": 160, "decoder_dim": 256, "attention_dim": 128,
                "prenet_dim": 128, "postnet_dim": 96, "postnet_depth": 5, "reduction": 3,
                "first_reduction": 0, "dropout": 0.1, "prenet_dropout": 0.5,
                "generation_dropout": 0.25, "kernel_size": 5, "attention_window": 4},
      "compile": {"lr": 1e-3, "warmup_steps": 100, "decay_steps": 6000, "weight_decay": 1e-6,
                  "stop_weight": 8.0, "guided_weight": 1.0, "guided_steps": 2500,
                  "reduction_steps": 0, "aligned_by_step": 2000},
      "train": {"steps": 6000, "clip_norm": 1.0, "preview_every": 1000, "evaluate_every": 0},
      "evaluate": {"num": 100, "metric": "test_loss", "mode": "min"},
  })


TINY = {
    "data.name": "fake", "data.batch_size": 8, "data.audio.num_mels": 20, "data.min_seconds": 0.0,
    "data.trim_db": 0.0,
    "model.width": 16, "model.decoder_dim": 16, "model.attention_dim": 8, "model.prenet_dim": 16,
    "model.postnet_dim": 8, "model.postnet_depth": 2,
    "train.steps": 4, "train.log_every": 2, "train.preview_every": 2, "train.evaluate_every": 2,
    "train.checkpoint_every": 2, "compile.warmup_steps": 0, "evaluate.num": 8,
}
