"""The Markdown of a review."""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from codegen.markdown import escaped
from codegen.places import Places
from codegen.review.comparison import Comparison, Side
from codegen.review.facts import Said
from codegen.review.history import Base
from codegen.review.markdown import code, codes, folded, table
from codegen.review.proof import proof
from codegen.run.report import Report

if TYPE_CHECKING:  # it is what makes a page
    from codegen.review.reviewing import Found

SHOWN = 30  # files, of those that no spec explains
PAST = {
    "create": "is missing",
    "update": "is not what its spec says",
    "delete": "has no spec",
    "edit": "has other entries",
}


def wrong(base: Base, report: Report) -> str:
    """Where specs are wrong: what is wrong."""
    lines = [*_top(base), f"**Wrong specs**, so that nothing more can be said ({len(report.problems)} problems):", ""]
    lines += [f"- {code(problem)}" for problem in report.problems]
    return "\n".join(lines) + "\n"


def whole(found: "Found") -> str:
    """All of it."""
    lines = [*_top(found.base), *_state(found.report)]
    if not found.comparisons:
        lines += ["No spec differs from the base.", ""]
    else:
        rows = (
            [code(one.pair.name), one.pair.kind, _verdict(one), proof(one, found.rows)] for one in found.comparisons
        )
        lines += table(("spec", "what happened", "checkpoints of the base", "proof"), rows)
    for one in found.comparisons:
        lines += _section(one, found)
    lines += _others(found)
    return "\n".join(lines).rstrip("\n") + "\n"


def _top(base: Base) -> list[str]:
    return ["# What changes in the models", "", f"Compared with {code(base.commit[:12])} ({base.found}).", ""]


def _state(report: Report) -> Iterator[str]:
    """Whether the tree is what the specs say."""
    if report.clean:
        yield from ("Every generated file is what the specs say.", "")
    if report.conflicts:
        yield from ("**Conflicts** with what a person wrote; nothing can be generated before they are resolved:", "")
        yield from (f"- {code(one.path)}: {escaped(one.reason)}; {escaped(one.cure)}" for one in report.conflicts)
        yield ""
    if report.changes:
        yield from (f"**Out of date**, run `codegen apply` ({_count(len(report.changes), 'file')}):", "")
        yield from (f"- {code(one.path)} {PAST[one.action]}" for one in report.changes[:SHOWN])
        yield from _more(len(report.changes))
    if report.notes:
        yield from (*(f"Note: {escaped(note)}." for note in report.notes), "")


def _verdict(one: Comparison) -> str:
    """What becomes of checkpoints that the base could load."""
    if one.before is None:
        return "cannot be compared" if one.unread else "there were none"
    if one.after is None:
        return "**can no longer be loaded**"
    if one.round_trips:
        return "load and save as before"
    counts = {"renamed": one.renamed, "gone": one.gone, "new": one.come, "on other configs": one.steadied}
    said = [f"{len(tensors)} {words}" for words, tensors in counts.items() if tensors]
    said += ["other names in config.json"] if one.retired else []
    said += ["other shapes"] if one.reshaped else []
    return f"**no round trip**: {', '.join(said)}"


def _section(one: Comparison, found: "Found") -> Iterator[str]:
    yield from (f"## {code(one.pair.name)}: {one.pair.kind}", "")
    side = one.after or one.before
    if side is not None:
        yield from (escaped(side.subject.spec.summary), "")
    if one.unread:
        yield from ("The spec of the base is wrong for this generator, so that the newer one stands alone:", "")
        yield from (*(f"- {code(problem)}" for problem in one.unread), "")
    yield from _facts(one)
    yield from _checkpoints(one)
    yield from _fields(one)
    yield from _files(one, found)
    if one.after is not None and (one.before is None or one.before.picture != one.after.picture):
        picture = ("```mermaid", *one.after.picture.splitlines(), "```")
        yield from folded("The model, as it is now", picture)


def _facts(one: Comparison) -> Iterator[str]:
    if one.before is None or one.after is None:
        rows = ([code(fact.key), _said(fact.after), escaped(fact.doc)] for fact in one.facts)
        yield from table(("key", "value", "which is"), rows)
        side = one.after or one.before
        yield from _features("It has" if one.after else "It had", side.features if side else ())
        return
    rows = ([code(fact.key), _said(fact.before), _said(fact.after), escaped(fact.doc)] for fact in one.facts)
    if one.facts:
        yield from table(("key", "before", "now", "which is"), rows)
    else:
        yield from ("It says the same in other words.", "")
    old, new = one.before.features, one.after.features
    yield from _features("New", [words for words in new if words not in old])
    yield from _features("No longer", [words for words in old if words not in new])


def _said(said: Said) -> str:
    return " ".join(filter(None, (code(said.value), said.note)))


def _features(title: str, words: Iterable[str]) -> Iterator[str]:
    said = ", ".join(map(escaped, words))
    if said:
        yield from (f"{title}: {said}.", "")


