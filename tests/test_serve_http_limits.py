"""HTTP: what one client may take of the server, in time, memory and threads; and upgrades."""

import contextlib
import http.client
import json
import socket
import threading
import time
import types

import pytest

from aigc_tf.serving import http_protocol
from aigc_tf.serving import http_server

PATIENCE_SECONDS = 0.5
LIMIT_BYTES = 1 << 20
SECONDS = 20  # longer than anything here takes on a busy machine


def echo(method, path, headers, body):
  """Instead of the API: what has arrived."""
  names = sorted(name.decode() for name in headers)
  return 200, [], json.dumps([method, path.decode(), len(body), names]).encode()


@contextlib.contextmanager
def serving(handle, **options):
  server = http_server.start(types.SimpleNamespace(handle=handle), port=0, **options)
  try:
    yield server
  finally:
    server.stop()


@pytest.fixture(scope="module")
def hasty():
  with serving(echo, max_body_bytes=LIMIT_BYTES, patience_seconds=PATIENCE_SECONDS) as server:
    yield server


def connected(server):
  return socket.create_connection(("127.0.0.1", server.port), timeout=SECONDS)


def said(client):
  """Returns: bytes, all that the server says until it closes."""
  received = b""
  with contextlib.suppress(ConnectionError):
    while chunk := client.recv(1 << 20):
      received += chunk
  return received


def request(method="POST", path="/a", body=b"", *headers):
  lines = [f"{method} {path} HTTP/1.1", "Host: x", f"Content-Length: {len(body)}", *headers]
  return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def bodies(answers):
  """Returns: list of what `echo` has told of each request."""
  return [json.loads(answer.partition(b"\r\n\r\n")[2])
          for answer in answers.split(b"HTTP/1.1 ")[1:]]


# --- upgrades


UPGRADE = "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAEAAEAAAAIAAAAB"


@pytest.mark.parametrize("body", [b"", b"123", b"GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"])
@pytest.mark.parametrize("method", ["POST", "GET"])
@pytest.mark.parametrize("pieces", [1, 2, 50])
def test_an_offer_to_upgrade_is_passed_over(hasty, method, body, pieces):
  data = request(method, "/a", body, *UPGRADE) * 2 + request("GET", "/b", b"", "Connection: close")
  step = len(data) // pieces + 1
  with connected(hasty) as client:
    for start in range(0, len(data), step):
      client.sendall(data[start:start + step])
      time.sleep(0.001)
    found = bodies(said(client))
  names = ["connection", "content-length", "host"]
  assert found == [[method, "/a", len(body), [*names, "http2-settings"]]] * 2 + [
      ["GET", "/b", 0, names]]


def test_many_offers_at_once(hasty):
  with connected(hasty) as client:
    client.sendall(request("GET", "/a", b"", *UPGRADE) * 1100
                   + request("GET", "/b", b"", "Connection: close"))
    assert len(bodies(said(client))) == 1101


def test_upgrades_of_other_kinds(hasty):
  chunked = ("POST /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\nConnection: upgrade\r\n"
             "Upgrade: websocket\r\n\r\n3\r\nabc\r\n0\r\n\r\n").encode()
  with connected(hasty) as client:
    client.sendall(chunked + request("GET", "/b", b"", "Connection: close"))
    assert [one[:3] for one in bodies(said(client))] == [["POST", "/a", 3], ["GET", "/b", 0]]
  with connected(hasty) as client:
    client.sendall(request("CONNECT", "a:1", b"GET /smuggled HTTP/1.1\r\n\r\n"))
    answer = said(client)
  assert answer.startswith(b"HTTP/1.1 400 ") and answer.count(b"HTTP/1.1 ") == 1


# --- time


@pytest.mark.parametrize("rest", [b"\r\n", b"\r\n\r\n\r\n", b"\r", b"POST"])
def test_what_is_no_request_does_not_keep_a_connection(hasty, rest):
  with connected(hasty) as client:
    client.sendall(request())
    assert client.recv(1 << 16).startswith(b"HTTP/1.1 200")
    client.sendall(rest)
    assert b"HTTP/1.1 2" not in said(client)  # returns: the server has closed


def test_a_body_may_take_its_time_if_it_goes_on(hasty):
  data = request("POST", "/a", b" " * 20_000, "Connection: close")
  with connected(hasty) as client:
    for start in range(0, len(data), 2000):
      client.sendall(data[start:start + 2000])
      time.sleep(PATIENCE_SECONDS / 5)
    assert bodies(said(client))[0][2] == 20_000


