"""From a config file and overrides to a complete, checked ConfigDict."""

import difflib
import importlib.util
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from absl import flags
from ml_collections import ConfigDict, config_flags

from tlx.adapt.adapted import STATS
from tlx.adapt.registry import METHODS
from tlx.errors import ConfigError, FileError, TlxError, suggest
from tlx.fields import Field, Fields, check_fields
from tlx.models.registry import MODELS, Model
from tlx.optim import SCHEDULES
from tlx.study.weights import open_weights

SCRATCH_RATES = (1e-4, 1e-3, 1e-2)
_RATE = Field(1e-3, "peak learning rate", low=1e-12, high=1e6)

# What leaves a choice to somebody else: an entry to config.train, and config.train to each method's paper.
INHERIT, INHERIT_NUMBER = "inherit", -1.0

_CHOICES: Fields = {
    "optimizer": Field("adamw", "update rule", choices=("adamw", "sgd")),
    "schedule": Field("cosine", "learning rate after the warm-up", choices=SCHEDULES),
    "warmup": Field(0.1, "share of the steps spent warming up", low=0.0, high=1.0),
    "weight_decay": Field(0.01, "decoupled weight decay", low=0.0, high=100.0),
}
_SHARED: Fields = {
    "steps": Field(200, "number of updates", low=1, high=100_000_000),
    "batch_size": Field(32, "examples per update, on all devices together", low=1, high=1_000_000),
    "momentum": Field(0.9, "β1 of adamw, momentum of sgd", low=0.0, high=0.9999),
    "clip_norm": Field(1.0, "largest global gradient norm of the trainable part; 0 for none", low=0.0),
    "accumulate": Field(1, "parts a batch is taken in, to save memory", low=1, high=1_000_000),
    "ema": Field(
        0.0, "decay of the mean of the trainable leaves that is evaluated; 0 for none", low=0.0, high=0.999999
    ),
    "label_smoothing": Field(0.0, "share of the target mass spread over all classes", low=0.0, high=1.0),
    "precision": Field(
        "float32", "what passes compute in; leaves, optimizer and loss stay float32", choices=("float32", "bfloat16")
    ),
}


def _inherited(field: Field, of: str) -> Field:
    """The same setting, left to somebody else unless a config says otherwise."""
    if isinstance(field.default, str):
        return replace(
            field, default=INHERIT, choices=(INHERIT, *field.choices), doc=f"{field.doc}; {INHERIT} for {of}"
        )
    return replace(field, default=INHERIT_NUMBER, unset=INHERIT_NUMBER, doc=f"{field.doc}; -1 for {of}")


RECIPE: Fields = {**_SHARED, **_CHOICES}
TRAIN: Fields = {**_SHARED, **{name: _inherited(field, "each method's own") for name, field in _CHOICES.items()}}
SOURCE: Fields = {
    "checkpoint": Field("", "folder or file of finished weights; nothing is then pre-trained, and the rest is unused"),
    "dataset": Field("mnist5k", "registered data set"),
    "train": Field("train", "split to pre-train on, in TFDS syntax"),
    "test": Field("test", "split to score the source model on"),
    "lr": _RATE,
    "seed": Field(0, "of the initial weights and the batch order", low=0, high=2**31 - 1),
    **RECIPE,
}
TARGET: Fields = {
    "dataset": Field("digits", "registered data set"),
    "train": Field("train[:85%]", "split the labels are drawn from, in TFDS syntax"),
    "validation": Field("train[85%:]", "split the learning rate is chosen on"),
    "test": Field("test", "split that is scored once"),
}
ENTRY: Fields = {
    "arm": Field("transfer", "what it starts from", choices=("scratch", "random-frozen", "transfer")),
    "lr": Field(
        (), "learning rates to try, as many for every entry; () for the method's own", each=_RATE, may_be_empty=True
    ),
    "batch_stats": Field("auto", "running statistics; auto updates those of norms that train", choices=STATS),
    **{name: _inherited(field, "that of config.train") for name, field in _CHOICES.items()},
}
PLAN: Fields = {
    "strategy": Field("auto", "how cells become programs", choices=("auto", "loop", "fused")),
    "steps_per_call": Field(0, "train steps in one call of a program; 0 lets the plan choose", low=0, high=100_000),
    "workers": Field(0, "units run at once on a CPU; 0 lets the plan choose", low=0, high=256),
    "eval_batch": Field(200, "examples per call when evaluating", low=1, high=1_000_000),
}
MESH: Fields = {
    "data": Field(-1, "devices the batch is split over; -1 for all", low=-1, high=100_000),
    "fsdp": Field(1, "devices each parameter is split over", low=1, high=100_000),
}
TEXT: Fields = {
    "tokenizer": Field("", "tokenizer.json, vocab.txt or the folder of one; empty for that of a source's checkpoint"),
    "length": Field(64, "tokens of every text; longer ones are cut, shorter ones filled up", low=1, high=100_000),
}
CHECKPOINT: Fields = {
    "every_seconds": Field(30.0, "unfinished work is saved at most this often; 0 after every call", low=0.0)
}
TOP: Fields = {
    "name": Field("study", "of the study; names its work folder"),
    "budgets": Field((100,), "numbers of target labels", each=Field(1, "labels", low=1)),
    "seeds": Field((0, 1, 2, 3, 4), "one cell each", each=Field(0, "seed", low=0, high=2**31 - 1)),
    "compile": Field("jit", "how steps are compiled", choices=("jit", "pmap")),
    "artifacts": Field(False, "whether what each cell trained is kept, in WORKDIR/artifacts"),
}
BLOCKS: Mapping[str, Fields] = {"train": TRAIN, "plan": PLAN, "mesh": MESH, "checkpoint": CHECKPOINT, "text": TEXT}
NAMED: Mapping[str, Fields] = {"sources": SOURCE, "targets": TARGET, "adapt": ENTRY}
KINDS = {"model": {name: kind.fields for name, kind in MODELS.items()}}
METHOD_FIELDS = {name: method.fields for name, method in METHODS.items()}


