"""Beam search with a length penalty, as one loop for the `step` of nn/decoding.py.

A row has beam_size places. Each update keeps the likeliest continuations of its open hypotheses, as
many as it has open places; one that ends keeps its place, closed, so that one place is greedy
search. The answer is the ended hypothesis of the best score: log p / lp, arXiv:1609.08144, eq. 14.

Axes: B rows, K places, V vocabulary, T new tokens.
"""

import tensorflow as tf


def length_penalty(length, alpha):
  """lp(Y) of eq. 14.  length: f32[...], tokens with the end.  alpha: f32[...], 0 for none."""
  return tf.pow((5.0 + length) / 6.0, alpha)


def search(step, state, logits, *, first_slot, max_new_tokens, end_id, beam_size, alpha=0.6,
           max_places=None, size=None):
  """The best continuations. A row's answer does not depend on the other rows.

  step: function(state, token i32[B K], slot i32[]) -> (logits f32[B K, V], state).
  state: nested tensors, B in dim 0, gathered along the places.  logits: f32[B, V] of the first new
  token.  first_slot: int, where its successor's keys go.  beam_size: int, or i32[B] with
  max_places int, the largest.  alpha: f32[] or f32[B], weight of the length.
  max_new_tokens: int or i32[].  size: int T, of the answer, default max_new_tokens.
  Returns: i32[B, T], padded with -1 after end_id.
  """
  places = max_places or beam_size
  end = tf.convert_to_tensor(max_new_tokens)
  alpha = tf.broadcast_to(tf.cast(alpha, tf.float32), tf.shape(logits)[:1])

  def extend(v, logits):
    """Chooses the next token of each place."""
    log_prob, parent, chosen = _candidates(v["log_prob"], logits, v["open"])
    token = _write(tf.gather(v["token"], parent, batch_dims=1), chosen, v["t"])
    v = {**v, "parent": parent, "chosen": chosen, "token": token}
    ends = (chosen == end_id) | (v["t"] == end - 1)
    v.update(_close(v, log_prob, ends, alpha))
    v["log_prob"] = tf.where(_may_improve(v, alpha, end), v["log_prob"], float("-inf"))
    return v

  def body(v):
    state = _move(v["state"], v["parent"])
    slot = first_slot + v["t"]
    logits, state = step(state, tf.reshape(v["chosen"], [-1]), slot)
    return [extend({**v, "state": state, "t": v["t"] + 1}, logits)]

  def is_unfinished(v):
    return tf.reduce_any(v["log_prob"] > float("-inf"))

  size = max_new_tokens if size is None else size
  state, logits = tf.nest.map_structure(lambda x: tf.repeat(x, places, axis=0), (state, logits))
  start = extend({**_start(alpha, places, size, beam_size), "state": state}, logits)
  return tf.while_loop(is_unfinished, body, [start])[0]["best"]


def _start(alpha, places, size, beam_size):
  rows = tf.shape(alpha)
  is_first = tf.range(places) == 0  # the others have nothing to continue yet
  log_prob = tf.where(is_first, 0.0, float("-inf"))
  return {"t": tf.constant(0), "log_prob": tf.tile(log_prob[tf.newaxis], [rows[0], 1]),
          "open": tf.broadcast_to(tf.cast(beam_size, tf.int32), rows),
          "token": tf.fill([rows[0], places, size], -1), "best": tf.fill([rows[0], size], -1),
          "score": tf.fill(rows, float("-inf"))}


def _move(state, parent):
  """Gives each place the state of its parent i32[B, K]."""
  rows, places = tf.unstack(tf.shape(parent))
  flat = tf.reshape(parent + places * tf.range(rows)[:, tf.newaxis], [-1])
  return tf.nest.map_structure(lambda x: tf.gather(x, flat), state)


def _candidates(log_prob, logits, num_open):
  """The likeliest continuations, as many as places are open; log_prob -inf beyond.

  Returns: log_prob f32[B, K], parent i32[B, K] (a place), token i32[B, K].
  """
  rows, places, vocab = tf.shape(log_prob)[0], log_prob.shape[1], logits.shape[-1]
  step = tf.nn.log_softmax(tf.cast(logits, tf.float32))
  total = log_prob[..., tf.newaxis] + tf.reshape(step, [rows, places, vocab])
  log_prob, index = tf.math.top_k(tf.reshape(total, [rows, places * vocab]), places)
  is_open = tf.range(places)[tf.newaxis] < num_open[:, tf.newaxis]
  return tf.where(is_open, log_prob, float("-inf")), index // vocab, index % vocab


def _write(token, chosen, t):
  """Puts chosen i32[B, K] at position t of token i32[B, K, T]."""
  is_here = tf.range(tf.shape(token)[2]) == t
  return tf.where(is_here, chosen[..., tf.newaxis], token)


def _close(v, log_prob, ends, alpha):
  """Scores the hypotheses that end, keeps the best one, and takes all of them out."""
  ends = ends & (log_prob > float("-inf"))
  length = tf.cast(v["t"] + 1, tf.float32)
  score = tf.where(ends, log_prob, float("-inf")) / length_penalty(length, alpha)[:, tf.newaxis]
  top = tf.argmax(score, axis=1, output_type=tf.int32)
  top_score = tf.gather(score, top, batch_dims=1)
  is_better = top_score > v["score"]
  best = tf.gather(v["token"], top, batch_dims=1)
  best = tf.where(is_better[:, tf.newaxis], best, v["best"])
  return {"best": best, "score": tf.where(is_better, top_score, v["score"]),
          "log_prob": tf.where(ends, float("-inf"), log_prob),
          "open": v["open"] - tf.reduce_sum(tf.cast(ends, tf.int32), axis=1)}


def _may_improve(v, alpha, end):
  """Whether an open hypothesis may still beat the best: its log p can only fall, and is divided by
  at most the larger of the penalties at the two lengths between which it will end."""
  soonest = tf.cast(v["t"] + 2, tf.float32)
  largest = tf.maximum(length_penalty(soonest, alpha),
                       length_penalty(tf.cast(end, tf.float32), alpha))
  bound = tf.reduce_max(v["log_prob"], axis=1) / largest
  return (bound > v["score"])[:, tf.newaxis]
