"""HTTP: what clients of every kind do to a connection, and that the others do not notice."""

import contextlib
import gzip
import http.client
import json
import random
import socket
import threading
import time
import types

import pytest

from aigc_tf.errors import UserError
from aigc_tf.serving import http_protocol
from aigc_tf.serving import http_server
from aigc_tf.serving import manager
from aigc_tf.serving import monitoring
from aigc_tf.serving import rest
from aigc_tf.serving import runner
from aigc_tf.serving import server_config
from tests import serve_models

PREDICT = "/v1/models/half:predict"
BODY, ANSWER = b'{"instances": [1.0, 2.0]}', {"predictions": [2.5, 3.0]}
LIMIT_BYTES = 1 << 20
PATIENCE_SECONDS = 0.5
SECONDS = 20  # longer than anything here takes on a busy machine


@pytest.fixture(scope="module")
def front(tmp_path_factory):
  root = tmp_path_factory.mktemp("models")
  serve_models.make_half_plus_two(root, "half")
  models = manager.Manager([server_config.single("half", str(root / "half"))])
  models.start()
  yield rest.Rest(models, runner.Direct(), monitoring.Monitoring())
  models.stop()


@pytest.fixture(scope="module")
def server(front):
  handle = http_server.start(front, port=0, max_body_bytes=LIMIT_BYTES, threads=8)
  yield handle
  handle.stop()


@pytest.fixture(scope="module")
def hasty(front):
  """A server without patience."""
  handle = http_server.start(front, port=0, max_body_bytes=LIMIT_BYTES, threads=8,
                             patience_seconds=PATIENCE_SECONDS)
  yield handle
  handle.stop()


@contextlib.contextmanager
def connection(server):
  client = http.client.HTTPConnection("127.0.0.1", server.port, timeout=SECONDS)
  with contextlib.closing(client):
    yield client


def ask(client, method, path, body=None, headers=()):
  """Returns: (status, bytes)."""
  client.request(method, path, body, dict(headers))
  answer = client.getresponse()
  return answer.status, answer.read()


def raw(server, *pieces, pause_seconds=0.0):
  """Returns: bytes, all that the server says until it closes."""
  with socket.create_connection(("127.0.0.1", server.port), timeout=SECONDS) as client:
    received = b""
    try:
      for piece in pieces:
        client.sendall(piece)
        time.sleep(pause_seconds)
      while chunk := client.recv(1 << 16):
        received += chunk
    except ConnectionError:
      pass
    return received


def post(body, *headers):
  lines = [f"POST {PREDICT} HTTP/1.1", "Host: x", *headers]
  return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


@pytest.fixture(autouse=True)
def still_answers(server, hasty):
  yield
  for each in (server, hasty):
    with connection(each) as client:
      code, body = ask(client, "POST", PREDICT, BODY)
      assert (code, json.loads(body)) == (200, ANSWER)


# --- well-behaved clients


def test_one_connection_carries_many_requests(server):
  with connection(server) as client:
    for _ in range(3):
      assert ask(client, "POST", PREDICT, BODY)[0] == 200
      assert ask(client, "POST", PREDICT, b"{")[0] == 400
      assert ask(client, "GET", "/v1/models/half")[0] == 200
      assert ask(client, "GET", "/v1/models/half?x=%20")[0] == 200
      assert ask(client, "GET", "/nowhere")[0] == 404
      assert ask(client, "HEAD", "/v1/models/half") == (400, b"")
      assert ask(client, "OPTIONS", "/v1/models/half", headers={"Origin": "http://a"}) == (200, b"")


def test_a_query_means_nothing(server):
  with connection(server) as client:
    for method, path, body in (("GET", "/v1/models/half", None), ("POST", PREDICT, BODY)):
      plain = ask(client, method, path, body)
      assert plain[0] == 200 and ask(client, method, f"{path}?x=1", body) == plain


@pytest.mark.parametrize("content_type", [
    "text/plain", "application/x-www-form-urlencoded", "", "application/json"])
def test_content_type_does_not_matter(server, content_type):
  with connection(server) as client:
    code, body = ask(client, "POST", PREDICT, BODY, {"Content-Type": content_type})
    assert (code, json.loads(body)) == (200, ANSWER)


def test_packed_bodies(server):
  packed = {"Content-Encoding": "gzip"}
  with connection(server) as client:
    code, body = ask(client, "POST", PREDICT, gzip.compress(BODY), packed)
    assert (code, json.loads(body)) == (200, ANSWER)
    for broken in (BODY, gzip.compress(BODY)[:-9], b"\x1f\x8b"):
      assert ask(client, "POST", PREDICT, broken, packed) == (
          400, b'{\n    "error": "JSON Parse error: The document is empty"\n}')
    assert ask(client, "GET", "/v1/models/half", b"no gzip", packed)[0] == 200
    bomb = gzip.compress(b" " * (LIMIT_BYTES * 50))
    assert len(bomb) < LIMIT_BYTES and ask(client, "POST", PREDICT, bomb, packed)[0] == 413


def test_chunked_bodies_and_expectations(server):
  chunks = (BODY[:5], BODY[5:])
  with connection(server) as client:
    client.request("POST", PREDICT, iter(chunks), {}, encode_chunked=True)
    assert json.loads(client.getresponse().read()) == ANSWER
  expecting = post(b"", f"Content-Length: {len(BODY)}", "Expect: 100-continue", "Connection: close")
  answer = raw(server, expecting, BODY, pause_seconds=0.1)
  assert answer.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n")