def _checkpoints(one: Comparison) -> Iterator[str]:
    """Tensors by name, and what shapes them."""
    if one.before is None or one.after is None:
        yield from _tensors(one.after or one.before)
        return
    lines = [f"- {code(name)} of a config.json means this model no longer" for name in one.retired]
    lines += [f"- {code(renamed.before)} is called {code(renamed.after)} now" for renamed in one.renamed]
    lines += [f"- {code(name)} is read no longer" for name in one.gone]
    lines += [f"- {code(name)} is read now{_sometimes(one.after, name)}" for name in one.come]
    for name, always in one.steadied:
        was, now = ("some", "all") if always else ("all", "some")
        lines.append(f"- {code(name)} was read on {was} configs, and is on {now} now")
    for key, (before, now) in one.reshaped.items():
        lines.append(f"- {code(key)} was {code(before)} and is {code(now)} on the config of the tests: other shapes")
    if lines:
        yield from ("**Checkpoints of the base do not round-trip**:", "", *lines, "")
    else:
        yield from (
            "Checkpoints of the base have the same tensors, by name and shape, on every config of the tests.",
            "",
        )
    yield from _rules(one.before, one.after)


def _rules(before: Side, after: Side) -> Iterator[str]:
    """How tensors lie in memory otherwise than on disk."""
    old, new = before.stored.rules, after.stored.rules
    lines = [f"- no longer {code(rule)}" for rule in old if rule not in new]
    lines += [f"- now {code(rule)}" for rule in new if rule not in old]
    if lines:
        yield from ("On the way from disk to memory:", "", *lines, "")


def _tensors(side: Side | None) -> Iterator[str]:
    if side is not None:
        lines = [f"- {code(name)}{_sometimes(side, name)}" for name in side.stored.tensors]
        yield from folded(f"Its {len(lines)} tensors", lines)


def _sometimes(side: Side, name: str) -> str:
    return "" if side.stored.tensors[name] else ", on some configs"


def _fields(one: Comparison) -> Iterator[str]:
    """Fields of the config."""
    old = one.before.stored.fields if one.before else frozenset[str]()
    new = one.after.stored.fields if one.after else frozenset[str]()
    if one.before and one.after:
        lines = [("Reads of the config now", sorted(new - old)), ("Reads no longer", sorted(old - new))]
    else:
        lines = [("Reads of the config", sorted(old | new))]
    for title, names in lines:
        if names:
            yield from (f"{title}: {codes(names)}.", "")
    yield from _declared(one)


def _declared(one: Comparison) -> Iterator[str]:
    """Fields of a config class of the spec's own."""
    old = dict(one.before.stored.declared) if one.before else {}
    new = dict(one.after.stored.declared) if one.after else {}
    lines = [f"- {code(name)}, by itself {code(repr(value))}" for name, value in new.items() if name not in old]
    lines += [f"- {code(name)} is gone" for name in old if name not in new]
    for name in old.keys() & new.keys():
        if old[name] != new[name]:
            lines.append(f"- {code(name)} was {code(repr(old[name]))} by itself, and is {code(repr(new[name]))}")
    if lines and one.after is not None:
        yield from ("Its own config class declares:", "", *sorted(lines), "")


def _files(one: Comparison, found: "Found") -> Iterator[str]:
    """Generated files that follow."""
    texts = found.texts.get(one.pair.name, [])
    names = {one.pair.before, one.pair.after, *texts}
    files = [file for file in found.files if owner(file.path, found.places) in names]
    lines = [f"- {code(file.path)} (+{file.added} −{file.removed})" for file in files]
    if lines:
        yield from folded(f"{_count(len(lines), 'generated file')} with it", lines)
    else:
        yield from ("No generated file differs from the base.", "")
    if texts:
        yield from (f"It is the text of {codes(texts)}, which change with it.", "")


def _others(found: "Found") -> Iterator[str]:
    """Generated files that differ, and no spec of theirs does."""
    names = {name for one in found.comparisons for name in (one.pair.before, one.pair.after)}
    names |= {name for texts in found.texts.values() for name in texts}
    wrong = {one.path for one in (*found.report.changes, *found.report.conflicts)}
    edited = [file for file in found.files if file.path in (found.places.registry, *found.places.indexes)]
    others = (file for file in found.files if file not in edited and file.path not in wrong)
    files = [file for file in others if owner(file.path, found.places) not in names]
    if edited:
        yield from (f"Entries were made or removed in {codes(file.path for file in edited)}.", "")
    if files:
        models = dict.fromkeys(owner(file.path, found.places) for file in files)
        yield from ("## Models whose specs are the same", "")
        said = f"{_count(len(files), 'generated file')} of {_count(len(models), 'model')}"
        why = "where the generator or its templates were others, or the specs were not applied"
        yield from (f"Unlike the base, {why}: {said}.", "")
        yield from (f"- {code(file.path)} (+{file.added} −{file.removed})" for file in files[:SHOWN])
        yield from _more(len(files))


def owner(path: str, places: Places) -> str:
    """The model whose generated file this is."""
    folder = next((folder for folder in places.outputs if path.startswith(f"{folder}/")), "")
    return path.removeprefix(f"{folder}/").partition("/")[0].removesuffix(".md")


def _more(count: int) -> Iterator[str]:
    if count > SHOWN:
        yield f"- and {count - SHOWN} more"
    yield ""


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
