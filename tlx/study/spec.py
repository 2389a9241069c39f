"""What a study is, in plain values: the config's last trace is in `build`, which makes these."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tlx.adapt.adapted import Adapted
from tlx.data.ops.pipeline import Pipeline, make_pipeline
from tlx.models.registry import CLASSIFY, Model
from tlx.optim import Optimizer
from tlx.runners.room import Needs

Settings = tuple[tuple[str, Any], ...]

DISK, MEMORY = PLACES = ("disk", "memory")
LABEL, SCORE = PREDICTED = ("label", "score")
# What may be drawn besides the learning rate, as it changes no shape: and the field of an entry that holds its range.
RANGES = {
    "weight_decay": "weight_decays",
    "label_smoothing": "label_smoothings",
    "dropout": "dropouts",
    "scale": "scales",
    "length": "lengths",
}
# Of these, what is even on a logarithmic scale.
RATIOS = ("weight_decay", "scale", "length")
GRID, RANDOM, HALVING, OPTUNA = SEARCHES = ("grid", "random", "halving", "optuna")
SCRATCH, RANDOM_FROZEN, TRANSFER = ARMS = ("scratch", "random-frozen", "transfer")


@dataclass(frozen=True)
class Recipe:
    """How a run is trained, as far as the arms may not differ in it.

    Args:
      steps: number of updates.
      batch_size: examples per update, on all devices together.
      label_smoothing: 0 to 1.
      precision: what passes compute in, `float32` or `bfloat16`.
    """

    steps: int
    batch_size: int
    label_smoothing: float
    precision: str = "float32"


@dataclass(frozen=True)
class Source:
    """What weights come from: a data set and how the model is pre-trained on it, or a checkpoint.

    Args:
      name: as the config calls it.
      checkpoint: folder or file of finished weights, and then nothing below counts; empty to pre-train.
      dataset: registered data set.
      train: split in TFDS syntax.
      test: split in TFDS syntax.
      recipe: of the pre-training.
      optimizer: of the pre-training.
      weight_decay: decoupled.
      learning_rate: of the pre-training.
      seed: of its initial weights and batch order.
      classes: which are kept, as `loading.chosen_classes` reads it; empty for all.
      feed: `resident`, all examples in memory, or `streamed` from disk; the numbers are the same.
      start: folder or file of weights that its training starts from; empty for random ones.
      objective: what it is trained to do, one of `models.registry.OBJECTIVES`.
      also: data sets mixed with it.
      weights: share of each data set in the batches, `dataset` first, in any unit; () for their sizes.
      pack: whether texts follow one another in full rows.
    """

    name: str
    checkpoint: str
    dataset: str
    train: str
    test: str
    recipe: Recipe
    optimizer: Optimizer
    weight_decay: float
    learning_rate: float
    seed: int
    classes: str = ""
    feed: str = "resident"
    start: str = ""
    objective: str = CLASSIFY
    also: tuple[str, ...] = ()
    weights: tuple[float, ...] = ()
    pack: bool = False

    @property
    def datasets(self) -> tuple[str, ...]:
        """All data sets it is trained on."""
        return () if self.checkpoint else (self.dataset, *self.also)


@dataclass(frozen=True)
class Target:
    """What is measured: a data set and its three splits.

    Args:
      name: as the config calls it.
      dataset: registered data set.
      train: split the labels are drawn from, in TFDS syntax.
      validation: split the learning rate is chosen on.
      test: split that is scored once.
      classes: which are kept, as `loading.chosen_classes` reads it; empty for all.
      corruption: of the test images, `NAME:SEVERITY`; empty for none.
      predict: what of the examples, `label` or `score`.
      fold: which fold of the train split is validated on, `I/K`; empty for the validation split.
      steps: number of updates of each run; 0 for the study's own.
    """

    name: str
    dataset: str
    train: str
    validation: str
    test: str
    classes: str = ""
    corruption: str = ""
    fold: str = ""
    predict: str = LABEL
    steps: int = 0


@dataclass(frozen=True)
class Entry:
    """One way of adapting, a row of the result.

    Args:
      name: as the config calls it.
      arm: one of `ARMS`.
      method: registered method.
      settings: a value for each of the method's fields.
      also: further methods on the same tree, with their settings.
      batch_stats: what becomes of running statistics, one of `adapt.adapted.STATS`.
      optimizer: how the trainable leaves move.
      weight_decay: decoupled.
      learning_rates: the trials of each cell; where trials are drawn, they span the range. L2 penalties where heads are
        solved for.
      label_smoothing: 0 to 1.
      dropout: rate, None for the model's own.
      scale: factor on the adapters' effect.
      length: share of the recipe's steps that it trains for.
      weight_decays, label_smoothings, dropouts, scales, lengths: where trials are drawn, they span the range of each;
        () for the one value alone.
      copied: stages that start from the source, as `copied.above` counts them; 0 for all before the head.
    """

    name: str
    arm: str
    method: str
    settings: Settings
    also: tuple[tuple[str, Settings], ...]
    batch_stats: str
    optimizer: Optimizer
    weight_decay: float
    learning_rates: tuple[float, ...]
    copied: int = 0
    label_smoothing: float = 0.0
    dropout: float | None = None
    scale: float = 1.0
    length: float = 1.0
    weight_decays: tuple[float, ...] = ()
    label_smoothings: tuple[float, ...] = ()
    dropouts: tuple[float, ...] = ()
    scales: tuple[float, ...] = ()
    lengths: tuple[float, ...] = ()

    @property
    def ranges(self) -> dict[str, tuple[float, ...]]:
        """Of each hyper-parameter besides the learning rate that is drawn, its range."""
        return {name: ends for name, field in RANGES.items() if (ends := getattr(self, field))}

    @property
    def own_dropout(self) -> bool:
        """Whether dropout has rates of the entry's rather than the model's own."""
        return self.dropout is not None or bool(self.dropouts)

    @property
    def own_length(self) -> bool:
        """Whether its runs end before the recipe's last step."""
        return self.length != 1.0 or bool(self.lengths)

    def adapted(self, model: Model, source_classes: int = 0) -> Adapted:
        """A model seen through this entry's methods.

        Args:
          model: the architecture, with the target's classes.
          source_classes: outputs of the source's head, 0 where there is no source.
        """
        seen = Adapted(model, self.method, self.settings, self.also, self.batch_stats)
        # Sources of other classes share their programs, unless a method keeps the source's head.
        keeps = any(method.keeps_head for method, _ in seen.parts) and source_classes != model.num_classes
        return replace(seen, source_classes=source_classes) if keeps else seen


