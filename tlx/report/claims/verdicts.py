"""An experiment's claims, read and decided.

An `expected.json` names its study, the same study at the paper's scale if there is one, and lists claims: a sentence, a
kind, a check and what that check asks for, in percent and percentage points as the report writes them. A place is an
entry at a budget, from one of several sources, on one of several targets; where a check wants several, each is the name
of an entry, or a block of what it differs from the claim in.
"""

import inspect
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tlx.atomic import read_json
from tlx.errors import ConfigError, FileError, suggest
from tlx.fields import Field
from tlx.records import Records
from tlx.report.claims.checks import CHECKS, Places
from tlx.report.claims.results import DivergedError, NotHereError, Place, Results

HELD, FAILED, NOT_HERE = "held", "FAILED", "not testable here"
# The direction others found too; how large it is at this scale; that the comparison itself is sound.
SIGN, HEADLINE, CONTROL = KINDS = ("sign", "headline", "control")
EXPECTED = "expected.json"

_FILE = {
    "study": Field("", "name of the study"),
    "paper": Field("", "name of the study at the paper's scale, the only one whose size headlines are about"),
    "claims": Field(({},), "what it shows"),
}
_CLAIM = {
    "claim": Field("", "one sentence"),
    "kind": Field(SIGN, "what it is for", choices=KINDS),
    "check": Field("gain_at_least", "how it is decided", choices=tuple(CHECKS)),
}
_PLACE = {
    "entry": Field("", "as the config calls it"),
    "budget": Field(0, "labels", low=0),
    "source": Field("", "of several"),
    "target": Field("", "of several"),
}
# What a check's second place differs from the claim's own in.
_OTHER = {"few": "budget", "many": "budget", "than": "entry"}


@dataclass(frozen=True)
class Verdict:
    """What records say of a claim.

    Args:
      claim: its sentence.
      kind: one of `KINDS`.
      verdict: `HELD`, `FAILED` or `NOT_HERE`.
      why: the numbers and their bound, or what is missing.
    """

    claim: str
    kind: str
    verdict: str
    why: str

    def as_dict(self) -> dict[str, str]:
        """Plain values, as JSON can hold them."""
        return asdict(self)

    def line(self) -> str:
        """One line for the terminal."""
        return f"{self.verdict:{len(NOT_HERE)}}  {self.kind:8}  {self.claim}  [{self.why}]"


def decide(workdir: Path, experiment: Path | None = None) -> list[Verdict]:
    """What a study's records say of each claim.

    Args:
      workdir: of the study.
      experiment: an `expected.json` or its folder; None for that of `experiments/` that is about this study.

    Returns:
      A verdict for each claim, in the file's order.

    Raises:
      TlxError: a file is missing or damaged, a claim is none, or the study is another.
    """
    records = Records(workdir)
    manifest = records.manifest()
    study = manifest["study"]
    path = _file(experiment) if experiment else _of_study(study)
    file = _read(path)
    if study not in (file["study"], file["paper"]):
        raise FileError(workdir, f"holds the study {study!r}, the claims are about {file['study']!r}")
    results = Results.of(records.load_all(), manifest)
    is_small = bool(file["paper"]) and study != file["paper"]
    try:
        return [_verdict(f"claims[{i}]", claim, results, is_small) for i, claim in enumerate(file["claims"])]
    except ConfigError as error:
        raise FileError(path, str(error)) from None


def _file(experiment: Path) -> Path:
    return experiment / EXPECTED if experiment.suffix != ".json" else experiment


def _of_study(study: str) -> Path:
    """The file about a study, among those of the experiments in the current folder."""
    for path in sorted(Path("experiments").glob(f"*/{EXPECTED}")):
        content = read_json(path)
        if isinstance(content, dict) and study in (content.get("study"), content.get("paper")):
            return path
    raise FileError(Path("experiments"), f"no {EXPECTED} is about the study {study!r}; name one after the work folder")


def _read(path: Path) -> dict[str, Any]:
    content = read_json(path)
    if not isinstance(content, dict):
        raise FileError(path, "expected a study and its claims")
    try:
        return _all_fields(_FILE, {"paper": "", **content})
    except ConfigError as error:
        raise FileError(path, str(error)) from None


def _verdict(where: str, claim: Any, results: Results, is_small: bool) -> Verdict:
    if not isinstance(claim, dict):
        raise ConfigError(where, f"expected a claim, got {claim!r}")
    try:
        check = CHECKS[_CLAIM["check"].check("check", claim.get("check"))]
        _, *wanted = inspect.signature(check).parameters.values()
        used = {one.name for one in wanted if one.name != "place"} | {*_PLACE}
        for name in claim:
            if name not in used | {*_CLAIM}:
                raise ConfigError(name, f"no such field{suggest(name, used | {*_CLAIM})}")
        said = _all_fields(_CLAIM, {name: claim[name] for name in claim if name not in used})
        settings = {one.name: _asked(one.name, one.annotation, claim) for one in wanted}
        if is_small and said["kind"] == HEADLINE:
            return Verdict(said["claim"], said["kind"], NOT_HERE, "a number of the paper's scale")
        try:
            found = check(results, **settings)
        except NotHereError as error:
            return Verdict(said["claim"], said["kind"], NOT_HERE, str(error))
        except DivergedError as error:
            return Verdict(said["claim"], said["kind"], FAILED, str(error))
        why = f"{found.measured}; expected: {found.bound}"
        return Verdict(said["claim"], said["kind"], HELD if found.held else FAILED, why)
    except ConfigError as error:
        raise error.within(where) from None


def _asked(name: str, kind: type, claim: Mapping[str, Any]) -> Any:
    """One argument of a check."""
    shared = {field: claim[field] for field in _PLACE if field in claim}
    if kind is Place and name not in _OTHER:
        return _place(shared)
    if name not in claim:
        raise ConfigError(name, "is missing")
    if kind is Place:
        field = _OTHER[name]
        return _place({**shared, field: _PLACE[field].check(name, claim[name])})
    if kind is not Places:
        return Field(kind(), "asked for by the check").check(name, claim[name])
    items = claim[name] if isinstance(claim[name], list) else [claim[name]]
    made = []
    for i, item in enumerate(items):
        block = {"entry": item} if isinstance(item, str) else item
        if not isinstance(block, dict):
            raise ConfigError(f"{name}[{i}]", f"expected an entry or a place, got {item!r}")
        try:
            made.append(_place({**shared, **block}))
        except ConfigError as error:
            raise error.within(f"{name}[{i}]") from None
    return Places(made)


def _place(given: Mapping[str, Any]) -> Place:
    return Place(**_all_fields(_PLACE, {"budget": 0, "source": "", "target": "", **given}))


def _all_fields(fields: Mapping[str, Field], given: Mapping[str, Any]) -> dict[str, Any]:
    """The fields' values, none left to its default."""
    for name in given:
        if name not in fields:
            raise ConfigError(name, f"no such field{suggest(name, fields)}")
    for name in fields:
        if name not in given:
            raise ConfigError(name, "is missing")
    return {name: field.check(name, given[name]) for name, field in fields.items()}
