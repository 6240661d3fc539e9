"""Batching: every request gets the answer it would get alone; upstream's limits and words."""

import concurrent.futures
import gc
import os
import time
import weakref

from google.protobuf import text_format
import numpy as np
import pytest
import tensorflow as tf

from aigc_tf import errors
from aigc_tf.serving import batching as batching_module
from aigc_tf.serving import monitoring
from aigc_tf.serving import servable as servables
from aigc_tf.serving import server_config
from aigc_tf.serving import status
from tests import serve_models

LONG = "batch_timeout_micros { value: 20000000 }"  # only a full batch is run
METRICS = ":tensorflow:serving:batching_session:"


@pytest.fixture(scope="module")
def root(tmp_path_factory):
  return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="module")
def half(root):
  return servables.load("half", 1, serve_models.make_half_plus_two(root))


@pytest.fixture(scope="module")
def mixed(root):
  return servables.load("mixed", 1, serve_models.make_mixed(root))


@pytest.fixture(scope="module")
def slow(root):
  return servables.load("slow", 1, serve_models.make_slow(root))


@pytest.fixture
def batching():
  """Makes a Batching of parameters as text; `.monitoring` is its own."""
  made = []

  def make(text, per_model=False):
    message = text_format.Parse(text, server_config.BatchingParameters())
    noted = monitoring.Monitoring()
    made.append(batching_module.Batching(message, per_model, noted))
    made[-1].monitoring = noted
    return made[-1]
  yield make
  for batcher in made:
    batcher.stop()


@pytest.fixture(scope="module")
def pool():
  with concurrent.futures.ThreadPoolExecutor(64) as pool:
    yield pool


def counted(batcher, name):
  """The value of the first line of the batching metrics that starts so, 0 if there is none."""
  return next((float(line.rpartition(" ")[2]) for line in batcher.monitoring.text().splitlines()
               if line.startswith(METRICS + name)), 0)


def runs(batcher):
  return counted(batcher, "wrapped_run_count{")


def x(*values):
  return {"x": np.array(values, np.float32)}


def together(pool, batcher, servable, key, requests, outputs=("y",), timeout_ms=30_000):
  """requests: list of inputs.  Returns: list of lists of arrays, or of ServingError."""
  futures = [pool.submit(batcher.run, servable, key, inputs, outputs, timeout_ms)
             for inputs in requests]
  return [future.exception() or future.result() for future in futures]


def refusal(call, *args):
  with pytest.raises(status.ServingError) as caught:
    call(*args)
  return caught.value.code, caught.value.message


def test_a_full_batch_is_one_run(batching, half, pool):
  batcher = batching(f"max_batch_size {{ value: 8 }} {LONG}")
  answers = together(pool, batcher, half, "serving_default",
                     [x(i) for i in range(4)] + [x(10, 11, 12, 13)])
  assert [answer[0].tolist() for answer in answers] == [
      [2], [2.5], [3], [3.5], [7, 7.5, 8, 8.5]]
  assert runs(batcher) == 1
  assert counted(batcher, 'queuing_latency_count{thread_pool_name=""}') == 5
  assert counted(batcher, "processed_batch_size_sum") == 8
  assert counted(batcher, "input_batch_size_count") == 5


def test_an_open_batch_waits_for_its_time(batching, half):
  batcher = batching("batch_timeout_micros { value: 200000 }")
  start = time.monotonic()
  assert batcher.run(half, "serving_default", x(1), ("y",), None)[0].tolist() == [2.5]
  assert 0.2 <= time.monotonic() - start < 2


def test_padding_to_allowed_sizes_is_cut_off(batching, half, pool):
  batcher = batching("max_batch_size { value: 8 } batch_timeout_micros { value: 100000 } "
                     "allowed_batch_sizes: [2, 8]")
  answers = together(pool, batcher, half, "serving_default", [x(1), x(2), x(3)])
  assert [answer[0].tolist() for answer in answers] == [[2.5], [3], [3.5]]
  assert runs(batcher) == 1 and counted(batcher, "processed_batch_size_sum") == 8
  assert counted(batcher, 'padding_size_sum{execution_batch_size="8"}') == 5


