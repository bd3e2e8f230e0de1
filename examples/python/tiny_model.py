"""A model of a few thousand parameters and a tokenizer of letters, made on the spot: what the examples play with."""

import json
from pathlib import Path

import rlhf

LETTERS = "abcdefghijklmnopqrstuvwxyz.,?!:0123456789"
CONFIG = {
    "model_type": "llama",
    "vocab_size": 44,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "max_position_embeddings": 64,
    "rms_norm_eps": 1e-5,
    "hidden_act": "silu",
    "tie_word_embeddings": False,
    "initializer_range": 0.2,
    "eos_token_id": 0,
}


def tokenizer(context=None):
    """One token for each letter; 0 ends a text."""
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    vocabulary = {"<end>": 0, "\u0120": 1, "\u010a": 2, **{letter: 3 + i for i, letter in enumerate(LETTERS)}}
    end = {"id": 0, "content": "<end>", "single_word": False, "lstrip": False, "rstrip": False}
    text = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{**end, "normalized": False, "special": True}],
        "normalizer": None,
        "pre_tokenizer": byte_level,
        "post_processor": None,
        "decoder": {**byte_level, "add_prefix_space": True},
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
    return rlhf.Tokenizer.from_json(json.dumps(text), '{"eos_token": "<end>"}', context=context)


def policy(context=None, seed=1, **config):
    """A model with random weights; keywords change its config.json."""
    return rlhf.Policy.create({**CONFIG, **config}, seed=seed, tokenizer=tokenizer(context), context=context)


def save(directory, seed=1):
    """Writes such a model as a Hugging Face directory."""
    Path(directory).mkdir(parents=True, exist_ok=True)
    policy(seed=seed).save(directory)
    return str(directory)


PROMPTS = [{"prompt": text, "favourite": text[-1]} for text in ("a cat", "the dog", "tom", "lily", "a bird")]
