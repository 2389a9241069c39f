"""Vision transformers as transformers and timm make, save and load them; knows nothing of tlx.

`python vits_side.py make FOLDER` makes, for every case, `FOLDER/CASE/` as the library saves it and, beside it,
`CASE.expected.npz` (what goes in, what comes out of every stage) and `CASE.grads.safetensors` (of the sum of the logits
times `weight`, under the names of the parameters). `python vits_side.py load FOLDER` loads what tlx wrote to
`FOLDER/CASE/back/`, fails if a key is missing or unexpected, and writes the logits to `CASE.back.npz`.
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from safetensors.torch import load_file, save_file
from timm.models._hub import save_for_hf
from timm.models.vision_transformer import VisionTransformer
from transformers import ViTConfig, ViTForImageClassification, ViTModel

MEAN, STD = (0.5, 0.4, 0.3), (0.25, 0.3, 0.2)
CLASSES = 5
HF = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24, "patch_size": 4}
HF |= {"image_size": [8, 12], "num_labels": CLASSES}
TIMM = {"patch_size": 4, "embed_dim": 16, "depth": 2, "num_heads": 2, "mlp_ratio": 1.5, "img_size": 12}
TIMM |= {"num_classes": CLASSES}
TIMM_CASES = {
    "timm_mean": {"class_token": False, "global_pool": "avg"},
    "timm_patches": {"global_pool": "avg"},
    "timm_before": {"class_token": False, "global_pool": "avg", "fc_norm": False},
    "timm_class": {},
}
# Those of big_vision add positions before the class token joins, which is timm's `no_embed_class`.
NPZ_CASES = {
    "augreg": {},
    "bigvision_mean": {"class_token": False, "global_pool": "avg", "fc_norm": False},
    "bigvision_class": {"no_embed_class": True},
}


def randomised(model: torch.nn.Module, seed: int) -> torch.nn.Module:
    """Every parameter drawn anew, none left at a zero or one and outputs of order one."""
    generator = torch.Generator().manual_seed(seed)
    for name, leaf in model.named_parameters():
        noise = torch.randn(leaf.shape, generator=generator)
        if leaf.ndim == 1:
            noise = 0.3 * noise + (1.0 if "norm" in name and name.endswith("weight") else 0.0)
        elif leaf.ndim in (2, 4):
            noise = noise / leaf[0].numel() ** 0.5
        leaf.data = noise
    return model.eval()


def images(rows: int, columns: int) -> np.ndarray:
    return np.random.default_rng(0).uniform(0, 1, (3, rows, columns, 3)).astype(np.float32)


def normal(pixels: np.ndarray, mean: tuple[float, ...] = MEAN, std: tuple[float, ...] = STD) -> torch.Tensor:
    """As the image processors make them, [B, C, H, W]."""
    return torch.tensor((pixels - np.float32(mean)) / np.float32(std)).permute(0, 3, 1, 2)


def recorded(model: Any, stages: list[torch.nn.Module], logits: Callable[[], torch.Tensor]) -> dict[str, Any]:
    """The logits, what each stage gives, and the parameters' gradients."""
    found: list[np.ndarray] = []

    def note(module: Any, args: Any, out: Any) -> None:
        found.append((out[0] if isinstance(out, tuple) else out).detach().numpy())

    hooks = [stage.register_forward_hook(note) for stage in stages]
    out = logits()
    for hook in hooks:
        hook.remove()
    weight = torch.tensor(np.random.default_rng(1).normal(size=tuple(out.shape)), dtype=torch.float32)
    (out * weight).sum().backward()
    stages_found = {f"stage_{i}": value for i, value in enumerate(found)}
    return {"logits": out.detach().numpy(), "weight": weight.numpy(), **stages_found}


def write(folder: Path, case: str, model: Any, expected: dict[str, Any]) -> None:
    np.savez(folder / f"{case}.expected.npz", **expected)
    grads = {name: leaf.grad for name, leaf in model.named_parameters() if leaf.grad is not None}
    save_file(grads, folder / f"{case}.grads.safetensors", metadata={"format": "pt"})


def make_hf(folder: Path) -> None:
    model = randomised(ViTForImageClassification(ViTConfig(**HF)), 0)
    layers = [model.vit.embeddings, *model.vit.layers]
    pixels = images(8, 12)
    expected = {"pixels": pixels, **recorded(model, layers, lambda: model(normal(pixels)).logits)}
    for case in ("hf", "hf_memory"):
        model.save_pretrained(folder / case)
        processor = {"image_mean": MEAN, "image_std": STD, "do_normalize": True, "do_rescale": True}
        (folder / case / "preprocessor_config.json").write_text(json.dumps(processor))
        write(folder, case, model, expected)
    # The names of transformers 5 in memory.
    save_file(model.state_dict(), folder / "hf_memory" / "model.safetensors", metadata={"format": "pt"})


def make_hf_square(folder: Path) -> None:
    """A bare encoder with its pooler, and a classifier at a resolution it was not trained at."""
    config = ViTConfig(**HF | {"image_size": 12})
    bare = randomised(ViTModel(config), 1)
    bare.save_pretrained(folder / "hf_bare")
    pixels = images(12, 12)
    with torch.no_grad():
        state = bare(normal(pixels, (0.5,) * 3, (0.5,) * 3)).last_hidden_state[:, 0]
    np.savez(folder / "hf_bare.expected.npz", pixels=pixels, features=state.numpy())
    model = randomised(ViTForImageClassification(config), 2)
    model.save_pretrained(folder / "hf_resized")
    pixels = images(20, 20)
    with torch.no_grad():
        logits = model(normal(pixels, (0.5,) * 3, (0.5,) * 3), interpolate_pos_encoding=True).logits
    np.savez(folder / "hf_resized.expected.npz", pixels=pixels, logits=logits.numpy())


