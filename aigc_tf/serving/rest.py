"""TF Serving's REST API, from a request's bytes to an answer's bytes; http_server.py carries both.

The order of the checks is TF Serving's: path, JSON, model, signature, values. So a body that is not
JSON is answered 400 even if there is no such model.
"""

import functools
import json
import re
import time

from google.protobuf import json_format

from aigc_tf.serving import inference
from aigc_tf.serving import json_examples
from aigc_tf.serving import json_outputs
from aigc_tf.serving import json_parse
from aigc_tf.serving import json_tensors
from aigc_tf.serving import status

API = re.compile(rb"/v1/.*", re.IGNORECASE)
CALL = re.compile(
    rb"/v1/models/([^/:]+)(?:(?:/versions/([0-9]+))|(?:/labels/([^/:]+)))?"
    rb":(classify|regress|predict)", re.IGNORECASE)
QUESTION = re.compile(
    rb"/v1/models(?:/([^/:]+))?(?:(?:/versions/([0-9]+))|(?:/labels/([^/:]+)))?(?:/(metadata))?",
    re.IGNORECASE)
ORIGIN = re.compile(rb"https?://")
ENCODED = re.compile(rb"%([0-9a-fA-F]{2})")
MAX_VERSION = 2**63 - 1
PROMETHEUS_PATH = "/monitoring/prometheus/metrics"

JSON = (b"content-type", b"application/json")
CORS = [(b"access-control-allow-origin", b"*"), (b"access-control-allow-methods", b"POST, GET"),
        (b"access-control-allow-headers", b"Content-Type")]
# A demo page runs our own scripts alone, and shows what they make.
PAGE = [(b"content-security-policy",
         b"default-src 'self'; img-src 'self' data: blob:; media-src 'self' data: blob:; "
         b"object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"),
        (b"x-content-type-options", b"nosniff"), (b"referrer-policy", b"no-referrer")]
NOT_FOUND_PAGE = (b"<HTML><HEAD>\n<TITLE>404 Not Found</TITLE>\n</HEAD><BODY>\n"
                  b"<H1>Not Found</H1>\n</BODY></HTML>\n")


