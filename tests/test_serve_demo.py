"""The demo page: what it may load, and what a browser makes of it with real models behind."""

import json
import re
import types
import urllib.request

import pytest
import tensorflow as tf

from aigc_tf.serving import demo
from tests import browser
from tests import serve_running

SEED = tf.TensorSpec([None], tf.int64)
EVIL = "<img src=x onerror='document.title=\"evil\"'> & </script>\n诗"
RATE_HZ = 8000
LIMIT = tf.constant(256, tf.int64)


class Pictures(tf.Module):
  """Squares of one grey a row, and pictures turned upside down."""

  @tf.function(input_signature=[SEED, tf.TensorSpec([None], tf.float32)])
  def paint(self, seed, truncation):
    with tf.control_dependencies([tf.debugging.assert_less(seed, LIMIT, "seed: too large")]):
      grey = tf.cast(seed, tf.float32) * truncation
    image = tf.tile(tf.cast(grey, tf.uint8)[:, None, None, None], [1, 6, 6, 1])
    return self._outputs(image)

  @tf.function(input_signature=[tf.TensorSpec([None, 28, 28, 1], tf.uint8)])
  def turn(self, image):
    return self._outputs(image[:, ::-1])

  @tf.function(input_signature=[tf.TensorSpec([None, 3], tf.float32)])
  def measure(self, latent):
    return {"total": tf.math.log(tf.reduce_sum(latent, axis=1))}

  def _outputs(self, image):
    return {"image": image, "image_bytes": tf.map_fn(
        tf.io.encode_png, image, fn_output_signature=tf.TensorSpec([], tf.string))}


