// What the page says, in English and in Chinese. Names it does not know are shown as they are.

export const WORDS = {
  en: {
    other_language: "中文",
    subtitle: "Try the models of this server",
    models: "Models",
    signatures: "What to do",
    run: "Run",
    running: "Working …",
    request: "The same request by curl",
    ready: "Choose the settings and run the model.",
    no_models: "This server has no model.",
    no_answer: "The server does not answer.",
    done: (rows, milliseconds) => `${rows} ${rows === 1 ? "sample" : "samples"} in ${milliseconds}`,
    samples: "Samples",
    dice: "Another one",
    draw: "Draw here, or choose a picture",
    choose: "Choose a picture",
    clear: "Clear",
    random: "Random",
    not_json: "is not valid JSON",
    download: "Download",
    more: (count) => `… and ${count} more`,
    signature: {
      serving_default: "Generate", generate: "All settings", encode: "Encode", decode: "Decode",
      reconstruct: "Reconstruct", score: "Score", mel: "Spectrogram", vocode: "Vocode",
      reads: "Language",
      classify: "Classify", speak: "Read aloud", answer: "Answer",
    },
    input: {
      seed: "Seed", prompt: "Prompt", text: "Text", label: "Class", truncation: "Truncation",
      temperature: "Temperature", top_k: "Top k", top_p: "Top p", min_p: "Min p",
      repetition_penalty: "Repetition penalty", no_repeat_ngram: "No repeated n-gram",
      max_new_tokens: "New tokens at most", beam_size: "Beams", length_penalty: "Length penalty",
      image: "Picture", latent: "Latent", mel: "Mel spectrogram", num_frames: "Frames",
    },
    hint: {
      truncation: "lower: plainer, less variety", temperature: "0: always the likeliest",
      top_k: "0: off", top_p: "1: off", min_p: "0: off", repetition_penalty: "1: off",
      no_repeat_ngram: "0: off", max_new_tokens: "0: as many as fit",
    },
    output: {
      log_prob: "Log-probability (nats)", num_tokens: "Tokens", label: "Label",
      probability: "Probability", num_samples: "Audio samples", num_frames: "Frames",
      mean: "Mean", log_var: "Log-variance",
    },
  },
  zh: {
    other_language: "English",
    subtitle: "试用本服务器上的模型",
    models: "模型",
    signatures: "功能",
    run: "运行",
    running: "正在运行……",
    request: "用 curl 发送同样的请求",
    ready: "调好设置，运行模型。",
    no_models: "本服务器上没有模型。",
    no_answer: "服务器没有响应。",
    done: (rows, milliseconds) => `${rows} 个样本，用时 ${milliseconds}`,
    samples: "样本数",
    dice: "换一个",
    draw: "在此绘画，或选择图片",
    choose: "选择图片",
    clear: "清除",
    random: "随机",
    not_json: "不是有效的 JSON",
    download: "下载",
    more: (count) => `……还有 ${count} 个`,
    signature: {
      serving_default: "生成", generate: "全部设置", encode: "编码", decode: "解码",
      reconstruct: "重建", score: "评分", mel: "频谱", vocode: "声码",
      classify: "分类", speak: "朗读", answer: "回答", reads: "语言",
    },
    input: {
      seed: "随机种子", prompt: "提示", text: "文本", label: "类别", truncation: "截断",
      temperature: "温度", top_k: "Top k", top_p: "Top p", min_p: "Min p",
      repetition_penalty: "重复惩罚", no_repeat_ngram: "不重复的 n 元组",
      max_new_tokens: "最多新词元", beam_size: "束宽", length_penalty: "长度惩罚",
      image: "图片", latent: "潜变量", mel: "梅尔频谱", num_frames: "帧数",
    },
    hint: {
      truncation: "越低越规整，变化越少", temperature: "0：总取最可能的词元",
      top_k: "0：关闭", top_p: "1：关闭", min_p: "0：关闭", repetition_penalty: "1：关闭",
      no_repeat_ngram: "0：关闭", max_new_tokens: "0：直到写满",
    },
    output: {
      log_prob: "对数概率（奈特）", num_tokens: "词元数", label: "类别", probability: "概率",
      num_samples: "音频采样数", num_frames: "帧数", mean: "均值", log_var: "对数方差",
    },
  },
};

let language = navigator.language.startsWith("zh") ? "zh" : "en";
try {
  language = localStorage.getItem("language") === "zh" ? "zh"
    : localStorage.getItem("language") === "en" ? "en" : language;
} catch { /* a browser may forbid it */ }

export function currentLanguage() {
  return language;
}

export function switchLanguage() {
  language = language === "en" ? "zh" : "en";
  try {
    localStorage.setItem("language", language);
  } catch { /* then it is asked anew */ }
}

export function word(key, ...values) {
  const found = WORDS[language][key];
  return typeof found === "function" ? found(...values) : found;
}

// The name of an input, an output or a signature; `fallback` where there is no better one.
export function nameOf(kind, name, fallback = name) {
  const names = WORDS[language][kind];
  return Object.hasOwn(names, name) ? names[name] : fallback;
}