def make_timm(folder: Path) -> None:
    pixels = images(12, 12)
    for i, (case, changes) in enumerate(TIMM_CASES.items()):
        model = randomised(timm.create_model("vit_tiny_patch16_224", **TIMM | changes), 3 + i)
        model.pretrained_cfg = model.pretrained_cfg | {"mean": MEAN, "std": STD}
        layers = [model.norm_pre, *model.blocks]
        expected = {"pixels": pixels, **recorded(model, layers, lambda model=model: model(normal(pixels)))}
        save_for_hf(model, folder / case, safe_serialization=True)
        write(folder, case, model, expected)
    wide = images(20, 20)
    model.set_input_size(img_size=(20, 20))
    with torch.no_grad():
        np.savez(folder / "timm_resized.expected.npz", pixels=wide, logits=model(normal(wide)).numpy())


def npz_of(model: VisionTransformer, case: str) -> dict[str, np.ndarray]:
    """Google's names for timm's leaves: its reading of such files, backwards."""
    leaves = {name: leaf.detach().numpy() for name, leaf in model.named_parameters()}
    is_new, heads = case != "augreg", TIMM["num_heads"]
    top = "params/" if is_new else ""
    attention, second, mlp = (0, 1, 0) if is_new else (1, 2, 3)
    positions = "pos_embedding" if is_new else "Transformer/posembed_input/pos_embedding"
    found = {"embedding/kernel": leaves["patch_embed.proj.weight"].transpose(2, 3, 1, 0)}
    found |= {"embedding/bias": leaves["patch_embed.proj.bias"], positions: leaves["pos_embed"]}
    found |= {"cls": leaves["cls_token"]} if "cls_token" in leaves else {}

    def pair(theirs: str, ours: str) -> dict[str, np.ndarray]:
        weight, is_norm = leaves[f"{ours}.weight"], "norm" in ours
        return {f"{theirs}/{'scale' if is_norm else 'kernel'}": weight.T, f"{theirs}/bias": leaves[f"{ours}.bias"]}

    for i in range(TIMM["depth"]):
        block, layer = f"Transformer/encoderblock_{i}", f"blocks.{i}"
        found |= pair(f"{block}/LayerNorm_0", f"{layer}.norm1") | pair(f"{block}/LayerNorm_{second}", f"{layer}.norm2")
        for j in (0, 1):
            found |= pair(f"{block}/MlpBlock_{mlp}/Dense_{j}", f"{layer}.mlp.fc{j + 1}")
        own = f"{block}/MultiHeadDotProductAttention_{attention}"
        kernels, biases = (np.split(leaves[f"{layer}.attn.qkv.{leaf}"], 3) for leaf in ("weight", "bias"))
        for name, kernel, bias in zip(("query", "key", "value"), kernels, biases, strict=True):
            found |= {
                f"{own}/{name}/kernel": kernel.T.reshape(16, heads, -1),
                f"{own}/{name}/bias": bias.reshape(heads, -1),
            }
        out = leaves[f"{layer}.attn.proj.weight"].T.reshape(heads, -1, 16)
        found |= {f"{own}/out/kernel": out, f"{own}/out/bias": leaves[f"{layer}.attn.proj.bias"]}
    found |= pair("Transformer/encoder_norm", "norm") | pair("head", "head")
    return {f"{top}{name}": value for name, value in found.items()}


def make_npz(folder: Path) -> None:
    pixels = images(12, 12)
    for i, (case, changes) in enumerate(NPZ_CASES.items()):
        np.savez(folder / f"{case}.npz", **npz_of(randomised(VisionTransformer(**TIMM | changes), 20 + i), case))
        # What counts is how timm reads the file, not what it was made of.
        model = VisionTransformer(**TIMM | changes).eval()
        with torch.no_grad():
            model.load_pretrained(str(folder / f"{case}.npz"))
            logits = model(normal(pixels, (0.5,) * 3, (0.5,) * 3))
        np.savez(folder / f"{case}.expected.npz", pixels=pixels, logits=logits.numpy())


def load(folder: Path) -> None:
    for case in ("hf", *TIMM_CASES):
        pixels, back = np.load(folder / f"{case}.expected.npz")["pixels"], folder / case / "back"
        if case == "hf":
            model, info = ViTForImageClassification.from_pretrained(back, output_loading_info=True)
            assert not any(info[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys")), info
        else:
            model = timm.create_model(f"local-dir:{back}", pretrained=True)
            keys = load_file(back / "model.safetensors").keys()
            assert keys == model.state_dict().keys(), keys ^ model.state_dict().keys()
            assert model.pretrained_cfg["mean"] == [*MEAN] and model.pretrained_cfg["std"] == [*STD]
        with torch.no_grad():
            out = model.eval()(normal(pixels))
        np.savez(folder / f"{case}.back.npz", logits=(out if case != "hf" else out.logits).numpy())


if __name__ == "__main__":
    torch.set_num_threads(1)
    target = Path(sys.argv[2])
    if sys.argv[1] == "make":
        make_hf(target)
        make_hf_square(target)
        make_timm(target)
        make_npz(target)
    else:
        load(target)