def load(spec: str, overrides: Sequence[str] = ()) -> ConfigDict:
    """A config, complete and checked.

    Args:
      spec: `PATH` or `PATH:ARGUMENT` of a Python file with `get_config(argument)`.
      overrides: `--config.a.b=value`, in ml_collections' syntax.

    Returns:
      The locked config, every field present.

    Raises:
      FileError: no such file, or it has no `get_config`.
      ConfigError: a field that does not exist or a value that will not do.
    """
    pairs = [_split_override(text) for text in overrides]
    # What names a method or a model decides which fields there are, so it is set before they are filled in.
    kinds = [pair for pair in pairs if re.fullmatch(r"config\.(model|adapt\..+\.method)\.name", pair[0])]
    config = _read(spec)
    # A checkpoint decides what the model is, so it too is set before the rest is filled in.
    checkpoints = [pair for pair in pairs if re.fullmatch(r"config\.sources\.[^.]+\.checkpoint", pair[0])]
    for path, text in checkpoints:
        block, name = _lookup(config, path.removesuffix(".checkpoint"))
        if isinstance(block[name], ConfigDict):
            block[name].checkpoint = text
    config.model = _model(config.to_dict())
    for path, text in kinds:
        config = _swap_kind(config, path, text)
    # The learning rates of an entry that names none follow from its arm.
    arms = [pair for pair in pairs if re.fullmatch(r"config\.adapt\.[^.]+\.arm", pair[0])]
    config = _override(_filled(config, rates=False), arms)
    config = _override(_filled(config), [pair for pair in pairs if pair not in (*kinds, *arms, *checkpoints)])
    config = _filled(config)
    _check_whole(config)
    config.lock()
    return config


def restored(plain: Mapping[str, Any]) -> ConfigDict:
    """The config of a study that was run, from the plain values its manifest holds.

    Args:
      plain: `manifest["config"]`.

    Returns:
      The locked config.

    Raises:
      ConfigError: it is from another version of tlx, or was edited: a field that does not exist or a bad value.
    """
    config = _filled(ConfigDict(dict(plain)))
    _check_whole(config)
    config.lock()
    return config


def _read(spec: str) -> ConfigDict:
    name, _, argument = spec.partition(":")
    path = Path(name)
    if not path.is_file():
        siblings = [str(p) for p in path.parent.glob("*.py")] if path.parent.is_dir() else []
        close = difflib.get_close_matches(name, siblings, n=1)
        raise FileError(name, "no such config file" + (f" (did you mean {close[0]!r}?)" if close else ""))
    module_spec = importlib.util.spec_from_file_location("tlx_user_config", path)
    if module_spec is None or module_spec.loader is None:
        raise FileError(name, "expected a Python file with get_config(argument)")
    module = importlib.util.module_from_spec(module_spec)
    try:
        module_spec.loader.exec_module(module)
        if not hasattr(module, "get_config"):
            raise FileError(name, "defines no get_config(argument)")
        config = module.get_config(argument)
        if isinstance(config, ConfigDict):
            return ConfigDict(_plain("config", config.to_dict()))
    except TlxError:
        raise
    except (Exception, SystemExit) as error:
        raise FileError(name, f"{type(error).__name__}: {error}".splitlines()[0]) from error
    raise FileError(name, f"get_config returned {type(config).__name__}, expected a ml_collections.ConfigDict")


