"""The one table of model cases; every promise that all models keep is a test that loops over it."""

import dataclasses
import importlib

import keras
import numpy as np
import tensorflow as tf

from tests import speech_cases


@dataclasses.dataclass(frozen=True)
class Case:
  """A small instance of a model.

  model: file in aigc_tf/models.  spec, keywords: what its constructor takes.
  compile: keywords of compile.  falls: scalars that 30 steps on one batch must lower.
  """
  name: str
  model: str
  spec: dict
  keywords: dict
  compile: dict
  falls: tuple

  def build(self, compiled=True):
    """A fresh model, the same at each call."""
    keras.utils.set_random_seed(1)
    model = importlib.import_module(f"aigc_tf.models.{self.model}").Model(
        spec=self.spec, **self.keywords)
    if compiled:
      model.compile(**self.compile)
    return model

  def batch(self, rows=8, seed=0):
    """A batch with the keys that every model of this kind may ask for."""
    make = {"images": image_batch, "text": text_batch,
            "speech": speech_cases.batch}[self.spec["modality"]]
    return {**make(self.spec, rows, np.random.default_rng(seed)),
            "seed": tf.range(100 * seed, 100 * seed + rows, dtype=tf.int64)}

  def outputs(self, model):
    """What the model makes of SEEDS, or of five rows of a batch: one array."""
    if self.spec["modality"] == "images":
      return model.generate(SEEDS)["image"].numpy()
    batch = self.batch(5)
    if self.spec["task"] == "text_to_speech":
      return model.generate(SEEDS, batch["token"], max_frames=8)["mel"].numpy()
    if self.spec["task"] == "vocoder":
      return model.generate(SEEDS, batch["mel"])["wave"].numpy()
    key = "source" if "source" in batch else "token"
    if self.spec["task"] == "classification" or self.model == "bert":
      return model(batch[key][:, :self.spec["length"]]).numpy()
    return model.generate(SEEDS, **{key: batch[key][:, :5]}, max_new_tokens=6)["token"].numpy()


def image_batch(spec, rows, noise):
  """Smooth images, so that they compress."""
  size, channels = spec["size"], spec["channels"]
  phase = noise.uniform(0, 6.28, (rows, 1, 1, channels))
  ramp = np.linspace(0, 6.28, size)
  image = np.sin(ramp[None, :, None, None] + ramp[None, None, :, None] + phase)
  return {"image": tf.constant(image, tf.float32),
          "label": tf.constant(np.arange(rows) % 10, tf.int32)}


def text_batch(spec, rows, noise):
  """Documents of many lengths, the first as long as can be; -1 is padding."""
  length = spec["length"] + (spec["task"] != "classification")
  batch = {"token": documents(rows, length, noise)}
  if spec["task"] == "text_to_text":
    batch["source"] = documents(rows, spec["source_length"], noise)
  if spec["task"] == "classification":
    batch["label"] = tf.constant(np.arange(rows) % spec["num_classes"], tf.int32)
  return batch


def documents(rows, length, noise):
  """i32[rows, length]: begin, letters, end, padding."""
  token = noise.integers(4, 4 + len(LETTERS), (rows, length))
  lengths = np.maximum(length - 3 * np.arange(rows), 6)
  token[:, 0] = 1
  token[np.arange(rows), lengths - 1] = 2
  return tf.constant(np.where(np.arange(length) < lengths[:, None], token, -1), tf.int32)


SEEDS = tf.constant([5, 6, 7, -1, 2**40], tf.int64)
LETTERS = "abcdefghij"

GREY = {"modality": "images", "size": 28, "channels": 1, "num_classes": 10}
COLOUR = {"modality": "images", "size": 16, "channels": 3, "num_classes": 0}
TEXT = {"modality": "text", "task": "language_model", "length": 16, "source_length": 0,
        "packed": False, "prompt_suffix": "", "num_classes": 0, "class_names": [],
        "tokenizer": {"kind": "char", "characters": LETTERS}}
PAIRS = {**TEXT, "task": "text_to_text", "source_length": 12}
CLASSES = {**TEXT, "task": "classification", "num_classes": 2, "class_names": ["bad", "good"]}

CASES = (
    Case("dcgan", "dcgan", GREY, {"width": 8, "latent_dim": 8}, {"d_lr": 2e-3},
         ("d_loss",)),
    Case("dcgan_conditional", "dcgan", GREY,
         {"width": 8, "latent_dim": 8, "conditional": True, "batch_norm": True},
         {"loss": "hinge", "d_lr": 2e-3}, ("d_loss",)),
    Case("dcgan_colour", "dcgan", COLOUR, {"width": 8, "latent_dim": 8},
         {"loss": "least_squares", "d_lr": 2e-3}, ("d_loss",)),
    Case("vae", "vae", GREY, {"width": 8, "latent_dim": 4}, {"kl_warmup_steps": 10},
         ("loss", "recon")),
    Case("vae_gaussian_conditional", "vae", {**COLOUR, "num_classes": 10},
         {"width": 8, "latent_dim": 4, "likelihood": "gaussian", "conditional": True},
         {"free_bits": 0.05}, ("loss", "recon")),
    Case("gpt", "gpt", TEXT, {"width": 16, "depth": 2, "heads": 2}, {}, ("loss",)),
    Case("gpt_rotary", "gpt", TEXT,
         {"width": 16, "depth": 1, "heads": 2, "rotary": True, "dropout": 0.1}, {}, ("loss",)),
    Case("lstm", "lstm", TEXT, {"width": 16, "num_layers": 2, "embedding_dim": 8}, {}, ("loss",)),
    Case("gru_classifier", "lstm", CLASSES,
         {"width": 16, "num_layers": 1, "embedding_dim": 8, "cell": "gru"},
         {"adversarial_epsilon": 0.1}, ("loss",)),
    Case("bert", "bert", TEXT, {"width": 16, "num_layers": 1, "heads": 2}, {}, ()),
    Case("bert_classifier", "bert", CLASSES,
         {"width": 16, "num_layers": 1, "heads": 2, "rotary": True}, {},
         ("loss",)),
    Case("transformer", "transformer", PAIRS,
         {"width": 16, "depth": 1, "heads": 2, "hidden_dim": 32}, {}, ("loss",)),
    Case("tacotron2", "tacotron2", speech_cases.SPEECH, speech_cases.SMALL, {"lr": 2e-3},
         ("loss", "mel_loss", "stop_loss", "attention_loss")),
    Case("hifigan", "hifigan", speech_cases.VOCODER,
         {"width": 8, "rates": (2, 2), "block_kernels": (3,), "dilations": (1, 3)},
         {"g_lr": 2e-3, "d_lr": 2e-3, "periods": (2,), "period_width": 1, "spectrogram_width": 2},
         ("g_loss", "mel_loss", "stft_loss", "d_loss")),
    Case("hifigan_source", "hifigan", speech_cases.VOCODER,
         {"width": 8, "rates": (2, 2), "block_kernels": (3,), "dilations": (1,),
          "source_iterations": 2},
         {"g_lr": 2e-3, "d_lr": 2e-3, "periods": (2,), "period_width": 1, "spectrogram_width": 2},
         ("g_loss", "mel_loss", "stft_loss", "d_loss")),
)