def test_only_what_belongs_together_is_joined(batching, half, mixed, pool):
  batcher = batching("max_batch_size { value: 100 } batch_timeout_micros { value: 100000 }")
  inputs = {"text": np.array([b"a"], object), "number": np.int64([1]), "flag": np.array([True]),
            "pixel": np.uint8([[1, 2]])}
  calls = [(half, "serving_default", x(1), ("y",)),
           (half, "regress_x2_to_y3", {"inputs": np.float32([[1]])}, ("outputs",)),
           (mixed, "serving_default", inputs, ("flag",)),
           (mixed, "serving_default", inputs, ("pixel", "flag")),
           (mixed, "serving_default", inputs, ("flag", "pixel"))]
  futures = [pool.submit(batcher.run, *call, None) for call in calls for _ in range(2)]
  answers = [[value.tolist() for value in future.result()] for future in futures[::2]]
  assert answers == [[[2.5]], [[[3.5]]], [[False]], [[[254, 253]], [False]],
                     [[False], [[254, 253]]]]
  assert runs(batcher) == 4


def test_every_answer_is_that_of_a_lone_request(batching, mixed, pool):
  batcher = batching("max_batch_size { value: 16 } batch_timeout_micros { value: 1000 } "
                     "max_enqueued_batches { value: 1000 } allowed_batch_sizes: [4, 8, 16] "
                     "num_batch_threads { value: 2 }")
  rng, requests = np.random.default_rng(0), []
  for i in range(300):
    rows = rng.integers(1, 7)
    requests.append({
        "text": np.array([f"r{i}.{row}".encode() for row in range(rows)], object),
        "number": rng.integers(-9, 9, rows), "flag": rng.random(rows) < .5,
        "pixel": rng.integers(0, 256, (rows, 2), np.uint8)})
  outputs = ("ratio", "text", "pixel", "text_bytes")
  answers = together(pool, batcher, mixed, "serving_default", requests, outputs)
  for inputs, answer in zip(requests, answers, strict=True):
    for mine, alone in zip(answer, mixed.run("serving_default", inputs, outputs), strict=True):
      np.testing.assert_array_equal(mine, alone)
  assert runs(batcher) < 300


def test_no_rows_are_no_batch(batching, half):
  batcher = batching(f"max_batch_size {{ value: 4 }} {LONG} allowed_batch_sizes: 4")
  assert batcher.run(half, "serving_default", x(), ("y",), 1000)[0].shape == (0,)


# --- refusals


@pytest.mark.parametrize("inputs, message", [
    ({}, "Batching Run() must have at least one input tensor"),
    ({"x": np.array(1, np.float32)},
     "Batching Run() input tensors must have at least one dimension"),
    ({"a": np.zeros(2), "b": np.zeros(3)},
     "Batching Run() input tensors must have equal 0th-dimension size"),
    ({"x": np.zeros(9, np.float32)}, "Task size 9 is larger than maximum input batch size 8"),
])
def test_what_cannot_be_joined_is_refused(batching, half, inputs, message):
  batcher = batching("max_batch_size { value: 8 }")
  assert refusal(batcher.run, half, "serving_default", inputs, ("y",), None) == (
      status.INVALID_ARGUMENT, message)


def test_a_full_queue_turns_requests_away(batching, slow, pool):
  batcher = batching("max_batch_size { value: 1 } max_enqueued_batches { value: 2 } "
                     "num_batch_threads { value: 1 }")
  first = occupy(pool, batcher, slow)
  waiting = [pool.submit(batcher.run, slow, "serving_default", sample(), ("sample",), 20_000)
             for _ in range(2)]
  until(lambda: counted(batcher, "input_batch_size_count") == 6)
  assert refusal(batcher.run, slow, "serving_default", sample(), ("sample",), 1000) == (
      status.UNAVAILABLE, "The batch scheduling queue to which this task was submitted is full; "
      "currently 2 batches enqueued and max_enqueued_batches is 2")
  for future in [first, *waiting]:
    assert future.result()[0].shape == (1,)


