"""Carries REST over HTTP/1.1: connections in one event loop, work in a pool of threads.

Nothing a client does keeps others waiting: a body of more than max_body_bytes is refused, whoever
is too slow in sending a request or in reading the answer is cut off, and an answer is either whole
or the connection is closed.
"""

import asyncio
from concurrent import futures
import socket
import threading
import zlib

from aigc_tf.errors import UserError
from aigc_tf.serving import json_outputs
from aigc_tf.serving import rest as rest_api
from aigc_tf.serving import status

MAX_HEADER_BYTES = 256 << 10
START_SECONDS = 30
STOP_SECONDS = 30  # for the requests under way
JSON = rest_api.JSON
CLOSE = (b"connection", b"close")


class Handle:
  """A server that runs.  port: int, where it listens.  stop(): ends it; may be called again."""

  def __init__(self, server, thread, pool, port):
    self._server, self._thread, self._pool = server, thread, pool
    self.port = port

  def stop(self):
    """Takes no more connections, waits for the requests under way, at most STOP_SECONDS."""
    self._server.should_exit = True
    self._thread.join(STOP_SECONDS + 5)
    self._pool.shutdown(wait=False, cancel_futures=True)


def start(rest, host="127.0.0.1", port=8501, max_body_bytes=128 << 20, threads=64,
          patience_seconds=60):
  """Starts the server in a thread of its own.

  rest: rest.Rest.  port: int, 0 for any free one.  max_body_bytes: of a request, also unpacked.
  threads: int, requests answered at once.  patience_seconds: limit of sending a request's headers,
  of sending its body, and of taking nothing of an answer.

  Returns: Handle.
  Raises: UserError if the port cannot be had, or a package is missing.
  """
  try:
    import uvicorn
    protocol = _protocol(patience_seconds)
  except ImportError as error:
    raise UserError("the REST server needs uvicorn and httptools: "
                    "pip install 'aigc_tf[serve]'") from error
  listener = _listen(host, port)
  pool = futures.ThreadPoolExecutor(threads, "aigc_tf rest")
  server = uvicorn.Server(uvicorn.Config(
      _Application(rest, pool, max_body_bytes, patience_seconds), http=protocol, ws="none",
      lifespan="off", log_config=None, log_level="critical", access_log=False,
      server_header=False, timeout_keep_alive=patience_seconds,
      timeout_graceful_shutdown=STOP_SECONDS))
  thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True,
                            name="aigc_tf http")
  handle = Handle(server, thread, pool, listener.getsockname()[1])
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


def _protocol(patience_seconds):
  """Returns: uvicorn's protocol, with limits to how long a client may take."""
  from uvicorn.protocols.http import httptools_impl

  class Protocol(httptools_impl.HttpToolsProtocol):

    def connection_made(self, transport):
      self._header_bytes = 0
      self._header_timer = self._write_timer = None
      super().connection_made(transport)
      self._await_headers()

    def _await_headers(self):
      self._header_bytes = 0
      self._cancel("_header_timer")
      self._header_timer = self.loop.call_later(patience_seconds, self.transport.abort)

    def _cancel(self, name):
      timer = getattr(self, name)
      if timer is not None:
        timer.cancel()
        setattr(self, name, None)

    def data_received(self, data):
      if self._header_timer is not None:
        self._header_bytes += len(data)
      super().data_received(data)
      if self._header_timer is not None and self._header_bytes > MAX_HEADER_BYTES:
        self.transport.abort()

    def on_message_begin(self):
      self._await_headers()
      super().on_message_begin()

    def on_headers_complete(self):
      self._cancel("_header_timer")
      super().on_headers_complete()

    def pause_writing(self):
      super().pause_writing()
      self._write_timer = self.loop.call_later(patience_seconds, self.transport.abort)

    def resume_writing(self):
      self._cancel("_write_timer")
      super().resume_writing()

    def connection_lost(self, exc):
      self._cancel("_header_timer")
      self._cancel("_write_timer")
      super().connection_lost(exc)

  return Protocol


class _Refused(Exception):
  """A request that does not reach the API: HTTP status, message."""


class _Application:
  """The ASGI callable."""

  def __init__(self, rest, pool, max_body_bytes, patience_seconds):
    self._rest, self._pool = rest, pool
    self._max_body_bytes = max_body_bytes
    self._patience_seconds = patience_seconds

  async def __call__(self, scope, receive, send):
    headers = dict(scope["headers"])
    try:
      body = await self._body(headers, receive)
      if body is None:
        return  # the client has gone
      code, answer_headers, answer = await asyncio.get_running_loop().run_in_executor(
          self._pool, self._answer, scope["method"], scope["raw_path"], headers, body)
    except _Refused as error:
      code, message = error.args
      answer_headers, answer = [JSON, CLOSE], json_outputs.error(message)
    answer_headers = [*answer_headers, (b"content-length", b"%d" % len(answer))]
    await send({"type": "http.response.start", "status": code, "headers": answer_headers})
    await send({"type": "http.response.body", "body": answer})

  async def _body(self, headers, receive):
    """Returns: bytes, or None if the client went away.  Raises: _Refused."""
    length = headers.get(b"content-length", b"0")
    if b"expect" in headers and length.isdigit() and int(length[:19]) > self._max_body_bytes:
      raise self._too_large()
    chunks, size = [], 0
    try:
      async with asyncio.timeout(self._patience_seconds):
        while True:
          message = await receive()
          if message["type"] == "http.disconnect":
            return None
          size += len(message["body"])
          if size <= self._max_body_bytes:
            chunks.append(message["body"])
          else:
            chunks.clear()  # taken in to the end: who is still sending does not read
          if not message.get("more_body"):
            break
    except TimeoutError:
      raise _Refused(408, f"The body of the request did not come in {self._patience_seconds:g} "
                     "seconds") from None
    if size > self._max_body_bytes:
      raise self._too_large()
    return b"".join(chunks)

  def _too_large(self):
    return _Refused(413, f"The body of the request is larger than {self._max_body_bytes} bytes")

  def _answer(self, method, raw_path, headers, body):
    """In a thread of the pool.  Returns: (status, headers, body)."""
    try:
      if b"gzip" in headers.get(b"content-encoding", b""):
        body = self._unpacked(body)
      return self._rest.handle(method, raw_path, headers, body)
    except _Refused as error:
      code, message = error.args
      return code, [JSON], json_outputs.error(message)
    except Exception as error:
      return rest_api.failure(error)

  def _unpacked(self, body):
    stream = zlib.decompressobj(wbits=31)
    try:
      unpacked = stream.decompress(body, self._max_body_bytes + 1)
    except zlib.error:
      unpacked = b""
    if len(unpacked) > self._max_body_bytes:
      raise self._too_large()
    if body and not stream.eof:
      raise _Refused(status.HTTP[status.INVALID_ARGUMENT],
                     "Failed to uncompress the gzipped body")
    return unpacked
