"""The client against a running server: both protocols give the same arrays, and clear errors."""

import concurrent.futures
import dataclasses
import http.server
import io
import socket
import threading
import wave as wave_files

import numpy as np
from PIL import Image
import pytest
import tensorflow as tf

from aigc_tf.errors import UserError
from aigc_tf.serving import client
from tests import serve_models
from tests import serve_running

MIXED = {"text": ["aé\n", b"\xe8\xaf\x97", ""], "number": [2**53 + 1, -7, 0],
         "pixel": [[0, 1], [128, 2], [255, 3]], "flag": [True, False, True]}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
  root = tmp_path_factory.mktemp("models")
  serve_models.make_mixed(root)
  serve_models.make_half_plus_two(root, version=7)
  serve_models.make_half_plus_two(root, version=8, addend=3.0)
  mixed, half = serve_running.configs(root, "mixed", "half_plus_two")
  half = dataclasses.replace(half, policy=("all",), labels={"stable": 7})
  with serve_running.running([mixed, half], allow_labels_for_unavailable=True) as running:
    yield running


@pytest.fixture(params=["rest", "grpc"])
def remote(server, request):
  with client.Client(getattr(server, request.param)) as one:
    yield one


def test_all_dtypes_there_and_back(remote):
  made = remote.predict("mixed", MIXED)
  assert made["text"].tolist() == [tf.strings.upper(text).numpy()
                                   for text in ("aé\n", b"\xe8\xaf\x97", "")]
  assert made["text_bytes"].tolist() == ["aé\n9007199254740993".encode(), b"\xe8\xaf\x97-7", b"0"]
  assert made["number"].tolist() == [2**54 + 2, -14, 0]
  assert made["pixel"].tolist() == [[255, 254], [127, 253], [0, 252]]
  assert made["flag"].tolist() == [False, True, False]
  number = np.array(MIXED["number"])
  # TensorFlow multiplies by 1/3 where it may.
  np.testing.assert_allclose(made["ratio"], number.astype(np.float32) / 3, rtol=3e-7)
  np.testing.assert_allclose(made["double"], number.astype(np.float64) / 3, rtol=1e-15)
  assert {name: str(value.dtype) for name, value in made.items()} == {
      "text": "object", "text_bytes": "object", "number": "int64", "pixel": "uint8",
      "flag": "bool", "ratio": "float32", "double": "float64"}


@pytest.mark.parametrize("rows", [0, 1, 7])
def test_any_number_of_rows(remote, rows):
  made = remote.predict("mixed", {
      "text": ["a"] * rows, "number": np.arange(rows), "pixel": np.zeros([rows, 2], int),
      "flag": [False] * rows})
  assert made["pixel"].shape == (rows, 2) and made["number"].shape == (rows,)
  assert made["text"].shape == (rows,) and made["pixel"].dtype == np.uint8


@pytest.mark.parametrize("shape", [(2, 0), (1, 0), (2, 3)])
def test_rows_of_no_width(remote, shape):
  made = remote.predict("mixed", {"x": np.ones(shape)}, signature="pairs")
  assert {name: value.shape for name, value in made.items()} == {
      "x": shape, "pair": (*shape, 2), "text": shape}


def test_any_bytes_any_rank_and_numbers_that_json_lacks(remote):
  data = [bytes(range(256)), b""]
  made = remote.predict("mixed", {"image_bytes": data}, "echo")
  assert made["image_bytes"].tolist() == data and made["length"].tolist() == [256, 0]
  assert remote.predict("mixed", {"x": 2.5}, "scalar") == {"y": np.float32(3.5)}
  made = remote.predict("mixed", {"x": [[np.nan, 1], [np.inf, 1], [0.1, 0.2]]}, "total")["total"]
  assert np.isnan(made[0]) and made[1] == np.inf
  assert made[2] == np.float32(0.1) + np.float32(0.2)


def test_signatures(remote):
  found = remote.signatures("mixed")
  assert set(found) == {"serving_default", "echo", "scalar", "total", "refuse", "label", "pairs"}
  assert found["serving_default"]["inputs"] == {
      "text": {"dtype": "string", "shape": [-1]}, "number": {"dtype": "int64", "shape": [-1]},
      "pixel": {"dtype": "uint8", "shape": [-1, 2]}, "flag": {"dtype": "bool", "shape": [-1]}}
  assert found["scalar"]["outputs"] == {"y": {"dtype": "float32", "shape": []}}


def test_versions_and_labels(remote):
  given = {"x": [2]}
  assert remote.predict("half_plus_two", given)["y"].tolist() == [4.0]
  assert remote.predict("half_plus_two", given, version=7)["y"].tolist() == [3.0]
  assert remote.predict("half_plus_two", given, label="stable")["y"].tolist() == [3.0]
  with pytest.raises(UserError, match="a version or a label, not both"):
    remote.predict("half_plus_two", given, version=7, label="stable")


def test_a_model_in_the_url(server):
  with client.Client(server.rest + "/v1/models/half_plus_two:predict") as one:
    assert one.model == "half_plus_two"
    assert one.predict(None, {"x": [2]})["y"].tolist() == [4.0]
  with client.Client(server.rest + "/v1") as one:
    with pytest.raises(UserError, match="say which model of"):
      one.signatures()


@pytest.mark.parametrize("given,signature,message", [
    ({"x": [-1]}, "refuse", "x must be above 0"),
    ({"x": [1]}, "nothing",
     "mixed has no signature 'nothing'; it has echo, label, pairs, refuse, scalar"),
    ({"y": [1]}, "refuse", "the inputs are x; given are y"),
    ({"x": ["one"]}, "refuse", "x: cannot be given as int32"),
    ({"x": [1.5]}, "refuse", "x: cannot be given as int32"),
    ({"x": [2**31]}, "refuse", "x: cannot be given as int32"),
    ({"x": [float("nan")]}, "refuse", "x: cannot be given as int32"),
    ({"x": [True]}, "refuse", "x: cannot be given as int32"),
    ({"image_bytes": [1]}, "echo", "image_bytes: cannot be given as string")])