def sample(steps=1, seed=5):
  return {"seed": np.int64([seed]), "steps": np.int32([steps])}


def occupy(pool, batcher, slow, steps=1000):
  """Gives a thread something to do.  Returns: a future; the run has begun."""
  before = runs(batcher)
  future = pool.submit(batcher.run, slow, "serving_default", sample(steps), ("sample",), 20_000)
  until(lambda: runs(batcher) > before)
  return future


def until(condition):
  deadline = time.monotonic() + 10
  while not condition():
    assert time.monotonic() < deadline
    time.sleep(0.005)


def test_a_deadline_holds_in_the_queue(batching, slow, pool):
  batcher = batching("max_batch_size { value: 1 } num_batch_threads { value: 1 }")
  first = occupy(pool, batcher, slow, 3000)
  start = time.monotonic()
  assert refusal(batcher.run, slow, "serving_default", sample(), ("sample",), 100) == (
      status.RESOURCE_EXHAUSTED, "Run() timeout exceeded while waiting in batching queue")
  assert 0.1 <= time.monotonic() - start < 1
  assert first.result()[0].tolist() == [5]
  assert runs(batcher) == 1


def test_a_deadline_holds_in_a_run_and_the_batch_goes_on_for_others(batching, slow, pool):
  batcher = batching(f"max_batch_size {{ value: 2 }} {LONG}")
  patient = pool.submit(
      batcher.run, slow, "serving_default", sample(3000, 7), ("sample",), 30_000)
  start = time.monotonic()
  code, message = refusal(batcher.run, slow, "serving_default", sample(1), ("sample",), 200)
  assert (code, message) == (status.DEADLINE_EXCEEDED, "Timed out waiting for notification")
  assert time.monotonic() - start < 2
  assert patient.result()[0].tolist() == [7] and runs(batcher) == 1
  code, _ = refusal(batcher.run, slow, "serving_default", {
      "seed": np.int64([1, 2]), "steps": np.int32([90_000] * 2)}, ("sample",), 200)
  assert code == status.DEADLINE_EXCEEDED


# --- unequal requests


def test_other_shapes_need_padding(batching, mixed, pool):
  requests = [{"x": np.float32([[1, 2]])}, {"x": np.float32([[10, 20, 30]])}]
  name = mixed.signatures["total"].inputs["x"].name
  for error in together(pool, batching(f"max_batch_size {{ value: 2 }} {LONG}"), mixed, "total",
                        requests, ("total",)):
    assert (error.code, error.message) == (status.FAILED_PRECONDITION, (
        f"Tensors with name '{name}' from different tasks have different shapes and padding is "
        "turned off. Set pad_variable_length_inputs to true, or ensure that all tensors with the "
        "same name have equal dimensions starting with the first dim."))
  padding = batching(f"max_batch_size {{ value: 2 }} {LONG} pad_variable_length_inputs: true")
  answers = together(pool, padding, mixed, "total", requests, ("total",))
  assert [answer[0].tolist() for answer in answers] == [[1 + 2 + 1], [60]]
  assert runs(padding) == 1
  empty = [{"x": np.zeros((1, 0), np.float32)}, requests[0]]
  for error in together(pool, padding, mixed, "total", empty, ("total",)):
    assert (error.code, error.message) == (
        status.INVALID_ARGUMENT, "Got empty tensor in batch of non-empty tensors.")
  odd, good = together(pool, padding, mixed, "total", [x(1), requests[1]], ("total",))
  assert good[0].tolist() == [60] and odd.code == status.INVALID_ARGUMENT


