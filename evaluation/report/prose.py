"""The result in plain words, each clause only if its figures were measured, and worded by what they say."""

from __future__ import annotations

from dataclasses import dataclass

from evaluation.report import formats
from evaluation.report.summary import Tree
from evaluation.report.tables import figure_of


@dataclass(frozen=True, slots=True)
class Tile:
    """A key figure: number, caption and a line that says what it may be compared with."""

    text: str
    caption: str
    detail: str
    figure: str
    value: float | None


def result(tree: Tree, device: str | None) -> list[str]:
    """The outcome of the run in a few sentences."""
    return [text for text in (_speed(tree, device), _faithful(tree), _rewarded(tree), _negative(tree)) if text]


def _speed(tree: Tree, device: str | None) -> str:
    ratio = parameter_ratio(tree)
    teacher, student = figure_of(tree, "models.teacher.latency_s"), figure_of(tree, "models.stage2.latency_s")
    sentences = []
    if ratio is not None:
        sentences.append(f"The student keeps {formats.percent(ratio, 0)} of the teacher's parameters.")
    if tree["speedup_end_to_end"] is not None and teacher is not None and student is not None:
        where = f" on {device}" if device else ""
        sentences.append(
            f"With {figure_of(tree, 'models.stage2.steps') or 'few'} steps it makes a clip in "
            f"{formats.seconds(student)}{where}, where the teacher needs {formats.seconds(teacher)}: "
            f"{formats.times(tree['speedup_end_to_end'])} faster, from prompt to pixels."
        )
    return " ".join(sentences)


def _faithful(tree: Tree) -> str:
    shares = {name: figure_of(tree, f"models.{name}.probe_all") for name in ("teacher", "pruned", "stage1", "stage2")}
    if any(share is None for share in shares.values()):
        return ""
    said = {name: formats.percent(share, 0) for name, share in shares.items()}
    real = formats.percent(figure_of(tree, "real_clips.probe_all"), 0)
    return (
        f"An independent probe finds colour, shape and motion as asked in {said['teacher']} of the teacher's clips "
        f"(real clips: {real}; chance: {formats.percent(figure_of(tree, 'chance.probe_all'))}), "
        f"in {said['pruned']} right after pruning, in {said['stage1']} after distillation and in {said['stage2']} "
        f"after reward feedback."
    )


def _rewarded(tree: Tree) -> str:
    change = _change(tree, "deltas.stage2-stage1.held_out_reward")
    if not change:
        return ""
    gain = _by(tree, "stage2-stage1")
    return (
        f"Reward feedback {change} the held-out reward{gain}, by models that were never trained on; on other prompts, "
        f"these models choose its checkpoint."
    )


def _negative(tree: Tree) -> str:
    parts = []
    for pair, rival in (("reneg-teacher", "an empty"), ("reneg-handwritten", "a hand-written")):
        if change := _change(tree, f"deltas.{pair}.held_out_reward"):
            parts.append(f"{change} the held-out reward against {rival} negative prompt{_by(tree, pair)}")
    return f"The learned negative embedding {', and '.join(parts)}." if parts else ""


def _change(tree: Tree, path: str) -> str:
    delta = figure_of(tree, path)
    if not delta:
        return ""
    if not delta["excludes_zero"]:
        return "does not clearly change"
    return "raises" if delta["value"] > 0 else "lowers"


def _by(tree: Tree, pair: str) -> str:
    """The pooled difference, in brackets."""
    delta = figure_of(tree, f"deltas.{pair}.held_out_reward")
    return f" ({formats.signed(delta['value'])})"


def parameter_ratio(tree: Tree) -> float | None:
    """Parameters of the student over those of the teacher."""
    teacher, student = (figure_of(tree, f"models.{name}.params") for name in ("teacher", "stage2"))
    return student / teacher if teacher and student else None


def tiles(tree: Tree) -> list[Tile]:
    """The key figures."""
    interval = tree["speedup_end_to_end_ci"]
    between = f"95 % interval {formats.interval(interval[0], interval[1], 1)}; " if interval else ""
    real, chance = figure_of(tree, "real_clips.probe_all"), figure_of(tree, "chance.probe_all")
    bounds = f"ceiling (real clips) {formats.percent(real)}, chance {formats.percent(chance)}"
    ratio = parameter_ratio(tree)
    millions = [figure_of(tree, f"models.{name}.params") for name in ("stage2", "teacher")]
    sizes = " of ".join(formats.count(value) for value in millions)
    speed = tree["speedup_end_to_end"]
    return [
        Tile(formats.times(speed), "faster end to end", f"{between}batch 1", "speedup_end_to_end", speed),
        Tile(formats.percent(ratio), "of the teacher's parameters", sizes, "", ratio),
        _probe(tree, "teacher", "teacher follows the prompt", bounds),
        _probe(tree, "stage2", "student follows the prompt", bounds),
        Tile(
            formats.percent(figure_of(tree, "vbench.stage2.total")),
            "student's VBench total",
            f"teacher {formats.percent(figure_of(tree, 'vbench.teacher.total'))}; miniature scorers, "
            "not comparable with the leaderboard",
            "vbench.stage2.total",
            figure_of(tree, "vbench.stage2.total"),
        ),
    ]


def _probe(tree: Tree, model: str, caption: str, bounds: str) -> Tile:
    path = f"models.{model}.probe_all"
    value = figure_of(tree, path)
    return Tile(formats.percent(value), caption, bounds, path, value)
