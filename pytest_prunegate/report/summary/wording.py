"""Numbers and verdicts in words: the same in the terminal, the reports and a failing item."""

from __future__ import annotations

import math
import re
import shlex
from typing import TYPE_CHECKING

from pytest_prunegate.input.rules import MAX_ABSOLUTE_DROP, MIN_SCORE
from pytest_prunegate.plain import size_text
from pytest_prunegate.tasks.kinds import figure_metric, is_figure_unit
from pytest_prunegate.verdict.outcome import Basis, Outcome

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from fractions import Fraction

    from pytest_prunegate.input.thresholds import Threshold
    from pytest_prunegate.tasks.checks import Check
    from pytest_prunegate.verdict.compare import Comparison
    from pytest_prunegate.verdict.loss_interval import Bounds, LossInterval
    from pytest_prunegate.verdict.noise import Noise
    from pytest_prunegate.verdict.verdicts import CheckResult, Verdict


_LARGE = 10  # scores lie in [0, 1]; perplexities and the like need fewer decimals
_PER_CENT = re.compile(r"(\d+(?:\.\d+)?)%")
_MINUS_ZERO = re.compile(r"-0(\.0+)?%?")
_DECIMALS, _ROUNDING = 8, 1e-12  # the most that are shown; what floating point alone does to a share
_SMALL = 1e-3  # a figure below it has no digits among the first four
_HUGE = 1e5  # a model that is broken has perplexities whose digits nobody reads


def score_text(score: float | None) -> str:
    """A score as tables show it; a dash where nothing was measured."""
    if score is None:
        return "-"
    if abs(score) >= _HUGE:
        return f"{score:.3e}"
    return f"{score:.3f}" if abs(score) >= _LARGE else f"{score:.4f}"


def figure_text(value: float | None, metric: str, thresholds: Iterable[str]) -> str:
    """A check's figure as tables show it: a score, or a share or a size, told apart from the thresholds beside it."""
    figure = figure_metric(metric)
    if figure is not None and figure.form == "number" and value and abs(value) < _SMALL:
        return f"{value:.3g}"
    if figure is None or value is None or figure.form == "number":
        return score_text(value)
    return percent_text(value, beside=thresholds) if figure.form == "share" else size_text(round(value))


def signed_text(difference: float | None) -> str:
    """A difference of scores with its sign."""
    if difference is None:
        return "-"
    if abs(difference) >= _HUGE:
        return f"{difference:+.3e}"
    return without_minus_zero(f"{difference:+.3f}" if abs(difference) >= _LARGE else f"{difference:+.4f}")


def percent_text(share: float | None, *, signed: bool = False, beside: Iterable[str] = ()) -> str:
    """A share in per cent.

    Args:
        share: the share.
        signed: whether it is a change.
        beside: thresholds in words that it stands next to: it gets as many decimals as tell it from theirs, and from whole ones.
    """
    if share is None:
        return "-"
    if signed and abs(share) >= _HUGE / 10:
        return f"{100 * share:+.2e}%"
    if signed:
        return without_minus_zero(f"{share:+.2%}")
    limits = [float(number) for text in beside for number in _PER_CENT.findall(text)] + [float(round(100 * share))]
    decimals = next((n for n in range(1, _DECIMALS) if not _looks_like(100 * share, limits, n)), _DECIMALS)
    return f"{share:.{decimals}%}"


def blocks_text(blocks: Sequence[int]) -> str:
    """How many blocks have how many zeros, from a histogram whose first and last bins are none and all: ``20.0% of them 50 to 60% zero``."""
    total, last = sum(blocks), len(blocks) - 1
    names = ["without zeros", *(f"{10 * tenth} to {10 * tenth + 10}% zero" for tenth in range(last - 1)), "all zero"]
    return ", ".join(f"{count / total:.1%} of them {name}" for count, name in zip(blocks, names, strict=True) if count)


def without_minus_zero(text: str) -> str:
    """A rounded number without the sign of what was rounded away: -0.0% is 0.0%."""
    return text[1:] if _MINUS_ZERO.fullmatch(text) else text


