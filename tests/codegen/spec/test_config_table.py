"""The table of config classes is what the installed transformers has, be it the newest release or the oldest."""

import json
from pathlib import Path

import pytest
import transformers
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from codegen.configs import ConfigTable, table
from codegen.errors import SpecError
from codegen.language.check import read_text, specs_of_text
from nemo_automodel.components.models.common.releases import release
from nemo_automodel.parity import config_fields
from nemo_automodel.parity.config_fields import TABLE, describe, refresh
from nemo_automodel.parity.config_rows import Table, difference, older

ROOT = Path(__file__).parents[3]
SPECS = specs_of_text(ROOT / "specs")
COMMITTED = Table.read(TABLE)
HERE = release(transformers.__version__)
BETWEEN = release(COMMITTED.oldest) < HERE < release(COMMITTED.newest)
CURE = "run: python -m nemo_automodel.parity.config_fields, with the newest and with the oldest transformers"


def rows_here(name):
    """The rows that a class may have in this release: between the two, those of both, where both have it."""
    both = {COMMITTED.newest: COMMITTED.rows.get(name), COMMITTED.oldest: COMMITTED.oldest_given.get(name)}
    there = [row for version, row in both.items() if release(version) == HERE]
    return there or ([] if None in both.values() else [*both.values()])


def parts(row, trials):
    """A row in parts that are compared one by one; without what only trials show."""
    plain = {key: value for key, value in row.items() if key != "fields" and (trials or key != "derived")}
    return {**plain, **{f"fields.{name}": value for name, value in row["fields"].items()}}


def compare(config_class, trials):
    """A class against its row, but for the models that take it: those are imported by the command alone."""
    known = rows_here(config_class.__name__)
    row = known[0] if known and known[0] else {"architectures": ()}
    found = describe(config_class, tuple(row["architectures"]), row.get("lender"), trials)
    if found is None or (not known and BETWEEN):
        return
    expected = [parts(row, trials) for row in known]
    here = parts(json.loads(json.dumps(found)), trials)
    for part in {*here, *(part for row in expected for part in row)}:
        assert json.dumps(here.get(part)) in [json.dumps(row.get(part)) for row in expected], f"{part}: {CURE}"


def test_every_row_is_that_of_the_installed_transformers():
    classes = {config_class.__name__: config_class for config_class in (CONFIG_MAPPING[one] for one in CONFIG_MAPPING)}
    for name in COMMITTED.rows:
        known = rows_here(name)
        if None not in known and (known or name in classes):
            assert name in classes, f"{name} is gone: {CURE}"
            compare(classes[name], trials=False)


@pytest.mark.parametrize("path", SPECS, ids=lambda path: path.stem)
def test_rows_of_generated_models_are_wholly_so(path):
    spec = read_text(path.read_bytes(), path.name)
    if spec.config.fields is None:
        compare(getattr(transformers, spec.config.class_name), trials=True)


def test_every_causal_type_is_known():
    """Of a larger model, by the class of its text; with the model that the auto mapping names."""
    for model_type, model in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.items():
        found = table().for_model_type(model_type) if model_type in CONFIG_MAPPING else None
        if model_type in CONFIG_MAPPING and isinstance(model, str):
            assert found is not None, f"{model_type}: {CURE}"
            assert model in (*found.architectures, found.lender), f"{model_type}: {CURE}"
    assert set(table().model_types()) >= {"llama", "llama4", "llama4_text", "exaone", "beam", "gpt-sw3"}


def test_a_family_with_the_model_of_another_one_has_a_row_of_its_own():
    found = table().for_model_type("exaone")
    assert (found.name, found.architectures, found.lender) == ("ExaoneConfig", (), "LlamaForCausalLM")
    with pytest.raises(SpecError) as caught:
        read_text("name: exaone\n", "exaone.yaml")
    assert "write architecture: ExaoneForCausalLM, and tests: {reference: 'transformers:LlamaForCausalLM'}" in str(
        caught.value
    )
    assert read_text("name: internlm3\narchitecture: InternLM3ForCausalLM\n", "internlm3.yaml").config.class_name


