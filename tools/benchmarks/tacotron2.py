"""A training step of Tacotron 2, against PyTorch: the same sizes and batch, on noise.

The other side is written as PyTorch's users write it (both LSTM cells and the attention in one
Python loop over the steps, prenet, projections and postnet outside of it), in eager mode. Both
have the losses of models/tacotron2.py, dropout and Adam.
"""

import os
import time

from benchmarks import rounds
import numpy as np

FRAMES, CHARACTERS = 250, 60
LETTERS = "abcdefghijklmnopqrstuvwxyz .,?!"
CLOSING_STEPS = 3  # as models/tacotron2.py


def training(config, values):
  """Prints frames/s of a training step, ours and PyTorch's."""
  busy = os.getloadavg()[0]
  contenders = {"this project": Ours(config), "PyTorch, eager": rounds.Apart(Torch, config)}
  rows = config.data.batch_size
  found = rounds.rates(contenders, values.rounds, values.steps, values.steps * rows * FRAMES)
  print(f"{values.recipe}: encoder {config.model.width}, decoder {config.model.decoder_dim}, "
        f"{config.model.reduction} frames a step; batch {rows} of {FRAMES} frames and {CHARACTERS} "
        f"characters; medians of {values.rounds} alternated rounds of {values.steps} steps")
  rounds.report(found, "frames")
  rounds.warn_if_busy(busy)


def noise(config):
  """token i32[B, L], mel f32[B, T, M], length i32[B], label i32[B], seed i64[B] of one batch."""
  rows, draw = config.data.batch_size, np.random.default_rng(0)
  length = np.linspace(0.8 * FRAMES, FRAMES, rows).astype(np.int32)
  return {"token": draw.integers(4, 4 + len(LETTERS), (rows, CHARACTERS)).astype(np.int32),
          "mel": draw.normal(-5, 2, (rows, FRAMES, config.data.audio.num_mels)).astype(np.float32),
          "length": length, "label": np.zeros(rows, np.int32), "seed": np.arange(rows)}


class Ours:
  """The compiled train_step of models/tacotron2.py."""

  def __init__(self, config):
    import tensorflow as tf

    from aigc_tf import runs
    spec = {"task": "text_to_speech", "symbols": "characters", "speakers": ["one"],
            "length": CHARACTERS, "frames_per_token": {"mean": 4.0, "largest": 8.0},
            "tokenizer": {"kind": "char", "characters": LETTERS},
            "audio": config.data.audio.to_dict()}
    model = runs.build_model(config, spec)
    model.compile(**config.compile)
    model.gradient_step.clip_norm = config.train.clip_norm
    self.batch = {key: tf.constant(value) for key, value in noise(config).items()}
    self.step = tf.function(model.train_step)

  def run(self, steps):
    start = time.perf_counter()
    for _ in range(steps):
      losses = self.step(self.batch)
    float(losses["loss"])
    return time.perf_counter() - start


class Torch:
  """The same network in eager PyTorch."""

  def __init__(self, config):
    import torch
    self.config, self.model = config, torch_model(config)
    self.optimizer = torch.optim.Adam(self.model.parameters(), lr=config.compile.lr)
    batch = {key: torch.tensor(value) for key, value in noise(config).items()}
    r = config.model.reduction
    self.token, length = batch["token"].long(), -(-batch["length"].long() // r) + CLOSING_STEPS
    steps = int(length.max())
    self.mel = torch.nn.functional.pad(
        batch["mel"] / 3 + 2, (0, 0, 0, steps * r - FRAMES), value=-2)
    place = torch.arange(steps)
    self.known = (place < length[:, None]).float()
    self.is_end = (place >= length[:, None] - CLOSING_STEPS - 1).float()
    distance = (place / (length[:, None] - 1))[:, :, None] - torch.arange(
        CHARACTERS) / (CHARACTERS - 1)
    self.far = 1 - torch.exp(-distance**2 / 0.08)

  def losses(self):
    from torch.nn import functional
    coarse, fine, stop, alignment = self.model(self.token, self.mel)
    known = self.known.repeat_interleave(self.config.model.reduction, 1)[:, :, None]
    errors = sum((made - self.mel)**2 + (made - self.mel).abs() for made in (coarse, fine))
    weight = 1 + (self.config.compile.stop_weight - 1) * self.is_end
    paid = functional.binary_cross_entropy_with_logits(
        stop, self.is_end, weight=weight * self.known)
    return (errors * known).mean() + paid + (
        (alignment * self.far).sum(2) * self.known).mean() * self.config.compile.guided_weight

  def run(self, steps):
    import torch
    start = time.perf_counter()
    for _ in range(steps):
      loss = self.losses()
      self.optimizer.zero_grad(set_to_none=True)
      loss.backward()
      torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.config.train.clip_norm)
      self.optimizer.step()
    loss.item()
    return time.perf_counter() - start


