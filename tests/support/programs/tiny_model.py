"""Writes a language model of random weights: the architecture of Llama with one layer, and a vocabulary of bytes.

Run by the Python of the inference server, which has ``gguf`` and ``numpy``: ``tiny_model.py FILE CONTEXT_TOKENS``.
"""

import sys

import gguf  # type: ignore[import-not-found]
import numpy as np  # type: ignore[import-not-found]

_EMBEDDING, _HEADS, _FEED_FORWARD = 32, 4, 64
_BYTE, _CONTROL, _NORMAL, _UNKNOWN = 6, 3, 1, 2  # types of tokens, as llama.cpp numbers them
_WORDS = ["▁the", "▁canary", "▁sings", "▁pong", "▁and", "▁a", ".", ","]


def main(path: str, context: int) -> None:
    """Write the model to ``path``."""
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *_WORDS]
    types = [_UNKNOWN, _CONTROL, _CONTROL, *[_BYTE] * 256, *[_NORMAL] * len(_WORDS)]
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("tiny")
    writer.add_context_length(context)
    writer.add_embedding_length(_EMBEDDING)
    writer.add_block_count(1)
    writer.add_feed_forward_length(_FEED_FORWARD)
    writer.add_head_count(_HEADS)
    writer.add_head_count_kv(_HEADS)
    writer.add_rope_dimension_count(_EMBEDDING // _HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("llama")
    writer.add_token_list(tokens)
    writer.add_token_scores([-float(number) for number in range(len(tokens))])
    writer.add_token_types(types)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    random = np.random.default_rng(1)
    shapes = {
        "token_embd.weight": (len(tokens), _EMBEDDING),
        "output.weight": (len(tokens), _EMBEDDING),
        **{f"blk.0.attn_{part}.weight": (_EMBEDDING, _EMBEDDING) for part in ("q", "k", "v", "output")},
        "blk.0.ffn_gate.weight": (_FEED_FORWARD, _EMBEDDING),
        "blk.0.ffn_up.weight": (_FEED_FORWARD, _EMBEDDING),
        "blk.0.ffn_down.weight": (_EMBEDDING, _FEED_FORWARD),
    }
    for name, shape in shapes.items():
        writer.add_tensor(name, random.normal(0, 0.5, shape).astype(np.float32))
    for name in ("output_norm.weight", "blk.0.attn_norm.weight", "blk.0.ffn_norm.weight"):
        writer.add_tensor(name, np.ones(_EMBEDDING, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
