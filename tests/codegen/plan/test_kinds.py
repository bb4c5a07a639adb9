"""Every kind of mixer answers every question, as the protocol asks it."""

import inspect
from importlib import import_module

import pytest

from codegen.cst.fill import TEMPLATES
from codegen.language.keys import Mixer as MixerSection
from codegen.language.spec import MLPS, PARTS, READY_KINDS
from codegen.plan.mixers.kinds import KINDS, Mixer

QUESTIONS = [name for name, one in vars(Mixer).items() if inspect.isfunction(one) and not name.startswith("_")]
SECTIONS = {name: cls for name, cls in {**PARTS, **MLPS}.items() if issubclass(cls, MixerSection)}
READY = sorted({kind for kinds in READY_KINDS.values() for kind in kinds} & SECTIONS.keys())


@pytest.mark.parametrize("question", QUESTIONS)
@pytest.mark.parametrize("kind", sorted(set(KINDS.values())))
def test_a_kind_answers_a_question(kind, question):
    answer = getattr(import_module(f"codegen.plan.mixers.{kind}"), question, None)
    assert answer is not None, f"codegen/plan/mixers/{kind}.py lacks {question}()"
    asked = list(inspect.signature(getattr(Mixer, question)).parameters)[1:]
    assert list(inspect.signature(answer).parameters) == asked, f"{kind}.{question}"
    assert inspect.getdoc(answer)


@pytest.mark.parametrize("name", READY)
def test_what_is_ready_has_a_kind_a_template_and_words(name):
    section = SECTIONS[name]
    assert (TEMPLATES / f"{KINDS[section]}.py").exists()
    assert section.words
    assert section().roles(()), "its roles say what is stored"


def test_questions_are_those_of_the_protocol():
    assert len(QUESTIONS) >= 11