def torch_model(config):
  """models/tacotron2.py in PyTorch, for texts of one length."""
  import torch
  from torch import nn
  from torch.nn import functional
  m, mels = config.model, config.data.audio.num_mels
  width, hidden, r = m.width, m.decoder_dim, m.reduction

  def conv(a, b):
    return nn.Conv1d(a, b, m.kernel_size, padding=m.kernel_size // 2)

  class Attention(nn.Module):
    """Location-sensitive, arXiv:1506.07503."""

    def __init__(self):
      super().__init__()
      self.query = nn.Linear(hidden, m.attention_dim, bias=False)
      self.memory = nn.Linear(width, m.attention_dim)
      self.filters = nn.Conv1d(2, 32, 31, padding=15, bias=False)
      self.location = nn.Linear(32, m.attention_dim, bias=False)
      self.energy = nn.Linear(m.attention_dim, 1, bias=False)

    def forward(self, query, keys, memory, last, total):
      places = self.location(self.filters(torch.stack([last, total], 1)).transpose(1, 2))
      energy = self.energy(torch.tanh(self.query(query)[:, None] + keys + places)).squeeze(2)
      last = torch.softmax(energy, 1)
      return torch.bmm(last[:, None], memory).squeeze(1), last, total + last

  class Tacotron2(nn.Module):
    """All of it."""

    def __init__(self):
      super().__init__()
      self.embedding = nn.Embedding(4 + len(LETTERS), width)
      self.convs = nn.ModuleList(conv(width, width) for _ in range(3))
      self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(3))
      self.lstm = nn.LSTM(width, width // 2, batch_first=True, bidirectional=True)
      self.prenet = nn.ModuleList([nn.Linear(mels, m.prenet_dim),
                                   nn.Linear(m.prenet_dim, m.prenet_dim)])
      self.first = nn.LSTMCell(m.prenet_dim + width, hidden)
      self.second = nn.LSTMCell(hidden + width, hidden)
      self.attention = Attention()
      self.frames, self.stop = nn.Linear(hidden + width, r * mels), nn.Linear(hidden + width, 1)
      sizes = [mels] + [m.postnet_dim] * (m.postnet_depth - 1) + [mels]
      self.postnet = nn.ModuleList(conv(a, b) for a, b in zip(sizes[:-1], sizes[1:]))

    def encode(self, token):
      x = self.embedding(token)
      for layer, norm in zip(self.convs, self.norms):
        x = functional.relu(norm(layer(x.transpose(1, 2)).transpose(1, 2)))
        x = functional.dropout(x, m.dropout)
      return self.lstm(x)[0]

    def decode(self, heard, memory):
      rows, tokens = memory.shape[:2]
      keys = self.attention.memory(memory)
      states = [[torch.zeros(rows, hidden) for _ in range(2)] for _ in range(2)]
      read, last, total = (torch.zeros(rows, n) for n in (width, tokens, tokens))
      said, alignment = [], []
      for step in heard.unbind(1):
        states[0] = self.first(torch.cat([step, read], 1), states[0])
        read, last, total = self.attention(states[0][0], keys, memory, last, total)
        states[1] = self.second(torch.cat([states[0][0], read], 1), states[1])
        said.append(torch.cat([states[1][0], read], 1))
        alignment.append(last)
      return torch.stack(said, 1), torch.stack(alignment, 1)

    def forward(self, token, mel):
      memory = self.encode(token)
      heard = functional.pad(mel[:, r - 1::r][:, :-1], (0, 0, 1, 0))
      for layer in self.prenet:
        heard = functional.dropout(functional.relu(layer(heard)), m.prenet_dropout)
      said, alignment = self.decode(heard, memory)
      coarse = self.frames(said).reshape(mel.shape)
      x = coarse.transpose(1, 2)
      for layer in self.postnet[:-1]:
        x = functional.dropout(torch.tanh(layer(x)), m.dropout)
      fine = coarse + self.postnet[-1](x).transpose(1, 2)
      return coarse, fine, self.stop(said).squeeze(2), alignment

  return Tacotron2()
