"""Carries REST over HTTP/1.1: connections in one event loop, work in a pool of threads.

Nothing a client does keeps others waiting: a body of more than max_body_bytes is refused, whoever
is too slow in sending a request or in reading the answer is cut off, and an answer is either whole
or the connection is closed. Questions (GET) have threads of their own, so that a probe of a busy
server is answered.
"""

import asyncio
from concurrent import futures
import contextlib
import functools
import socket
import threading
import zlib

from aigc_tf.errors import UserError
from aigc_tf.serving import json_outputs
from aigc_tf.serving import rest as rest_api
from aigc_tf.serving import status

START_SECONDS = 30
STOP_SECONDS = 30  # for the requests under way
QUICK_THREADS = 4  # for questions
SLOWEST_BYTES_PER_SECOND = 10_000  # of a body, beyond the first patience_seconds
JSON = rest_api.JSON
CLOSE = (b"connection", b"close")


class Handle:
  """A server that runs.  port: int, where it listens.  stop(): ends it; may be called again."""

  def __init__(self, server, thread, pools, port):
    self._server, self._thread, self._pools = server, thread, pools
    self.port = port

  def stop(self):
    """Takes no more connections, waits for the requests under way, at most STOP_SECONDS."""
    self._server.should_exit = True
    self._thread.join(STOP_SECONDS + 5)
    for pool in self._pools:
      pool.shutdown(wait=False, cancel_futures=True)


def start(rest, host="127.0.0.1", port=8501, max_body_bytes=128 << 20, threads=64,
          patience_seconds=60, max_held_bytes=1 << 30):
  """Starts the server in a thread of its own.

  rest: rest.Rest.  port: int, 0 for any free one.  max_body_bytes: of a request, also unpacked.
  threads: int, requests answered at once, besides questions.  patience_seconds: limit of sending a
  request's headers, of sending nothing of its body, and of taking nothing of an answer.
  max_held_bytes: of the bodies of all requests under way.

  Returns: Handle.
  Raises: UserError if the port cannot be had, or a package is missing.
  """
  try:
    import uvicorn

    from aigc_tf.serving import http_protocol
  except ImportError as error:
    raise UserError("the REST server needs uvicorn and httptools: "
                    "pip install 'aigc_tf[serve]'") from error
  listener = _listen(host, port)
  pools = [futures.ThreadPoolExecutor(count, "aigc_tf rest") for count in (threads, QUICK_THREADS)]
  application = _Application(rest, *pools, max_body_bytes, patience_seconds, max_held_bytes)
  server = uvicorn.Server(uvicorn.Config(
      application, http=functools.partial(http_protocol.Protocol, patience_seconds), ws="none",
      lifespan="off", log_config=None, log_level="critical", access_log=False, server_header=False,
      timeout_keep_alive=patience_seconds, timeout_graceful_shutdown=STOP_SECONDS))
  thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True,
                            name="aigc_tf http")
  handle = Handle(server, thread, pools, listener.getsockname()[1])
  thread.start()
  _wait_until_started(server, thread)
  return handle


def _listen(host, port):
  """Returns: a listening socket, which connects clients from now on."""
  try:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=2048)
  except (OSError, OverflowError) as error:
    reason = getattr(error, "strerror", None) or error
    raise UserError(f"cannot listen on {host}:{port}: {reason}; "
                    "choose another --rest_api_port or --host") from error


def _wait_until_started(server, thread):
  pause = threading.Event()
  for _ in range(START_SECONDS * 200):
    if server.started:
      return
    if not thread.is_alive():
      break
    pause.wait(0.005)
  raise UserError("the REST server did not start; see the log above")


class _Refused(Exception):
  """A request that does not reach the API: HTTP status, message."""


