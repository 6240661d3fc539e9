"""Generates with a trained model: images, texts or speech, one file a sample, in order.

  python -m aigc_tf.generate --model=dcgan_mnist --out=out --num=64
  python -m aigc_tf.generate --model=runs/dcgan_mnist --out=out --mode=interpolate
  python -m aigc_tf.generate --model=gpt_poetry --prompt='五绝：静夜思' --num=3
  python -m aigc_tf.generate --model=gpt_poetry --prompt_file=titles.txt --out=out
  python -m aigc_tf.generate --url=http://localhost:8501 --model=dcgan_mnist --out=out

Sample i is that of seed --seed + i, whatever the number of samples. Texts are printed as they
grow, and also written if --out is given. A classifier says the label of each prompt. A voice reads
the prompts aloud, long ones sentence by sentence. With --url a server makes the samples of an
exported model, by REST (http://) or gRPC (grpc://): the same files, texts when they are complete,
speech without the pictures. Modes:
  sample        images of consecutive seeds: 00000.png ... and grid.png; texts: 00000.txt ...;
                speech: 00000.wav ..., with its mel spectrogram and attention: 00000.png ...
  interpolate   a walk through the latents of --num seeds: walk.gif and strip.png
  reconstruct   held-out images beside their reconstructions (models that can): pairs.png;
                vocoders: held-out recordings made anew: 00000.wav ..., 00000_original.wav ...
"""

import dataclasses
import pathlib
import sys
from typing import Any

from absl import flags

from aigc_tf import command
from aigc_tf.errors import UserError

MODES = ("sample", "interpolate", "reconstruct")
MAX_SAMPLES = 100_000
REMOTE_SECONDS = 600  # for one batch; a server's own limit is shorter
# Flags that reach the model as they are, and only if they are given.
KNOBS = ("label", "truncation", "max_new_tokens", "temperature", "top_k", "top_p", "min_p",
         "repetition_penalty", "no_repeat_ngram", "beam_size", "length_penalty", "speaker")


@dataclasses.dataclass(frozen=True)
class Options:
  """num: samples.  seed: of the first.  out: existing folder, or None.  knobs: those given.

  prompts: list of str or None.  stop: strings that end a text.
  """
  num: int
  seed: int
  out: Any
  knobs: dict
  prompts: Any
  stop: tuple


def define(values):
  flags.DEFINE_string("model", None, "A published name or a run folder; with --url the name that "
                      "the server has for it.", flag_values=values)
  flags.DEFINE_string("url", None, "A server with the model: http://HOST:8501 or grpc://HOST:8500.",
                      flag_values=values)
  flags.DEFINE_string("out", None, "Folder for the files, created if absent.", flag_values=values)
  flags.DEFINE_integer("num", None, "How many samples: 16 images, 1 of other kinds.",
                       lower_bound=1, upper_bound=MAX_SAMPLES, flag_values=values)
  flags.DEFINE_integer("seed", 0, "Seed of the first sample.", lower_bound=-2**63,
                       upper_bound=2**63 - 1 - MAX_SAMPLES, flag_values=values)
  flags.DEFINE_enum("mode", "sample", MODES, "What to generate.", flag_values=values)
  flags.DEFINE_integer("label", None, "Class to generate (conditional models).",
                       flag_values=values)
  flags.DEFINE_float("truncation", None, "Shrinks the latents: plainer samples, less variety.",
                     lower_bound=0.0, upper_bound=1.0, flag_values=values)
  flags.DEFINE_string("speaker", None, "Who reads aloud (voices of several speakers).",
                      flag_values=values)
  flags.DEFINE_string("vocoder", None, "Makes a voice's waves: a published name or a run folder; "
                      "default: Griffin-Lim.", flag_values=values)
  _define_text(values)


