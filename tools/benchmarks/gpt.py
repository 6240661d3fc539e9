"""A GPT's training, learning and generation, against PyTorch.

Training and learning: the same network in eager PyTorch, written as its users write it, with
scaled_dot_product_attention and AdamW. Generation: `generate` of the package transformers on a
GPT-2 of the same sizes. Weights are random where only time counts.
"""

import importlib.util
import itertools
import math
import os
import time

from benchmarks import ours as this_project
from benchmarks import rounds
import numpy as np

from aigc_tf.errors import UserError

NEW_TOKENS, PROMPT_TOKENS = 128, 16
GROWN_TOKENS = (64, 128, 256, 512, 1024)
# depth, heads, width, vocabulary, context of GPT-2's kind.
SIZES = {"4 layers of 128": (4, 4, 128, 4096, 256), "GPT-2 small": (12, 12, 768, 50257, 256)}


def training(config, values):
  """Prints tokens/s of a training step, ours and PyTorch's."""
  busy = os.getloadavg()[0]
  contenders = {"this project's loop": this_project.Ours(config),
                "PyTorch, eager": rounds.Apart(TorchTraining, config, *sizes_of(config))}
  tokens = values.steps * config.data.batch_size * config.data.length
  found = rounds.rates(contenders, values.rounds, values.steps, tokens)
  print(f"{values.recipe}: {config.model.depth} layers, width {config.model.width}, context "
        f"{config.data.length}, batch {config.data.batch_size}, jit {config.train.jit}, medians "
        f"of {values.rounds} alternated rounds of {values.steps} steps")
  rounds.report(found, "tokens")
  rounds.warn_if_busy(busy)


def learning(config, values):
  """Prints the held-out loss of both after --steps steps on the same batches."""
  ours = this_project.Ours(config)
  ours.run(values.steps)
  theirs = rounds.Apart(TorchTraining, config, *sizes_of(config))
  theirs.run(values.steps)
  held_out = list(test_batches(config))
  our_loss = float(np.mean([float(ours.model.test_step(batch)["loss"]) for batch in held_out]))
  their_loss = theirs.run(-1)
  print(f"{values.recipe}: held-out loss after {values.steps} steps of {config.data.batch_size} x "
        f"{config.data.length} tokens: this project {our_loss:.4f}, PyTorch {their_loss:.4f} "
        "nats a token")


def generation(config, values):
  """Prints tokens/s of generating, for each size and batch."""
  if importlib.util.find_spec("transformers") is None:
    raise UserError("the other side is missing: pip install torch transformers")
  for name, size in SIZES.items():
    for rows in (1, 16):
      busy = os.getloadavg()[0]
      contenders = {"this project": Ours(size, rows),
                    "transformers": rounds.Apart(Transformers, config, size, rows)}
      found = rounds.rates(contenders, values.rounds, NEW_TOKENS, rows * NEW_TOKENS)
      print(f"{name}, batch {rows}: {NEW_TOKENS} tokens after {PROMPT_TOKENS}, greedy, medians of "
            f"{values.rounds} alternated rounds")
      rounds.report(found, "tokens")
      rounds.warn_if_busy(busy)


def growth(config, values):
  """Prints what a token costs while a text grows to the context length."""
  del config
  busy = os.getloadavg()[0]
  depth, heads, width, vocabulary, _ = SIZES["4 layers of 128"]
  for rows in (1, 16):
    ours = Ours((depth, heads, width, vocabulary, GROWN_TOKENS[-1]), rows)
    seconds = {}
    for round_number in range(values.rounds + 1):
      for tokens in GROWN_TOKENS:  # in turn, and the first round compiles
        if round_number:
          seconds.setdefault(tokens, []).append(ours.run(tokens - PROMPT_TOKENS))
        else:
          ours.run(tokens - PROMPT_TOKENS)
    costs = ", ".join(f"{1e3 * np.median(times) / (tokens - PROMPT_TOKENS):.2f} to {tokens}"
                      for tokens, times in seconds.items())
    print(f"4 layers of 128, batch {rows}: ms a token of a text that grows: {costs}")
  rounds.warn_if_busy(busy)


def sizes_of(config):
  """(depth, heads, width, vocabulary, context) of a recipe's model."""
  from aigc_tf.nn import tokenizers
  spec = this_project.data_of(config).spec(config.data)
  vocabulary = tokenizers.from_spec(spec["tokenizer"]).vocab_size
  return (config.model.depth, config.model.heads, config.model.width, vocabulary,
          config.data.length)


def test_batches(config, most=64):
  """The first batches of the held-out text."""
  return this_project.data_of(config).load(config.data, "test", 0, 0).take(most)


# --- contenders


class Ours:
  """models/gpt.py with random weights, generating as `generate` does."""

  def __init__(self, size, rows):
    from aigc_tf.models import gpt
    depth, heads, width, vocabulary, context = size
    spec = {"modality": "text", "task": "language_model", "length": context, "packed": True,
            "prompt_suffix": "", "tokenizer": None, "vocab_size": vocabulary}  # no end: all steps
    self.model = gpt.Model(spec=spec, depth=depth, heads=heads, width=width)
    self.token = prompts(rows, vocabulary)

  def run(self, tokens):
    start = time.perf_counter()
    self.model.generate(np.arange(len(self.token)), token=self.token, max_new_tokens=tokens,
                        temperature=0.0)["token"].numpy()
    return time.perf_counter() - start


