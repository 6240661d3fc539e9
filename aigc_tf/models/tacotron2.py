"""Natural TTS Synthesis by Conditioning WaveNet on Mel Spectrogram Predictions (Tacotron 2),
arXiv:1712.05884.

An encoder reads the characters of a text; a decoder writes its mel spectrogram a few frames at a
time, attending to where in the text it is, and says when it is done. A vocoder makes the wave.

Differs from the paper:
  - r frames a decoder step (arXiv:1703.10135, section 3.3), which may begin with more and fall.
  - Attention sees its last weights beside their sum; a guided attention loss
    (arXiv:1710.08969, section 4) that fades out; a window that moves forward when generating.
  - The second LSTM hears the first and the context, and attention does not wait for it: in
    training it runs behind the loop, its inputs in one product.
  - Layer normalisation, in the encoder only, for batch normalisation; no zoneout. Absolute errors
    beside the squared ones; speakers by a vector that is added to the memory.
  - A row's end is learned as a few silent steps, each of which says stop.

Axes: B batch, L tokens, T frames, M mel bins, N decoder steps, r frames a step, D width.
"""

import keras
from keras import layers
import tensorflow as tf

from aigc_tf.errors import UserError
from aigc_tf.nn import attention_decoder
from aigc_tf.nn import gradients
from aigc_tf.nn import location_attention
from aigc_tf.nn import masked_convolution
from aigc_tf.nn import pictures
from aigc_tf.nn import recurrent
from aigc_tf.nn import spectral
from aigc_tf.nn import speech_codec
from aigc_tf.nn import tokenizers
from aigc_tf.nn.schedules import WarmupCosine

CLOSING_STEPS = 3  # silent steps behind a row's last, to learn the end from
ALIGNED = 0.7, 0.5  # from this diagonality and to this entropy, an attention reads along the text
SITES = {"encoder": 1, "postnet": 16}  # of the dropouts' noise
PREVIEWED = 4

SILENCE = attention_decoder.SILENCE

# --- losses


def mel_loss(coarse, fine, target, num_frames):
  """Squared and absolute errors before and behind the postnet (section 2.2).

  coarse, fine, target: f32[B, T, M].  num_frames: i32[B], valid ones.  Returns: f32[B].
  """
  errors = [tf.square(x - target) + tf.abs(x - target) for x in (coarse, fine)]
  return _mean_over_time(tf.reduce_mean(errors[0] + errors[1], axis=2), num_frames)


def stop_losses(logit, num_steps, weight):
  """Section 2.2's stop token: the row's last step and the closing ones say stop.

  logit: f32[B, N].  num_steps: i32[B], closing ones included.  weight: float, of a stop.
  Returns: f32[B], and 1.0 for each row that stops at its end and not before.
  """
  place = tf.range(tf.shape(logit)[1])[None]
  is_end = place >= num_steps[:, None] - CLOSING_STEPS - 1
  paid = tf.where(is_end, weight * tf.nn.softplus(-logit), tf.nn.softplus(logit))
  is_stop = logit > attention_decoder.STOP_LOGIT
  first = tf.argmax(tf.cast(is_stop, tf.int32), axis=1, output_type=tf.int32)
  is_right = tf.reduce_any(is_stop, axis=1) & (first >= num_steps - CLOSING_STEPS - 1) & (
      first < num_steps)
  return _mean_over_time(paid, num_steps), tf.cast(is_right, tf.float32)


def _inputs(batch):
  return {key: batch[key] for key in ("token", "mel", "length", "seed", "label")}


def _mean_over_time(values, count):
  is_valid = tf.sequence_mask(count, tf.shape(values)[1], values.dtype)
  return tf.reduce_sum(values * is_valid, axis=1) / tf.cast(count, values.dtype)


# --- networks