@dataclass(frozen=True)
class Search:
    """How a cell's trials are chosen: as many, and by the same rule, in every arm.

    Args:
      kind: `grid`, every rate; `random`, points drawn from ranges; `halving`, either of them, the worst stopped early;
        `optuna`, points drawn one after another, by a sampler that learns from those before.
      trials: points drawn for each cell; 0 where every rate of the entry is tried.
      seed: shifts the points that are drawn.
      extend: of a grid, further rates for each cell, one after another, where its own results point.
      rungs: of halving, how often the worst are stopped.
      eta: of halving, one in `eta` goes on, for `eta` times as many steps.
      sampler: of `optuna`, which version draws, as another may draw other points.
    """

    kind: str = GRID
    trials: int = 0
    seed: int = 0
    extend: int = 0
    rungs: int = 2
    eta: int = 3
    sampler: str = ""

    def identity(self) -> dict[str, Any]:
        """What of it decides a cell's result, as plain values; nothing for a plain grid."""
        counts = {
            "extend": self.extend,
            "trials": self.trials,
            "seed": self.seed if self.trials else 0,
            **({"rungs": self.rungs, "eta": self.eta} if self.kind == HALVING else {}),
            "sampler": self.sampler,
        }
        matters = {name: value for name, value in counts.items() if value}
        return {} if self.kind == GRID and not matters else {"kind": self.kind, **matters}


