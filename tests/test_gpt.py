"""GPT: what the table of cases does not ask. That it equals GPT-2: test_hugging_face.py."""


import keras
import numpy as np
import pytest
import tensorflow as tf

from aigc_tf.errors import UserError
from aigc_tf.models import gpt
from aigc_tf.nn import tokenizers

SPEC = {"modality": "text", "task": "language_model", "length": 24, "source_length": 0,
        "packed": False, "prompt_suffix": "\n",
        "tokenizer": tokenizers.learn("char", ["abcdefgh12345\n"], 40)}
SEEDS = tf.constant([5, 6, 2**40], tf.int64)


def build(**keywords):
  keras.utils.set_random_seed(1)
  model = gpt.Model(spec=SPEC, **{"width": 16, "depth": 1, "heads": 2, **keywords})
  for variable in model.trainable_variables:  # else every next token is as likely as another
    if len(variable.shape) == 2:
      variable.assign(variable * 8.0)
  return model


@pytest.fixture(scope="module", name="small")
def build_once():
  return build()


def batch(model):
  texts = tf.constant(["a3\naaa", "b2\nbb", "c5\nccccc", "d1\nd"])
  token = model.tokenizer.encode(texts)
  ends = [tf.fill((4, 1), mark) for mark in (1, 2)]
  return {"token": tf.concat([ends[0], token, ends[1]], 1).to_tensor(-1, shape=(4, 25)),
          "seed": tf.range(4, dtype=tf.int64)}


# --- training


@pytest.mark.parametrize("rotary", (False, True))
def test_every_variable_learns_and_padding_costs_nothing(rotary):
  model = build(rotary=rotary, dropout=0.1)
  model.compile(lr=1e-2)
  data = batch(model)
  _, gradients = model.gradient_step.losses_and_gradients(data)
  for variable, gradient in zip(model.trainable_variables, gradients["loss"], strict=True):
    assert np.all(np.isfinite(gradient)) and np.any(gradient.numpy() != 0), variable.path
  plain = model.test_step(data)
  shorter = model.test_step({**data, "token": data["token"][:, :11]})
  np.testing.assert_allclose(plain["loss"], shorter["loss"], rtol=1e-5)
  log_prob = tf.nn.log_softmax(model(data["token"][:, :-1])).numpy()
  target = data["token"].numpy()[:, 1:]
  rows = [np.mean([-log_prob[i, j, t] for j, t in enumerate(row) if t >= 0])
          for i, row in enumerate(target)]
  assert float(plain["loss"]) == pytest.approx(np.mean(rows), rel=1e-4)


def test_xla_equals_the_graph_and_learns():
  losses = []
  for jit in (False, True):
    model = build(dropout=0.1)
    model.compile(lr=1e-2, beta_1=0.9, weight_decay=0.1, warmup_steps=2, decay_steps=50)
    model.gradient_step.jit = jit
    step, data = tf.function(model.train_step), batch(model)
    losses.append([float(step(data)["loss"]) for _ in range(20)])
  # Sums in another order; twenty updates carry the difference on.
  np.testing.assert_allclose(losses[0], losses[1], rtol=2e-3)
  assert losses[0][-1] < 0.5 * losses[0][0]


def test_mixed_bfloat16_trains_and_writes_and_keeps_float32_weights(tmp_path):
  keras.config.set_dtype_policy("mixed_bfloat16")
  try:
    model = build()
    model.compile()
    losses = tf.function(model.train_step)(batch(model))
    assert model(tf.constant([[1, 4]])).dtype == tf.float32
    logits, state = model.prefill(tf.constant([[1, 4]]), 3)
    logits, _ = model.step(state, tf.constant([5]), tf.constant(2))
  finally:
    keras.config.set_dtype_policy("float32")
  assert logits.dtype == tf.float32 and np.all(np.isfinite([losses["loss"], *logits[0]]))
  assert {v.dtype for v in model.trainable_variables} == {"float32"}
  model.save_weights(tmp_path / "x.weights.h5")
  other = gpt.Model(spec=SPEC, width=16, depth=1, heads=2)
  other.load_weights(tmp_path / "x.weights.h5")
  for a, b in zip(other.trainable_variables, model.trainable_variables, strict=True):
    np.testing.assert_array_equal(a, b)


# --- generation


def test_a_row_alone_equals_the_row_in_a_batch_whatever_the_lengths(small):
  token = tf.constant([[1, 5, 6, 7, -1], [1, 8, -1, -1, -1], [1, 5, 6, 7, 8]])
  together = small.generate(SEEDS, token, max_new_tokens=9)["token"].numpy()
  assert together.shape == (3, 14)
  for i, length in enumerate((4, 2, 5)):
    alone = small.generate(SEEDS[i:i + 1], token[i:i + 1, :length], max_new_tokens=9)["token"]
    np.testing.assert_array_equal(alone[0], together[i, :length + 9])
    assert np.all(together[i, length + 9:] == -1)
    np.testing.assert_array_equal(together[i, :length], token[i, :length])
  assert not np.isin(together[:, 5:], [0, 1, 3]).any()  # unknown, begin, mask


