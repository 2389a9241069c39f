"""A config with every field present and every value of a good type, or one line that says what is wrong."""

import re
from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from tlx.adapt.registry import METHODS
from tlx.config.drawing import check_drawing
from tlx.config.schema import BLOCKS, KINDS, METHOD_FIELDS, NAMED, PREPROCESS, SCRATCH_RATES, TOP
from tlx.config.searching import check_search
from tlx.data.ops.pipeline import make_pipeline
from tlx.data.ops.registry import OPS
from tlx.errors import ConfigError, FileError, suggest
from tlx.fields import Fields, check_fields
from tlx.study.weights import open_weights


def filled(config: ConfigDict, rates: bool = True) -> ConfigDict:
    """The config with every field present and every value of a good type, as far as one block can tell."""
    given = config.to_dict()
    known = {*TOP, *BLOCKS, *NAMED, *KINDS, "preprocess"}
    for name in given:
        if name not in known:
            raise ConfigError(f"config.{name}", f"no such field{suggest(name, known)}")
    full: dict[str, Any] = check_fields("config", TOP, {name: given[name] for name in given if name in TOP})
    for name, fields in BLOCKS.items():
        full[name] = check_fields(f"config.{name}", fields, _block(f"config.{name}", given.get(name, {})))
    full["preprocess"] = _preprocess(_block("config.preprocess", given.get("preprocess", {})))
    full["model"] = _kind("config.model", KINDS["model"], complete_model(given))
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


def complete_model(given: Mapping[str, Any]) -> dict[str, Any]:
    """The model's block; what it leaves out is taken from a source's checkpoint, which describes itself."""
    block = dict(_block("config.model", given.get("model", {})))
    sources = _block("config.sources", given.get("sources", {}))
    blocks = {name: source for name, source in sources.items() if isinstance(source, dict)}
    paths = {
        f"config.sources.{name}.{field}": source.get(field, "")
        for name, source in blocks.items()
        for field in ("checkpoint", "start")
    }
    found = {where: _described(where, path) for where, path in paths.items() if path and isinstance(path, str)}
    for where, (kind, settings) in found.items():
        first, others = next(iter(found.items()))
        if (kind, settings) != others:
            raise ConfigError(where, f"holds another architecture than that of {first}")
        if block.get("name", kind) != kind:
            raise ConfigError("config.model.name", f"{block['name']!r}, but {where} holds a {kind!r}")
        block = {"name": kind, **settings, **block}
    return block


def _described(where: str, path: str) -> tuple[str, dict[str, Any]]:
    """The model that a source's checkpoint describes, with a head for classes."""
    try:
        model = open_weights(path).model
    except FileError as error:
        raise ConfigError(where, " ".join(str(error).split())) from None
    return model.name, model.kind.for_classes(dict(model.settings))


def _preprocess(given: Mapping[str, Any]) -> dict[str, Any]:
    """What is done to examples: the host's part, and a block of settings for each op."""
    where = "config.preprocess"
    blocks = {name: value for name, value in given.items() if name not in PREPROCESS}
    full = check_fields(where, PREPROCESS, {name: value for name, value in given.items() if name in PREPROCESS})
    for name, lengths in {"resize": (0, 1, 2), "crop": (0, 2)}.items():
        value = full[name]
        if len(value) not in lengths or not all(type(size) is int and size > 0 for size in value):
            raise ConfigError(f"{where}.{name}", f"expected pixels as (rows, columns), or (), got {value!r}")
    for i, name in enumerate(full["ops"]):
        if name not in OPS:
            raise ConfigError(f"{where}.ops[{i}]", f"there is no op {name!r}{suggest(str(name), OPS)}")
        if name in full["ops"][:i]:
            raise ConfigError(f"{where}.ops[{i}]", f"{name!r} stands here twice")
        full[name] = check_fields(
            f"{where}.{name}", OPS[name].fields(), _block(f"{where}.{name}", blocks.get(name, {}))
        )
    for name in blocks:
        if name not in full:
            known = [*PREPROCESS, *full["ops"]]
            why = "is not among config.preprocess.ops" if name in OPS else f"no such field{suggest(name, known)}"
            raise ConfigError(f"{where}.{name}", why)
    make_pipeline([(name, full[name]) for name in full["ops"]], 2)
    return full


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


def check_whole(config: ConfigDict) -> None:
    """Checks what concerns several fields.

    Raises:
      ConfigError: two of them do not fit one another, or there is too little of something.
    """
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
    check_search(config, scratch[0])
    check_drawing(config)
    if config.mesh.data == 0:
        raise ConfigError("config.mesh.data", "expected a number of devices, or -1 for all, got 0")
    if config["compile"] == "pmap" and config.mesh.fsdp != 1:
        raise ConfigError("config.mesh.fsdp", f"expected 1 with config.compile='pmap', got {config.mesh.fsdp}")