class Voice(tf.Module):
  """A tenth of a second of noise for each byte of a text."""

  @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
  def speak(self, text):
    samples = tf.strings.length(text) * (RATE_HZ // 10)

    def row(count):
      return tf.audio.encode_wav(tf.random.stateless_uniform([count, 1], [1, 2]), RATE_HZ)
    return {"audio_bytes": tf.map_fn(row, samples, fn_output_signature=tf.string),
            "num_samples": samples}


class Reader(tf.Module):
  """Says a text again, and judges it."""

  @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
  def judge(self, text):
    rows = tf.size(text)
    return {"label": tf.fill([rows], "good"), "probability": tf.tile([[0.25, 0.75]], [rows, 1])}

  @tf.function(input_signature=[tf.TensorSpec([None], tf.string), SEED])
  def repeat(self, prompt, seed):
    return {"text": prompt + " " + tf.strings.as_string(seed)}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
  root = tmp_path_factory.mktemp("models")
  pictures, voice, reader = Pictures(), Voice(), Reader()
  for name, module, signatures in (
      ("pictures", pictures, {"serving_default": pictures.paint, "reconstruct": pictures.turn,
                              "measure": pictures.measure}),
      ("voice", voice, {"serving_default": voice.speak}),
      ("reader", reader, {"serving_default": reader.judge, "generate": reader.repeat})):
    tf.saved_model.save(module, str(root / name / "1"), signatures)
  configs = serve_running.configs(root, "pictures", "reader", "voice")
  with serve_running.running(configs) as running:
    yield running


# --- files


def pages(*names):
  return demo.pages(types.SimpleNamespace(model_names=lambda: names))


def test_only_the_files_of_the_page_are_given():
  page = pages("b", "a")
  assert json.loads(page("GET", "/demo/models")[2]) == {"models": ["a", "b"]}
  assert page("GET", "/")[:2] == (200, "text/html; charset=utf-8")
  assert page("GET", "/?x#y")[0] == 200
  for path in ("/demo", "/demo/", "/demo/../demo.py", "/demo/demo.py", "/demo/index.html", "",
               "/demo/..%2fdemo.py", "/v1", "/index.html", "/demo/\0", "//demo/page.js"):
    assert page("GET", path) is None, path
  assert page("POST", "/") is None and page("DELETE", "/demo/page.js") is None


def test_every_file_that_is_named_is_there():
  page = pages()
  text = page("GET", "/")[2].decode()
  names = re.findall(r'(?:src|href)="(demo/[^"]+)"', text)
  assert "demo/page.js" in names and "demo/page.css" in names
  scripts = [name for name in names if name.endswith(".js")]
  while scripts:
    name = scripts.pop()
    code, kind, body = page("GET", f"/{name}")
    assert (code, kind) == (200, "text/javascript; charset=utf-8")
    scripts += [f"demo/{found}" for found in re.findall(r'from "\./([^"]+)"', body.decode())]


def test_no_other_host_and_no_markup_from_text():
  for path in demo.FOLDER.iterdir():
    text = path.read_text(encoding="utf-8")
    found = re.search(r"https?://|//[a-z]+\.[a-z]|<script(?! type=\"module\" src=)|\bstyle="
                      r"|\son\w+=\"|\b(innerHTML|outerHTML|insertAdjacentHTML|eval)\b", text)
    assert not found, path.name


def test_served_with_a_policy(server):
  with urllib.request.urlopen(server.rest + "/", timeout=30) as answer:
    assert "default-src 'self'" in answer.headers["Content-Security-Policy"]
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert "default-src 'none'" in answer.read().decode()
  with urllib.request.urlopen(server.rest + "/demo/models", timeout=30) as answer:
    assert json.load(answer) == {"models": ["pictures", "reader", "voice"]}


# --- in a browser


@pytest.fixture(scope="module")
def page(server):
  if not browser.find():
    pytest.skip("needs a Chromium on the PATH")
  with browser.page() as one:
    one.resize(1200, 800)
    one.open(server.rest + "/")
    one.wait_for("document.querySelectorAll('#fields .field').length")
    yield one
    assert not one.problems


def choose(page, model, signature=None):
  page.run(f"[...document.querySelectorAll('#models button')].find("
           f"(each) => each.textContent === '{model}').click()")
  page.wait_for(f"document.getElementById('model-name').textContent === '{model}'"
                " && !document.getElementById('run').disabled")
  if signature:
    page.run(f"document.querySelector('#signatures [title={signature}]').click()")


def fill(page, name, value):
  page.run(f"document.getElementById('input-{name}').value = {json.dumps(value)}")


def press(page):
  """Runs the model.  Returns: what the status says."""
  page.run("document.getElementById('run').click()")
  page.wait_for("!document.getElementById('run').disabled")
  return page.run("document.getElementById('status').textContent")


def test_pictures(page, tmp_path):
  choose(page, "pictures")
  fill(page, "seed", 200)
  fill(page, "samples", 3)
  assert press(page).startswith("3 samples in ")
  page.wait_for("[...document.images].every((each) => each.complete)")
  sizes = page.run("[...document.images].map((each) => [each.naturalWidth, each.naturalHeight])")
  assert sizes == [[6, 6]] * 3
  greys = page.run("""[...document.images].map((each) => {
      const pen = document.createElement("canvas").getContext("2d");
      pen.drawImage(each, 0, 0);
      return pen.getImageData(2, 2, 1, 1).data[0];
    })""")
  assert greys == [200, 201, 202]
  request = page.run("document.getElementById('request').textContent")
  assert '"seed":[200,201,202]' in request and request.startswith("curl -d '{")
  page.screenshot(tmp_path / "page.png")
  assert (tmp_path / "page.png").stat().st_size > 10_000


def test_a_drawing_goes_to_the_model_and_comes_back(page):
  choose(page, "pictures", "reconstruct")
  page.run("""(() => {
      const pen = document.querySelector("canvas").getContext("2d");
      pen.fillStyle = "white";
      pen.fillRect(0, 0, 28, 7);
    })()""")
  assert press(page).startswith("1 sample in ")
  page.wait_for("document.images.length === 1 && document.images[0].complete")
  rows = page.run("""(() => {
      const pen = document.createElement("canvas").getContext("2d");
      pen.drawImage(document.images[0], 0, 0);
      return [0, 20, 21, 27].map((y) => pen.getImageData(14, y, 1, 1).data[0]);
    })()""")
  assert rows == [0, 0, 255, 255]


def test_a_picture_from_a_file_is_made_to_fit(page):
  choose(page, "pictures", "reconstruct")
  page.run("""(async () => {
      const large = new OffscreenCanvas(100, 50);
      const pen = large.getContext("2d");
      pen.fillStyle = "rgb(200, 200, 200)";
      pen.fillRect(0, 0, 100, 50);
      const given = new DataTransfer();
      given.items.add(new File([await large.convertToBlob()], "grey.png", {type: "image/png"}));
      const input = document.querySelector("input[type=file]");
      input.files = given.files;
      input.dispatchEvent(new Event("change"));
    })()""")
  page.wait_for("document.querySelector('canvas').getContext('2d')"
                ".getImageData(0, 0, 1, 1).data[0] === 200")
  assert press(page).startswith("1 sample in ")
  assert '[[[[200],[200]' in page.run("document.getElementById('request').textContent")


def test_sliders_and_numbers_that_json_lacks(page):
  choose(page, "pictures", "measure")
  assert page.run("document.querySelectorAll('.sliders input').length") == 3
  press(page)
  assert "-Infinity" in page.run("document.getElementById('results').textContent")


def test_sounds_can_be_played(page):
  choose(page, "voice")
  assert page.run("document.querySelector('#signatures button').textContent") == "Read aloud"
  fill(page, "text", "hello")
  press(page)
  page.wait_for("document.querySelector('audio')?.readyState >= 1")
  assert page.run("document.querySelector('audio').duration") == pytest.approx(0.5, abs=0.01)


def test_texts_stay_texts(page):
  choose(page, "reader", "generate")
  fill(page, "prompt", EVIL)
  fill(page, "samples", 2)
  press(page)
  texts = page.run("[...document.querySelectorAll('blockquote')].map((each) => each.textContent)")
  assert texts == [f"{EVIL} 0", f"{EVIL} 1"]
  assert page.run("document.title") == "aigc_tf" and page.run("document.images.length") == 0


def test_labels_and_how_sure_the_model_is(page):
  choose(page, "reader")
  press(page)
  assert page.run("document.querySelector('.judged').textContent") == "good75.0 %"
  assert page.run("[...document.querySelectorAll('meter')].map((each) => each.value)") == [
      0.25, 0.75]


def test_chinese_and_what_was_typed_stays(page):
  choose(page, "reader", "generate")
  fill(page, "prompt", "静夜思")
  page.run("document.getElementById('language').click()")
  assert page.run("document.documentElement.lang") == "zh"
  assert page.run("document.getElementById('run').textContent") == "运行"
  assert page.run("document.getElementById('input-prompt').value") == "静夜思"
  page.run("document.getElementById('language').click()")
  assert page.run("document.getElementById('run').textContent") == "Run"


def test_both_languages_have_every_word(page):
  keys = page.run("""import("/demo/words.js").then((words) => {
      const paths = (value) => Object.entries(value).flatMap(([key, inner]) =>
        typeof inner === "object" ? paths(inner).map((each) => key + "." + each) : [key]);
      return Object.values(words.WORDS).map((each) => paths(each).sort());
    })""")
  assert len(keys) == 2 and keys[0] == keys[1] and len(keys[0]) > 50


@pytest.mark.parametrize("width", [320, 390, 768, 1200])
def test_nothing_is_wider_than_the_screen(page, width):
  page.resize(width, 800)
  for model, signature in (("pictures", "serving_default"), ("pictures", "reconstruct"),
                           ("reader", "generate"), ("voice", "serving_default")):
    choose(page, model, signature)
    if model != "voice":
      press(page)
    assert page.run("document.documentElement.scrollWidth") <= width, (model, signature)
  page.resize(1200, 800)


def test_the_servers_words_about_a_mistake(page):
  choose(page, "pictures")
  fill(page, "seed", 300)
  press(page)
  said = page.run("document.querySelector('#status.error').textContent")
  assert said == "seed: too large" and page.run("document.images.length") == 0
  assert "status of 400" in page.problems.pop()  # the browser's own note
  fill(page, "seed", 0)
  assert press(page).startswith("16 samples")
