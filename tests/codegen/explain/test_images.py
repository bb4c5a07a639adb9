"""`codegen explain` of models of images and text: each key that is written, and the lines that depend on it."""

from pathlib import Path

import pytest

from codegen.errors import CodegenError
from codegen.explain import explain
from tests.codegen.new.images import FAMILIES, ROOT

# Of every kind of section: a module as projector, tiles, an overlay, names on disk, masks, positions, a merge.
EACH = ("gemma3", "idefics2", "kimivl", "llava_onevision", "mistral3", "qwen3_vl")
SILENT = ("name", "docs", "summary", "tests")  # which are compared with nothing, or say what pages say


@pytest.mark.parametrize("name", FAMILIES)
def test_every_key_is_explained_at_its_place(name):
    found = explain(name, None, ROOT)
    lines = (ROOT / found.spec).read_text().splitlines()
    assert found.fields and not found.lacking
    for field in found.fields:
        _, line, column = field.where.split(":")
        assert field.doc and lines[int(line) - 1][int(column) - 1 :].lstrip("\"'-")
    assert all((ROOT / path).is_file() for path in found.files)


@pytest.mark.parametrize("name", EACH)
def test_every_key_points_at_lines_that_stand_there(name):
    for field in explain(name, None, ROOT).fields:
        if field.path.split(".")[0] in SILENT:
            continue
        found = explain(name, field.path, ROOT)
        assert found.compared or found.refused, field.path
        assert found.changes or found.refused or field.path.startswith("processor"), field.path
        for change in found.changes:
            lines = (ROOT / change.path).read_text().splitlines() if (ROOT / change.path).is_file() else []
            assert tuple(lines[change.first - 1 : change.last]) == change.there, field.path


@pytest.mark.parametrize(
    ("name", "field", "path", "line"),
    [
        ("gemma3", "mask", "model.py", "image_blocks"),
        ("qwen3_vl", "text.layers", "model.py", "Qwen3VLTextModel"),
        ("mistral3", "vision.grid", "model.py", "image_sizes // self.config.vision_config.patch_size"),
        ("kimivl", "checkpoint.vision.pairs", "state_dict_adapter.py", "tower_pairs"),
        ("paligemma", "positions.start", "model.py", "first_position = 1"),
        ("qwen2_vl", "text", "model.py", "Qwen2Model"),
    ],
)
def test_what_a_key_generates(name, field, path, line):
    changes = explain(name, field, ROOT).changes
    assert any(Path(one.path).name == path and any(line in text for text in one.there) for one in changes)


@pytest.mark.parametrize(
    ("field", "said"),
    [
        ("visoin", "did you mean 'vision'"),
        ("vision.gird", "did you mean 'grid'"),
        ("attention.kind", "attention: is no key of a spec"),
        ("parts.nothing", "there is no such part"),
        ("text.atention", "did you mean 'attention'"),
    ],
)
def test_an_unknown_field_is_told(field, said):
    with pytest.raises(CodegenError, match=said):
        explain("mistral3", field, ROOT)


def test_what_is_not_written_is_explained_too():
    assert explain("llava", "vision.tower", ROOT).fields[0].where is None
    assert "config.image_token_id" in explain("llava", "merge.token", ROOT).fields[0].default
