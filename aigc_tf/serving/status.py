"""What went wrong with a request: a canonical code and a text, the same for REST and gRPC.

The codes are those of gRPC and of TensorFlow's own errors; REST shows them as HTTP statuses by the
table TF Serving uses.
"""

from absl import logging
import tensorflow as tf

from aigc_tf.errors import UserError

OK = 0
CANCELLED = 1
UNKNOWN = 2
INVALID_ARGUMENT = 3
DEADLINE_EXCEEDED = 4
NOT_FOUND = 5
ALREADY_EXISTS = 6
PERMISSION_DENIED = 7
RESOURCE_EXHAUSTED = 8
FAILED_PRECONDITION = 9
ABORTED = 10
OUT_OF_RANGE = 11
UNIMPLEMENTED = 12
INTERNAL = 13
UNAVAILABLE = 14
DATA_LOSS = 15
UNAUTHENTICATED = 16

NAMES = {
    OK: "OK", CANCELLED: "CANCELLED", UNKNOWN: "UNKNOWN", INVALID_ARGUMENT: "INVALID_ARGUMENT",
    DEADLINE_EXCEEDED: "DEADLINE_EXCEEDED", NOT_FOUND: "NOT_FOUND",
    ALREADY_EXISTS: "ALREADY_EXISTS", PERMISSION_DENIED: "PERMISSION_DENIED",
    RESOURCE_EXHAUSTED: "RESOURCE_EXHAUSTED", FAILED_PRECONDITION: "FAILED_PRECONDITION",
    ABORTED: "ABORTED", OUT_OF_RANGE: "OUT_OF_RANGE", UNIMPLEMENTED: "UNIMPLEMENTED",
    INTERNAL: "INTERNAL", UNAVAILABLE: "UNAVAILABLE", DATA_LOSS: "DATA_LOSS",
    UNAUTHENTICATED: "UNAUTHENTICATED",
}

HTTP = {
    OK: 200, CANCELLED: 499, UNKNOWN: 500, INVALID_ARGUMENT: 400, DEADLINE_EXCEEDED: 504,
    NOT_FOUND: 404, ALREADY_EXISTS: 409, PERMISSION_DENIED: 403, RESOURCE_EXHAUSTED: 429,
    FAILED_PRECONDITION: 400, ABORTED: 409, OUT_OF_RANGE: 400, UNIMPLEMENTED: 501, INTERNAL: 500,
    UNAVAILABLE: 503, DATA_LOSS: 500, UNAUTHENTICATED: 401,
}

MESSAGE_LIMIT_BYTES = 1024  # what fits into a gRPC trailer beside the rest


class ServingError(Exception):
  """A request, or a version of a model, that failed.

  code: int, one of the codes above.  message: str, for the client: no paths of ours, no traceback.
  """

  def __init__(self, code, message):
    super().__init__(message)
    self.code = code
    self.message = message


def from_exception(error):
  """Any exception as a ServingError; what nobody foresaw is logged and told in three words.

  error: Exception.  Returns: ServingError; TensorFlow's own errors keep their code and message.
  """
  if isinstance(error, ServingError):
    return error
  if isinstance(error, tf.errors.OpError):
    return ServingError(error.error_code, text(error.message))
  if isinstance(error, UserError):
    return ServingError(FAILED_PRECONDITION, str(error))
  if isinstance(error, MemoryError):
    return ServingError(RESOURCE_EXHAUSTED, "Out of memory")
  logging.error("An unforeseen error: %s", error, exc_info=error)
  return ServingError(INTERNAL, f"Internal error: {type(error).__name__}")


def text(message):
  """message: str or bytes, of a TensorFlow error.  Returns: str that UTF-8 can encode."""
  if isinstance(message, str):
    message = message.encode("utf-8", "surrogateescape")
  return message.decode("utf-8", "replace").removeprefix("Graph execution error:\n\n")


def truncated(message):
  """message: str.  Returns: str, its first 1024 bytes and "...TRUNCATED" if it is longer."""
  encoded = message.encode("utf-8", "replace")
  if len(encoded) <= MESSAGE_LIMIT_BYTES:
    return message
  return encoded[:MESSAGE_LIMIT_BYTES].decode("utf-8", "ignore") + "...TRUNCATED"
