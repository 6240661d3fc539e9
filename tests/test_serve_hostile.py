"""Hostile clients of the command in a process: no crash, no traceback, always a proper status."""

import json
import random
import socket
import threading
import time

import grpc
import pytest

from tests import serve_conformance

REST_MUTATIONS, GRPC_MUTATIONS = 120, 80
SECONDS = 30
GOOD, FIVE = b'{"instances": [2.0]}', {"predictions": [5.0]}
PATH = "/v1/models/half_plus_two"
REQUESTS = [
    ("POST", f"{PATH}:predict", GOOD),
    ("POST", f"{PATH}/labels/stable:predict", b'{"inputs": {"x": [1, -2.5e3, NaN]}}'),
    ("POST", f"{PATH}/versions/123:regress",
     b'{"signature_name": "regress_x_to_y", "context": {"x2": 1.0}, "examples": [{"x": 80.0}]}'),
    ("POST", f"{PATH}:classify",
     b'{"signature_name": "classify_named", "examples": [{"x": [0.5], "s": {"b64": "aGk="}}]}'),
    ("POST", "/v1/models/kinds:predict", b'{"signature_name": "two", "instances": '
     b'[{"a": 1.5, "b": 2}, {"a": 0, "b": -3}]}'),
    ("POST", "/v1/models/kinds:predict",
     b'{"signature_name": "same_string", "instances": ["\\u00e9\\ud83d\\ude00", "\xc3\xa9"]}'),
    ("GET", f"{PATH}/versions/124/metadata", b""), ("GET", f"{PATH}/labels/stable", b"")]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
  with serve_conformance.serving(tmp_path_factory.mktemp("models")) as running:
    yield running
    assert "Exception" not in running.said.read_text()


@pytest.fixture(autouse=True)
def the_server_stays(server):
  yield
  assert server.process.poll() is None
  status, text = raw(server, request("POST", f"{PATH}:predict".encode(), GOOD))
  assert (status, json.loads(text)) == (200, FIVE)


def request(method, path, body, headers=b""):
  """Returns: bytes on the wire."""
  return (method.encode() + b" " + path + b" HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"
          + headers + b"Content-Length: %d\r\n\r\n" % len(body) + body)


def raw(server, data, shut=False):
  """Sends bytes as they are.  Returns: (status or None if there is no answer, bytes body)."""
  with socket.create_connection(("127.0.0.1", server.rest), SECONDS) as one:
    try:
      one.sendall(data)
      if shut:
        one.shutdown(socket.SHUT_WR)
    except OSError:
      pass  # refused before all of it was sent
    return answer(one)


def answer(one):
  """Reads to the end of a connection."""
  pieces = []
  try:
    while piece := one.recv(1 << 16):
      pieces.append(piece)
  except ConnectionResetError:
    pass
  head, _, body = b"".join(pieces).partition(b"\r\n\r\n")
  return int(head.split()[1]) if head.startswith(b"HTTP/") else None, body


def check(status, body, allowed, what):
  assert status in allowed, (what, status, body)
  assert b"Traceback" not in body and b'File "' not in body and b"Internal error" not in body, what
  if status != 200 and body[:1] == b"{":
    assert list(json.loads(body.decode("utf-8", "replace"), strict=False)) == ["error"], what


# --- mutations


def test_mutated_bodies_and_paths(server):
  for seed in range(REST_MUTATIONS):
    generator = random.Random(seed)
    method, path, body = generator.choice(REQUESTS)
    path = path.encode()
    if not body or generator.random() < 0.2:
      path = serve_conformance.mutated(path, generator)
    else:
      body = serve_conformance.mutated(body, generator)
    status, text = raw(server, request(method, path, body))
    check(status, text, (200, 400, 404), (seed, path, body))
  good = request(*REQUESTS[0][:1], REQUESTS[0][1].encode(), REQUESTS[0][2])
  assert raw(server, good)[0] == 200  # and the server goes on


def test_mutated_messages(server):
  """Of gRPC: bytes of valid requests changed, cut, repeated."""
  half, example = 'name: "half_plus_two"', (
      'examples { features { feature { key: "x" value { float_list { value: 2 } } } } }')
  requests = [
      ("Predict", f'model_spec {{ {half} }} inputs {{ key: "x" value {{ dtype: DT_FLOAT '
       "tensor_shape { dim { size: 1 } } float_val: 2 } }"),
      ("Classify", f'model_spec {{ {half} signature_name: "classify_named" }} '
       f"input {{ example_list {{ {example} }} }}"),
      ("Regress", f'model_spec {{ {half} signature_name: "regress_x_to_y" }} input {{ '
       f"example_list_with_context {{ {example} }} }}"),
      ("MultiInference", f'tasks {{ model_spec {{ {half} signature_name: "regress_x_to_y" }} '
       'method_name: "tensorflow/serving/regress" } '
       f"input {{ example_list {{ {example} }} }}"),
      ("GetModelMetadata", f'model_spec {{ {half} }} metadata_field: "signature_def"'),
      ("GetModelStatus", f"model_spec {{ {half} }}")]
  with grpc.insecure_channel(f"127.0.0.1:{server.grpc}") as channel:
    for seed in range(GRPC_MUTATIONS):
      generator = random.Random(seed)
      name, text = generator.choice(requests)
      frame = serve_conformance.message(name, text).SerializeToString()
      try:
        serve_conformance.call(channel, name, serve_conformance.mutated(frame, generator))
      except grpc.RpcError as error:
        assert error.code().name in (
            "INVALID_ARGUMENT", "NOT_FOUND", "FAILED_PRECONDITION", "UNIMPLEMENTED",
            "INTERNAL"), (seed, error)
        assert error.code().name != "INTERNAL" or "Failed to parse" in error.details(), seed
        assert "Traceback" not in error.details() and 'File "' not in error.details(), seed
    assert serve_conformance.call(channel, "Predict", requests[0][1]).outputs["y"].float_val == [5]