class _Budget:
  """Bytes that all requests together may hold.  May be used by any thread."""

  def __init__(self, size):
    self._free, self._lock = size, threading.Lock()

  @contextlib.contextmanager
  def share(self):
    """Yields: function(bytes) that takes so many until the end.  It raises _Refused."""
    taken = 0

    def take(count):
      nonlocal taken
      with self._lock:
        if count > self._free:
          raise _Refused(status.HTTP[status.UNAVAILABLE],
                         "The server has too many requests under way; try again later")
        self._free -= count
      taken += count

    try:
      yield take
    finally:
      with self._lock:
        self._free += taken


class _Application:
  """The ASGI callable."""

  def __init__(self, rest, pool, quick_pool, max_body_bytes, patience_seconds, max_held_bytes):
    self._rest, self._pool, self._quick_pool = rest, pool, quick_pool
    self._max_body_bytes = max_body_bytes
    self._patience_seconds = patience_seconds
    self._budget = _Budget(max_held_bytes)

  async def __call__(self, scope, receive, send):
    answer = await self._answer(scope, receive)
    if answer is None:
      return  # the client has gone
    code, headers, body = answer
    headers = [*headers, (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": code, "headers": headers})
    await send({"type": "http.response.body", "body": body})

  async def _answer(self, scope, receive):
    """Returns: (status, headers, body), or None if the client went away."""
    headers = dict(scope["headers"])
    pool = self._pool if scope["method"] == "POST" else self._quick_pool
    try:
      with self._budget.share() as take:
        body = await self._body(headers, receive, take)
        if body is None:
          return None
        return await asyncio.get_running_loop().run_in_executor(
            pool, self._work, scope, headers, body, take)
    except _Refused as error:
      code, message = error.args
      return code, [JSON, CLOSE], json_outputs.error(message)

  async def _body(self, headers, receive, take):
    """Returns: bytes, or None if the client went away.  Raises: _Refused."""
    length = headers.get(b"content-length", b"0")
    if b"expect" in headers and length.isdigit() and int(length[:19]) > self._max_body_bytes:
      raise self._too_large()
    chunks, size, refusal = [], 0, None
    start_seconds = asyncio.get_running_loop().time()
    try:
      async with asyncio.timeout(self._patience_seconds) as limit:
        while True:
          message = await receive()
          if message["type"] == "http.disconnect":
            return None
          size += len(message["body"])
          refusal = refusal or self._refusal(message["body"], size, take)
          if refusal:
            chunks.clear()  # taken in to the end: who is still sending does not read
          else:
            chunks.append(message["body"])
          if not message.get("more_body"):
            break
          limit.reschedule(self._patience_seconds + min(
              asyncio.get_running_loop().time(), start_seconds + size / SLOWEST_BYTES_PER_SECOND))
    except TimeoutError:
      raise _Refused(408, "The body of the request came too slowly") from None
    if refusal:
      raise refusal
    return b"".join(chunks)

  def _refusal(self, chunk, size, take):
    """Returns: _Refused, or None if the next chunk of a body can be held."""
    try:
      if size > self._max_body_bytes:
        raise self._too_large()
      take(len(chunk))
    except _Refused as error:
      return error

  def _too_large(self):
    return _Refused(413, f"The body of the request is larger than {self._max_body_bytes} bytes")

  def _work(self, scope, headers, body, take):
    """In a thread of a pool.  Returns: as _answer."""
    if scope["extensions"]["connection"].is_lost:
      return None  # while the request waited for a thread
    try:
      if scope["method"] == "POST" and b"gzip" in headers.get(b"content-encoding", b""):
        body = self._unpacked(body)
        take(len(body))
      return self._rest.handle(scope["method"], scope["raw_path"], headers, body)
    except _Refused:
      raise
    except Exception as error:
      return rest_api.failure(error)

  def _unpacked(self, body):
    """Returns: bytes; what is no gzip is an empty body, as TF Serving has it."""
    stream = zlib.decompressobj(wbits=31)
    try:
      unpacked = stream.decompress(body, self._max_body_bytes + 1)
    except zlib.error:
      return b""
    if len(unpacked) > self._max_body_bytes:
      raise self._too_large()
    return unpacked if stream.eof else b""
