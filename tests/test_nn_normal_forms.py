"""Characters in their usual forms: unicodedata says what those are."""

import unicodedata

import numpy as np
import pytest
import tensorflow as tf

import aigc_tf
from aigc_tf.nn import normal_forms


@pytest.mark.parametrize("form", ["NFC", "NFKC"])
def test_single_characters_are_unicodes(form):
  characters = [chr(code) for code in range(0x20000) if not 0xD800 <= code < 0xE000]
  usual = tf.function(lambda text: normal_forms.usual(text, form))(tf.constant(characters))
  changed = 0
  for before, after in zip(characters, usual.numpy()):
    expected = unicodedata.normalize(form, before)
    single = len(expected) == 1 and ord(before) < 0x10000
    assert after.decode() == (expected if single else before)
    changed += single and expected != before
  assert changed > 400


def test_texts_keep_their_order_and_their_lengths():
  texts = ["", "房间很干净，服务也好！", "ＡＢＣ　１２３", "plain"]
  assert [text.decode() for text in normal_forms.usual(tf.constant(texts), "NFKC").numpy()] == [
      "", "房间很干净,服务也好!", "ABC 123", "plain"]
  np.testing.assert_array_equal(normal_forms.usual(tf.constant(texts), ""), tf.constant(texts))


def test_a_published_classifier_reads_full_width_marks():
  model = aigc_tf.load("bert_sentiment")
  answer = model.endpoints()["serving_default"][0]
  wide, narrow = (answer(text=tf.constant([text]))["probability"].numpy()
                  for text in ("房间很干净，服务也好！", "房间很干净,服务也好!"))
  np.testing.assert_array_equal(wide, narrow)


def test_a_filled_text_keeps_its_marks():
  model = aigc_tf.load("bert_reviews")
  filled = model.endpoints()["serving_default"][0](text=tf.constant(["房间很[MASK]净，服务也好！"]))
  assert filled["text"].numpy()[0].decode().endswith("净,服务也好!")
