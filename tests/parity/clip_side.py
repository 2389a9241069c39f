"""CLIP as transformers makes, saves and loads it; knows nothing of tlx.

`python clip_side.py make FOLDER` makes, for every case, `FOLDER/CASE/` as transformers saves it and, beside it,
`CASE.expected.npz` (what goes in, what comes out of every stage of both towers, image-text logits and zero-shot
probabilities) and `CASE.grads.safetensors` (of the sum of the logits times `weight`, under the names of the
parameters). `python clip_side.py load FOLDER` loads what tlx wrote to `FOLDER/CASE/back…/`, fails if a key is missing
or unexpected, and writes what comes out to `CASE.back.npz`.
"""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from transformers import (
    CLIPConfig,
    CLIPModel,
    CLIPTextModelWithProjection,
    CLIPVisionModel,
    CLIPVisionModelWithProjection,
)

PROCESSOR = "preprocessor_config.json"
MEAN, STD = (0.5, 0.4, 0.3), (0.25, 0.3, 0.2)
VOCABULARY, LENGTH, EOS = 50, 10, 40
# An end of text by its own id, and one that old configs leave to the highest id.
CASES = {"quick": ("quick_gelu", 2, "argmax"), "exact": ("gelu", EOS, "first")}
BLOCKS = {"num_hidden_layers": 2, "num_attention_heads": 2, "projection_dim": 6}
VISION = {"hidden_size": 16, "intermediate_size": 24, "image_size": 12, "patch_size": 4, **BLOCKS}
TEXT = {
    "hidden_size": 8,
    "intermediate_size": 20,
    "vocab_size": VOCABULARY,
    "max_position_embeddings": LENGTH,
    **BLOCKS,
}


def randomised(model: torch.nn.Module, seed: int) -> Any:
    """Every parameter drawn anew, none left at a zero or one and outputs of order one."""
    generator = torch.Generator().manual_seed(seed)
    for name, leaf in model.named_parameters():
        noise = torch.randn(leaf.shape, generator=generator)
        if leaf.ndim == 1:
            noise = 0.3 * noise + (1.0 if "norm" in name and name.endswith("weight") else 0.0)
        elif leaf.ndim in (2, 4) and "embedding.weight" not in name.replace("patch_embedding", ""):
            noise = noise / leaf[0].numel() ** 0.5
        leaf.data = noise
    return model.eval()


