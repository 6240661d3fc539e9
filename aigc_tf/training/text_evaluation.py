"""Measures a model of texts: how well it predicts held-out texts, and what it writes.

  language_model   perplexity and bits on held-out texts; variety, copies, and poems' form of what
                   it writes for held-out first lines (from nothing, where texts have none)
  text_to_text     BLEU, chrF and ROUGE-L of answers found token by token (and by beams), beside
                   a retrieval baseline
  classification   accuracy, macro F1, confusion matrix

Axes: B rows, N examples, L tokens, V vocabulary, K classes.
"""

import functools
import inspect

from ml_collections import FrozenConfigDict
import numpy as np
import tensorflow as tf

from aigc_tf.metrics import classification
from aigc_tf.metrics import measurement
from aigc_tf.metrics import poetry
from aigc_tf.metrics import retrieval
from aigc_tf.metrics import text as text_metrics
from aigc_tf.nn import text_codec

MAX_ROWS = 20_000  # held-out rows looked at, so that large data sets fit into time
MAX_KNOWN = 200_000  # training texts searched for copies and for the retrieval baseline
LOGITS = 2**25  # at most at a time: 128 MB
GENERATED_ROWS = 64  # at a time
BEAMS = 4
FIRST_SEED = 1_000_000  # away from the seeds of previews and of whoever looks at samples


def evaluate(model, config, spec, num, data):
  """num: int, texts to write or sources to answer.  data: aigc_tf.data.text.

  Returns: list of Measurement.  Raises: UserError.
  """
  return {"language_model": _language_model, "text_to_text": _text_to_text,
          "classification": _classification}[spec["task"]](model, config, spec, num, data)


def check(config):
  """What would fail in the middle of a training.  Raises: UserError."""
  if config.data.task == "text_to_text":
    text_metrics.check_packages()


def confusion(model, config, spec, data):
  """How a classifier takes held-out classes for each other, as numbers and as a picture.

  Returns: None for other models and without held-out examples, else a dict: matrix i64[K, K] whose
    rows are labels, class_names list of str, picture uint8[H, W, 3].
  """
  if spec["task"] != "classification" or config.data.split != "train":
    return None
  matrix = _confusion_matrix(model, config, spec, data)
  names = list(spec["class_names"])
  return {"matrix": matrix, "class_names": names,
          "picture": classification.picture(matrix, names)}


# --- language models


def _language_model(model, config, spec, num, data):
  if "max_new_tokens" not in inspect.signature(model.generate).parameters:
    return []  # it fills gaps in whole texts: its probabilities are not those of a next token
  held_out = config.data.split == "train"
  measured = likelihood(model, config, spec, data) if held_out else []
  asked = data.arrays(config.data, "test" if held_out else config.data.split, num)["text"]
  documents, written = write(model, spec, _prompts(asked, spec), num)
  copies, tunes = _indices(data, FrozenConfigDict(config.data))
  conditions = {"prompts": "first-lines" if spec["prompt_suffix"] else "none",
                "temperature": 1, "seeds": FIRST_SEED, "data": config.data.name}
  measured += text_metrics.sample_report(written, copies, **conditions)
  measured += poetry.report(documents, tunes, **conditions)
  if held_out:
    natural = _natural(model, config.data, asked, data)
    conditions = {"ref": f"{config.data.name}-test"}
    measured += text_metrics.sample_report(natural, copies, "test_", **conditions)
    measured += poetry.report(asked, tunes, "test_", **conditions)
  return measured


@functools.lru_cache(maxsize=1)
def _indices(data, cfg):
  # Of what it was trained on, made once a training: it takes seconds.
  known = data.arrays(cfg, cfg.split, MAX_KNOWN)["text"]
  return text_metrics.Copies(known), poetry.Tunes(known)


def _natural(model, cfg, documents, data):
  # Held-out texts of the length of generated ones.
  if cfg.packed:
    return _strings(model.tokenizer.decode(data.rows(cfg, "test", len(documents))["token"]))
  return [_body(document, model.spec) for document in documents]


def likelihood(model, config, spec, data):
  """Perplexity and bits per character and byte over all predicted tokens, ends included.

  Returns: list of Measurement.
  """
  token, text = _held_out_text(config.data, spec, model.tokenizer, data)
  log_prob = log_probs(model, token)
  num_bytes = len(text.encode())
  unknown = float(np.mean(token[:, 1:][token[:, 1:] >= 0] == model.tokenizer.unknown_id))
  note = (f"{unknown:.2%} of the held-out tokens are unknown to the tokenizer, which makes the "
          "values too good" if unknown else "")
  shared = {"counted": "all-tokens-and-ends", "ref": f"{config.data.name}-test", "rows": len(token)}
  if spec["packed"]:
    shared["block"] = spec["length"]  # what it sees of a text decides how well it guesses
  vocabulary = f"{spec['tokenizer']['kind']}-{model.tokenizer.vocab_size}"
  return [
      measurement.signed(name, value, text_metrics.VERSION, note, **shared, **more)
      for name, value, more in (
          ("perplexity", text_metrics.perplexity(log_prob),
           {"tokenizer": vocabulary, "tokens": log_prob.size}),
          ("bits_per_character", text_metrics.bits_per(log_prob, len(text)),
           {"characters": len(text)}),
          ("bits_per_byte", text_metrics.bits_per(log_prob, num_bytes), {"bytes": num_bytes}))]


