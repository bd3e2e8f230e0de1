"""Makes tiny models, tokenizers and data files with the standard library alone."""

import json
import os
import random
import struct


def byte_alphabet():
    """GPT-2's printable character for every byte."""
    kept = list(range(33, 127)) + list(range(161, 173)) + list(range(174, 256))
    table, extra = {}, 0
    for byte in range(256):
        if byte in kept:
            table[byte] = chr(byte)
        else:
            table[byte] = chr(256 + extra)
            extra += 1
    return table


def write_tokenizer(directory, ids=258):
    vocabulary = {"<s>": 0, "</s>": 1}
    for byte in range(256):
        vocabulary[byte_alphabet()[byte]] = len(vocabulary)
    for i in range(258, ids):
        vocabulary["extra%d" % i] = i
    special = [
        {
            "id": i,
            "content": text,
            "single_word": False,
            "lstrip": False,
            "rstrip": False,
            "normalized": False,
            "special": True,
        }
        for i, text in enumerate(["<s>", "</s>"])
    ]
    tokenizer = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": special,
        "normalizer": None,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
        "post_processor": None,
        "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "vocab": vocabulary,
            "merges": [],
        },
    }
    with open(os.path.join(directory, "tokenizer.json"), "w", encoding="utf-8") as file:
        json.dump(tokenizer, file, ensure_ascii=False)
    with open(os.path.join(directory, "tokenizer_config.json"), "w", encoding="utf-8") as file:
        json.dump({"bos_token": "<s>", "eos_token": "</s>"}, file)


def write_safetensors(path, tensors):
    """tensors: name -> (shape, list of floats)."""
    header, data, offset = {"__metadata__": {"format": "pt"}}, b"", 0
    for name in sorted(tensors):
        shape, values = tensors[name]
        raw = struct.pack("<%df" % len(values), *values)
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [offset, offset + len(raw)]}
        data += raw
        offset += len(raw)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + data)


def llama_tensors(vocabulary, width=32, inner=48, layers=2, heads=4, kv_heads=2, seed=1, reward=False):
    generator = random.Random(seed)

    def matrix(rows, columns):
        return [rows, columns], [generator.gauss(0, 0.15) for _ in range(rows * columns)]

    head_dim = width // heads
    tensors = {"model.embed_tokens.weight": matrix(vocabulary, width), "model.norm.weight": ([width], [1.0] * width)}
    for layer in range(layers):
        name = "model.layers.%d." % layer
        tensors[name + "input_layernorm.weight"] = ([width], [1.0] * width)
        tensors[name + "post_attention_layernorm.weight"] = ([width], [1.0] * width)
        tensors[name + "self_attn.q_proj.weight"] = matrix(heads * head_dim, width)
        tensors[name + "self_attn.k_proj.weight"] = matrix(kv_heads * head_dim, width)
        tensors[name + "self_attn.v_proj.weight"] = matrix(kv_heads * head_dim, width)
        tensors[name + "self_attn.o_proj.weight"] = matrix(width, heads * head_dim)
        tensors[name + "mlp.gate_proj.weight"] = matrix(inner, width)
        tensors[name + "mlp.up_proj.weight"] = matrix(inner, width)
        tensors[name + "mlp.down_proj.weight"] = matrix(width, inner)
    if reward:
        tensors["score.weight"] = matrix(1, width)
    return tensors


def llama_config(vocabulary, width=32, inner=48, layers=2, heads=4, kv_heads=2, reward=False):
    config = {
        "architectures": ["LlamaForSequenceClassification" if reward else "LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": width,
        "intermediate_size": inner,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "vocab_size": vocabulary,
        "max_position_embeddings": 128,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "hidden_act": "silu",
        "tie_word_embeddings": True,
        "bos_token_id": 0,
        "eos_token_id": 1,
        "torch_dtype": "float32",
    }
    if reward:
        config["id2label"] = {"0": "LABEL_0"}
    return config


def write_model(directory, vocabulary=258, seed=1, reward=False, tokenizer_ids=258):
    os.makedirs(directory, exist_ok=True)
    write_safetensors(
        os.path.join(directory, "model.safetensors"), llama_tensors(vocabulary, seed=seed, reward=reward)
    )
    with open(os.path.join(directory, "config.json"), "w", encoding="utf-8") as file:
        json.dump(llama_config(vocabulary, reward=reward), file)
    write_tokenizer(directory, tokenizer_ids)


def write_rows(path, rows):
    with open(path, "w", encoding="utf-8") as file:
        for row in rows:
            file.write(json.dumps(row) + "\n")