class Rest:
  """Answers requests; any number of threads may ask at once.

  manager: manager.Manager.  runner: runner.Runner.  monitoring: monitoring.Monitoring.
  timeout_ms: int, limit of a run, 0 for none.  enable_cors: whether pages of other sites may ask.
  monitoring_path: where the metrics are, None for nowhere.  demo: function (method, path) ->
  (status, content type, bytes) or None, asked for paths outside of /v1/.
  """

  def __init__(self, manager, runner, monitoring, timeout_ms=30000, enable_cors=False,
               monitoring_path=None, demo=None):
    self._manager, self._runner, self._monitoring = manager, runner, monitoring
    self._timeout_ms = timeout_ms if timeout_ms and timeout_ms > 0 else None
    self._enable_cors = enable_cors
    self._monitoring_path = monitoring_path and monitoring_path.encode()
    self._demo = demo
    json_parse.parse(b"{}")  # the package for it is here, or says what to install

  def handle(self, method, raw_path, headers, body):
    """Answers one request; never raises.

    method: str.  raw_path: bytes, percent-encoded, without a query, which means nothing here.
    headers: {lower-case bytes: bytes}.  body: bytes, not compressed.

    Returns: (int status, list of (bytes, bytes) headers, bytes body).
    """
    try:
      if self._monitoring_path and raw_path == self._monitoring_path:
        return 200, [(b"content-type", b"text/plain")], self._monitoring.text().encode()
      if not API.fullmatch(raw_path):
        return self._page(method, raw_path)
      return self._answer(method, raw_path, headers, body)
    except Exception as error:  # of the demo page, or our own: no client sees a traceback
      return failure(error)

  def _page(self, method, raw_path):
    path = raw_path.decode("utf-8", "replace")
    page = self._demo and self._demo("GET" if method == "HEAD" else method, path)
    if not page:
      return 404, [(b"content-type", b"text/html")], NOT_FOUND_PAGE
    code, content_type, body = page
    return code, [(b"content-type", content_type.encode()), *PAGE], body

  def _answer(self, method, raw_path, headers, body):
    start = time.perf_counter()
    call = _Call()
    try:
      if method == "OPTIONS":
        return self._preflight(headers)
      code, answer = status.OK, self._result(call, method, raw_path, body)
    except Exception as error:
      error = status.from_exception(error)
      code, answer = error.code, json_outputs.error(error.message)
    model = call.model.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    if code == status.OK:
      self._monitoring.latency(model, call.verb, "REST", (time.perf_counter() - start) * 1e6)
    self._monitoring.request(model, status.NAMES.get(code, "UNKNOWN"))
    return status.HTTP.get(code, 500), [JSON, *self._cors()], answer

  def _cors(self):
    return CORS if self._enable_cors else []

  def _preflight(self, headers):
    allowed = ORIGIN.search(headers.get(b"origin", b""))
    code = status.OK if allowed else status.FAILED_PRECONDITION
    self._monitoring.request("", status.NAMES[code])
    return status.HTTP[code], list(self._cors()), b""

  # --- what is asked for

  def _result(self, call, method, raw_path, body):
    """Returns: bytes.  Raises: ServingError."""
    match = {"POST": CALL, "GET": QUESTION}.get(method, _NOTHING).fullmatch(raw_path)
    if match:
      call.read(match)
    if match and method == "GET":
      return self._metadata(call) if match[4] == b"metadata" else self._status(call)
    if call.verb not in ("predict", "classify", "regress"):
      path = raw_path.decode("utf-8", "surrogateescape")
      raise _invalid(f"Malformed request: {method} {path}")
    value = json_tensors.document(body)
    name = json_tensors.signature_name(value)
    if call.verb == "predict":
      return self._predict(call, value, name)
    function, writer = _ON_EXAMPLES[call.verb]
    examples = json_examples.examples(value)
    with self._servable(call) as servable:
      results = function(self._runner, servable, name, examples, timeout_ms=self._timeout_ms,
                         monitoring=self._monitoring)
    return writer(results)

  def _servable(self, call):
    return self._manager.servable(call.model, version=call.version, label=call.label)

  def _predict(self, call, value, name):
    with self._servable(call) as servable:
      key = name or inference.DEFAULT_SIGNATURE
      signature = servable.signatures.get(key)
      if signature is None:
        raise _invalid(f'Serving signature name: "{key}" not found in signature def')
      types = {alias: info.dtype for alias, info in signature.inputs.items()}
      is_row, arrays = json_tensors.inputs(value, types, name)
      outputs = inference.predict(self._runner, servable, key, arrays,
                                  timeout_ms=self._timeout_ms, monitoring=self._monitoring)
    return json_outputs.predictions(is_row, outputs)

  def _status(self, call):
    _check_named(call)
    states = self._manager.versions(call.model, call.version)
    return _json_text({"model_version_status": [
        {"version": str(state.version), "state": state.state,
         "status": {"error_code": status.NAMES.get(state.error_code, str(state.error_code)),
                    "error_message": state.error_message}} for state in states]})

  def _metadata(self, call):
    _check_named(call)
    with self._servable(call) as servable:
      signatures = {key: json_format.MessageToDict(
          signature, always_print_fields_with_no_presence=True, preserving_proto_field_name=True)
          for key, signature in servable.signatures.items()}
      spec = {"name": servable.name, "signature_name": "", "version": str(servable.version)}
    return _json_text({"model_spec": spec,
                       "metadata": {"signature_def": {"signature_def": signatures}}})


class _Call:
  """What a path says.  model: str.  version: int or None.  label: str or None.  verb: str or ""."""

  def __init__(self):
    self.model, self.version, self.label, self.verb = "", None, None, ""

  def read(self, match):
    model, version, label, verb = match.groups()
    self.model = _decoded(model or b"")
    self.verb = verb.decode() if match.re is CALL else ""
    if version is not None:
      digits = version.lstrip(b"0")
      if len(digits) > len(str(MAX_VERSION)) or int(digits or 0) > MAX_VERSION:
        raise _invalid(f"Failed to convert version: {version.decode()} to numeric.")
      self.version = int(digits or 0)
    if label is not None:
      self.label = _decoded(label)


def failure(error):
  """What a client is told of an exception.  Returns: as Rest.handle."""
  error = status.from_exception(error)
  return status.HTTP.get(error.code, 500), [JSON], json_outputs.error(error.message)


def _invalid(message):
  return status.ServingError(status.INVALID_ARGUMENT, message)


def _check_named(call):
  if not call.model:
    raise _invalid("Missing model name in request.")


def _decoded(part):
  """Returns: str, percent-decoded; what is no code stays as it is."""
  raw = ENCODED.sub(lambda match: bytes([int(match[1], 16)]), part)
  return raw.decode("utf-8", "surrogateescape")


def _json_text(value):
  text = json.dumps(value, indent=1, ensure_ascii=False) + "\n"
  return text.encode("utf-8", "surrogateescape")


_NOTHING = re.compile(rb"(?!)")
_ON_EXAMPLES = {"classify": (functools.partial(inference.classify, errors="surrogateescape"),
                             json_outputs.classifications),
                "regress": (inference.regress, json_outputs.regressions)}
