"""Every registered method on one model: what trains, how much of it, and what it is told by default."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from tlx.adapt.adapted import Adapted
from tlx.adapt.method import Method
from tlx.adapt.registry import METHODS
from tlx.data.describe import describe, fixed
from tlx.errors import ConfigError, TlxError, suggest
from tlx.fields import check_fields
from tlx.models.inputs import IMAGE
from tlx.models.registry import MODELS, Model
from tlx.optim import Optimizer
from tlx.report import wording
from tlx.step import Task
from tlx.study.check import blamed_on, within
from tlx.study.cost import size_of
from tlx.study.spec import Study

DEFAULT = "vit"
# What a model is shown at when no config says otherwise.
SHAPES = {True: (28, 28, 1), False: (128,)}
CLASSES = 10
# Some methods count their steps; how many there are changes no size.
STEPS = 1000

PIPE_WIDTH = 110  # columns when the output is a file or a pipe


@dataclass(frozen=True)
class MethodRow:
    """One method.

    Args:
      name: what `method.name` says.
      paper: author, year.
      trains: what moves, in a few words.
      settings: its settings and their defaults.
      learning_rates: those tried where a config is silent.
      weight_decay: decoupled.
      schedule: of the learning rate.
      warmup: share of the steps.
      optimizer: `adamw` or `sgd`.
      trainable: parameters and adapters of the model that move at some time, or None if it does not apply.
      total: all parameters and adapters, or None.
      misfit: why it does not apply to the model as it is; empty if it does.
    """

    name: str
    paper: str
    trains: str
    settings: dict[str, Any]
    learning_rates: tuple[float, ...]
    weight_decay: float
    schedule: str
    warmup: float
    optimizer: str
    trainable: int | None
    total: int | None
    misfit: str

    @property
    def share(self) -> float | None:
        """Of the parameters and adapters that move."""
        return None if self.trainable is None or self.total is None else self.trainable / self.total


@dataclass(frozen=True)
class Survey:
    """All methods on one model.

    Args:
      model: what the shares are of, in words.
      rows: one a method, in the registry's order.
    """

    model: str
    rows: tuple[MethodRow, ...]

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {"model": self.model, "methods": [asdict(row) | {"share": row.share} for row in self.rows]}


def default_model(name: str = DEFAULT) -> Model:
    """A registered model with the default of every setting.

    Args:
      name: key of `MODELS`.

    Returns:
      It, for 10 classes of gray images of 28×28 pixels, or of sequences of 128 tokens.

    Raises:
      ConfigError: there is no such model.
    """
    if name not in MODELS:
        raise ConfigError("--model", f"unknown name {name!r}{suggest(name, MODELS)}")
    kind = MODELS[name]
    return _model(name, check_fields("model", kind.fields, {}), SHAPES[kind.takes == IMAGE], CLASSES)


def model_of(study: Study, data_dir: Path | str) -> Model:
    """The model of a study for the first of its targets, whose data need not be there.

    Args:
      study: the spec.
      data_dir: the folder of all data sets.

    Returns:
      The model.

    Raises:
      ConfigError: the data set is unknown, or the model does not fit its inputs.
    """
    target = study.targets[0]
    with blamed_on(f"config.targets.{target.name}.dataset"):
        shape, classes = describe(target.dataset, data_dir, study.text.length, **study.preprocess.fit)
        input_shape = fixed(target.dataset, shape)
    with within("config.model"):
        return _model(study.model, dict(study.model_settings), input_shape, classes)


def _model(name: str, settings: dict[str, Any], shape: tuple[int, ...], classes: int) -> Model:
    MODELS[name].check(settings, shape)
    return Model(name, tuple(sorted(settings.items())), classes, shape)


def survey(model: Model, names: Iterable[str] = tuple(METHODS)) -> Survey:
    """Every method with its defaults on one model; nothing is trained or even initialised.

    Args:
      model: the architecture.
      names: keys of `METHODS`.

    Returns:
      A row for each, those that do not apply among them.
    """
    size = "×".join(map(str, model.input_shape))
    inputs = f"images of {size}" if model.kind.takes == IMAGE else f"{size} tokens"
    rows = tuple(_row(METHODS[name], model) for name in names)
    return Survey(f"{model.name}, {inputs}, {model.num_classes} classes", rows)


def _row(method: Method, model: Model) -> MethodRow:
    settings = {name: field.default for name, field in method.fields.items()}
    size, misfit = None, ""
    try:
        size = size_of(Task(Adapted(model, method.name, tuple(sorted(settings.items()))), Optimizer(), STEPS))
    except TlxError as error:
        misfit = error.message if isinstance(error, ConfigError) else str(error)
    own = method.defaults
    return MethodRow(
        name=method.name,
        paper=method.paper,
        trains=method.trains,
        settings=settings,
        learning_rates=own.learning_rates,
        weight_decay=own.weight_decay,
        schedule=own.schedule,
        warmup=own.warmup,
        optimizer=own.optimizer,
        trainable=size.trainable if size else None,
        total=size.total if size else None,
        misfit=misfit,
    )


def show(found: Survey) -> None:
    """Print a survey.

    Args:
      found: from `survey`.
    """
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=PIPE_WIDTH)
    console.print(table(found))


def table(found: Survey) -> Table:
    """A survey as a table of at most 110 columns.

    Args:
      found: from `survey`.

    Returns:
      For `rich.console.Console.print`.
    """
    made = Table(
        title=Text(f"Methods on {found.model}", style="bold"),
        caption="Share: of all parameters, adapters included, that move. Rates: tried where the config is silent.",
        title_justify="left",
        caption_justify="left",
        box=SIMPLE_HEAD,
        pad_edge=False,
        show_lines=True,
    )
    for heading, width in (("Method", 17), ("Trains", 26), ("Share", 16), ("Settings", 21), ("Rates", 16)):
        made.add_column(heading, overflow="fold", width=width)
    for row in found.rows:
        made.add_row(*_cells(row))
    return made


def _cells(row: MethodRow) -> list[Text]:
    share = Text(row.misfit, style="dim")
    if row.trainable is not None:
        share = Text(f"{wording.percent(row.share)}\n{row.trainable:,}")
    recipe = [row.optimizer, *([f"decay {row.weight_decay:g}"] if row.weight_decay else []), row.schedule]
    return [
        Text(row.name, style="bold").append(f"\n{row.paper}", style="not bold dim"),
        Text(row.trains),
        share,
        Text("\n".join(f"{name} {_value(value)}" for name, value in row.settings.items())),
        Text(" ".join(map(rate, row.learning_rates))).append("\n" + ", ".join(recipe), style="dim"),
    ]


def _value(value: Any) -> str:
    """A default in as few characters as it takes; an empty text is the model's own choice."""
    if isinstance(value, tuple):
        return ", ".join(map(_value, value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value == "":
        return "(own)"
    return f"{value:g}" if isinstance(value, float) else str(value)


def rate(value: float) -> str:
    """A learning rate, e.g. `1e-4`.

    >>> rate(0.0005), rate(0.02), rate(1.5e-5)
    ('5e-4', '0.02', '1.5e-5')
    """
    if value >= 0.01:
        return f"{value:g}"
    digits, _, power = f"{value:e}".partition("e")
    return f"{digits.rstrip('0').rstrip('.')}e{int(power)}"
