"""Released CNNs in PyTorch: timm's, torchvision's, Hugging Face's, and EfficientNet-Lite0 from its own weights.

`cnns_side.py make FOLDER` makes a random network for each case, saves it as its library does, and writes what it
computes; `cnns_side.py back FOLDER` loads what tlx saved and writes what that computes. Knows nothing of tlx.
"""

import json
import sys
from pathlib import Path

import numpy as np
import timm
import torch
import torchvision
from timm.models import efficientnet, resnetv2
from timm.models._hub import save_for_hf
from torch import nn
from torch.nn import functional as F
from transformers import ResNetConfig, ResNetForImageClassification

torch.set_num_threads(1)
CLASSES, BATCH = 5, 4
MEAN, STD = [0.4, 0.45, 0.5], [0.2, 0.25, 0.3]
SIDES = {"bit": 48, "real": 224}


def randomise(model):
    """No leaf stays where a mistake about it would not show, and outputs stay of order one."""
    for name, tensor in model.state_dict().items():
        if name.endswith("running_var"):
            tensor.uniform_(0.5, 2.0)
        elif tensor.dim() == 4:
            tensor.normal_(0, (1.5 / tensor[0].numel()) ** 0.5)
        elif tensor.dim() == 2:
            tensor.normal_(0, tensor.shape[1] ** -0.5)
        elif name.endswith("weight"):
            tensor.uniform_(0.6, 1.4)
        elif tensor.is_floating_point():
            tensor.normal_(0, 0.3)


def hugging_face(folder, **config):
    model = ResNetForImageClassification(ResNetConfig(num_labels=CLASSES, **config))
    randomise(model)
    model.save_pretrained(folder)
    beside = {"do_rescale": True, "do_normalize": True, "image_mean": MEAN, "image_std": STD}
    (folder / "preprocessor_config.json").write_text(json.dumps(beside))
    body = model.resnet
    blocks = [layer for stage in body.encoder.stages for layer in stage.layers]
    return model, [body.embedder, *blocks, body.pooler], (MEAN, STD)


def timm_saved(folder, model):
    randomise(model)
    model.pretrained_cfg = {**model.pretrained_cfg, "mean": MEAN, "std": STD}
    save_for_hf(model, folder, safe_serialization=True)
    return MEAN, STD


def timm_resnet(folder, name, layers):
    model = timm.create_model(
        name, num_classes=CLASSES, layers=layers, channels=[64 * 2**i for i in range(len(layers))]
    )
    given = timm_saved(folder, model)
    blocks = [block for i in range(len(layers)) for block in getattr(model, f"layer{i + 1}")]
    return model, [model.maxpool, *blocks, model.global_pool], given


def torchvision_resnet(folder):
    model = torchvision.models.ResNet(torchvision.models.resnet.BasicBlock, [1, 1, 1, 1], num_classes=CLASSES)
    randomise(model)
    folder.mkdir()
    torch.save({"epoch": 3, "state_dict": model.state_dict()}, folder / "model.pth")
    blocks = [block for i in range(1, 5) for block in getattr(model, f"layer{i}")]
    return model, [model.maxpool, *blocks, model.avgpool], ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])


def narrow_bit():
    # Group norm takes 32 groups, so the network cannot be narrower.
    sizes = {"layers": [2, 1, 1], "channels": [128, 256, 512], "stem_chs": 32}
    return resnetv2._create_resnetv2_bit("resnetv2_50x1_bit", num_classes=CLASSES, **sizes)


def bit(folder):
    model = narrow_bit()
    given = timm_saved(folder, model)
    as_made_by_name(folder)
    blocks = [block for stage in model.stages for block in stage.blocks]
    return model, [model.stem, *blocks, model.head.global_pool], given


def as_made_by_name(folder):
    """Leaves out of the config how the network was made narrow, which timm has no argument for."""
    config = json.loads((folder / "config.json").read_text())
    config["model_args"] = {"num_classes": CLASSES, "in_chans": 3}
    (folder / "config.json").write_text(json.dumps(config))