def _plain(where: str, value: Any) -> Any:
    """The value, if it is a block of named values, a sequence, a text or a number."""
    if isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                raise ConfigError(where, f"expected a name for each field, got {key!r}")
            _plain(f"{where}.{key}", item)
    elif isinstance(value, tuple | list):
        for i, item in enumerate(value):
            _plain(f"{where}[{i}]", item)
    elif value is not None and not isinstance(value, str | int | float):
        raise ConfigError(where, f"expected a plain value, got one of type {type(value).__name__}")
    return value


def _split_override(text: str) -> tuple[str, str]:
    path, equals, value = text.removeprefix("--").partition("=")
    if not text.startswith("--config.") or not equals:
        raise ConfigError(text, "expected --config.FIELD=VALUE")
    return path, value


def _override(config: ConfigDict, pairs: Sequence[tuple[str, str]]) -> ConfigDict:
    for path, text in pairs:
        field, bracket, index = path.removesuffix("]").partition("[")
        block, name = _lookup(config, field)
        value = block[name]
        if isinstance(value, ConfigDict):
            raise ConfigError(path, f"is a block; set one of its fields ({', '.join(sorted(value))})")
        if not bracket:
            value = _parse(value, text)
        elif isinstance(value, tuple) and index.isdecimal() and (i := int(index)) < len(value):
            value = (*value[:i], _parse(value[i], text), *value[i + 1 :])
        else:
            raise ConfigError(path, f"{field} has no item {index}")
        with block.ignore_type():
            block[name] = value
    return config


def _swap_kind(config: ConfigDict, path: str, text: str) -> ConfigDict:
    """The config with another model or method, without the settings that only the one before it has."""
    block, name = _lookup(config, path)
    kinds = KINDS["model"] if path == "config.model.name" else METHOD_FIELDS
    before = kinds.get(block[name], {})
    config = _override(config, [(path, text)])
    for setting in before.keys() - kinds.get(block[name], {}).keys():
        if setting in block:
            del block[setting]
    return config


def _lookup(config: ConfigDict, path: str) -> tuple[ConfigDict, str]:
    """The block a field stands in, and its name there."""
    block, name = config, ""
    node: Any = config
    walked, *names = path.split(".")
    for name in names:
        if not isinstance(node, ConfigDict) or name not in node:
            options = list(node) if isinstance(node, ConfigDict) else []
            raise ConfigError(f"{walked}.{name}", f"no such field{suggest(name, options)}")
        block, node, walked = node, node[name], f"{walked}.{name}"
    return block, name


def _parse(current: Any, text: str) -> Any:
    """What ml_collections makes of a text, or the text itself, for the field's own check to refuse."""
    values = flags.FlagValues()
    argv = ["tlx", f"--config.value={text}"]
    try:
        config_flags.DEFINE_config_dict("config", ConfigDict({"value": current}), flag_values=values, sys_argv=argv)
        values(argv)
    except Exception:
        # The parsers of absl and ml_collections raise half a dozen types; all mean the same.
        return text
    return values.config.value


def _filled(config: ConfigDict, rates: bool = True) -> ConfigDict:
    """The config with every field present and every value of a good type, as far as one block can tell."""
    given = config.to_dict()
    known = {*TOP, *BLOCKS, *NAMED, *KINDS}
    for name in given:
        if name not in known:
            raise ConfigError(f"config.{name}", f"no such field{suggest(name, known)}")
    full: dict[str, Any] = check_fields("config", TOP, {name: given[name] for name in given if name in TOP})
    for name, fields in BLOCKS.items():
        full[name] = check_fields(f"config.{name}", fields, _block(f"config.{name}", given.get(name, {})))
    full["model"] = _kind("config.model", KINDS["model"], _model(given))
    for name, fields in NAMED.items():
        full[name] = {}
        for item, block in _block(f"config.{name}", given.get(name, {})).items():
            where = f"config.{name}.{item}"
            settings = dict(_block(where, block))
            method = settings.pop("method", {}) if name == "adapt" else None
            full[name][item] = check_fields(where, fields, settings)
            if name == "adapt":
                full[name][item]["method"] = _methods(f"{where}.method", method)
                if rates and not full[name][item]["lr"]:
                    full[name][item]["lr"] = _own_rates(full[name][item])
    return ConfigDict(full)


def _block(where: str, given: Any) -> dict[str, Any]:
    if not isinstance(given, dict):
        raise ConfigError(where, f"expected a block of fields, got {given!r}")
    return given