def _define_text(values):
  def number(name, help_text, least, most=None, kind=flags.DEFINE_float):
    kind(name, None, help_text, lower_bound=least, upper_bound=most, flag_values=values)

  flags.DEFINE_string("prompt", None, "Text to go on from, to translate, to judge, to read aloud.",
                      flag_values=values)
  flags.DEFINE_string("prompt_file", None, "One prompt a line, one sample each.",
                      flag_values=values)
  flags.DEFINE_multi_string("stop", [], "A text ends before this; may be repeated.",
                            flag_values=values)
  number("max_new_tokens", "Tokens of a text at most.", 1, kind=flags.DEFINE_integer)
  number("temperature", "0 takes the likeliest token; above 1: more surprises.", 0.0)
  number("top_k", "Choose among the k likeliest tokens; 0: all.", 0, kind=flags.DEFINE_integer)
  number("top_p", "Choose among the likeliest tokens of this probability in all.", 0.0, 1.0)
  number("min_p", "Leave out tokens less likely than this share of the likeliest.", 0.0, 1.0)
  number("repetition_penalty", "Above 1: tokens that occurred become less likely.", 0.01)
  number("no_repeat_ngram", "No n tokens in a row occur twice; 0: they may.", 0,
         kind=flags.DEFINE_integer)
  number("beam_size", "Beams of a search for the likeliest text.", 1, kind=flags.DEFINE_integer)
  number("length_penalty", "Above 0: a beam search prefers longer texts.", 0.0)


def run(values):
  if values.url:
    return _run_remote(values)
  if not values.model:
    raise UserError("--model is missing (--help shows examples)")
  prompts = _prompts(values)
  command.import_tensorflow()
  import importlib

  from aigc_tf import runs
  a_run = runs.describe(values.model)
  kind = importlib.import_module(f"aigc_tf.generation.{a_run.spec['modality']}")
  model = runs.load_model(values.model)
  _check_mode(kind, model, a_run.config.model.name, values.mode)
  kind.check(model, a_run.config.model.name, values.mode, _knobs(values), prompts)
  if kind.NEEDS_OUT and not values.out:
    raise UserError("--out is missing (--help shows examples)")
  if values.vocoder:
    runs.attach_vocoder(model, values.vocoder)
  said = kind.MODES[values.mode](model, a_run.config, _options(values, prompts, kind.NUM))
  if said:
    print(said)
  return None


def _knobs(values):
  return {name: values[name].value for name in KNOBS if values[name].value is not None}


def _options(values, prompts, num):
  """num: samples, if no flag says how many."""
  num = len(prompts) if values.prompt_file else values.num or num
  return Options(num, values.seed, values.out and command.make_folder(values.out), _knobs(values),
                 prompts, tuple(values.stop))


def _run_remote(values):
  for flag in ("vocoder", "speaker"):
    if values[flag].value:
      raise UserError(f"--{flag} does not go with --url: " + (
          "give its number, --label=0" if flag == "speaker" else "the export has its own"))
  if values.mode != "sample":
    raise UserError(f"--mode={values.mode} needs the model itself: leave out --url")
  from aigc_tf.generation import remote
  from aigc_tf.serving import client
  with client.Client(values.url, REMOTE_SECONDS) as server:
    kind = remote.kind_of(server, values.model)
    if kind.needs_out and not values.out:
      raise UserError("--out is missing (--help shows examples)")
    said = kind.sample(_options(values, _prompts(values), kind.num))
  if said:
    print(said)


def _prompts(values):
  """List of str, or None.  Raises: UserError."""
  if values.prompt_file is None:
    return None if values.prompt is None else [_utf8(values.prompt)]
  if values.prompt is not None or values.num is not None:
    raise UserError("--prompt_file has one prompt a line, one sample each: leave out --prompt and "
                    "--num")
  try:
    lines = pathlib.Path(values.prompt_file).read_text(encoding="utf-8-sig").split("\n")
  except (OSError, UnicodeDecodeError) as error:
    raise UserError(f"--prompt_file={values.prompt_file} cannot be read as UTF-8: {error}"
                    ) from error
  prompts = [line for line in lines if line.strip()]
  if not prompts:
    raise UserError(f"--prompt_file={values.prompt_file} has no prompt in it")
  return prompts


def _utf8(prompt):
  try:
    prompt.encode()
  except UnicodeEncodeError as error:  # bytes of the command line that are no text
    raise UserError("--prompt is not valid UTF-8: type it in that encoding, or put it into a file "
                    "for --prompt_file") from error
  return prompt


def _check_mode(kind, model, name, mode):
  can = [m for m in kind.MODES if m != "sample" and hasattr(model, m)]
  if mode != "sample" and mode not in can:
    raise UserError(f"{name} cannot {mode}; it can {' and '.join([*can, 'sample'])}")


def main(argv=None):
  return command.main(argv, __doc__, define, run)


if __name__ == "__main__":
  sys.exit(main())