# --- what no mutation finds


@pytest.mark.parametrize("body,statuses", [
    (b"[" * 60_000, (400,)), (b'{"a":' * 30_000, (400,)),
    (b'{"instances": ' + b"[" * 30_000 + b"1" + b"]" * 30_000 + b"}", (400,)),
    (b'{"instances": [' + b"1," * 500_000 + b"1]}", (200,)),
    (b'{"instances": [' + b"9" * 300_000 + b"]}", (400,)),
    (b'{"instances": [0.' + b"1" * 300_000 + b"]}", (200, 400)),
    (b'{"signature_name": "' + b"a" * 300_000 + b'"}', (400,)),
    (b'{"instances": ["' + b"\xff\xfe\xc0\xaf\xed\xa0\x80" * 1000 + b'"]}', (400,)),
    (b"\0" * 100_000, (400,)), (b"\xff\xfe{\0}\0", (400,)),
])
def test_long_deep_and_broken_bodies(server, body, statuses):
  status, text = raw(server, request("POST", f"{PATH}:predict".encode(), body))
  check(status, text, statuses, body[:40])
  assert status == 200 or len(text) < 2_000_000


@pytest.mark.parametrize("path", [
    b"/v1/models/..%2f..%2f..%2fetc%2fpasswd", b"/v1/models/%2e%2e", b"/../../../etc/passwd",
    b"/demo/../../../../etc/passwd", b"/%2e%2e/%2e%2e/etc/passwd", b"/v1/models/a%00b",
    b"/demo/%00",
    b"/v1/models/%ff%fe", b"/v1/models/" + b"a" * 20_000, b"//etc/passwd", b"/..\\..\\etc\\passwd",
    b"/demo/..%2f__init__.py", b"*", b"http://other.example/v1/models/a"])
def test_paths_out_of_the_house(server, path):
  status, text = raw(server, request("GET", path, b""))
  check(status, text, (400, 404, 414), path)
  assert b"root:" not in text and b"import " not in text


@pytest.mark.parametrize("data", [
    b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03" + bytes(500),  # TLS
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"GET\r\n\r\n", b"\r\n" * 1000, b"GET / HTTP/9.9\r\n\r\n",
    b"POST /v1/models/a:predict HTTP/1.1\r\nHost: a\r\nContent-Length: -5\r\n\r\n",
    b"POST /v1/models/a:predict HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n",
    b"POST /v1/models/a:predict HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\n" + b"A: " + b"b" * 1_000_000 + b"\r\n\r\n",
    b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 200_000 + b"\r\n"])
def test_what_is_no_request(server, data):
  status, text = raw(server, data, shut=True)
  assert status in (None, 400, 404, 405, 413, 431, 505), (status, text)
  assert b"Traceback" not in text


@pytest.mark.parametrize("data", [
    bytes(9) * 100, b"\0\0\4\x08\0\0\0\0\0\0\0\0\0", b"\xff" * 5000,
    b"\0\x40\0\1\4\0\0\0\1" + b"\x82" * 16384, b"\0\0\4\3\0\0\0\0\1\0\0\0\5" * 300])
def test_frames_of_http_2_that_are_none(server, data):
  with socket.create_connection(("127.0.0.1", server.grpc), SECONDS) as one:
    one.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0" + data)
    one.shutdown(socket.SHUT_WR)
    answer(one)
  with grpc.insecure_channel(f"127.0.0.1:{server.grpc}") as channel:
    asked = 'model_spec { name: "kinds" }'
    assert len(serve_conformance.call(channel, "GetModelStatus", asked).model_version_status) == 1


@pytest.mark.parametrize("port", ["rest", "grpc"])
def test_clients_that_break_off_or_say_nothing(server, port):
  """Half-sent requests, answers nobody reads, and 100 connections that wait."""
  where = ("127.0.0.1", getattr(server, port))
  start = request("POST", f"{PATH}:predict".encode(), GOOD + b" " * 100_000)
  silent = [socket.create_connection(where, SECONDS) for _ in range(100)]
  for i, one in enumerate(silent):
    one.sendall(start[:i * 7])
  began = time.monotonic()
  assert raw(server, request("POST", f"{PATH}:predict".encode(), GOOD))[0] == 200
  assert time.monotonic() - began < SECONDS / 3
  for one in silent:
    one.close()
  large = b'{"instances": [' + b"1," * 200_000 + b"1]}"
  for _ in range(10):
    with socket.create_connection(("127.0.0.1", server.rest), SECONDS) as one:
      one.sendall(request("POST", f"{PATH}:predict".encode(), large))


def test_a_slow_body_is_waited_for_while_others_are_served(server):
  data = request("POST", f"{PATH}:predict".encode(), GOOD)
  got = []

  def slowly():
    with socket.create_connection(("127.0.0.1", server.rest), SECONDS) as one:
      for i in range(0, len(data), 8):
        one.sendall(data[i:i + 8])
        time.sleep(0.05)
      got.append(answer(one))

  thread = threading.Thread(target=slowly)
  thread.start()
  for _ in range(5):
    assert raw(server, data)[0] == 200
  thread.join(SECONDS)
  assert got[0][0] == 200 and json.loads(got[0][1]) == FIVE