def test_one_clients_mistake_is_not_anothers(batching, mixed, pool):
  batcher = batching(f"max_batch_size {{ value: 3 }} {LONG}")
  good, bad, other = together(pool, batcher, mixed, "refuse", [
      {"x": np.int32([4])}, {"x": np.int32([-4])}, {"x": np.int32([5])}])
  assert good[0].tolist() == [4] and other[0].tolist() == [5]
  assert bad.code == status.INVALID_ARGUMENT and "x must be above 0" in bad.message


@pytest.mark.parametrize("wrong, text", [
    (np.float64([1]), "Expects arg[0] to be int32 but double is provided"),
    (np.array([b"a"], object), "Expects arg[0] to be int32 but string is provided")])
def test_other_types_are_run_alone(batching, mixed, pool, wrong, text):
  batcher = batching(f"max_batch_size {{ value: 2 }} {LONG}")
  good, odd = together(pool, batcher, mixed, "refuse", [{"x": np.int32([4])}, {"x": wrong}])
  assert good[0].tolist() == [4]
  assert (odd.code, odd.message) == (status.INVALID_ARGUMENT, text)


def test_outputs_need_the_rows(batching, tmp_path):
  module = tf.Module()
  specs = [tf.TensorSpec([None], tf.float32)]
  module.functions = [
      tf.function(lambda x: {"y": tf.reduce_sum(x)}, specs),
      tf.function(lambda x: {"y": x[1:]}, specs)]
  signatures = dict(zip(("none", "fewer"), module.functions))
  tf.saved_model.save(module, str(tmp_path), signatures=signatures)
  odd, batcher = servables.load("odd", 1, str(tmp_path)), batching("")
  assert refusal(batcher.run, odd, "none", x(1), ("y",), None) == (
      status.FAILED_PRECONDITION, "Batched output tensor has 0 dimensions")
  assert refusal(batcher.run, odd, "fewer", x(1), ("y",), None) == (
      status.FAILED_PRECONDITION, "Batched output tensor's 0th dimension does not equal the sum of "
      "the 0th dimension sizes of the input tensors")


# --- large requests


SPLIT = ("max_batch_size { value: 20 } enable_large_batch_splitting { value: true } "
         "max_execution_batch_size { value: 4 } ")


def test_large_requests_are_split_and_fill_open_batches(batching, half, pool):
  batcher = batching(SPLIT + "batch_timeout_micros { value: 300000 }")
  small = pool.submit(batcher.run, half, "serving_default", x(-1), ("y",), None)
  until(lambda: counted(batcher, "input_batch_size_count") == 1)
  large = batcher.run(half, "serving_default", x(*range(10)), ("y",), None)
  np.testing.assert_array_equal(large[0], np.arange(10) / 2 + 2)
  assert small.result()[0].tolist() == [1.5]
  assert runs(batcher) == 3  # 1 + 3, 4, 3
  assert refusal(batcher.run, half, "serving_default", x(*range(21)), ("y",), None) == (
      status.INVALID_ARGUMENT, "Task size 21 is larger than maximum input batch size 20")


def test_a_split_request_needs_room_for_all_of_it(batching, half):
  batcher = batching(SPLIT + LONG + "max_enqueued_batches { value: 2 }")
  assert refusal(batcher.run, half, "serving_default", x(*range(9)), ("y",), None) == (
      status.UNAVAILABLE, "The batch scheduling queue to which this task was submitted is full; "
      "task size is 9 but scheduling capacity is only 8 (num_enqueued_batches=1, "
      "max_enqueued_batches=2, open_batch_size=0, max_execution_batch_size=4)")


def test_a_split_request_fails_as_a_whole_and_at_once(batching, slow, mixed, pool):
  batcher = batching(SPLIT + "num_batch_threads { value: 1 }")
  code, message = refusal(batcher.run, mixed, "refuse", {"x": np.int32([1] * 5 + [0] + [1] * 6)},
                          ("y",), 10_000)
  assert code == status.INVALID_ARGUMENT and "x must be above 0" in message
  first = occupy(pool, batcher, slow, 3000)
  before, start = runs(batcher), time.monotonic()
  large = {"seed": np.arange(12), "steps": np.ones(12, np.int32)}
  assert refusal(batcher.run, slow, "serving_default", large, ("sample",), 100)[
      0] == status.RESOURCE_EXHAUSTED
  assert time.monotonic() - start < 1
  assert first.result()[0].tolist() == [5] and runs(batcher) == before


