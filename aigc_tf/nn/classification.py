"""What text classifiers share: rows of tokens, losses, previews, the endpoint.

A classifier has `num_classes`, `spec`, `tokenizer`, `embed(token)` -> f32[B, L, D], zero at
padding, and `classify(embedded, mask, training, seed)` -> logits f32[B, K].

Axes: B batch, L tokens, D width, K classes.
"""

from keras import ops
import tensorflow as tf

from aigc_tf.nn import adversarial
from aigc_tf.nn import text_codec

PREVIEWED = 8


def num_classes(spec):
  """K of a model for this data: 0 if it is not to classify."""
  return spec["num_classes"] if spec["task"] == "classification" else 0


def held_out(classes, attack_epsilon):
  """Names of what is measured on held-out data; classes: 0 for a language model."""
  robust = ("robust_accuracy",) if classes and attack_epsilon else ()
  return ("loss", "accuracy", *robust)


def mean(x, mask):
  """Mean over a row's tokens.  x: f32[B, L, D].  mask: bool[B, L].  Returns: f32[B, D]."""
  weight = ops.cast(mask, x.dtype)[..., None]
  return ops.sum(x * weight, axis=1) / ops.maximum(ops.sum(weight, axis=1), 1.0)


def losses(model, batch, training, epsilon):
  """batch: token i32[B, L], label i32[B], seed i64[B].  epsilon: attack's step; 0: none.

  Returns: dict of means over rows: loss in nats a text, accuracy; under attack robust_accuracy.
    In training the loss is the sum of that of the texts and that of the attacked texts.
  """
  token, seed = batch["token"], batch["seed"]

  def logits_of(embedded):
    return model.classify(embedded, token >= 0, training, seed)

  scalars = adversarial.losses(logits_of, model.embed(token), batch["label"], epsilon)
  robust_loss = scalars.pop("robust_loss", 0.0)
  if training:
    scalars["loss"] += robust_loss
  return scalars


def rows(tokenizer, text, length):
  """[begin] text [end], as the data's rows, cut where they are too long.

  text: string[B], or its tokens, tf.RaggedTensor i32[B, None].
  Returns: i32[B, length], padded with -1.
  """
  token = text if isinstance(text, tf.RaggedTensor) else tokenizer.encode(text)
  begin, end = (tf.fill([token.nrows(), 1], mark)
                for mark in (tokenizer.begin_id, tokenizer.end_id))
  return tf.concat([begin, token, end], axis=1).to_tensor(-1, shape=(None, length))


def answers(model, text):
  """text: string[B].  Returns: {"label": string[B], "probability": f32[B, K]}."""
  token = rows(model.tokenizer, text_codec.readable(model, text), model.spec["length"])
  logits = model(token)
  names = tf.constant(list(model.spec["class_names"]))
  return {"label": tf.gather(names, tf.argmax(logits, axis=-1)),
          "probability": tf.nn.softmax(logits)}


def endpoints(model):
  """The one endpoint of a text classifier."""
  return {"serving_default": (lambda text: answers(model, text),
                              {"text": tf.TensorSpec([None], tf.string, "text")})}


def previews(model, batch):
  """Some texts, each with the answer, its probability and the truth: {"text": string[n]}."""
  token, names = batch["token"][:PREVIEWED], tf.constant(list(model.spec["class_names"]))
  probability = tf.nn.softmax(model(token))
  sure = tf.strings.as_string(tf.reduce_max(probability, axis=-1), precision=2)
  answer = tf.gather(names, tf.argmax(probability, axis=-1))
  truth = tf.gather(names, batch["label"][:PREVIEWED])
  return {"text": tf.strings.join(
      [model.tokenizer.decode(token), "\n-> ", answer, " (", sure, "); it is ", truth])}