def _kind(where: str, kinds: Mapping[str, Fields], given: Any) -> dict[str, Any]:
    """A block whose `name` decides its other fields."""
    name = _block(where, given).get("name")
    if not isinstance(name, str) or name not in kinds:
        raise ConfigError(f"{where}.name", f"unknown name {name!r}{suggest(str(name), kinds)}")
    return {"name": name, **check_fields(where, kinds[name], {k: v for k, v in given.items() if k != "name"})}


def _model(given: Mapping[str, Any]) -> dict[str, Any]:
    """The model's block; what it leaves out is taken from a source's checkpoint, which describes itself."""
    block = dict(_block("config.model", given.get("model", {})))
    sources = _block("config.sources", given.get("sources", {}))
    paths = {name: source.get("checkpoint", "") for name, source in sources.items() if isinstance(source, dict)}
    found = {name: _described(name, path) for name, path in paths.items() if path and isinstance(path, str)}
    for name, model in found.items():
        first, other = next(iter(found.items()))
        if (model.name, model.settings) != (other.name, other.settings):
            raise ConfigError(f"config.sources.{name}.checkpoint", f"holds another architecture than that of {first}")
        if block.get("name", model.name) != model.name:
            where = f"config.sources.{name}.checkpoint"
            raise ConfigError("config.model.name", f"{block['name']!r}, but {where} holds a {model.name!r}")
        block = {"name": model.name, **dict(model.settings), **block}
    return block


def _described(source: str, path: str) -> Model:
    """The model that a source's checkpoint describes."""
    try:
        return open_weights(path).model
    except FileError as error:
        raise ConfigError(f"config.sources.{source}.checkpoint", " ".join(str(error).split())) from None


def _methods(where: str, given: Any) -> dict[str, Any]:
    """A method's block, and those of the methods under its `also`, each by its own name."""
    block = dict(_block(where, given))
    also = _block(f"{where}.also", block.pop("also", {}))
    main = _kind(where, METHOD_FIELDS, block)
    for name in also:
        if name not in METHODS:
            raise ConfigError(f"{where}.also.{name}", f"unknown method{suggest(name, METHODS)}")
        if name == main["name"]:
            raise ConfigError(f"{where}.also.{name}", "is the main method already")
    checked = {
        name: check_fields(f"{where}.also.{name}", METHOD_FIELDS[name], _block(f"{where}.also.{name}", settings))
        for name, settings in also.items()
    }
    return {**main, "also": checked} if also else main


def _own_rates(entry: Mapping[str, Any]) -> tuple[float, ...]:
    """The method's own learning rates; they are for pre-trained weights, so from scratch there are others."""
    rates: tuple[float, ...] = METHODS[entry["method"]["name"]].defaults.learning_rates
    return SCRATCH_RATES if entry["arm"] == "scratch" else rates


def _check_whole(config: ConfigDict) -> None:
    """Checks what concerns several fields."""
    for name in ("targets", "adapt"):
        if not config[name]:
            raise ConfigError(f"config.{name}", "expected at least one, got none")
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", config.name):
        raise ConfigError("config.name", f"expected letters, digits, '.', '_' and '-', got {config.name!r}")
    for block in NAMED:
        for name in config[block]:
            # An override addresses it as `--config.adapt.NAME.field`, so a name holds no dot.
            if not re.fullmatch(r"\w[\w-]*", name):
                raise ConfigError(f"config.{block}", f"expected names of letters, digits, '_' and '-', got {name!r}")
    arms = {entry: config.adapt[entry].arm for entry in config.adapt}
    scratch = [entry for entry, arm in arms.items() if arm == "scratch"]
    if len(scratch) != 1:
        found = "none" if not scratch else ", ".join(scratch)
        raise ConfigError("config.adapt", f"expected exactly one entry with arm='scratch' to compare with, got {found}")
    if "transfer" in arms.values() and not config.sources:
        raise ConfigError("config.sources", "expected at least one, as some entries have arm='transfer'")
    trials = len(config.adapt[scratch[0]].lr)
    for entry in config.adapt:
        if len(config.adapt[entry].lr) != trials:
            raise ConfigError(
                f"config.adapt.{entry}.lr",
                f"{len(config.adapt[entry].lr)} learning rates, but config.adapt.{scratch[0]}.lr has {trials}; "
                "every arm gets the same number of trials",
            )
    if config.mesh.data == 0:
        raise ConfigError("config.mesh.data", "expected a number of devices, or -1 for all, got 0")
    if config["compile"] == "pmap" and config.mesh.fsdp != 1:
        raise ConfigError("config.mesh.fsdp", f"expected 1 with config.compile='pmap', got {config.mesh.fsdp}")