def _lookup(embedding, index):
  """A product, whose gradient is dense.  index: i32[...].  Returns: f32[..., D], zeros for -1."""
  table = tf.cast(embedding.embeddings, tf.float32)
  return tf.tensordot(tf.one_hot(index, table.shape[0]), table, 1)


class Encoder(layers.Layer):
  """Section 2.2: characters, three convolutions, an LSTM from both ends.  width: D, even."""

  def __init__(self, vocab_size, width, kernel_size, dropout, name):
    super().__init__(name=name, dtype="float32")
    self.embedding = layers.Embedding(vocab_size, width, name="embedding")
    self.embedding.build()
    self.stack = masked_convolution.Stack(
        [width] * 4, kernel_size, tf.nn.relu, norms=True, dropout=dropout, site=SITES["encoder"],
        name="stack")
    self.lstm = recurrent.BidirectionalLSTM(width, width // 2, name="lstm")
    self.built = True

  def call(self, token, seed=None, training=False):
    """token: i32[B, L], -1 is padding.  Returns: f32[B, L, D], zeros there."""
    x = _lookup(self.embedding, token)
    x = self.stack(x, token >= 0, seed=seed, training=training)
    return self.lstm(x, token >= 0)


class Postnet(layers.Layer):
  """Section 2.2: convolutions over all frames, whose sum with them is the result."""

  def __init__(self, num_mels, width, depth, kernel_size, dropout, name):
    super().__init__(name=name, dtype="float32")
    self.stack = masked_convolution.Stack(
        [num_mels] + [width] * (depth - 1), kernel_size, tf.tanh, dropout=dropout,
        site=SITES["postnet"], name="stack")
    self.out = masked_convolution.convolution(width, num_mels, kernel_size, "out", "float32")
    self.built = True

  def call(self, mel, num_frames, seed=None, training=False):
    """mel: f32[B, T, M].  num_frames: i32[B], valid ones.  Returns: f32[B, T, M]."""
    mask = tf.sequence_mask(num_frames, tf.shape(mel)[1])
    return mel + self.out(self.stack(mel, mask, seed=seed, training=training))


# --- the model


class Tacotron2(keras.Model):
  """Characters to mel spectrograms.

  spec: dict with tokenizer, audio, speakers, length, frames_per_token.  width: D of the encoder.
  decoder_dim, attention_dim, prenet_dim: H, A, P.  postnet_dim, postnet_depth: its convolutions.
  reduction: r.  first_reduction: r at the begin of training (see compile), 0: the same.
  dropout: of the convolutions.  prenet_dropout: while it learns.  generation_dropout: the prenet's
  while it speaks, so that each seed speaks another way; less than the paper's is better understood.
  kernel_size: of all convolutions.
  attention_window: tokens ahead of the last that a generating step may look at, 0: any.
  """

  held_out_scalars = ("loss", "mel_loss", "stop_loss", "stop_accuracy", "attention_loss",
                      "diagonality", "attention_entropy")

  # --- networks

  def __init__(self, *, spec, width=192, decoder_dim=320, attention_dim=128, prenet_dim=128,
               postnet_dim=128, postnet_depth=5, reduction=3, first_reduction=0, dropout=0.1,
               prenet_dropout=0.5, generation_dropout=0.25, kernel_size=5, attention_window=4):
    super().__init__(dtype="float32")  # layers have the policy's
    self._check(spec, width, reduction, first_reduction, postnet_depth)
    self.spec, self.audio = spec, spectral.from_spec(spec["audio"])
    self.tokenizer = tokenizers.from_spec(spec["tokenizer"])
    self.reduction, self.attention_window = reduction, attention_window
    self.first_reduction = first_reduction or reduction
    num_mels, num_speakers = self.audio.num_mels, len(spec["speakers"])
    self.encoder = Encoder(self.tokenizer.vocab_size, width, kernel_size, dropout, "encoder")
    self.speakers = None
    if num_speakers > 1:
      self.speakers = layers.Embedding(num_speakers, width, name="speakers")
      self.speakers.build()
    self.decoder = attention_decoder.Decoder(
        width, prenet_dim=prenet_dim, width=decoder_dim, attention_dim=attention_dim,
        num_mels=num_mels, most_frames=self.first_reduction, prenet_dropout=prenet_dropout,
        generation_dropout=generation_dropout, name="decoder")
    self.postnet = Postnet(num_mels, postnet_dim, postnet_depth, kernel_size, dropout, "postnet")
    self._vocoder = None
    self._compiled = tf.function(self._generate, input_signature=[
        tf.TensorSpec(shape, dtype) for shape, dtype in (
            ([None], tf.int64), ([None, None], tf.int32), ([None], tf.int32), ([None], tf.int32))])
    self.built = True

  @staticmethod
  def _check(spec, width, reduction, first_reduction, postnet_depth):
    if spec["task"] != "text_to_speech":
      raise UserError(f"data.task={spec['task']}: tacotron2 learns from texts with their "
                      "recordings, set data.task=text_to_speech")
    for name, value, least in (("reduction", reduction, 1), ("postnet_depth", postnet_depth, 2)):
      if value < least:
        raise UserError(f"model.{name}={value}: choose {least} or more")
    if first_reduction and first_reduction < reduction:
      raise UserError(f"model.first_reduction={first_reduction}: it falls to model.reduction="
                      f"{reduction}, so choose more, or 0 for the same")
    if width % 2:
      raise UserError(f"model.width={width}: half of it reads from each end, choose an even one")

  @property
  def metrics(self):
    return []

  @property
  def vocoder(self):
    """What makes waves of mels (speech_codec.attach), None for Griffin-Lim."""
    return self._vocoder

  # --- forward

  def call(self, token, mel, length, seed, label=None, reduction=0, training=False):
    """Teacher forcing: each step hears the true frame before it.

    token: i32[B, L].  mel: f32[B, T, M].  length: i32[B] frames.  seed: i64[B].  label: i32[B].
    reduction: int or i32[], r, 0 for the model's own.
    Returns: dict of the mel before and behind the postnet, "coarse" and "fine", f32[B, N r, M], and
      its "target", all in units of `_to_unit`; "stop" f32[B, N]; "alignment" f32[B, N, L];
      "num_steps" i32[B], with the closing ones.
    """
    r = reduction if tf.is_tensor(reduction) else reduction or self.reduction
    num_steps = -(-length // r) + CLOSING_STEPS
    num_frames = mel.shape[1] or tf.shape(mel)[1]
    steps = -(-num_frames // r) + CLOSING_STEPS
    target = tf.pad(self._to_unit(mel), [[0, 0], [0, steps * r - num_frames], [0, 0]],
                    constant_values=SILENCE)
    go = tf.fill([tf.shape(mel)[0], 1, self.audio.num_mels], SILENCE)
    teacher = tf.concat([go, target[:, r - 1::r][:, :-1]], axis=1)
    memory = self.encode(token, label, seed, training)
    frames, stop, alignment = self.decoder.follow(teacher, memory, token >= 0, seed)
    coarse = self._unfold(frames, r)
    fine = self.postnet(coarse, num_steps * r, seed=seed, training=training)
    return {"coarse": coarse, "fine": fine, "target": target, "stop": stop,
            "alignment": alignment, "num_steps": num_steps}

  def encode(self, token, label=None, seed=None, training=False):
    """token: i32[B, L], -1 is padding.  label: i32[B], the speakers.  Returns: f32[B, L, D]."""
    memory = self.encoder(token, seed=seed, training=training)
    if self.speakers is None:
      return memory
    voice = _lookup(self.speakers, tf.where(token >= 0, label[:, None], -1))
    return memory + voice

  def _unfold(self, frames, reduction):
    """f32[B, N, R M], of which r M columns are in use.  Returns: f32[B, N r, M]."""
    num_mels = self.audio.num_mels
    used = frames[..., :reduction * num_mels]
    return tf.reshape(used, (tf.shape(frames)[0], -1, num_mels))

  def _to_unit(self, mel):
    """From silence to 0 in natural log to -2 to 2, where networks like their numbers."""
    return mel * (2.0 * SILENCE / self.audio.log_silence) - SILENCE

  def _from_unit(self, mel):
    return (mel + SILENCE) * (self.audio.log_silence / (2.0 * SILENCE))

  # --- training

  def compile(self, *, lr=1e-3, warmup_steps=0, decay_steps=0, weight_decay=0.0, stop_weight=8.0,
              guided_weight=1.0, guided_steps=0, reduction_steps=0, aligned_by_step=0):
    """stop_weight: of steps that say stop, which are few.  guided_weight: of the guided attention
    loss; it falls to 0 over guided_steps updates, 0: never.  reduction_steps: updates over which r
    falls from first_reduction to reduction; samples are made with the latter.
    aligned_by_step: the update by which attention should read along the text, or an alarm says so
    (scalar `unaligned`); 0: none.
    """
    super().compile(optimizer=None)
    self.stop_weight, self.guided_weight, self.guided_steps = (
        stop_weight, guided_weight, guided_steps)
    self.reduction_steps, self.aligned_by_step = reduction_steps, aligned_by_step
    schedule = WarmupCosine(lr, warmup_steps=warmup_steps, decay_steps=decay_steps)
    self.adam = gradients.adam(self.trainable_variables, schedule, weight_decay=weight_decay)
    self.gradient_step = gradients.GradientStep(
        self.losses_for, {"loss": (self.adam, self.trainable_variables)})

  def losses_for(self, batch, training):
    """Returns: loss (of held-out data without the guidance and the weight of stops), its parts, and
    how attention reads along the text: diagonality, attention_entropy, in training `unaligned`.
    """
    made = self(**_inputs(batch), training=training,
                reduction=self._reduction_now() if training else 0)
    num_steps, alignment = made["num_steps"], made["alignment"]
    num_frames = num_steps * (tf.shape(made["target"])[1] // tf.shape(alignment)[1])
    seen = (alignment, num_steps, tf.reduce_sum(tf.cast(batch["token"] >= 0, tf.int32), axis=1))
    stop, is_right = stop_losses(made["stop"], num_steps, self.stop_weight if training else 1.0)
    losses = {
        "mel_loss": mel_loss(made["coarse"], made["fine"], made["target"], num_frames),
        "stop_loss": stop, "stop_accuracy": is_right,
        "attention_loss": location_attention.guided_loss(*seen),
        "diagonality": location_attention.diagonality(*seen),
        "attention_entropy": location_attention.entropy(*seen)}
    losses = {name: tf.reduce_mean(value) for name, value in losses.items()}
    losses["loss"] = losses["mel_loss"] + losses["stop_loss"]
    if training:
      losses["loss"] += self._guidance() * losses["attention_loss"]
      losses["unaligned"] = self._is_unaligned(losses)
    return losses

  def _reduction_now(self):
    if self.first_reduction == self.reduction or not self.reduction_steps:
      return self.reduction
    if self.gradient_step.jit:
      raise UserError("train.jit=on: XLA cannot compile a loop that gets longer as r falls; set "
                      "train.jit=off or compile.reduction_steps=0")
    fall = self.first_reduction - self.reduction + 1
    done = tf.cast(self.adam.iterations, tf.int32) * fall // self.reduction_steps
    return tf.maximum(self.first_reduction - done, self.reduction)

  def _guidance(self):
    if not self.guided_steps:
      return self.guided_weight
    done = tf.cast(self.adam.iterations, tf.float32) / self.guided_steps
    return self.guided_weight * tf.maximum(1.0 - done, 0.0)

  def _is_unaligned(self, losses):
    """1.0 from aligned_by_step on as long as attention does not read along the text."""
    least, most = ALIGNED
    is_late = (self.aligned_by_step > 0) & (self.adam.iterations >= self.aligned_by_step)
    is_lost = (losses["diagonality"] < least) | (losses["attention_entropy"] > most)
    return tf.cast(tf.cast(is_late, tf.bool) & is_lost, tf.float32)

  def train_step(self, batch):
    return self.gradient_step(batch)

  def test_step(self, batch):
    return self.losses_for(batch, training=False)

  # --- generation

  def generate(self, seed, token, label=None, max_frames=None):
    """Mel spectrograms of texts.

    seed: i64[B], of the prenet's dropout.  token: i32[B, L], [begin] characters [end], then -1.
    label: i32[B], the speakers, default the first.  max_frames: int or i32[B], default what the
      text's length allows.
    Returns: {"mel": f32[B, T, M] in natural log, silent behind a row's "length" i32[B] in frames,
      "alignment": f32[B, T / r, L], zeros there, "is_stopped": bool[B], whether it ended by
      itself}.
    """
    token = tf.convert_to_tensor(token, tf.int32)
    rows = tf.shape(token)[0]
    if max_frames is None:
      max_frames = self._room(token)
    steps = tf.broadcast_to(-(-tf.cast(max_frames, tf.int32) // self.reduction), [rows])
    label = tf.zeros([rows], tf.int32) if label is None else tf.cast(label, tf.int32)
    write = self._compiled if tf.executing_eagerly() else self._generate
    mel, length, alignment = write(tf.cast(seed, tf.int64), token, label, steps)
    return {"mel": mel, "length": length, "alignment": alignment,
            "is_stopped": length < steps * self.reduction}

  def _room(self, token):
    """Frames that a text of this length may take: for each token as many as the slowest clip of the
    data has, and a second at least.  Returns: i32[B].
    """
    tokens = tf.reduce_sum(tf.cast(token >= 0, tf.float32), axis=1)
    frames = tf.math.ceil(tokens * self.spec["frames_per_token"]["largest"])
    second = self.audio.sample_rate_hz // self.audio.hop_samples
    return tf.maximum(tf.cast(frames, tf.int32), second)

  def _generate(self, seed, token, label, limit):
    """limit: i32[B], steps.  Returns: mel, length and alignment, as `generate`."""
    frames, num_steps, alignment = self.decoder.write(
        self.encode(token, label), token >= 0, seed, limit, self.reduction, self.attention_window)
    return self._finish(self._unfold(frames, self.reduction), num_steps, alignment)

  def _finish(self, coarse, num_steps, alignment):
    """The postnet, and nothing behind a row's end.  num_steps: i32[B]."""
    length = num_steps * self.reduction
    mel = self._from_unit(self.postnet(coarse, length))
    is_frame = tf.sequence_mask(length, tf.shape(mel)[1])[:, :, None]
    is_step = tf.sequence_mask(num_steps, tf.shape(alignment)[1], tf.float32)[:, :, None]
    mel = tf.maximum(mel, self.audio.log_silence)
    return tf.where(is_frame, mel, self.audio.log_silence), length, alignment * is_step

  def previews(self, batch, seed):
    """Some texts of the batch, spoken freely and along the true frames: wave, mel, attention."""
    batch = {key: value[:PREVIEWED] for key, value in batch.items()}
    taught = self(**_inputs(batch))
    made = self.generate(seed[:tf.shape(batch["token"])[0]], batch["token"], batch["label"])
    shown = {"mel": made["mel"], "alignment": made["alignment"],
             "forced_mel": self._from_unit(taught["fine"]), "forced_alignment": taught["alignment"]}
    return {"samples": speech_codec.waves(self, made["mel"], made["length"]),
            **{name: {"image": pictures.heat(tf.transpose(value, (0, 2, 1)))}
               for name, value in shown.items()}}

  # --- serving

  def endpoints(self):
    return speech_codec.endpoints(self)


Model = Tacotron2