def test_a_body_that_drips_is_refused(hasty):
  start = time.monotonic()
  with connected(hasty) as client, contextlib.suppress(ConnectionError):
    client.sendall(b"POST /a HTTP/1.1\r\nContent-Length: 1000\r\n\r\n")
    for _ in range(int(SECONDS / PATIENCE_SECONDS * 5)):
      client.sendall(b" ")
      time.sleep(PATIENCE_SECONDS / 5)
  assert time.monotonic() - start < SECONDS / 2


@pytest.mark.parametrize("tail", [b"0\r\n" + b"A: b\r\n" * 100_000, b"0\r\nA: " + b"b" * 600_000,
                                  b"1;" + b"a" * 600_000])
def test_endless_trailers_and_extensions_end_the_connection(hasty, tail):
  with connected(hasty) as client:
    with contextlib.suppress(ConnectionError):
      client.sendall(b"POST /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n" + tail)
      client.sendall(b"\r\n\r\n")
    assert b"200 OK" not in said(client)


@pytest.mark.parametrize("size", [1, http_protocol.MAX_HEADER_BYTES // 4])
def test_trailers_mean_nothing_and_chunks_may_be_short(hasty, size):
  data = b"POST /a HTTP/1.1\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
  with connected(hasty) as client:
    client.sendall(data + b"1\r\n \r\n" * size + b"0\r\nContent-Encoding: gzip\r\n\r\n")
    [found] = bodies(said(client))
  assert found == ["POST", "/a", size, ["connection", "transfer-encoding"]]


@pytest.mark.parametrize("read_bytes, is_cut_off", [(0, True), (4 << 20, False)])
def test_slow_readers(read_bytes, is_cut_off):
  """Who takes nothing is cut off; who goes on may take longer than the patience."""
  answer, patience_seconds = (200, [], bytes(64 << 20)), 1.5
  with serving(lambda *unused: answer, patience_seconds=patience_seconds) as server:
    with connected(server) as client:
      client.sendall(request("GET", "/", b"", "Connection: close"))
      received = 0
      for _ in range(12):
        time.sleep(patience_seconds / 4)
        received += len(client.recv(read_bytes)) if read_bytes else 0
      received += len(said(client))
  assert (received < 64 << 20) == is_cut_off


# --- memory and threads


class Holding:
  """An API whose POSTs last until `release`; it notes their paths."""

  def __init__(self):
    self.entered, self.released, self.paths = threading.Semaphore(0), threading.Event(), []

  def handle(self, method, path, headers, body):
    if method == "POST":
      self.paths.append(path)
      self.entered.release()
      assert self.released.wait(SECONDS)
    return echo(method, path, headers, body)


@pytest.fixture
def holding():
  made = Holding()
  yield made
  made.released.set()


def ask(server, method, body=None):
  client = http.client.HTTPConnection("127.0.0.1", server.port, timeout=SECONDS)
  with contextlib.closing(client):
    client.request(method, "/a", body)
    answer = client.getresponse()
    return answer.status, json.loads(answer.read())


def test_questions_are_answered_while_all_threads_work(holding):
  with serving(holding.handle, threads=1) as server, connected(server) as busy:
    busy.sendall(request())
    assert holding.entered.acquire(timeout=SECONDS)
    assert ask(server, "GET")[0] == 200
    holding.released.set()
    assert busy.recv(1 << 16).startswith(b"HTTP/1.1 200")


def test_who_has_gone_is_not_worked_for(holding):
  with serving(holding.handle, threads=1) as server, connected(server) as busy:
    busy.sendall(request("POST", "/first"))
    assert holding.entered.acquire(timeout=SECONDS)
    with connected(server) as gone:
      gone.sendall(request("POST", "/gone"))
      time.sleep(0.2)
    time.sleep(0.2)
    holding.released.set()
    assert ask(server, "POST", b"last")[0] == 200
  assert holding.paths == [b"/first", b"/a"]


def test_bodies_under_way_are_limited(holding):
  with serving(holding.handle, threads=1, max_held_bytes=LIMIT_BYTES) as server:
    with connected(server) as busy:
      busy.sendall(request("POST", "/first", bytes(LIMIT_BYTES - 100)))
      assert holding.entered.acquire(timeout=SECONDS)
      assert ask(server, "POST", bytes(200_000)) == (
          503, {"error": "The server has too many requests under way; try again later"})
      assert ask(server, "GET")[0] == 200
      holding.released.set()
      assert busy.recv(1 << 16).startswith(b"HTTP/1.1 200")
    assert ask(server, "POST", bytes(LIMIT_BYTES))[0] == 200
