"""Reviews a tree: its specs beside those of a base, both planned by this generator."""

from pathlib import Path
from tempfile import TemporaryDirectory

from codegen.frozen import Frozen
from codegen.places import Places, places
from codegen.review import history, page
from codegen.review.comparison import Comparison, compared
from codegen.review.history import Base, Difference
from codegen.review.pairs import pairs
from codegen.run.inventory import Row, rows_of
from codegen.run.over import over
from codegen.run.pipeline import Options, check
from codegen.run.report import Report


class Review(Frozen):
    """Markdown, and the exit code: 1 where the tree is not what the specs say, 2 for wrong specs, 3 for a conflict."""

    text: str
    code: int


class Found(Frozen):
    """Everything that a review tells. `texts`: specs of images and text over a spec that changed, by its name."""

    base: Base
    places: Places
    report: Report
    comparisons: tuple[Comparison, ...]
    rows: dict[str, Row]
    files: tuple[Difference, ...]
    texts: dict[str, list[str]]


def review(options: Options, revision: str | None = None) -> Review:
    """What the specs of a tree change in the models, against a commit.

    Raises:
        CodegenError: there is no git repository, or no such commit.
    """
    root = Path(options.root)
    base = history.base(root, revision)
    report = check(options, "review")
    code = report.exit_code(fail_on_change=True)
    if report.problems:
        return Review(page.wrong(base, report), code)
    rows = {row.name: row for row in rows_of(report, options.root)}
    at = places(options.root)
    files = tuple(history.differences(base, (*at.outputs, at.registry, *at.indexes)))
    with TemporaryDirectory() as folder:
        before = Path(folder)
        history.specs(base, before)
        comparisons = tuple(compared(pair, before, root) for pair in pairs(before, root))
        changed = [one.pair.name for one in comparisons if one.before is not None and one.after is not None]
        texts = {name: over(root, name) for name in changed}
    return Review(page.whole(Found(base, at, report, comparisons, rows, files, texts)), code)
