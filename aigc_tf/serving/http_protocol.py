"""One connection of the REST server: uvicorn's protocol, with limits to what a client may take.

Import this module only to serve: its packages come with the extra `serve`.
"""

import math

import httptools
from uvicorn.protocols.http import httptools_impl

MAX_HEADER_BYTES = 256 << 10  # trailers and what stands around chunks, too


class Protocol(httptools_impl.HttpToolsProtocol):
  """Ends a connection whose client is silent or sends what never becomes a request.

  An offer to upgrade (to h2c, as Java's client and `curl --http2` make it) is passed over, as HTTP
  allows.  is_lost: whether the client has gone.  patience_seconds: limit of sending a request's
  headers, and of taking nothing of an answer.
  """

  def __init__(self, patience_seconds, **keywords):
    super().__init__(**keywords)
    self.is_lost = False
    self._patience_seconds = patience_seconds
    self._overhead_bytes = 0  # of what came last and is no body
    self._header_timer = self._write_timer = None

  def connection_made(self, transport):
    super().connection_made(transport)
    self._await_headers()

  def _await_headers(self):
    self._cancel("_header_timer")
    self._header_timer = self.loop.call_later(self._patience_seconds, self.transport.abort)

  def _cancel(self, name):
    timer = getattr(self, name)
    if timer is not None:
      timer.cancel()
      setattr(self, name, None)

  def data_received(self, data):
    self._unset_keepalive_if_required()
    self._overhead_bytes += len(data)
    try:
      self._feed(data)
    except httptools.HttpParserError:
      self.send_400_response("Invalid HTTP request received.")
      return
    if self._overhead_bytes > MAX_HEADER_BYTES:
      self.transport.abort()
    elif self._header_timer is None and self.cycle.response_complete:
      self._await_headers()  # what came is not even the start of a request

  def _feed(self, data):
    data = memoryview(data)
    while data:
      try:
        return self.parser.feed_data(data)
      except httptools.HttpParserUpgrade as upgrade:  # the parser stops behind the headers
        if self.parser.get_method() == b"CONNECT":
          raise httptools.HttpParserError("there are no tunnels here") from upgrade
        self.parser.feed_data(self._plain_head())
        data = data[upgrade.args[0]:]

  def _plain_head(self):
    """Returns: bytes, the request line and the headers just read, without the upgrade."""
    version = self.parser.get_http_version().encode()
    head = [self.parser.get_method() + b" " + self.url + b" HTTP/" + version]
    head += [name + b": " + value for name, value in self.headers if name != b"upgrade"]
    return b"\r\n".join(head) + b"\r\n\r\n"

  def on_message_begin(self):
    self._overhead_bytes = 0
    self._await_headers()
    super().on_message_begin()
    self.scope["extensions"] = {"connection": self}

  def on_header(self, name, value):
    if self._header_timer is not None:  # else a trailer, which means nothing
      super().on_header(name, value)

  def on_headers_complete(self):
    if not self.parser.should_upgrade():
      self._cancel("_header_timer")
      super().on_headers_complete()

  def on_body(self, body):
    self._overhead_bytes = max(self._overhead_bytes - 8 * len(body), 0)  # chunks of one byte
    super().on_body(body)

  def on_message_complete(self):
    if not self.parser.should_upgrade():
      super().on_message_complete()

  def pause_writing(self):
    super().pause_writing()
    self._await_reader(math.inf)

  def _await_reader(self, bytes_before):
    bytes_left = self.transport.get_write_buffer_size()
    if bytes_left >= bytes_before:
      self.transport.abort()
    else:
      self._write_timer = self.loop.call_later(
          self._patience_seconds, self._await_reader, bytes_left)

  def resume_writing(self):
    self._cancel("_write_timer")
    super().resume_writing()

  def connection_lost(self, exc):
    self.is_lost = True
    self._cancel("_header_timer")
    self._cancel("_write_timer")
    super().connection_lost(exc)
