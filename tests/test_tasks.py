"""Task sets: order of prompts, custom attributes, refusals."""

from __future__ import annotations

import json

import pytest

from liqe_jax import Attribute, TaskSet, UsageError
from liqe_jax.cli.writers import csv_columns
from liqe_jax.tasks import RESERVED
from liqe_jax.taxonomy import CATEGORY_OF_RAW_DISTORTION, DISTORTION, JOINT, TASK_SETS


def test_first_attribute_is_slowest_and_last_is_fastest():
    prompts = JOINT.prompts
    assert len(prompts) == 5 * 9 * 11
    assert prompts[0] == "a photo of a animal with jpeg2000 compression artifacts, which is of bad quality"
    assert prompts[1] == "a photo of a animal with jpeg compression artifacts, which is of bad quality"
    assert prompts[11] == "a photo of a cityscape with jpeg2000 compression artifacts, which is of bad quality"
    assert prompts[99] == "a photo of a animal with jpeg2000 compression artifacts, which is of poor quality"


def test_every_raw_distortion_has_a_category():
    assert set(CATEGORY_OF_RAW_DISTORTION.values()) <= set(DISTORTION.labels)
    assert len(CATEGORY_OF_RAW_DISTORTION) == 33


@pytest.mark.parametrize("name", sorted(TASK_SETS))
def test_survives_json(name):
    tasks = TASK_SETS[name]
    assert TaskSet.from_dict(json.loads(json.dumps(tasks.to_dict()))) == tasks


def test_any_number_of_attributes():
    four = TaskSet("four", tuple(Attribute(n, ("x", "y")) for n in "abcd"), "{a} {b} {c} {d}")
    assert four.shape == (2, 2, 2, 2)
    assert four.prompts[1] == "x x x y"
    assert TaskSet("one", (Attribute("only", ("x", "y", "z")),), "{only}").prompts == ("x", "y", "z")


@pytest.mark.parametrize(
    ("attributes", "template", "complaint"),
    [
        ((Attribute("a", ("x",)),), "no field", "template must use"),
        ((Attribute("a", ("x",)),), "{a} {b}", "template must use"),
        ((Attribute("a", ("x",)), Attribute("a", ("y",))), "{a}", "template must use"),
        ((), "nothing", "template must use"),
        ((Attribute("a", ("x",)),), "{a", "is not a template"),
        ((Attribute("a", ("x",)),), None, "is not a template"),
        ((Attribute("a", ("x",)),), "{a:d}", "plain names in braces"),
        ((Attribute("a", ("x",)),), "{a!r}", "plain names in braces"),
        (Attribute("a", ("x",)), "{a}", "must be a sequence of Attributes"),
        (("a",), "{a}", "must be Attributes"),
    ],
)
def test_template_and_attributes_have_to_agree(attributes, template, complaint):
    with pytest.raises(UsageError, match=complaint):
        TaskSet("bad", attributes, template)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("two words", ("x",)), "Python identifier"),
        (("a", (1, 2)), "must be strings"),
        (("a", ()), "at least one label"),
        (("a", ("x", "x")), "no label twice"),
        (("a", ("x", "y"), (1,)), r"one for each of its 2 labels; got \(1,\)"),
        (("a", ("x", "y"), (1, float("nan"))), "must be numbers, finite"),
        (("image", ("photo", "drawing")), "results have another field of that name"),
        (("width", ("thin", "wide")), "results have another field of that name"),
        (("digest", ("a", "b")), "results have another field of that name"),
        (("quality_probs", ("a", "b")), "end in _probs"),
        (("a", "xy"), "must be a sequence of strings"),
        (("a", 5), "must be a sequence of strings"),
        (("a", ("x", "y"), 5), "must be a sequence of numbers"),
        (("a", ("x", "y"), "12"), "must be a sequence of numbers"),
        (("a", ("x", "y"), ("one", "two")), "must be numbers, finite, one for each"),
    ],
)
def test_attributes_are_checked(arguments, complaint):
    with pytest.raises(UsageError, match=complaint):
        Attribute(*arguments)


@pytest.mark.parametrize(
    "description",
    [
        {},
        [1],
        {"name": "x"},
        {"name": "x", "attributes": [{}], "template": "t"},
        {"name": "x", "attributes": [["quality"]], "template": "t"},
        {"name": "x", "attributes": 3, "template": "t"},
    ],
)
def test_incomplete_descriptions_are_refused(description):
    with pytest.raises(UsageError, match="exactly the keys"):
        TaskSet.from_dict(description)


def test_a_description_of_a_wrong_attribute_says_what_is_wrong():
    attributes = [{"name": "a", "labels": ["b"], "values": ["c"]}]
    with pytest.raises(UsageError, match="The values of attribute 'a' must be numbers"):
        TaskSet.from_dict({"name": "x", "attributes": attributes, "template": "{a}"})


def test_every_field_of_a_result_is_reserved():
    """An attribute of that name would hide it: the image's path, for one."""
    fields = {column for column in csv_columns(JOINT.attributes) if "_probs." not in column}
    assert fields - {attribute.name for attribute in JOINT.attributes} <= RESERVED