def test_fields_are_those_of_every_release():
    found = table().get("GptOssConfig")
    assert found.newer == {"swiglu_limit": 7.0, "swiglu_alpha": 1.702} and not found.has("swiglu_limit")
    assert not table().get("Glm4MoeConfig").has("partial_rotary_factor")  # the oldest has it, the newest does not


def test_a_field_of_newer_releases_is_read_with_what_the_older_ones_do():
    def problems(limit):
        with pytest.raises(SpecError) as caught:
            read_text(f"name: gpt_oss\nmlp: {{kind: moe, glu: {{limit: '{limit}'}}}}\n", "gpt_oss.yaml")
        return str(caught.value)

    assert "write newer(config.swiglu_limit, <what the older ones do>)" in problems("config.swiglu_limit")
    assert "every release has the field 'rms_norm_eps'" in problems("newer(config.rms_norm_eps, 7.0)")
    assert "has no field 'swiglu_limt'" in problems("newer(config.swiglu_limt, 7.0)")


def test_what_is_unknown_says_how_to_refresh():
    for text in ("name: nosuchtype\n", "name: x\nconfig: transformers:NoSuchConfig\n"):
        with pytest.raises(SpecError, match="python -m nemo_automodel.parity.config_fields") as caught:
            read_text(text, "x.yaml")
        assert f"transformers {COMMITTED.oldest} to {COMMITTED.newest} has no" in str(caught.value)


def test_the_file_is_as_it_would_be_written(tmp_path):
    assert COMMITTED.text() == TABLE.read_text()
    assert list(ConfigTable(TABLE)) == sorted(COMMITTED.rows)


NEW = {"model_type": "a", "architectures": ["A"], "fields": {"x": 1, "y": True}, "nested": ["y"], "lender": "L"}
OLD = {"model_type": "a", "architectures": ["A", "B"], "fields": {"x": 1.0, "z": None}, "derived": ["z"]}


@pytest.mark.parametrize(("one", "other"), [(NEW, OLD), (OLD, NEW), (NEW, NEW)])
def test_differences_give_the_older_row_back(one, other):
    assert older(one, difference(one, other)) == other
    assert json.dumps(older(one, difference(one, other))["fields"]["x"]) == json.dumps(other["fields"]["x"])


def test_one_command_renews_the_table(tmp_path, monkeypatch):
    path = tmp_path / "table.json"
    path.write_text(Table("5.20.0", "5.18.0", {}, {"A": NEW, "G": NEW}, {"A": OLD}).text())
    rows = {"A": NEW | {"architectures": []}, "B": NEW}
    monkeypatch.setattr(config_fields, "config_classes", lambda: [type("D", (), {}), type("G", (), {})])
    monkeypatch.setattr(config_fields, "causal_types", dict)
    monkeypatch.setattr(config_fields, "build", lambda: rows)
    refresh(path, "5.30.0")
    renewed, rows = Table.read(path), rows | {"G": NEW}  # which is still there and cannot be built any more
    assert (renewed.newest, renewed.oldest, renewed.rows, renewed.oldest_given) == (
        "5.30.0",
        "5.18.0",
        rows,
        {"A": OLD},
    )
    with pytest.raises(ValueError, match=r"5.21.0 lies between 5.18.0 and 5.30.0"):
        refresh(path, "5.21.0")
    monkeypatch.setattr(config_fields, "build", lambda: {"A": NEW, "C": NEW})
    refresh(path, "5.17.1")
    renewed = Table.read(path)
    assert (renewed.newest, renewed.oldest, renewed.rows, renewed.oldest_given) == (
        "5.30.0",
        "5.17.1",
        rows,
        {"A": NEW},
    )