def test_greedy_with_a_cache_equals_reading_everything_again():
  model = build(rotary=True)
  text = [1, 5, 6]
  found = model.generate([0], [text], max_new_tokens=10, temperature=0)["token"][0].numpy()
  for _ in range(10):
    logits = model(tf.constant([text]))[0, -1].numpy()
    logits[[0, 1, 3]] = -1e9
    text.append(int(np.argmax(logits)))
    if text[-1] == 2:
      break
  np.testing.assert_array_equal(found[:len(text)], text)


def test_new_prompt_lengths_compile_nothing_new():
  model = build(context=64, depth=1)
  for length in (1, 2, 9, 16):
    model.generate([0, 1], np.full((2, length), 5), max_new_tokens=12, temperature=0.5 + length)
  assert len(model.generator.programs) == 1
  program, = model.generator.programs.values()
  assert program.experimental_get_tracing_count() == 1


def test_texts_are_the_same_eagerly_in_a_graph_and_streamed(small):
  prompts = ["a3", "b2\n", ""]
  text = small.generate_text(SEEDS, prompts)["text"]
  function, _ = small.endpoints()["serving_default"]
  served = tf.function(function)(prompt=tf.constant(prompts), seed=SEEDS)["text"]
  np.testing.assert_array_equal(text, served)
  assert text[0].numpy().startswith(b"a3\n") and text[1].numpy().startswith(b"b2\n")
  pieces = list(small.stream(int(SEEDS[0]), "a3", chunk=3))
  assert "".join(pieces).encode() == text[0] and len(pieces) > 2


def test_stop_strings_end_a_text_before_them(small):
  free = small.generate_text(SEEDS, ["a1"] * 3, max_new_tokens=16)["text"].numpy()
  stop = free[0].decode()[6:8]
  stopped = small.generate_text(SEEDS, ["a1"] * 3, max_new_tokens=16, stop=[stop])["text"].numpy()
  for a, b in zip(free, stopped):
    head, _, _ = a.decode()[3:].partition(stop)
    assert b.decode() == "a1\n" + head
  token = small.generate(SEEDS, [[1, 4]] * 3, max_new_tokens=16, stop=[stop])["token"]
  full = small.generate(SEEDS, [[1, 4]] * 3, max_new_tokens=16)["token"]
  for a, b in zip(token.numpy(), full.numpy()):
    kept = a[a >= 0]
    np.testing.assert_array_equal(kept, b[:len(kept)])


def test_a_text_fills_the_context_and_no_more(small):
  token = small.generate(SEEDS)["token"].numpy()
  assert token.shape == (3, SPEC["length"] + 1)
  full = (token >= 0).sum(axis=1)
  assert np.all((full == 25) | (token[np.arange(3), full - 1] == 2))


def test_score_is_the_sum_of_log_probabilities(small):
  score, _ = small.endpoints()["score"]
  texts = ["a3\naaa", "", "b"]
  found = tf.function(score)(text=tf.constant(texts))
  for i, text in enumerate(texts):
    token = [1, *small.tokenizer.encode(tf.constant([text])).values.numpy()]
    log_prob = tf.nn.log_softmax(small(tf.constant([token])))[0].numpy()
    expected = sum(log_prob[j, t] for j, t in enumerate(token[1:]))
    assert float(found["log_prob"][i]) == pytest.approx(expected, abs=1e-4)
    assert int(found["num_tokens"][i]) == len(token) - 1


def test_what_a_user_does_wrong_is_one_line(small):
  for match, token, keywords in (
      ("at most 24", [[1] * 25], {}), ("no token", [[-1, -1]], {}), ("vocabulary", [[99]], {}),
      ("temperature", [[1]], {"temperature": -1.0}), ("list of strings", [[1]], {"stop": [""]})):
    with pytest.raises(UserError, match=match):
      small.generate([0], token, **keywords)
  with pytest.raises(UserError, match="UTF-8"):
    small.generate_text([0], [b"\xff\xfe"])
  with pytest.raises(UserError, match="context"):
    gpt.Model(spec=SPEC, context=8)
  serve = tf.function(small.endpoints()["generate"][0])
  knobs = {name: tf.zeros([1], spec.dtype)
           for name, spec in small.endpoints()["generate"][1].items() if name != "prompt"}
  for prompt, change in ((b"a" * 40, {}), (b"\xff", {}), (b"a", {"top_p": tf.constant([2.0])})):
    with pytest.raises(tf.errors.InvalidArgumentError):
      serve(prompt=tf.constant([prompt]), **{**knobs, **change})
  assert serve(prompt=tf.constant([b"a"]), **knobs)["text"].numpy()[0].startswith(b"a\n")


def test_previews_continue_the_first_lines_of_the_batch(small):
  text = small.previews(batch(small), SEEDS)["samples"]["text"].numpy()
  assert [item[:3] for item in text] == [b"a3\n", b"b2\n", b"c5\n"]
