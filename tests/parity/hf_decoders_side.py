"""Causal decoders made, run and read back by transformers; knows nothing of tlx.

`python hf_decoders_side.py make FOLDER` saves each model of `CASES` to FOLDER/NAME, and what it computes to
FOLDER/NAME.npz: logits, hidden states, gradients by parameter, and greedy texts. `python hf_decoders_side.py read
FOLDER` reads FOLDER/NAME-tlx, which tlx wrote, and writes FOLDER/NAME-tlx.npz: logits and the names that did not match.
"""

import sys
from pathlib import Path

import numpy as np
import torch
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    GPT2Config,
    LlamaConfig,
    MistralConfig,
    PreTrainedConfig,
    Qwen2Config,
)

VOCAB, CLASSES, NEW = 41, 3, 7
GPT2 = {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 24}
LLAMA = {
    "hidden_size": 16,
    "intermediate_size": 20,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 32,
}
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 100.0,
    "factor": 4.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 3.0,
    "original_max_position_embeddings": 24,
}
LINEAR = {"rope_type": "linear", "rope_theta": 50.0, "factor": 3.0}
CASES: dict[str, PreTrainedConfig] = {
    "gpt2-lm": GPT2Config(**GPT2),
    "gpt2-classify": GPT2Config(**GPT2, n_inner=24, activation_function="gelu", layer_norm_epsilon=1e-4),
    "llama-lm": LlamaConfig(**LLAMA, rope_parameters={"rope_type": "default", "rope_theta": 300.0}),
    "llama-lm-tied": LlamaConfig(**{**LLAMA, "head_dim": 6}, tie_word_embeddings=True, rope_parameters=LLAMA3),
    "llama-lm-biased": LlamaConfig(**LLAMA, attention_bias=True, mlp_bias=True, rope_parameters=LINEAR),
    "llama-classify": LlamaConfig(**LLAMA, rms_norm_eps=1e-4),
    "qwen2-lm": Qwen2Config(**LLAMA, tie_word_embeddings=True),
    "mistral-lm": MistralConfig(**{**LLAMA, "head_dim": 8}, sliding_window=3),
}
# Padding at the end, at the start, and none.
LENGTHS = (9, 6, 4, 7)
AT_START = (False, False, True, True)


def inputs() -> dict[str, torch.Tensor]:
    """Ids, mask and positions [B, T], the positions counted from the first token that is no padding."""
    rng = np.random.default_rng(0)
    width = max(LENGTHS)
    id_BT, mask_BT = rng.integers(1, VOCAB, (len(LENGTHS), width)), np.zeros((len(LENGTHS), width), np.int64)
    for row, (length, at_start) in enumerate(zip(LENGTHS, AT_START, strict=True)):
        mask_BT[row, slice(width - length, None) if at_start else slice(length)] = 1
    place_BT = np.maximum(np.arange(width)[None] - mask_BT.argmax(axis=1)[:, None], 0)
    arrays = {"input_ids": id_BT * mask_BT, "attention_mask": mask_BT, "position_ids": place_BT}
    return {name: torch.tensor(array) for name, array in arrays.items()}


def draw(model: torch.nn.Module) -> None:
    """Parameters at which the outputs are of order one and no norm or bias is trivial."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, leaf in model.named_parameters():
            noise = torch.randn(leaf.shape, generator=generator)
            if leaf.ndim == 1:
                leaf.copy_(0.3 * noise + (1.0 if name.endswith("weight") else 0.0))
            elif "wte" in name or "wpe" in name or "embed" in name:
                leaf.copy_(0.4 * noise)
            else:
                leaf.copy_(1.2 * noise / min(leaf.shape) ** 0.5)


def computed(model: torch.nn.Module) -> dict[str, np.ndarray]:
    """Logits, hidden states, and the gradient of a weighted sum of the logits of tokens that are no padding."""
    given = inputs()
    out = model(**given, output_hidden_states=True)
    weight = np.random.default_rng(2).normal(size=out.logits.shape).astype(np.float32)
    if weight.ndim == 3:
        weight = weight * given["attention_mask"].numpy()[..., None]
    (out.logits * torch.tensor(weight)).sum().backward()
    found = {f"hidden/{k}": state for k, state in enumerate(out.hidden_states)}
    found |= {f"grad/{name}": leaf.grad for name, leaf in model.named_parameters()}
    found |= {"logits": out.logits, "id": given["input_ids"], "mask": given["attention_mask"]}
    return {"weight": weight, **{name: value.detach().numpy() for name, value in found.items()}}


def written(model: torch.nn.Module, eos: int | None) -> np.ndarray:
    """Greedy continuations [B, NEW] of the texts; transformers wants padding at their start."""
    given = inputs()
    id_BT = torch.zeros_like(given["input_ids"])
    for row, length in enumerate(LENGTHS):
        id_BT[row, -length:] = given["input_ids"][row][given["attention_mask"][row] > 0]
    settings = {"max_new_tokens": NEW, "do_sample": False, "pad_token_id": 0, "eos_token_id": eos}
    out = model.generate(id_BT, attention_mask=(id_BT > 0).long(), **settings)[:, id_BT.shape[1] :].numpy()
    return np.pad(out, ((0, 0), (0, NEW - out.shape[1])))


def make(folder: Path, name: str, config: PreTrainedConfig) -> None:
    """One model, to disk."""
    config.vocab_size, config.pad_token_id, config.bos_token_id = VOCAB, 0, None
    config.num_labels = CLASSES
    is_lm = "-lm" in name
    kind = AutoModelForCausalLM if is_lm else AutoModelForSequenceClassification
    model = kind.from_config(config, attn_implementation="eager").eval()
    draw(model)
    found = computed(model)
    if is_lm:
        found["endless"] = written(model, None)
        # One text ends early, at a token that it brings forth itself.
        config.eos_token_id = int(found["endless"][0, 2])
        found["text"] = written(model, config.eos_token_id)
    model.save_pretrained(folder / name)
    np.savez(folder / f"{name}.npz", **found)


def read(folder: Path, name: str) -> None:
    """One model that tlx wrote."""
    kind = AutoModelForCausalLM if "-lm" in name else AutoModelForSequenceClassification
    model, info = kind.from_pretrained(folder / f"{name}-tlx", output_loading_info=True, attn_implementation="eager")
    wrong = [str(key) for kind in ("missing_keys", "unexpected_keys", "mismatched_keys") for key in info[kind]]
    logits = model.eval()(**inputs()).logits.detach().numpy()
    np.savez(folder / f"{name}-tlx.npz", logits=logits, wrong=np.array(wrong, str))


if __name__ == "__main__":
    torch.set_num_threads(1)
    action, where = sys.argv[1], Path(sys.argv[2])
    for case, config in CASES.items():
        if action == "make":
            make(where, case, config)
        else:
            read(where, case)
