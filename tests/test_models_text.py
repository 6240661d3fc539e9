"""The promises that every text model keeps, beside those of all models."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from aigc_tf.errors import UserError
from aigc_tf.nn import text_codec
from aigc_tf.nn import tokenizers
from tests.cases import CASES
from tests.cases import SEEDS

TEXTS = [case for case in CASES if case.spec["modality"] == "text"]


def each(select):
  return pytest.mark.parametrize(
      "case", [case for case in TEXTS if select(case)], ids=lambda case: case.name)


def is_writer(case):
  return case.spec["task"] != "classification" and case.model != "bert"


def is_language_model(case):
  return is_writer(case) and case.spec["task"] == "language_model"


def prompt(case, rows=5):
  """Prompts of 5, 4, ... tokens, as a keyword of `generate`."""
  key = "source" if case.spec["task"] == "text_to_text" else "token"
  token = np.array(case.batch(rows)[key][:, :5])
  for i in range(rows):
    token[i, 5 - i % 4:] = -1
  return {key: token}


@each(is_writer)
def test_generate_gives_tokens_of_the_vocabulary_then_padding(case):
  model = case.build()
  token = model.generate(SEEDS, max_new_tokens=6, **prompt(case))["token"].numpy()
  assert token.dtype == np.int32 and token.shape[0] == 5
  assert token.min() >= -1 and token.max() < model.tokenizer.vocab_size
  is_padding = token < 0
  assert np.all(is_padding[:, 1:] >= is_padding[:, :-1])  # once it begins, it goes on


@each(is_writer)
def test_a_row_alone_equals_the_row_in_a_batch(case):
  model, rows = case.build(), prompt(case)
  together = model.generate(SEEDS, max_new_tokens=6, **rows)["token"].numpy()
  for i in (0, 3):
    alone = model.generate(SEEDS[i:i + 1], max_new_tokens=6,
                           **{key: value[i:i + 1] for key, value in rows.items()})["token"].numpy()
    np.testing.assert_array_equal(alone[0][alone[0] >= 0], together[i][together[i] >= 0])


@each(is_language_model)
def test_the_prompt_comes_first_and_seeds_decide_what_follows(case):
  model, rows = case.build(), prompt(case)
  made = model.generate(SEEDS, max_new_tokens=6, **rows)["token"].numpy()
  again = model.generate(SEEDS, max_new_tokens=6, **rows)["token"].numpy()
  np.testing.assert_array_equal(made, again)
  for given, whole in zip(rows["token"], made):
    given = given[given >= 0]
    np.testing.assert_array_equal(whole[:len(given)], given)
  one = np.repeat(rows["token"][:1], 5, axis=0)
  different = model.generate(SEEDS, token=one, max_new_tokens=6)["token"].numpy()
  assert len({tuple(row) for row in different}) > 1


@each(is_language_model)
def test_padding_at_the_right_changes_no_logit(case):
  model = case.build()
  token = np.array(case.batch(2)["token"][:, :8])
  token[:, 6:] = -1
  np.testing.assert_allclose(
      model(tf.constant(token))[:, :6], model(tf.constant(token[:, :6])), atol=1e-5)


@each(lambda case: True)
def test_previews_are_texts(case):
  texts = case.build().previews(case.batch(), SEEDS)["samples"]["text"]
  assert texts.dtype == tf.string and texts.shape.rank == 1 and texts.shape[0] > 0
  [text.decode("utf-8") for text in texts.numpy()]


@each(is_language_model)
def test_serving_default_is_generate_text(case):
  model = case.build()
  function, inputs = model.endpoints()["serving_default"]
  assert inputs.keys() == {"prompt", "seed"}
  prompts = tf.constant(["abc", "", "ij"])
  served = function(prompt=prompts, seed=SEEDS[:3])["text"].numpy()
  made = model.generate_text(SEEDS[:3], prompts)["text"].numpy()
  assert list(served) == list(made)
  assert served[0].startswith(b"abc")


@each(is_language_model)
def test_score_is_the_sum_over_a_loop(case):
  model = case.build()
  text = "abcabc"
  answer = model.endpoints()["score"][0](text=tf.constant([text, "a"]))
  token = [1, *(4 + "abcdefghij".index(letter) for letter in text)]
  log_prob = tf.nn.log_softmax(model(tf.constant([token[:-1]], tf.int32)))[0].numpy()
  total = sum(log_prob[i, after] for i, after in enumerate(token[1:]))
  np.testing.assert_allclose(answer["log_prob"][0], total, rtol=1e-4)
  np.testing.assert_array_equal(answer["num_tokens"], [6, 1])


@each(lambda case: case.spec["task"] == "classification")
def test_a_classifier_answers_with_its_names_and_probabilities(case):
  answer = case.build().endpoints()["serving_default"][0](text=tf.constant(["abc", "", "zzz"]))
  assert set(answer["label"].numpy()) <= {b"bad", b"good"}
  np.testing.assert_allclose(tf.reduce_sum(answer["probability"], axis=1), 1.0, rtol=1e-5)


def test_first_lines_of_packed_rows_are_those_of_texts_that_begin_there():
  case = next(case for case in TEXTS if case.name == "gpt")
  model = case.build()
  model.spec = {**case.spec, "packed": True, "prompt_suffix": "d"}
  a, d, e = 4, 7, 8
  token = tf.constant([[e, 2, 1, a, e, d, e, 2, 1, e], [e] * 10], tf.int32)
  first = text_codec.first_lines(model, token, 3)
  assert first.numpy().tolist() == [b"aed", b"", b"aed"]


# --- what went wrong once


def gpt(**spec):
  case = next(case for case in TEXTS if case.name == "gpt")
  return dataclasses.replace(case, spec={**case.spec, **spec}).build(compiled=False)


def test_a_stream_ends_before_a_stop_string_within_a_token():
  words = ["a hat that chats", "the hat, the cat", "what a hat"]
  model = gpt(tokenizer=tokenizers.learn("bpe", words * 5, 275))
  differ = 0
  for seed in range(12):
    whole = model.generate_text([seed], ["a"], stop=["h"])["text"].numpy()[0].decode()
    assert "".join(model.stream(seed, "a", stop=["h"])) == whole
    differ += whole != model.generate_text([seed], ["a"])["text"].numpy()[0].decode()
  assert differ  # there were stop strings to be found


def test_the_room_of_a_row_is_its_own():
  model, token = gpt(), np.array([[1, 5, -1, -1], [1, 5, 6, 7]], np.int32)
  made = model.generate([3, 4], token=token, max_new_tokens=tf.constant([3, 0]))["token"].numpy()
  alone = model.generate([4], token=token[1:], max_new_tokens=0)["token"].numpy()[0]
  assert np.sum(made[0] >= 0) <= 2 + 3
  np.testing.assert_array_equal(made[1][made[1] >= 0], alone[alone >= 0])


@pytest.mark.parametrize("knobs,message", [
    ({"temperature": [-1.0]}, "temperature=.*0 or more"),
    ({"top_p": np.array([7.0])}, "top_p=.*between 0 and 1"),
    ({"repetition_penalty": [float("nan")]}, "repetition_penalty"),
    ({"colour": 1}, "no knob 'colour'"),
])
def test_knobs_that_cannot_be(knobs, message):
  with pytest.raises(UserError, match=message):
    gpt().generate([1], max_new_tokens=2, **knobs)


def test_one_seed_for_two_prompts_is_refused():
  with pytest.raises(UserError, match="1 seeds for 2 prompts"):
    gpt().generate([1], token=[[1, 5], [1, 6]], max_new_tokens=2)


@pytest.mark.parametrize("name,task", [
    ("gpt", "classification"), ("gpt", "text_to_text"), ("lstm", "text_to_text"),
    ("bert", "text_to_text"), ("transformer", "language_model")])
def test_data_of_another_task_is_refused(name, task):
  case = next(case for case in TEXTS if case.name == name)
  spec = {**case.spec, "task": task, "num_classes": 2, "class_names": ["a", "b"]}
  with pytest.raises(UserError, match=f"data.task={task}: {name} learns from"):
    dataclasses.replace(case, spec=spec).build(compiled=False)


def test_a_text_too_long_to_be_filled_in_is_refused():
  model = next(case for case in TEXTS if case.name == "bert").build(compiled=False)
  assert model.fill(tf.constant(["ab[MASK]d"])).shape == (1,)
  with pytest.raises(UserError, match="longer than the 14 tokens"):
    model.fill(tf.constant(["abcde" * 3]))