# --- parameters


def test_models_with_their_own_parameters(batching, root, half, pool):
  path = serve_models.copy(half.path, 2)
  with open(os.path.join(path, "batching_params.pbtxt"), "w", encoding="utf-8") as f:
    f.write(f"max_batch_size {{ value: 2 }} {LONG}")
  own = servables.load("half", 2, path)
  batcher = batching(f"max_batch_size {{ value: 9 }} {LONG}", per_model=True)
  assert batcher.run(half, "serving_default", x(1), ("y",), None)[0].tolist() == [2.5]
  assert runs(batcher) == 0
  batcher.servable_changed("loaded", own)
  os.remove(os.path.join(path, "batching_params.pbtxt"))  # it has been read
  answers = together(pool, batcher, own, "serving_default", [x(1), x(2)])
  assert [answer[0].tolist() for answer in answers] == [[2.5], [3]] and runs(batcher) == 1


def test_wrong_parameters_of_a_model_are_told_without_the_path(batching, half):
  path = serve_models.copy(half.path, 3)
  with open(os.path.join(path, "batching_params.pbtxt"), "w", encoding="utf-8") as f:
    f.write("max_batch_size { value: two }")
  own = servables.load("half", 3, path)
  batcher = batching("", per_model=True)
  batcher.servable_changed("loaded", own)
  assert refusal(batcher.run, own, "serving_default", x(1), ("y",), None) == (
      status.FAILED_PRECONDITION, "batching_params.pbtxt of half 3 is not valid")


@pytest.mark.parametrize("text, message", [
    ("num_batch_threads { value: 0 }", "give 1 or more batch threads"),
    ("max_batch_size { value: 8 } allowed_batch_sizes: [2, 4]", "Last entry in allowed_batch_sizes "
     "must match max_batch_size; last entry was 4; expected 8"),
    ("max_batch_size { value: 4 } allowed_batch_sizes: [8, 4]", "must be monotonically increasing"),
    ("max_batch_size { value: 0 }", "input_batch_size_limit must be positive; was 0"),
    ("batch_timeout_micros { value: -1 }", "batch_timeout_micros must be non-negative; was -1"),
    ("max_enqueued_batches { value: 0 }", "max_enqueued_batches must be positive; was 0"),
    ("max_batch_size { value: 2 } enable_large_batch_splitting { value: true } "
     "max_execution_batch_size { value: 4 }", "greater than or equal to max_execution_batch_size"),
])
def test_contradictions_are_one_line(batching, text, message):
  with pytest.raises(errors.UserError) as caught:
    batching(text)
  assert message in str(caught.value) and "\n" not in str(caught.value)


def test_stopping_answers_what_waits_and_refuses_what_comes(batching, half, pool):
  batcher = batching(LONG)
  waiting = pool.submit(batcher.run, half, "serving_default", x(1), ("y",), None)
  until(lambda: counted(batcher, "input_batch_size_count") == 1)
  batcher.stop()
  assert waiting.result()[0].tolist() == [2.5]
  assert refusal(batcher.run, half, "serving_default", x(1), ("y",), None)[0] == status.UNAVAILABLE
  assert not [t for t in batcher._scheduler._threads if t.is_alive()]


def test_nothing_of_a_model_is_kept_once_it_has_answered(batching, half):
  batcher = batching("num_batch_threads { value: 2 }")
  version = servables.load("half", 4, serve_models.copy(half.path, 4))
  for _ in range(5):
    batcher.run(version, "serving_default", x(1), ("y",), None)
  version.close()
  gone, version = weakref.ref(version), None
  until(lambda: gc.collect() >= 0 and gone() is None)
  assert gone() is None