def test_requests_sent_ahead_are_answered_in_order(server):
  one = post(BODY, f"Content-Length: {len(BODY)}")
  last = post(b"x", "Content-Length: 1", "Connection: close")
  answers = raw(server, one * 3 + last)
  assert answers.count(b"HTTP/1.1 200 OK") == 3
  assert answers.rindex(b"HTTP/1.1 400") > answers.rindex(b"HTTP/1.1 200")


def test_clients_at_once(server):
  results = []

  def work():
    with connection(server) as client:
      results.extend(ask(client, "POST", PREDICT, BODY)[0] for _ in range(10))

  threads = [threading.Thread(target=work) for _ in range(16)]
  for thread in threads:
    thread.start()
  for thread in threads:
    thread.join(SECONDS)
  assert results == [200] * 160


# --- the others


@pytest.mark.parametrize("headers", [(), ("Expect: 100-continue",)])
def test_too_large_bodies_are_refused_in_words(server, headers):
  size = LIMIT_BYTES + 1
  answer = raw(server, post(b"" if headers else b" " * size, f"Content-Length: {size}", *headers))
  head, _, body = answer.partition(b"\r\n\r\n")
  assert head.startswith(b"HTTP/1.1 413 ")
  assert json.loads(body) == {
      "error": f"The body of the request is larger than {LIMIT_BYTES} bytes"}


def test_a_body_of_the_limit_is_read(server):
  with connection(server) as client:
    assert ask(client, "POST", PREDICT, BODY.ljust(LIMIT_BYTES))[0] == 200


def test_a_body_that_does_not_come(hasty):
  answer = raw(hasty, post(BODY[:7], f"Content-Length: {len(BODY)}"))
  assert answer.startswith(b"HTTP/1.1 408 ")
  assert b"came too slowly" in answer


@pytest.mark.parametrize("pieces", [
    (), (b"POST ",), (b"GET / HTTP/1.1\r\nHost: x\r\n",), (b"GET /", *[b"a"] * 20)])
def test_headers_that_do_not_come_end_the_connection(hasty, pieces):
  start = time.monotonic()
  assert raw(hasty, *pieces, pause_seconds=0.05) == b""
  assert time.monotonic() - start < SECONDS


def test_idle_connections_end(hasty):
  assert raw(hasty, post(BODY, f"Content-Length: {len(BODY)}")).startswith(b"HTTP/1.1 200")


def test_endless_headers_end_the_connection(hasty):
  line = b"X-Filler: " + b"a" * 1000 + b"\r\n"
  count = 2 * http_protocol.MAX_HEADER_BYTES // len(line)
  assert b"200 OK" not in raw(hasty, b"GET /v1/models/half HTTP/1.1\r\n" + line * count)


def test_clients_that_hang_up(server):
  for piece in (b"", b"POST", post(BODY[:3], "Content-Length: 99"),
                post(BODY, f"Content-Length: {len(BODY)}")):
    for _ in range(5):
      with socket.create_connection(("127.0.0.1", server.port), timeout=SECONDS) as client:
        client.sendall(piece)
  with connection(server) as client:
    assert ask(client, "POST", PREDICT, BODY)[0] == 200


@pytest.mark.parametrize("request_bytes", [
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(64), b"\r\n\r\n\r\nx y z\r\n\r\n",
    b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"FOO / HTTP/1.1\r\n\r\n",
    b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
    b"POST / HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n",
    b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    b"POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    b"CONNECT a:1 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    b"GET http://[bad/v1/models/half HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    b"GET /v1/\xff\xfe HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    b"GET /v1/models/" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
])
def test_what_is_no_http_gets_a_client_error(hasty, request_bytes):
  answer = raw(hasty, request_bytes)
  assert not answer or answer.startswith(b"HTTP/1.1 4")
  assert b"Traceback" not in answer and b".py" not in answer


def test_mutations_of_requests(hasty):
  rng = random.Random(2)
  whole = post(BODY, f"Content-Length: {len(BODY)}", "Connection: close")
  for _ in range(100):
    data = bytearray(whole)
    for _ in range(rng.randint(1, 3)):
      data[rng.randrange(len(data))] = rng.randrange(256)
    answer = raw(hasty, bytes(data) + b" " * 40)
    assert not answer or answer[:10] in (b"HTTP/1.1 2", b"HTTP/1.1 4"), data
    assert b"Traceback" not in answer


# --- starting and stopping


def test_a_port_in_use_is_a_mistake_in_one_line(front, server):
  for port, host in ((server.port, "127.0.0.1"), (0, "no.such.host.invalid")):
    with pytest.raises(UserError, match="choose another --rest_api_port"):
      http_server.start(front, host=host, port=port)


def test_stopping_finishes_what_is_under_way():
  entered = threading.Event()

  def slow(*unused):
    entered.set()
    time.sleep(0.5)
    return 200, [], b"done"

  handle = http_server.start(types.SimpleNamespace(handle=slow), port=0)
  answers = []
  with connection(handle) as client:
    thread = threading.Thread(target=lambda: answers.append(ask(client, "GET", "/")))
    thread.start()
    assert entered.wait(SECONDS)
    handle.stop()
    thread.join(SECONDS)
  assert answers == [(200, b"done")]
  with pytest.raises(ConnectionError):
    socket.create_connection(("127.0.0.1", handle.port), timeout=SECONDS).close()
  handle.stop()


def test_a_fault_of_the_api_is_told_without_a_traceback():
  faulty = types.SimpleNamespace(handle=lambda *unused: 1 / 0)
  handle = http_server.start(faulty, port=0)
  with connection(handle) as client:
    assert ask(client, "GET", "/v1/x") == (
        500, b'{\n    "error": "Internal error: ZeroDivisionError"\n}')
  handle.stop()
