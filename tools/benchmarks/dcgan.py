"""A DCGAN's training: this project's loop, plain keras.Model.fit, eager PyTorch.

PyTorch runs the same networks and draws its batches from memory for nothing. Ours includes the
averaged weights, the finite check and the sums for the log.
"""

import importlib.util
import os
import time

from benchmarks import ours as this_project
from benchmarks import rounds

from aigc_tf.errors import UserError


def benchmark(config, values):
  """Prints rows/s of every contender, and what the loop spends on data and checkpoints."""
  from aigc_tf.training import devices
  devices.share_cores(config.train.parallel_ops)
  is_known = config.model.name == "dcgan" and not config.model.conditional
  if not is_known or config.compile.loss != "non_saturating":
    raise UserError("the PyTorch side here is an unconditional dcgan with the non-saturating "
                    "loss: choose such a recipe")
  busy = os.getloadavg()[0]
  ours = this_project.Ours(config)
  contenders = {"this project's loop": ours, "keras.Model.fit": rounds.Apart(KerasFit, config)}
  if importlib.util.find_spec("torch") is None:
    print("PyTorch is left out: pip install torch")
  else:
    contenders["PyTorch, eager"] = torch_loop(config, ours.model, False)
    contenders["PyTorch, eager, one pass"] = torch_loop(config, ours.model, True)
  found = rounds.rates(contenders, values.rounds, values.steps,
                       values.steps * config.data.batch_size)
  ours.time_checkpoints(values.rounds)
  print(f"{values.recipe}: batch {config.data.batch_size}, {devices.describe()}, medians of "
        f"{values.rounds} alternated rounds of {values.steps} steps")
  rounds.report(found, "rows")
  ours.report(config.train.checkpoint_every)
  rounds.warn_if_busy(busy)


# --- contenders: run(steps) -> seconds


class KerasFit:
  """keras.Model.fit as anybody would call it."""

  def __init__(self, config):
    self.model, self.data = this_project.build(config), this_project.load(config)

  def run(self, steps):
    """Timed between the ends of the first and the last batch: starting up costs nothing."""
    import keras
    ends = []
    clock = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: ends.append(time.perf_counter()))
    self.model.fit(self.data, steps_per_epoch=steps, shuffle=False, verbose=0, callbacks=[clock])
    return (ends[-1] - ends[0]) * steps / (steps - 1)


def torch_loop(config, model, shares_pass):
  """A TorchLoop apart, over networks of the size of ours.  model: DCGAN."""
  from aigc_tf.data import images
  counts = [sum(v.value.shape.num_elements() for v in network.trainable_variables)
            for network in (model.generator, model.discriminator)]
  return rounds.Apart(TorchLoop, config, images.spec(config.data), counts, shares_pass)


class TorchLoop:
  """The same networks, losses and optimizers in PyTorch, eagerly.

  counts: trainable numbers of our generator and discriminator, to be the same here.
  shares_pass: both losses from one pass through the discriminator, as here, instead of two updates
  in turn, as PyTorch's users write it.
  """

  def __init__(self, config, spec, counts, shares_pass):
    import torch

    from aigc_tf.data import images
    self.rows, self.latent_dim = config.data.batch_size, config.model.latent_dim
    self.generator, self.discriminator = torch_networks(spec, config.model)
    found = [sum(p.numel() for p in network.parameters())
             for network in (self.generator, self.discriminator)]
    if found != counts:
      raise AssertionError(f"{found} parameters in PyTorch, {counts} in Keras")
    rates = ((self.generator, config.compile.g_lr), (self.discriminator, config.compile.d_lr))
    self.g_optimizer, self.d_optimizer = (
        torch.optim.Adam(network.parameters(), rate, (config.compile.beta_1, 0.999))
        for network, rate in rates)
    arrays = images.arrays(config.data, config.data.split)
    self.images = torch.tensor(arrays["image"]).permute(0, 3, 1, 2).float() / 127.5 - 1
    self.step = self.shared_step if shares_pass else self.plain_step

  def run(self, steps):
    import torch
    start = time.perf_counter()
    for _ in range(steps):
      real = self.images[torch.randint(len(self.images), [self.rows])]
      losses = self.step(real, self.generator(torch.randn(self.rows, self.latent_dim)))
    [loss.item() for loss in losses]
    return time.perf_counter() - start

  def plain_step(self, real, fake):
    from torch.nn.functional import softplus
    self.d_optimizer.zero_grad()
    d_loss = (softplus(-self.discriminator(real)).mean()
              + softplus(self.discriminator(fake.detach())).mean())
    d_loss.backward()
    self.d_optimizer.step()
    self.g_optimizer.zero_grad()
    g_loss = softplus(-self.discriminator(fake)).mean()
    g_loss.backward()
    self.g_optimizer.step()
    return d_loss, g_loss

  def shared_step(self, real, fake):
    import torch
    from torch.nn.functional import softplus
    logits = self.discriminator(fake)
    d_loss = softplus(-self.discriminator(real)).mean() + softplus(logits).mean()
    g_loss = softplus(-logits).mean()
    for network, loss in ((self.discriminator, d_loss), (self.generator, g_loss)):
      parameters = list(network.parameters())
      gradients = torch.autograd.grad(loss, parameters, retain_graph=loss is d_loss)
      for parameter, gradient in zip(parameters, gradients):
        parameter.grad = gradient
    self.d_optimizer.step()
    self.g_optimizer.step()
    return d_loss, g_loss


def torch_networks(spec, model):
  """models/dcgan.py in PyTorch.  spec: of the data.  Returns: (generator, discriminator)."""
  from torch import nn

  from aigc_tf.nn import pyramid
  *levels, smallest = pyramid.sizes(spec["size"])
  channels, width = spec["channels"], model.width
  first = width * 2**(len(levels) - 1)

  def norm(maps):
    return nn.BatchNorm2d(maps, eps=1e-3, momentum=0.1)

  def crop(side):  # 4 -> 8 -> 7
    return nn.ZeroPad2d((0, -1, 0, -1)) if side % 2 else nn.Identity()

  layers = [nn.Linear(model.latent_dim, smallest**2 * first, bias=False),
            nn.Unflatten(1, (first, smallest, smallest)), norm(first), nn.ReLU()]
  for i, level in reversed(list(enumerate(levels[1:]))):
    layers += [nn.ConvTranspose2d(width * 2**(i + 1), width * 2**i, 4, 2, 1, bias=False),
               crop(level), norm(width * 2**i), nn.ReLU()]
  generator = nn.Sequential(*layers, nn.ConvTranspose2d(width, channels, 4, 2, 1), nn.Tanh())
  layers = []
  for i, level in enumerate(levels):
    if level % 2:  # "same", as TensorFlow pads an odd side
      layers += [nn.ZeroPad2d((0, 1, 0, 1))]
    layers += [nn.Conv2d(width * 2**(i - 1) if i else channels, width * 2**i, 4, 2, 1),
               norm(width * 2**i) if model.batch_norm and i else nn.Identity(), nn.LeakyReLU(0.2)]
  last = nn.Linear(first * smallest**2, 1)
  return generator, nn.Sequential(*layers, nn.Flatten(), last, nn.Flatten(0))