def test_what_is_refused_says_why(remote, given, signature, message):
  with pytest.raises(UserError, match=message):
    remote.predict("mixed", given, signature)
  assert remote.predict("mixed", {"x": [3]}, "refuse")["y"] == [3]


def test_unknown_models_and_versions_in_the_words_of_the_server(remote):
  with pytest.raises(UserError, match=r"Servable not found for request: Latest\(a b/c\)"):
    remote.predict("a b/c", {"x": [1]})
  with pytest.raises(UserError, match=r"Specific\(half_plus_two, 9\)"):
    remote.predict("half_plus_two", {"x": [1]}, version=9)


def test_a_new_version_with_other_inputs_is_noticed(tmp_path):
  serve_models.make_half_plus_two(tmp_path, "m", 1)
  with serve_running.running(serve_running.configs(tmp_path, "m")) as running:
    with client.Client(running.rest) as one:
      one.predict("m", {"x": [1]})
      serve_models.make_slow(tmp_path, "m", 2)
      for _ in range(200):  # at most 20 s
        if running.manager.versions("m", 1)[0].state == "END":
          break
        threading.Event().wait(0.1)
      with pytest.raises(UserError):
        one.predict("m", {"x": [1]})
      assert one.predict("m", {"seed": [1], "steps": [1]})["sample"].tolist() == [1.0]


def test_threads_share_a_client(remote):
  with concurrent.futures.ThreadPoolExecutor(8) as pool:
    made = list(pool.map(lambda x: remote.predict("half_plus_two", {"x": [x]})["y"][0], range(40)))
  assert made == [x / 2 + 3 for x in range(40)]


# --- servers that are none


@pytest.mark.parametrize("url", ["localhost:8501", "ftp://host", "http://", "http://host:port", ""])
def test_urls_of_no_server(url):
  with pytest.raises(UserError, match=r"write http://HOST:8501|Port could not be cast"):
    client.Client(url)


@pytest.mark.parametrize("scheme", ["http", "grpc"])
def test_nobody_listens(scheme):
  with socket.socket() as taken:
    taken.bind(("127.0.0.1", 0))  # and never listens
    with client.Client(f"{scheme}://127.0.0.1:{taken.getsockname()[1]}", 5) as one:
      with pytest.raises(UserError, match="onnection refused"):
        one.signatures("m")


@pytest.mark.parametrize("scheme", ["http", "grpc"])
def test_a_server_that_never_answers(scheme):
  with socket.socket() as silent:
    silent.bind(("127.0.0.1", 0))
    silent.listen()
    with client.Client(f"{scheme}://127.0.0.1:{silent.getsockname()[1]}", 0.3) as one:
      with pytest.raises(UserError, match="no answer within 0.3 s|Deadline Exceeded|timed out"):
        one.signatures("m")


class OtherPage(http.server.BaseHTTPRequestHandler):
  """Answers with a web page, and then closes the connection without having said so."""

  protocol_version = "HTTP/1.1"
  status = 200

  def do_GET(self):
    self.send_response(self.status)
    self.send_header("Content-Length", "4")
    self.end_headers()
    self.wfile.write(b"<ok>")
    self.close_connection = True

  def log_message(self, *_):
    pass


def test_a_server_of_another_kind():
  with http.server.ThreadingHTTPServer(("127.0.0.1", 0), OtherPage) as other:
    threading.Thread(target=other.serve_forever, daemon=True).start()
    with client.Client(f"http://127.0.0.1:{other.server_port}") as one:
      for _ in range(2):  # the second on a connection that was closed meanwhile
        with pytest.raises(UserError, match="status 200 without a message: is it TensorFlow"):
          one.signatures("m")
    other.shutdown()


# --- files


def png(pixels):
  file = io.BytesIO()
  Image.fromarray(pixels).save(file, "PNG")
  return file.getvalue()


def test_pictures_and_sounds_are_decoded():
  grey = np.random.default_rng(0).integers(0, 256, [2, 5, 4], np.uint8)
  colour = np.random.default_rng(1).integers(0, 256, [2, 5, 4, 3], np.uint8)
  for images, expected in ((grey, grey[..., None]), (colour, colour)):
    files = np.array([png(image) for image in images], object)
    np.testing.assert_array_equal(client.decoded({"image_bytes": files})["image"], expected)
  waves = [np.linspace(-1, 1, 50, dtype=np.float32), np.zeros(20, np.float32)]
  files = np.array([tf.audio.encode_wav(wave[:, None], 8000).numpy() for wave in waves], object)
  made = client.decoded({"audio_bytes": files, "other": 1})
  assert made["wave"].shape == (2, 50) and made["wave"].dtype == np.float32
  assert made["num_samples"].tolist() == [50, 20] and made["sample_rate_hz"] == 8000
  np.testing.assert_array_equal(made["wave"][0], tf.audio.decode_wav(files[0]).audio[:, 0])
  assert not made["wave"][1].any() and made["other"] == 1
  with wave_files.open(io.BytesIO(files[1])) as file:
    assert file.getnframes() == 20


def test_no_rows_of_files():
  made = client.decoded({"audio_bytes": np.zeros([0], object)})
  assert made["wave"].shape == (0, 0) and made["num_samples"].tolist() == []
  assert "image" not in client.decoded({"image_bytes": np.zeros([0], object)})