def _looks_like(number: float, limits: Iterable[float], decimals: int) -> bool:
    """Whether a number reads like a limit that it is not."""
    return any(
        not math.isclose(number, limit, rel_tol=_ROUNDING) and f"{number:.{decimals}f}" == f"{limit:.{decimals}f}"
        for limit in limits
    )


def relative_change(relative_drop: Fraction | None) -> float | None:
    """The relative drop with the sign that people know: negative is a loss."""
    if relative_drop is None:
        return None
    return -float(relative_drop) if relative_drop else 0.0


def change_text(relative: float | None, *, is_lower_better: bool) -> str:
    """A relative change with its own sign; where a rise is a loss, a word says so.

    Args:
        relative: the change with the sign of a gain: negative is a loss.
        is_lower_better: whether the figure itself moved the other way.
    """
    if relative is None or not is_lower_better:
        return percent_text(relative, signed=True)
    return (
        f"{percent_text(0.0 - relative, signed=True)}{' worse' if relative < 0 else ' better' if relative > 0 else ''}"
    )


def duration_text(seconds: float) -> str:
    """A duration in its two largest units: ``2 h 5 min``, ``3 min 10 s``, ``42 s``."""
    whole = round(seconds)
    hours, rest = divmod(whole, 3600)
    minutes, left = divmod(rest, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {left} s" if minutes else f"{left} s"


def reason(result: CheckResult | None) -> str:
    """What there is to say of a check in a sentence; None is one that was not run."""
    if result is None:
        return "not run"
    if result.error or result.comparison is None:
        return result.error or "measured as a baseline; nothing was compared"
    return verdict_sentence(result)


def located(sentence: str, location: str) -> str:
    """A sentence behind the place in the thresholds file that it is about; some errors name it themselves."""
    return sentence if sentence.startswith(f"{location}:") else f"{location}: {sentence}"


def verdict_sentence(result: CheckResult) -> str:
    """One sentence that says what was measured, against what, and how it ended; for a result with a comparison."""
    check, comparison = result.check, result.comparison
    assert comparison is not None
    thresholds = "; ".join(threshold.describe() for threshold in check.thresholds) or "none"
    parts = [
        f"{check.task} {check.name} {figures_text(comparison)} (threshold: {thresholds}).",
        *conclusion_texts(result),
        *certainty_texts(result),
    ]
    if comparison.lost is not None and result.outcome is not Outcome.PASS:
        parts.append(f"{changed_text(comparison)}.")
    return " ".join([*parts, *note_texts(result)])


def loss_text(result: CheckResult) -> str:
    """What was lost beside its threshold, in a few words: ``relative drop 93.75%, threshold 40%``; each one that is broken."""
    comparison = result.comparison
    assert comparison is not None
    if comparison.silent:
        return comparison.silent
    decisive = comparison.broken if result.outcome is Outcome.FAIL and comparison.broken else result.check.thresholds
    said = "; ".join(_beside(threshold, comparison) for threshold in decisive)
    return f"inconclusive: {said}" if result.outcome is Outcome.INCONCLUSIVE else said


def _beside(threshold: Threshold, comparison: Comparison) -> str:
    """A threshold's own figure and the threshold, with as many decimals as tell them apart."""
    rule, figure = threshold.rule, threshold.rule.figure_of(comparison.figures)
    if figure is None:
        return f"no {rule.figure} (the original scores 0), threshold {threshold.text}"
    if rule.takes_text:
        return f"{rule.figure} {figure_text(float(figure), comparison.check.metric, ())}, threshold {threshold.text}"
    for decimals in range(2 if rule.is_share else 4, 9):
        shown, limit = (
            f"{float(value):.{decimals}{'%' if rule.is_share else 'f'}}" for value in (figure, threshold.value)
        )
        if shown != limit or figure == threshold.value:
            break
    return f"{rule.figure} {shown}, threshold {threshold.text}"


def changed_text(comparison: Comparison) -> str:
    """How many answers were lost and gained; for a metric that has them."""
    return f"{comparison.lost} answer{'' if comparison.lost == 1 else 's'} lost, {comparison.gained} gained"


def conclusion_texts(result: CheckResult) -> list[str]:
    """The verdict on how many documents, what would decide it where it is open, and what broke where that is no matter of course."""
    check, comparison, verdict = result.check, result.comparison, result.verdict
    assert comparison is not None
    parts = [_conclusion(result, count_text(result.documents or 0, result.total or 0, result.unit))]
    is_open = verdict is not None and verdict.outcome is Outcome.INCONCLUSIVE and result.outcome is not Outcome.RECORDED
    if is_open and verdict is not None and not is_estimate_of_figure(result):
        parts.append(_needed_text(verdict))
    if comparison.silent:
        parts.append(f"{comparison.silent[:1].upper()}{comparison.silent[1:]}.")
    if len(check.thresholds) > 1 and comparison.broken and verdict and verdict.basis is Basis.MEASURED:
        parts.append(f"Broken: {'; '.join(threshold.describe() for threshold in comparison.broken)}.")
    return parts


def note_texts(result: CheckResult) -> list[str]:
    """What a reader must know of how it was decided, and of what moves by itself."""
    parts = [result.verdict.note] if result.verdict is not None and result.verdict.note else []
    if result.noise is not None and result.comparison is not None:
        parts += _noise_text(result.noise, result.check, result.comparison)
    return parts


def _noise_text(noise: Noise, check: Check, comparison: Comparison) -> list[str]:
    """What moves by numerics alone, beside what was lost."""
    moved = f"{noise.moved} of {noise.documents} answers and " if noise.moved is not None else ""
    how = f"{noise.net:+.2%} in all; asked again in batches of {noise.batch_size}"
    said = [f"Noise floor: {moved}{noise.gross:.2%} of the original's score move by numerics alone ({how})."]
    if noise.covers(check):
        said.append("The threshold is below it.")
    if noise.gross and comparison.relative_drop is not None and abs(comparison.relative_drop) <= noise.gross:
        said.append("What was lost or gained is no more than that.")
    return said


def _conclusion(result: CheckResult, counted: str) -> str:
    """The verdict, what it says beyond the figures, and how sure it is."""
    verdict = result.verdict
    assert verdict is not None
    word = verdict.outcome.upper()
    if result.outcome is Outcome.RECORDED:
        return f"RECORDED on {counted} ({word} by these thresholds)."
    others = f"other {result.unit.partition(' ')[0]} like these" if verdict.basis is Basis.CONFIDENT else "the full run"
    if verdict.outcome is Outcome.INCONCLUSIVE and is_estimate_of_figure(result):
        return f"{word} on {counted}: the exact figure may fall on either side of the threshold. Name the original itself in its baseline's place."
    if verdict.outcome is Outcome.INCONCLUSIVE:
        return f"{word} on {counted}: {others} may fall on either side of the threshold."
    if not result.check.thresholds:
        return f"{word} on {counted}: there is no threshold to break."
    if verdict.error_rate is None:
        return f"{word} on {counted}."
    place, bound = ("after", "at most") if verdict.basis is Basis.EARLY else ("on", "about")
    close = f", or lie within {rate_text(verdict.indifference)} of the threshold" if verdict.indifference else ""
    return f"{word}: {others} would agree{close} (error {bound} {rate_text(verdict.error_rate)}), {place} {counted}."


def is_estimate_of_figure(result: CheckResult) -> bool:
    """Whether a figure of both models was estimated from a part of what it is about."""
    is_sample = result.verdict is not None and result.verdict.basis is Basis.SAMPLE
    return is_sample and figure_metric(result.check.metric) is not None


def _needed_text(verdict: Verdict) -> str:
    always = "" if verdict.basis is Basis.CONFIDENT else "; the full run always decides"
    if verdict.needed is None:
        return f"How many more it needs cannot be told from these{always}."
    least, most = verdict.needed
    if verdict.basis is not Basis.EARLY:
        return f"With about {most:,} more it decides in four cases of five{always}."
    up_to = f", up to {most:,}" if most > least else ""
    return f"It needs about {least:,} more{up_to}{always}."


def rate_text(rate: float) -> str:
    """A probability in per cent, without decimals that say nothing."""
    return f"{100 * rate:.2g}%"


def interval_text(low: float | None, high: float | None) -> str:
    """Bounds of a relative change."""
    if low is None or high is None:
        known = low if high is None else high
        if known is None:
            return "unbounded"
        return f"{without_minus_zero(f'{known:+.1%}')} or {'more' if high is None else 'less'}"
    return f"{without_minus_zero(f'{low:+.1%}')} to {without_minus_zero(f'{high:+.1%}')}"


def change_bounds(drop: Bounds) -> Bounds:
    """Bounds of a change from those of a drop: negative is a loss."""
    low, high = drop
    return (None if high is None else -high, None if low is None else -low)


def own_bounds(drop: Bounds, *, higher_is_better: bool) -> Bounds:
    """Bounds of a change with its own sign from those of a drop: where lower is better, a drop is a rise."""
    return change_bounds(drop) if higher_is_better else drop


def check_interval_text(result: CheckResult, interval: LossInterval) -> str:
    """The interval that goes with a check's own figure: of the relative change, or of a share of the documents."""
    if result.check.is_share:
        low, high = interval.pruned
        return f"{low or 0.0:.1%} to {1.0 if high is None else high:.1%}"
    higher_is_better = result.comparison is None or result.comparison.higher_is_better
    return interval_text(*own_bounds(interval.relative, higher_is_better=higher_is_better))


def certainty_texts(result: CheckResult) -> list[str]:
    """The interval, and whether it leaves a threshold in doubt that the measured figures decided; nothing where there is none."""
    check, verdict = result.check, result.verdict
    if verdict is None or verdict.interval is None:
        return []
    interval = verdict.interval
    low, _ = interval.pruned if check.is_share else interval.relative
    why = (
        ": too few documents, or an original that cannot be told from 0"
        if low is None and not interval.is_anytime
        else ""
    )
    stops = ", wherever it stops" if interval.is_anytime else ""
    shown = check_interval_text(result, interval)
    said = [f"95% interval for {interval.subject}{stops}: {shown}{why}{_other_bounds(interval, check)}."]
    if verdict.basis is Basis.MEASURED and any(interval.doubts(threshold) for threshold in check.thresholds):
        said.append("Within sampling noise of the threshold.")
    return said


def _other_bounds(interval: LossInterval, check: Check) -> str:
    """The bounds that go with thresholds in score units, behind those of the relative change."""
    rules = {threshold.rule for threshold in check.thresholds}
    (least, most), (low, high) = change_bounds(interval.absolute), interval.pruned
    absolute = f"; {signed_text(least)} to {signed_text(most)}" if MAX_ABSOLUTE_DROP in rules else ""
    score = f"; the pruned model's score {score_text(low)} to {score_text(high)}" if MIN_SCORE in rules else ""
    return absolute + score


def figures_text(comparison: Comparison) -> str:
    """Both scores and what lies between them."""
    original, metric = None if comparison.original is None else float(comparison.original), comparison.check.metric
    limits = [threshold.describe() for threshold in comparison.check.thresholds]
    before, after = figure_text(original, metric, ()), figure_text(float(comparison.pruned), metric, limits)
    if figure_metric(metric):
        return after if original is None else f"{before} -> {after}"
    difference = None if comparison.difference is None else float(comparison.difference)
    relative = relative_change(comparison.relative_drop)
    changed = "no relative change (the original scores 0)"
    if relative is not None:
        of_what = " relative" if comparison.higher_is_better else ""
        changed = change_text(relative, is_lower_better=not comparison.higher_is_better) + of_what
    return f"{before} -> {after}: {signed_text(difference)}, {changed}"


def counted_text(result: CheckResult) -> tuple[str, str] | None:
    """What was counted, and how many of how many; None where documents were scored."""
    metric, comparison = figure_metric(result.check.metric), result.comparison
    if metric is None or comparison is None:
        return None
    if metric.what is None:
        return "counted", f"{comparison.documents:,} {metric.unit}"
    return metric.what, f"{round(comparison.pruned * comparison.documents):,} of {comparison.documents:,} {metric.unit}"


def count_text(documents: int, total: int, unit: str = "documents") -> str:
    """How many documents, or windows of how many tokens, of how many."""
    if is_figure_unit(unit):
        return f"all {total:,} {unit}"
    return f"all {total} {unit}" if documents == total else f"{documents} of {total} {unit}"


def rerun_command(arguments: tuple[str, ...], node_id: str) -> str:
    """The command that runs one item alone, ready to be pasted into a shell."""
    return shlex.join(["pytest", *arguments, node_id])