def tokens(rows: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Ids with the end of text at different places and more of anything behind it, and 1 up to there."""
    rng = np.random.default_rng(seed)
    ids = rng.integers(3, EOS, (rows, LENGTH))
    ends = np.arange(rows) % (LENGTH - 2) + 2
    ids[np.arange(rows), ends] = EOS
    return ids, (np.arange(LENGTH) <= ends[:, None]).astype(np.int64)


def normal(pixels: np.ndarray) -> torch.Tensor:
    """As the image processor makes them, [B, C, H, W]."""
    return torch.tensor((pixels - np.float32(MEAN)) / np.float32(STD)).permute(0, 3, 1, 2)


def unit(x: torch.Tensor) -> torch.Tensor:
    return x / x.norm(dim=-1, keepdim=True)


def stages_of(modules: dict[str, Any], run: Any) -> dict[str, np.ndarray]:
    """What each module gives while something runs."""
    found: dict[str, np.ndarray] = {}
    hooks = []
    for name, module in modules.items():

        def note(module: Any, args: Any, out: Any, name: str = name) -> None:
            found[name] = (out[0] if isinstance(out, tuple) else out).detach().numpy()

        hooks.append(module.register_forward_hook(note))
    run()
    for hook in hooks:
        hook.remove()
    return found


def make(folder: Path, case: str, seed: int) -> None:
    activation, eos, _ = CASES[case]
    sections = {"vision_config": VISION | {"hidden_act": activation}}
    sections["text_config"] = TEXT | {
        "hidden_act": activation,
        "eos_token_id": eos,
        "bos_token_id": 1,
        "pad_token_id": 0,
    }
    model = randomised(CLIPModel(CLIPConfig(**sections, projection_dim=6)), seed)
    model.logit_scale.data = torch.tensor(1.5)
    model.save_pretrained(folder / case)
    processor = {"image_mean": MEAN, "image_std": STD}
    (folder / case / PROCESSOR).write_text(json.dumps(processor))
    pixels = np.random.default_rng(seed).uniform(0, 1, (3, 12, 12, 3)).astype(np.float32)
    ids, mask = tokens(5, seed)
    out = model(input_ids=torch.tensor(ids), pixel_values=normal(pixels))
    weight = np.random.default_rng(1).normal(size=(3, 5)).astype(np.float32)
    (out.logits_per_image * torch.tensor(weight)).sum().backward()
    grads = {name: leaf.grad for name, leaf in model.named_parameters()}
    save_file(grads, folder / f"{case}.grads.safetensors", metadata={"format": "pt"})
    vision, text = model.vision_model, model.text_model
    modules = {"vision_0": vision.pre_layrnorm, "text_0": text.embeddings}
    modules |= {f"vision_{i + 1}": layer for i, layer in enumerate(vision.encoder.layers)}
    modules |= {f"text_{i + 1}": layer for i, layer in enumerate(text.encoder.layers)}
    texts = {"input_ids": torch.tensor(ids), "attention_mask": torch.tensor(mask)}
    expected = stages_of(modules, lambda: model(**texts, pixel_values=normal(pixels)))
    names = {"vision_features": "image_embeds", "text_features": "text_embeds", "logits": "logits_per_image"}
    expected |= {ours: getattr(out, theirs).detach().numpy() for ours, theirs in names.items()}
    np.savez(
        folder / f"{case}.expected.npz", pixels=pixels, ids=ids, weight=weight, **expected, **zero_shot(model, pixels)
    )
    both = folder / f"{case}_towers"
    for name, kind in (("vision", CLIPVisionModelWithProjection), ("text", CLIPTextModelWithProjection)):
        kind.from_pretrained(folder / case).save_pretrained(both / name)


def make_bare(folder: Path, case: str) -> None:
    """An image tower without projection."""
    model = CLIPVisionModel.from_pretrained(folder / case)
    model.save_pretrained(folder / "bare")
    pixels = np.load(folder / f"{case}.expected.npz")["pixels"]
    shutil.copy(folder / case / PROCESSOR, folder / "bare" / PROCESSOR)
    with torch.no_grad():
        features = model(normal(pixels)).pooler_output
    np.savez(folder / "bare.expected.npz", pixels=pixels, features=features.numpy())


def zero_shot(model: Any, pixels: np.ndarray) -> dict[str, np.ndarray]:
    """Probabilities of 3 classes, each described by 4 prompts."""
    ids, _ = tokens(12, 9)
    with torch.no_grad():
        features = unit(model.get_text_features(input_ids=torch.tensor(ids)).pooler_output)
        classes = unit(features.reshape(3, 4, -1).mean(dim=1))
        images = unit(model.get_image_features(pixel_values=normal(pixels)).pooler_output)
        probability = (model.logit_scale.exp() * images @ classes.T).softmax(dim=-1)
    return {"prompts": ids.reshape(3, 4, -1), "classes": classes.numpy(), "probability": probability.numpy()}


def loaded(kind: Any, folder: Path) -> Any:
    model, info = kind.from_pretrained(folder, output_loading_info=True)
    assert not any(info[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys")), info
    return model.eval()


def load(folder: Path) -> None:
    for case in CASES:
        given = np.load(folder / f"{case}.expected.npz")
        ids, pixels = torch.tensor(given["ids"]), normal(given["pixels"])
        with torch.no_grad():
            logits = loaded(CLIPModel, folder / case / "back")(input_ids=ids, pixel_values=pixels).logits_per_image
            towers = folder / f"{case}_towers"
            image = loaded(CLIPVisionModelWithProjection, towers / "vision_back")(pixel_values=pixels).image_embeds
            text = loaded(CLIPTextModelWithProjection, towers / "text_back")(input_ids=ids).text_embeds
        features = {"vision_features": unit(image).numpy(), "text_features": unit(text).numpy()}
        np.savez(folder / f"{case}.back.npz", logits=logits.numpy(), **features)


if __name__ == "__main__":
    torch.set_num_threads(1)
    target = Path(sys.argv[2])
    if sys.argv[1] == "make":
        for i, name in enumerate(CASES):
            make(target, name, i)
        make_bare(target, "quick")
    else:
        load(target)