def narrow_efficientnet():
    return efficientnet._gen_efficientnet_lite(
        "tf_efficientnet_lite0",
        channel_multiplier=0.3,
        depth_multiplier=0.6,
        num_classes=CLASSES,
        pad_type="same",
        bn_eps=1e-3,
        bn_momentum=0.01,
    )


def efficientnet_lite(folder):
    model = narrow_efficientnet()
    given = timm_saved(folder, model)
    as_made_by_name(folder)
    blocks = [block for stage in model.blocks for block in stage]
    return model, [model.bn1, *blocks, model.global_pool], given


BASIC = {"layer_type": "basic", "embedding_size": 8, "hidden_sizes": [8, 16, 32], "depths": [1, 2, 1]}
BOTTLENECK = {"layer_type": "bottleneck", "embedding_size": 8, "hidden_sizes": [32, 64], "depths": [2, 1]}
CASES = {
    "hf-basic": lambda folder: hugging_face(folder, **BASIC),
    "hf-bottleneck": lambda folder: hugging_face(folder, **BOTTLENECK),
    "hf-first": lambda folder: hugging_face(folder, **BOTTLENECK, downsample_in_bottleneck=True),
    "timm-basic": lambda folder: timm_resnet(folder, "resnet18", [1, 2, 1, 1]),
    "timm-bottleneck": lambda folder: timm_resnet(folder, "resnet50", [1, 1, 1, 1]),
    "torchvision": torchvision_resnet,
    "bit": bit,
    "efficientnet": efficientnet_lite,
}


def normalised(x_BHWC, mean, std):
    """Images in [-1, 1], rows first, as the network takes them."""
    pixel = 0.5 + 0.5 * torch.tensor(x_BHWC).permute(0, 3, 1, 2)
    mean, std = (torch.tensor(each, dtype=pixel.dtype).reshape(3, 1, 1) for each in (mean, std))
    return (pixel - mean) / std


def logits_of(model, x):
    out = model(x)
    return out if isinstance(out, torch.Tensor) else out.logits


def rows_last(value):
    value = value.detach()
    return value.permute(0, 2, 3, 1).numpy() if value.dim() == 4 else value.numpy()


def evaluate(model, stages, x):
    """What each stage hands on, in evaluation mode."""
    found, hooks = [], []
    for stage in stages:
        hooks.append(stage.register_forward_hook(lambda module, args, out: found.append(rows_last(out).copy())))
    with torch.no_grad():
        logits = logits_of(model.eval(), x).numpy()
    for hook in hooks:
        hook.remove()
    assert len(found) == len(stages)
    return {**{f"stage_{i}": value for i, value in enumerate(found)}, "logits": logits}


