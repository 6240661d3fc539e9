"""generate --url: the files of a served model are those of the model itself."""

import io
import pathlib
import subprocess
import sys
import wave as wave_files

import keras
import numpy as np
from PIL import Image
import pytest
import tensorflow as tf

from aigc_tf import generate
from aigc_tf import recipe
from aigc_tf import runs
from aigc_tf.errors import UserError
from aigc_tf.generation import remote
from aigc_tf.generation import sentences
from aigc_tf.serving import savedmodel
from tests import serve_models
from tests import serve_running

CONDITIONAL = {"modality": "images", "size": 28, "channels": 1, "num_classes": 10}
ROOT = pathlib.Path(__file__).parent.parent
RATE_HZ = 8000
LIMIT = 12  # characters


class Voice(keras.Model):
  """Speaks a text as that many hundredths of a second of a level that is its length."""

  def endpoints(self):
    def speak(text, label):
      count = tf.strings.length(text, "UTF8_CHAR")
      tf.debugging.Assert(tf.reduce_all(count <= LIMIT), [
          f"text: too long: this voice speaks at most {LIMIT} characters at once"])

      def row(each):
        level = tf.cast(each[0] + each[1], tf.float32) / 100
        return tf.audio.encode_wav(tf.fill([each[0] * RATE_HZ // 100, 1], level), RATE_HZ)
      waves = tf.map_fn(row, (count, label), fn_output_signature=tf.TensorSpec([], tf.string))
      return {"audio_bytes": waves, "num_samples": count * RATE_HZ // 100}

    def reads(text):
      return {"language": tf.fill(tf.shape(text), "de"),
              "symbols": tf.fill(tf.shape(text), "characters")}
    text = {"text": tf.TensorSpec([None], tf.string)}
    return {"serving_default": (speak, {**text, "label": tf.TensorSpec([None], tf.int32)}),
            "reads": (reads, text)}


class Mute(Voice):
  """An export that does not say what it reads."""

  def endpoints(self):
    return {"serving_default": super().endpoints()["serving_default"]}


class Writer(keras.Model):
  """Goes on from a prompt with its seed and its temperature; a line break ends the prompt."""

  def endpoints(self):
    prompt = {"prompt": tf.TensorSpec([None], tf.string), "seed": tf.TensorSpec([None], tf.int64)}
    knobs = {"temperature": tf.TensorSpec([None], tf.float32),
             "top_k": tf.TensorSpec([None], tf.int32)}

    def write(prompt, seed, temperature=None, top_k=None):
      end = "" if temperature is None else tf.strings.as_string(temperature, precision=1)
      least = "" if top_k is None else tf.strings.as_string(top_k)
      return {"text": prompt + "\n" + tf.strings.as_string(seed) + ". " + end + ". " + least}
    return {"serving_default": (write, prompt), "generate": (write, {**prompt, **knobs})}


class Judge(keras.Model):
  """Says whether a text is short."""

  def endpoints(self):
    def judge(text):
      share = 1 / tf.cast(1 + tf.strings.length(text), tf.float32)
      return {"label": tf.where(share > 0.5, "short", "long"),
              "probability": tf.stack([share, 1 - share], axis=1)}
    return {"serving_default": (judge, {"text": tf.TensorSpec([None], tf.string)})}


@pytest.fixture(scope="module")
def painter(tmp_path_factory):
  """The folder of a conditional DCGAN, and the model."""
  config = recipe.load("dcgan_mnist_conditional:tiny")
  folder = tmp_path_factory.mktemp("painter")
  runs.write_record(folder, {"name": "dcgan_mnist_conditional:tiny",
                             "recipe": recipe.to_json(config), "spec": CONDITIONAL})
  model = runs.build_model(config, CONDITIONAL)
  model.save_weights(folder / runs.WEIGHTS)
  return folder, model


@pytest.fixture(scope="module")
def server(tmp_path_factory, painter):
  root = tmp_path_factory.mktemp("exports")
  models = {"painter": painter[1], "voice": Voice(), "mute": Mute(), "writer": Writer(),
            "judge": Judge()}
  for name, model in models.items():
    model.built = True
    savedmodel.export(model, root, name)
  serve_models.make_half_plus_two(root)
  with serve_running.running(serve_running.configs(root, *models, "half_plus_two")) as running:
    running.root = root
    yield running


def main(*arguments):
  return generate.main(["generate", *arguments])


@pytest.mark.parametrize("knobs", [["--label=3"], ["--label=7", "--truncation=0.5", "--seed=-40"]])
def test_images_are_those_of_the_model(server, painter, tmp_path, knobs):
  numbers = ["--num=35"]  # more than a batch
  for name, where in (("near", [f"--model={painter[0]}"]),
                      ("far", [f"--url={server.rest}", "--model=painter"])):
    assert main(*where, f"--out={tmp_path / name}", *numbers, *knobs) == 0
  names = sorted(path.name for path in (tmp_path / "near").iterdir())
  assert len(names) == 36 and names == sorted(p.name for p in (tmp_path / "far").iterdir())
  same = 0
  for name in names:
    near, far = ((tmp_path / side / name).read_bytes() for side in ("near", "far"))
    pixels = [np.asarray(Image.open(io.BytesIO(data))).astype(int) for data in (near, far)]
    assert np.abs(pixels[0] - pixels[1]).max() <= 1, name  # a rounded pixel, between two programs
    same += near == far
  assert same >= 30


def test_grpc_gives_the_same_bytes(server, tmp_path):
  for name, url in (("rest", f"{server.rest}/v1/models/painter"), ("grpc", server.grpc)):
    model = [] if name == "rest" else ["--model=painter"]  # REST's URL can name it
    assert main(f"--url={url}", *model, f"--out={tmp_path / name}", "--num=3", "--label=1") == 0
  for path in (tmp_path / "rest").iterdir():
    assert path.read_bytes() == (tmp_path / "grpc" / path.name).read_bytes()


def test_texts_are_printed(server, capsys):
  assert main(f"--url={server.rest}", "--model=writer", "--prompt=诗", "--seed=5", "--num=2") == 0
  assert capsys.readouterr().out == f"诗\n5. . \n{'-' * 40}\n诗\n6. . \n"


def test_a_knob_leaves_the_others_at_rest(server, capsys):
  assert main(f"--url={server.rest}", "--model=writer", "--temperature=0.5") == 0
  assert capsys.readouterr().out == "\n0. 0.5. 0\n"


def test_texts_are_written_and_stopped(server, tmp_path):
  prompts = tmp_path / "prompts.txt"
  prompts.write_text("a.b\nc\n")
  assert main(f"--url={server.rest}", "--model=writer", f"--prompt_file={prompts}", "--stop=.",
              f"--out={tmp_path / 'out'}") == 0
  texts = [(tmp_path / "out" / f"0000{i}.txt").read_text() for i in range(2)]
  assert texts == ["a.b\n0\n", "c\n1\n"]


@pytest.mark.parametrize("prompt,text,stop,expected", [
    ("p", "p\nline\nline", ["\n"], "p\nline"), ("p", "pline\nline", ["\n"], "pline"),
    ("two\nlines", "two\nlines\nmore", ["\n"], "two\nlines"), ("", "\nx", ["\n"], ""),
    ("p", "p abc", ["c", "b"], "p a"), ("p", "p abc", ["z"], "p abc")])
def test_stop_strings_end_what_follows_the_prompt(prompt, text, stop, expected):
  assert remote._stopped(prompt, text, stop) == expected


def test_tensorflow_is_not_needed(server, tmp_path):
  program = ("import sys; from aigc_tf import generate; "
             "assert not generate.main(sys.argv) and 'tensorflow' not in sys.modules")
  subprocess.run([sys.executable, "-c", program, f"--url={server.rest}", "--model=painter",
                  "--label=1", f"--out={tmp_path}"], cwd=ROOT, check=True)
  assert (tmp_path / "grid.png").is_file()


def test_labels_and_how_sure(server, capsys):
  assert main(f"--url={server.rest}", "--model=judge", "--prompt=four") == 0
  assert capsys.readouterr().out == "long 0.800\n"


def read(path):
  with wave_files.open(str(path)) as file:
    return file.getframerate(), np.frombuffer(file.readframes(file.getnframes()), "<i2")


def test_speech_sentence_by_sentence(server, tmp_path):
  assert main(f"--url={server.rest}", "--model=voice", "--prompt=one two. three, four five.",
              "--label=2", f"--out={tmp_path}") == 0
  rate, levels = read(tmp_path / "00000.wav")
  parts = ["one two.", "three,", "four five."]  # the second sentence is too long for this voice
  pause = np.zeros(round(sentences.PAUSE_SECONDS * RATE_HZ))
  expected = [part for text in parts for part in (
      np.full(len(text) * RATE_HZ // 100, (len(text) + 2) / 100), pause)][:-1]
  assert rate == RATE_HZ
  np.testing.assert_allclose(levels / 32767, np.concatenate(expected), atol=2e-4)


def test_the_guide_of_a_voice_writes_its_text_out(server):
  guide = (server.root / "voice" / "CLIENT.md").read_text()
  _, mark, block = guide.rpartition("## Texts")
  program = block.partition("```python\n")[2].partition("```")[0]
  found = {}
  exec(program.replace("http://localhost:8501", server.rest), found)
  assert mark and found["text"] == "hello"
  assert found["outputs"]["num_samples"].tolist() == [len("hello") * RATE_HZ // 100]
  assert "## Texts" not in (server.root / "writer" / "CLIENT.md").read_text()


@pytest.mark.parametrize("arguments,message", [
    (["--model=painter", "--out=x"], "--label is missing: painter on this server needs one"),
    (["--model=painter", "--label=1"], "--out is missing"),
    (["--model=painter", "--label=77", "--out=x"], "label: must be 0 to 9"),
    (["--model=painter", "--label=1", "--out=x", "--top_k=3"],
     "--top_k does not go with painter; it takes --label, --truncation"),
    (["--model=painter", "--label=1", "--out=x", "--prompt=a"], "--prompt is for text models"),
    (["--model=painter", "--out=x", "--mode=interpolate"], "needs the model itself"),
    (["--model=judge"], "--prompt is missing: judge works on a text of yours"),
    (["--model=judge", "--prompt=a", "--stop=b"], "--stop is for models that write on"),
    (["--model=voice", "--out=x"], "--prompt is missing"),
    (["--model=mute", "--out=x", "--prompt=a"], "does not say which letters it reads"),
    (["--model=voice", "--out=x", "--prompt=a", "--label=0", "--num=2"], "in one way only"),
    (["--model=voice", "--out=x", "--prompt=a", "--speaker=eve"], "give its number, --label=0"),
    (["--model=voice", "--out=x", "--prompt=a", "--vocoder=v"], "the export has its own"),
    (["--model=nobody", "--out=x"], "Could not find any versions|Servable not found"),
    (["--model=half_plus_two"], "half_plus_two makes no images, .* it answers with y"),
    (["--out=x"], "say which model of http://127.0.0.1")])
def test_mistakes_are_one_line(server, arguments, message, tmp_path, monkeypatch, capsys):
  monkeypatch.chdir(tmp_path)
  assert main(f"--url={server.rest}", *arguments) == 1
  said = capsys.readouterr().err
  assert said.count("\n") == 1
  with pytest.raises(UserError, match=message):
    raise UserError(said)
