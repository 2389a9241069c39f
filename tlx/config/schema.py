"""Every field of a config: its default, its meaning and what it may be."""

from collections.abc import Mapping
from dataclasses import replace

from tlx.adapt.adapted import STATS
from tlx.adapt.registry import METHODS
from tlx.fields import Field, Fields
from tlx.loggers.registry import LOGGERS
from tlx.measure.transferability.registry import ESTIMATORS
from tlx.models.registry import CLASSIFY, MODELS, OBJECTIVES
from tlx.optim import SCHEDULES
from tlx.study.spec import GRID, LABEL, PLACES, PREDICTED, SEARCHES

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


def _range(what: str, each: Field) -> Field:
    """The ends of a range, for trials that are drawn."""
    doc = f"the ends of a range to draw {what} from, too, where trials are drawn; () for the one value alone"
    return Field((), doc, each=each, may_be_empty=True)


RECIPE: Fields = {**_SHARED, **_CHOICES}
_EVALUATIONS = Field(0, "validation scores of each trial on the way, kept in its record", low=0, high=10_000)
TRAIN: Fields = {
    **_SHARED,
    "evaluations": _EVALUATIONS,
    **{name: _inherited(field, "each method's own") for name, field in _CHOICES.items()},
}
SOURCE: Fields = {
    "checkpoint": Field("", "folder or file of finished weights; nothing is then pre-trained, and the rest is unused"),
    "dataset": Field("mnist5k", "registered data set"),
    "train": Field("train", "split to pre-train on, in TFDS syntax"),
    "test": Field("test", "split to score the source model on"),
    "classes": Field("", "which are kept: a or b for a random half, a:SEED, or names with commas, ! for all others"),
    "feed": Field("resident", "where examples are while they are trained on", choices=("resident", "streamed")),
    "start": Field("", "folder or file of weights that the pre-training starts from; empty for random ones"),
    "objective": Field(CLASSIFY, "what it learns: classes, hidden tokens, or the next token", choices=OBJECTIVES),
    "also": Field((), "data sets mixed with it, at the same splits", each=Field("", "a data set"), may_be_empty=True),
    "weights": Field((), "share of each data set in a batch, dataset's first; () for their sizes", may_be_empty=True),
    "pack": Field(False, "whether texts follow one another in full rows; for objectives of tokens"),
    "lr": _RATE,
    "seed": Field(0, "of the initial weights and the batch order", low=0, high=2**31 - 1),
    **RECIPE,
}
TARGET: Fields = {
    "dataset": Field("digits", "registered data set"),
    "train": Field("train[:85%]", "split the labels are drawn from, in TFDS syntax"),
    "validation": Field("train[85%:]", "split the learning rate is chosen on"),
    "test": Field("test", "split that is scored once"),
    "predict": Field(LABEL, "its classes, or its scores by the squared error and R²", choices=PREDICTED),
    "classes": Field("", "which are kept: a or b for a random half, a:SEED, or names with commas, ! for all others"),
    "fold": Field("", "I/K: the learning rate is chosen on the I-th of K folds of train; empty: on validation"),
    "steps": Field(0, "number of updates of each run; 0 for that of config.train", low=0, high=100_000_000),
    "corruption": Field("", "of the test images, NAME:SEVERITY with a severity from 1 to 5; empty for none"),
}
ENTRY: Fields = {
    "arm": Field("transfer", "what it starts from", choices=("scratch", "random-frozen", "transfer")),
    "lr": Field(
        (),
        "learning rates to try, or a probe's penalties λ, as many for every entry; () for the method's own",
        each=_RATE,
        may_be_empty=True,
    ),
    "label_smoothing": _inherited(_SHARED["label_smoothing"], "that of config.train"),
    "dropout": Field(-1.0, "dropout rate in training; -1 for the model's own", low=0.0, high=0.9, unset=-1.0),
    "scale": Field(1.0, "factor on the adapters' effect", low=1e-6, high=1e6),
    "length": Field(1.0, "share of config.train.steps that it trains for", low=1e-6, high=1.0),
    "weight_decays": _range("decays", Field(0.01, "decoupled weight decay", low=1e-12, high=100.0)),
    "label_smoothings": _range("label smoothings", _SHARED["label_smoothing"]),
    "dropouts": _range("dropout rates", Field(0.1, "dropout rate", low=0.0, high=0.9)),
    "scales": _range("scales", Field(1.0, "factor on the adapters' effect", low=1e-6, high=1e6)),
    "lengths": _range("lengths", Field(1.0, "share of config.train.steps", low=1e-6, high=1.0)),
    "copied": Field(0, "stages that start from the source, counted from the input; 0 for all", low=0, high=1000),
    "batch_stats": Field("auto", "running statistics; auto updates those of norms that train", choices=STATS),
    **{name: _inherited(field, "that of config.train") for name, field in _CHOICES.items()},
}
PLAN: Fields = {
    "strategy": Field("auto", "how cells become programs", choices=("auto", "loop", "fused")),
    "steps_per_call": Field(0, "train steps in one call of a program; 0 lets the plan choose", low=0, high=100_000),
    "workers": Field(0, "units run at once on a CPU; 0 lets the plan choose", low=0, high=256),
    "members": Field(0, "runs fused into one program at most; 0 for as many as fit into memory", low=0, high=100_000),
    "eval_batch": Field(200, "examples per call when evaluating", low=1, high=1_000_000),
    "features": Field("disk", "where activations at the cut are kept: WORKDIR/features, or memory", choices=PLACES),
    "actors": Field(0, "workers on a Ray cluster; 0 for as many as it has room for", low=0, high=100_000),
    "cpus": Field(0, "CPUs of each of them; 0 for up to 4, or one beside an accelerator", low=0, high=10_000),
    "gpus": Field(0, "GPUs of each of them; 0 for one, where there are some", low=0, high=1_000),
    "tpus": Field(0, "TPU chips of each of them; 0 for all of a host, where there are some", low=0, high=1_000),
}
MESH: Fields = {
    "data": Field(-1, "devices the batch is split over; -1 for all", low=-1, high=100_000),
    "fsdp": Field(1, "devices each parameter is split over", low=1, high=100_000),
}
TEXT: Fields = {
    "tokenizer": Field("", "tokenizer.json, vocab.txt or the folder of one; empty for that of a source's checkpoint"),
    "length": Field(64, "tokens of every text; longer ones are cut, shorter ones filled up", low=1, high=100_000),
}
PREPROCESS: Fields = {
    "resize": Field(
        (),
        "rows and columns images are brought to, or the length of their shorter side; () for none",
        may_be_empty=True,
    ),
    "crop": Field((), "rows and columns cut out of their middle afterwards; () for none", may_be_empty=True),
    "ops": Field((), "what is done in the program, in order; ops that draw are for training alone", may_be_empty=True),
}
SEARCH: Fields = {
    "kind": Field(
        GRID,
        "every rate of lr, trials drawn at once, either with the worst stopped early, or drawn one by one by Optuna",
        choices=SEARCHES,
    ),
    "trials": Field(0, "drawn for each cell from the range that lr spans; 0 to try every rate", low=0, high=10_000),
    "seed": Field(0, "shifts what is drawn, alike for every arm", low=0, high=2**31 - 1),
    "extend": Field(0, "further rates of a grid for each cell, where its results point", low=0, high=100),
    "rungs": Field(2, "of halving: how often the worst trials are stopped", low=1, high=20),
    "eta": Field(3, "of halving: one in so many goes on, for so many times as long", low=2, high=100),
}
CHECKPOINT: Fields = {
    "every_seconds": Field(30.0, "unfinished work is saved at most this often; 0 after every call", low=0.0)
}
TOP: Fields = {
    "name": Field("study", "of the study; names its work folder"),
    "budgets": Field((100,), "numbers of target labels", each=Field(1, "labels", low=1)),
    "per_class": Field(False, "whether budgets are labels of each class rather than in total"),
    "seeds": Field((0, 1, 2, 3, 4), "one cell each", each=Field(0, "seed", low=0, high=2**31 - 1)),
    "compile": Field("jit", "how steps are compiled", choices=("jit", "pmap")),
    "artifacts": Field(False, "whether what each cell trained is kept, in WORKDIR/artifacts"),
    "loggers": Field(
        ("tensorboard",),
        "who gets the metrics of every trial, besides WORKDIR/metrics",
        each=Field("", "a logger", choices=tuple(LOGGERS)),
        may_be_empty=True,
    ),
    "estimators": Field(
        (),
        "what is estimated of every source on every target, in WORKDIR/estimates",
        each=Field("", "an estimator", choices=tuple(ESTIMATORS)),
        may_be_empty=True,
    ),
}
BLOCKS: Mapping[str, Fields] = {
    "train": TRAIN,
    "plan": PLAN,
    "mesh": MESH,
    "checkpoint": CHECKPOINT,
    "text": TEXT,
    "search": SEARCH,
}
NAMED: Mapping[str, Fields] = {"sources": SOURCE, "targets": TARGET, "adapt": ENTRY}
KINDS = {"model": {name: kind.fields for name, kind in MODELS.items()}}
METHOD_FIELDS = {name: method.fields for name, method in METHODS.items()}
