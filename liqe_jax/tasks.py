"""Task sets: which attributes a model predicts, and the sentence that asks about them.

A task set is plain data: a model that predicts other attributes is a different :class:`TaskSet`, not different code.
`Attribute("material", ("wood", "metal"))` fits the template "a photo of a {material}".
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import string
from collections.abc import Iterable, Mapping
from typing import Any

from liqe_jax.errors import UsageError
from liqe_jax.messages import printable, quoted

# What else a result holds under a name of its own (`Score.to_dict`, the columns of `liqe score`).
RESERVED = frozenset(
    ("image", "joint", "crops", "width", "height", "model", "preprocess", "warnings", "digest", "error", "percentile")
)


def _all_of(sequence: Iterable[Any], what: str, kind: str) -> tuple[Any, ...]:
    # A string is a sequence too, of its letters, which nobody means.
    if isinstance(sequence, str) or not isinstance(sequence, Iterable):
        raise UsageError(f"{what} must be a sequence of {kind}; got {sequence!r}. Put it into a tuple.")
    return tuple(sequence)


@dataclasses.dataclass(frozen=True)
class Attribute:
    """One axis of the joint distribution.

    Attributes:
      name: identifier; also the placeholder in the template.
      labels: the words that fill the placeholder, in the order of the axis.
      values: the number each label stands for, or None for a purely nominal attribute. An attribute with values is
        reported as an expectation, one without as its most probable label.

    Raises UsageError if the name is not an identifier or hides another field of results, labels are not strings or
    occur twice, or values are not finite or not as many.
    """

    name: str
    labels: tuple[str, ...]
    values: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "labels", _all_of(self.labels, f"The labels of attribute {self.name!r}", "strings"))
        if not all(isinstance(text, str) for text in (self.name, *self.labels)):
            raise UsageError(f"An attribute's name and labels must be strings; got {self.name!r}: {self.labels!r}.")
        if not self.name.isidentifier():
            raise UsageError(
                f"An attribute's name must be a Python identifier, since it names a template field; got {self.name!r}."
            )
        if self.name in RESERVED or self.name.endswith("_probs"):
            raise UsageError(
                f"An attribute cannot be called {self.name!r}: results have another field of that name. Choose "
                f"another; reserved are {', '.join(sorted(RESERVED))} and all that end in _probs."
            )
        if len(self.labels) < 1 or len(set(self.labels)) != len(self.labels):
            raise UsageError(
                f"Attribute {self.name!r} needs at least one label and no label twice; got {self.labels!r}."
            )
        if self.values is not None:
            owner = f"The values of attribute {self.name!r}"
            given = _all_of(self.values, owner, "numbers")
            try:
                values = tuple(float(value) for value in given)
            except (TypeError, ValueError):
                values = ()
            if len(values) != len(self.labels) or not all(map(math.isfinite, values)):
                raise UsageError(
                    f"{owner} must be numbers, finite, one for each of its {len(self.labels)} labels; got {given!r}. "
                    "Give those, or None."
                )
            object.__setattr__(self, "values", values)


@dataclasses.dataclass(frozen=True)
class TaskSet:
    """Attributes and the template that turns one label of each into a sentence.

    The joint distribution has one axis per attribute, in their order. Prompts enumerate it with the first attribute
    slowest. Raises UsageError if the template does not use every attribute's name, plain, and nothing else.
    """

    name: str
    attributes: tuple[Attribute, ...]
    template: str

    def __post_init__(self) -> None:
        attributes = _all_of(self.attributes, f"The attributes of task set {self.name!r}", "Attributes")
        if not all(isinstance(attribute, Attribute) for attribute in attributes):
            raise UsageError(f"The attributes of task set {self.name!r} must be Attributes; got {attributes!r}.")
        object.__setattr__(self, "attributes", attributes)
        names = [attribute.name for attribute in self.attributes]
        try:
            parsed = [part for part in string.Formatter().parse(self.template) if part[1] is not None]
            fields = {str(field) for _, field, _, _ in parsed}
        except (TypeError, ValueError) as error:  # a brace without its partner
            raise UsageError(f"Task set {self.name!r}: {self.template!r} is not a template ({error}).") from error
        if not names or len(set(names)) != len(names) or set(names) != fields:
            raise UsageError(
                f"Task set {self.name!r}: the template must use each attribute's name as a field, and no other field; "
                f"attributes {names}, fields {sorted(fields)} in {self.template!r}."
            )

        if any(form or conversion for _, _, form, conversion in parsed):
            raise UsageError(f"Task set {self.name!r}: fields are plain names in braces; got {self.template!r}.")

    @property
    def shape(self) -> tuple[int, ...]:
        """Lengths of the axes of the joint distribution."""
        return tuple(len(attribute.labels) for attribute in self.attributes)

    @property
    def has_quality(self) -> bool:
        """Whether an attribute called quality has values, so that quality is a number."""
        return any(attribute.name == "quality" and attribute.values is not None for attribute in self.attributes)

    @property
    def prompts(self) -> tuple[str, ...]:
        """The K sentences, K = product of `shape`, first attribute slowest."""
        names = [attribute.name for attribute in self.attributes]
        combinations = itertools.product(*(attribute.labels for attribute in self.attributes))
        return tuple(self.template.format(**dict(zip(names, labels, strict=True))) for labels in combinations)

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready description; `from_dict` reads it back."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, description: Mapping[str, Any]) -> TaskSet:
        """The task set of `to_dict`, also read from JSON; raises UsageError for other keys, or what makes none."""
        try:
            attributes = tuple(Attribute(**attribute) for attribute in description["attributes"])
            return cls(**{**description, "attributes": attributes})
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            got = quoted(description)
            if isinstance(description, Mapping):
                got = f"the keys {printable(', '.join(map(str, description)))}"
            raise UsageError(
                "A task set needs exactly the keys name, attributes (each: name, labels, values) and template; "
                f"got {got} ({printable(error)})."
            ) from error