def log_probs(model, token):
  """Log-probability of each token that is not the first of its row or padding, once each.

  token: i32[N, L + 1], -1 is padding.  Returns: f32[M] in nats, row after row.
  """
  paid = _paid(model)
  rows = max(1, min(LOGITS // (token.shape[1] * model.tokenizer.vocab_size), len(token)))
  parts = [-paid(tf.constant(part)).numpy()[:count] for part, count in _batches(token, rows)]
  return np.concatenate(parts)[token[:, 1:] >= 0]


@functools.lru_cache(maxsize=1)  # one program for all evaluations of a training
def _paid(model):
  # Function i32[B, L + 1] -> f32[B, L], nats for each token that is not the first.
  @tf.function(reduce_retracing=True)
  def paid(token):
    logits = tf.cast(model(token[:, :-1]), tf.float32)
    return tf.nn.sparse_softmax_cross_entropy_with_logits(tf.maximum(token[:, 1:], 0), logits)
  return paid


def _held_out_text(cfg, spec, tokenizer, data):
  # (rows i32[N, L + 1], str of what their tokens say). Packed blocks follow each other in the
  # stream of all documents: what they say is its beginning, and a document may stand there in part.
  if not spec["packed"]:
    token = data.rows(cfg, "test", MAX_ROWS)["token"]
    return token, "".join(data.arrays(cfg, "test", MAX_ROWS)["text"])
  token = data.rows(cfg, "test")["token"][:MAX_ROWS]
  target = token[:, 1:].reshape(1, -1)
  said = tokenizer.decode(tf.constant(target)).numpy()[0].decode()
  length = len(said) + int(np.sum(target == tokenizer.unknown_id))
  return token, "".join(data.arrays(cfg, "test")["text"])[:length]


def _prompts(documents, spec):
  suffix = spec["prompt_suffix"]
  return [document.partition("\n")[0] + suffix if suffix else "" for document in documents]


def _body(document, spec):
  return document.partition("\n")[2] if spec["prompt_suffix"] else document


def write(model, spec, prompts, num):
  """num texts from consecutive seeds, the prompts in turn, at temperature 1.

  prompts: list of str, "" for a text from nothing.
  Returns: (list of num str with their prompts, the same without them).
  """
  prompts = [prompts[i % len(prompts)] for i in range(num)]
  written = []
  for part, count, seed in _seeded(text_codec.prompts(model, tf.constant(prompts)).numpy()):
    made = model.generate(seed=seed, token=tf.constant(part), temperature=1.0)["token"]
    is_prompt = tf.range(made.shape[1]) < (part >= 0).sum(axis=1, keepdims=True)
    written += _strings(model.tokenizer.decode(tf.where(is_prompt, -1, made)))[:count]
  return [prompt + text for prompt, text in zip(prompts, written)], written


# --- text to text


def _text_to_text(model, config, spec, num, data):
  if config.data.split != "train":
    return []  # answers to what was learned by heart say nothing
  held_out = data.arrays(config.data, "test", num)
  known = data.arrays(config.data, "train", MAX_KNOWN)
  source = data.rows(config.data, "test", num)["source"]
  made = {"": (answer(model, source, temperature=0.0), "greedy"),
          "baseline_": (retrieval.answers(held_out["source"], known["source"], known["text"]),
                        f"nearest-of-{len(known['source'])}")}
  if "beam_size" in inspect.signature(model.generate).parameters:
    made["beam_"] = (answer(model, source, beam_size=BEAMS), f"beam-{BEAMS}")
  return [entry for prefix, (texts, decoding) in made.items()
          for entry in text_metrics.reference_report(
              texts, held_out["text"], prefix, ref=f"{config.data.name}-test", decoding=decoding)]


def answer(model, source, **knobs):
  """source: i32[N, S], -1 is padding.  knobs: of model.generate.  Returns: list of N str."""
  made = []
  for part, count, seed in _seeded(source):
    token = model.generate(seed=seed, source=tf.constant(part), **knobs)["token"]
    made += _strings(model.tokenizer.decode(token))[:count]
  return made


# --- classification


def _classification(model, config, spec, num, data):
  del num
  if config.data.split != "train":
    return []
  matrix = _confusion_matrix(model, config, spec, data)
  return classification.report(matrix, ref=f"{config.data.name}-test")


def _confusion_matrix(model, config, spec, data):
  held_out = data.rows(config.data, "test", MAX_ROWS)
  predict = _predict(model)
  predicted = [predict(tf.constant(part)).numpy()[:count]
               for part, count in _batches(held_out["token"], config.data.batch_size)]
  return classification.confusion_matrix(
      held_out["label"], np.concatenate(predicted), spec["num_classes"])


@functools.lru_cache(maxsize=1)
def _predict(model):
  return tf.function(lambda token: tf.argmax(model(token), axis=-1), reduce_retracing=True)


# --- batches


def _batches(token, rows):
  # Yields (i32[rows, L], how many of its rows count): one shape, so that one program does.
  for start in range(0, len(token), rows):
    part = token[start:start + rows]
    yield np.resize(part, (rows, token.shape[1])), len(part)


def _seeded(token):
  # Yields (i32[B, L], how many of its rows count, i64[B] seeds): row i of all has the same seed.
  rows = min(GENERATED_ROWS, len(token))
  for number, (part, count) in enumerate(_batches(token, rows)):
    yield part, count, tf.range(rows, dtype=tf.int64) + (FIRST_SEED + number * rows)


def _strings(text):
  return [item.decode("utf-8", "replace") for item in text.numpy().tolist()]