@dataclass(frozen=True)
class Execution:
    """How the study is run; nothing here changes what a cell is.

    Args:
      compile: `jit` or `pmap`.
      data: devices the batch is split over, -1 for all.
      fsdp: devices each parameter is split over.
      strategy: `auto`, `loop` or `fused`.
      steps_per_call: train steps in one call of a program, 0 to let the plan choose.
      workers: units run at once on a CPU, 0 to let the plan choose.
      eval_batch: examples per call when evaluating.
      members: runs that are fused into one program at most, 0 for as many as fit into memory.
      every_seconds: unfinished work is saved at most this often; 0 saves after every call.
      artifacts: whether what each cell trained is kept.
      features: where activations at the cut are kept, `disk` or `memory`; the numbers are the same.
      needs: of each worker on a cluster.
      loggers: who gets the metrics, besides the streams of the cells.
      estimators: what is estimated of every source before anything is trained, keys of `ESTIMATORS`.
    """

    compile: str
    data: int
    fsdp: int
    strategy: str
    steps_per_call: int
    workers: int
    eval_batch: int
    members: int
    every_seconds: float
    artifacts: bool
    features: str = DISK
    needs: Needs = field(default_factory=Needs)
    loggers: tuple[str, ...] = ("tensorboard",)
    estimators: tuple[str, ...] = ()


@dataclass(frozen=True)
class Text:
    """How texts become token ids.

    Args:
      tokenizer: folder or file, or empty for that of a source's checkpoint.
      length: tokens of every text; longer ones are cut, shorter ones filled up.
    """

    tokenizer: str = ""
    length: int = 64


@dataclass(frozen=True)
class Preprocess:
    """What is done to examples before a model sees them.

    Args:
      resize: on the host: rows and columns of every image, or the length of its shorter side alone; () to leave it.
      crop: on the host: rows and columns cut out of the middle afterwards; () to leave it.
      ops: in the program: name and settings of each, in order. Those that draw are for training batches alone.
    """

    resize: tuple[int, ...] = ()
    crop: tuple[int, ...] = ()
    ops: tuple[tuple[str, Settings], ...] = ()

    @property
    def fit(self) -> dict[str, Any]:
        """The same of the host, as `data.pipeline.load_arrays` takes it."""
        resize = self.resize[0] if len(self.resize) == 1 else self.resize or None
        return {"resize": resize, "crop": self.crop or None}


@dataclass(frozen=True)
class Study:
    """A grid of cells: every entry from every source to every target, at every budget and seed.

    Args:
      name: as the config calls it.
      model: registered architecture.
      model_settings: a value for each of its fields.
      sources: what weights come from.
      targets: what is measured.
      entries: ways of adapting; exactly one has the arm `scratch`.
      budgets: numbers of target labels.
      per_class: whether they are of each class rather than in total.
      seeds: one cell each.
      recipe: of the adaptation, as far as all entries share it.
      execution: how it is run.
      config: the resolved config, as plain values, for the records.
      command: what the user typed to get this, for the report.
      text: for data sets of texts.
      preprocess: of images, or token ids.
      search: how each cell's trials are chosen.
      evaluations: scores of each trial on the way, evenly spread over its steps; 0 for none.
    """

    name: str
    model: str
    model_settings: Settings
    sources: tuple[Source, ...]
    targets: tuple[Target, ...]
    entries: tuple[Entry, ...]
    budgets: tuple[int, ...]
    seeds: tuple[int, ...]
    recipe: Recipe
    execution: Execution
    config: dict[str, Any]
    command: str
    per_class: bool = False
    text: Text = field(default_factory=Text)
    preprocess: Preprocess = field(default_factory=Preprocess)
    search: Search = field(default_factory=Search)
    evaluations: int = 0

    def recipe_of(self, target: Target) -> Recipe:
        """How every run on a target is trained."""
        return replace(self.recipe, steps=target.steps or self.recipe.steps)

    def pipeline(self, num_classes: int = 0) -> Pipeline:
        """The ops in the program.

        Args:
          num_classes: of the labels, for ops that mix them; 0 for what is done to every batch alone.

        Raises:
          ConfigError: the ops do not go together, or not with such labels.
        """
        made = make_pipeline([(name, dict(settings)) for name, settings in self.preprocess.ops], max(num_classes, 2))
        return made if num_classes else made.evaluation


@dataclass(frozen=True)
class Folders:
    """Where a study lives.

    Args:
      work: its records, checkpoints and report.
      data: prepared data sets, shared by all studies; a folder or a bucket's URL.
      shared: URL of the bucket's folder that holds the records of all machines, of which `work` is a copy; or empty.
    """

    work: Path
    data: Path | str
    shared: str = ""