def train(model, x):
    """Gradients of a scalar in training mode and the statistics after it, variances without PyTorch's n / (n - 1).

    In double precision: in single, a number that falls to the other side of a ReLU's kink moves gradients by percents.
    """
    norms, counts = {}, {}
    for name, module in model.named_modules():
        if isinstance(module, nn.BatchNorm2d):
            norms[name] = module
            module.register_forward_pre_hook(
                lambda module, args, name=name: counts.__setitem__(name, args[0].numel() // args[0].shape[1])
            )
    before = {name: module.running_var.clone() for name, module in norms.items()}
    logits = logits_of(model.train(), x)
    weight = torch.linspace(-1, 1, logits.numel(), dtype=torch.float64)
    (logits * weight.reshape(logits.shape)).sum().backward()
    out = {f"grad:{name}": leaf.grad.numpy() for name, leaf in model.named_parameters()}
    for name, module in norms.items():
        kept, n = (1 - module.momentum) * before[name], counts[name]
        out[f"stat:{name}.running_mean"] = module.running_mean.numpy()
        out[f"stat:{name}.running_var"] = (kept + (module.running_var - kept) * (n - 1) / n).numpy()
    return out | {"train_logits": logits.detach().numpy()}


def real(path, x):
    """EfficientNet-Lite0 written out, from the file's own tensors; only numbers are unpickled."""
    p = torch.load(path, weights_only=True)

    def layer(x, conv, norm, stride=1, relu=True):
        kernel = p[f"{conv}.weight"]
        groups = x.shape[1] // kernel.shape[1]
        pads = []
        for size in (x.shape[3], x.shape[2]):
            total = max((-(-size // stride) - 1) * stride + kernel.shape[-1] - size, 0)
            pads += [total // 2, total - total // 2]
        y = F.conv2d(F.pad(x, pads), kernel, None, stride, groups=groups)
        stats = [p[f"{norm}.{name}"] for name in ("running_mean", "running_var", "weight", "bias")]
        y = F.batch_norm(y, *stats, eps=1e-3)
        return y.clamp(0, 6) if relu else y

    strides = [1] * 16
    for first in (1, 3, 5, 11):
        strides[first] = 2
    with torch.no_grad():
        y = layer(x, "_conv_stem", "_bn0", 2)
        for i, stride in enumerate(strides):
            z, name = y, f"_blocks.{i}"
            if f"{name}._expand_conv.weight" in p:
                z = layer(z, f"{name}._expand_conv", f"{name}._bn0")
            z = layer(z, f"{name}._depthwise_conv", f"{name}._bn1", stride)
            z = layer(z, f"{name}._project_conv", f"{name}._bn2", relu=False)
            y = z + y if z.shape == y.shape else z
        y = layer(y, "_conv_head", "_bn1").mean((2, 3))
        return F.linear(y, p["_fc.weight"], p["_fc.bias"]).numpy()


def make(folder):
    rng = np.random.default_rng(0)
    for name, case in CASES.items():
        torch.manual_seed(0)
        model, stages, given = case(folder / name)
        side = SIDES.get(name, 40)
        x_BHWC = rng.uniform(-1, 1, (BATCH, side, side - 4, 3)).astype(np.float32)
        found = evaluate(model, stages, normalised(x_BHWC, *given))
        found |= train(model.double(), normalised(x_BHWC.astype(np.float64), *given))
        np.savez(folder / f"{name}.npz", x=x_BHWC, **found)
    if (given := folder / "real.txt").exists():
        x_BHWC = rng.uniform(-1, 1, (2, 224, 224, 3)).astype(np.float32)
        x = normalised(x_BHWC, [127 / 255] * 3, [128 / 255] * 3)
        np.savez(folder / "real.npz", x=x_BHWC, logits=real(given.read_text(), x))


def loaded(folder, name):
    """The network that tlx saved; an error where a tensor is missing or left over."""
    if name.startswith("hf-"):
        model, said = ResNetForImageClassification.from_pretrained(folder / "back" / name, output_loading_info=True)
        assert not any(said.values()), said
        return model
    if name == "bit-npz":
        model = narrow_bit()
        model.load_pretrained(str(folder / "back" / "bit-npz.npz"))
        return model
    if name in ("bit", "efficientnet"):
        model = narrow_bit() if name == "bit" else narrow_efficientnet()
        tensors = dict(np.load(folder / "back" / f"{name}.npz"))
        said = model.load_state_dict({key: torch.tensor(value) for key, value in tensors.items()}, strict=False)
        assert not said.unexpected_keys and all(key.endswith("num_batches_tracked") for key in said.missing_keys)
        return model
    return timm.create_model(f"local-dir:{folder / 'back' / name}", pretrained=True)


def back(folder):
    for name in [*CASES, "bit-npz", *(["real"] if (folder / "real.txt").exists() else [])]:
        x_BHWC = np.load(folder / f"{name.removesuffix('-npz')}.npz")["x"]
        given = json.loads((folder / "back" / f"{name}.json").read_text())
        model = loaded(folder, name).eval()
        with torch.no_grad():
            logits = logits_of(model, normalised(x_BHWC, given["mean"], given["std"])).numpy()
        np.savez(folder / "back" / f"{name}.done.npz", logits=logits)


{"make": make, "back": back}[sys.argv[1]](Path(sys.argv[2]))