class Transformers:
  """GPT-2 of the same sizes in the package transformers, greedy, with its cache."""

  def __init__(self, config, size, rows):
    import torch
    import transformers
    del config
    depth, heads, width, vocabulary, context = size
    self.model = transformers.GPT2LMHeadModel(transformers.GPT2Config(
        n_layer=depth, n_head=heads, n_embd=width, vocab_size=vocabulary, n_positions=context,
        bos_token_id=0, eos_token_id=0, pad_token_id=0)).eval()
    self.token = torch.tensor(prompts(rows, vocabulary), dtype=torch.long)

  def run(self, tokens):
    import torch
    start = time.perf_counter()
    with torch.inference_mode():
      self.model.generate(self.token, attention_mask=torch.ones_like(self.token), do_sample=False,
                          min_new_tokens=tokens, max_new_tokens=tokens)
    return time.perf_counter() - start


class TorchTraining:
  """The recipe's GPT in eager PyTorch, on the same batches in the same order."""

  def __init__(self, config, *size):
    import torch
    torch.manual_seed(config.seed)
    self.config, self.model = config, torch_gpt(*size)
    decayed = [p for p in self.model.parameters() if p.ndim > 1]
    rest = [p for p in self.model.parameters() if p.ndim < 2]
    compile_ = config.compile
    self.optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": compile_.get("weight_decay", 0.0) or 0.0},
         {"params": rest, "weight_decay": 0.0}], lr=compile_.lr,
        betas=(compile_.get("beta_1", 0.9), compile_.get("beta_2", 0.999)))
    batches = this_project.load(config).take(512)
    self.batches = itertools.cycle([torch.tensor(b["token"].numpy()).long() for b in batches])
    self.steps = 0

  def rate(self):
    """The schedule of nn/schedules.py."""
    peak, step = self.config.compile.lr, self.steps
    warmup = self.config.compile.get("warmup_steps", 0)
    decay = self.config.compile.get("decay_steps", 0)
    factor = min(1.0, (step + 1) / warmup) if warmup else 1.0
    if decay:
      factor *= 0.5 * (1 + math.cos(math.pi * min(1.0, step / decay)))
    return peak * factor

  def loss(self, token):
    from torch.nn import functional
    logits = self.model(token[:, :-1].clamp(min=0))
    return functional.cross_entropy(logits.flatten(0, 1), token[:, 1:].flatten(), ignore_index=-1)

  def run(self, steps):
    """Seconds of `steps` updates; for -1 the held-out loss instead."""
    import torch
    if steps < 0:
      with torch.no_grad():
        return float(np.mean([float(self.loss(torch.tensor(b["token"].numpy()).long()))
                              for b in test_batches(self.config)]))
    start = time.perf_counter()
    for _ in range(steps):
      for group in self.optimizer.param_groups:
        group["lr"] = self.rate()
      loss = self.loss(next(self.batches))
      self.optimizer.zero_grad(set_to_none=True)
      loss.backward()
      if self.config.train.clip_norm:
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.config.train.clip_norm)
      self.optimizer.step()
      self.steps += 1
    loss.item()
    return time.perf_counter() - start


def torch_gpt(depth, heads, width, vocabulary, context):
  """models/gpt.py with learned positions, in PyTorch."""
  import torch
  from torch import nn
  from torch.nn import functional

  class Block(nn.Module):
    """Pre-norm attention and feed-forward."""

    def __init__(self):
      super().__init__()
      self.norm_1, self.norm_2 = nn.LayerNorm(width), nn.LayerNorm(width)
      self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
      self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x):
      rows, length, _ = x.shape
      q, k, v = (part.view(rows, length, heads, -1).transpose(1, 2)
                 for part in self.qkv(self.norm_1(x)).split(width, dim=2))
      mixed = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
      x = x + self.out(mixed.transpose(1, 2).reshape(rows, length, width))
      return x + self.down(functional.gelu(self.up(self.norm_2(x)), approximate="tanh"))

  class GPT(nn.Module):
    """Tied embeddings."""

    def __init__(self):
      super().__init__()
      self.token, self.position = nn.Embedding(vocabulary, width), nn.Embedding(context, width)
      self.blocks = nn.Sequential(*(Block() for _ in range(depth)))
      self.norm = nn.LayerNorm(width)
      for name, weight in self.named_parameters():
        if weight.ndim > 1:
          narrow = name.endswith(("out.weight", "down.weight"))
          nn.init.normal_(weight, std=0.02 / math.sqrt(2 * depth) if narrow else 0.02)
        elif name.endswith("bias"):
          nn.init.zeros_(weight)

    def forward(self, token):
      x = self.token(token) + self.position(torch.arange(token.shape[1]))
      return self.norm(self.blocks(x)) @ self.token.weight.T

  return GPT()


# --- inputs


def prompts(rows, vocabulary):
  """int32[rows, PROMPT_TOKENS], any tokens."""
  return np.random.default_rng(0).integers(
      4, vocabulary, (rows, PROMPT_TOKENS)).astype(np.int32)
