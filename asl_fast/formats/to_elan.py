# SPDX-License-Identifier: Apache-2.0
"""An ELAN document (``.eaf``) of one recording: a tier for each class that was found, its annotations the scores."""

from __future__ import annotations

from collections.abc import Container
from xml.etree import ElementTree

from asl_fast.formats.recording import Action, Origin, Recording, in_time_order, milliseconds
from asl_fast.formats.text import encodable, one_line, xml_text

_Lane = list[tuple[int, int, float]]  # start and end in milliseconds, score
_SCHEMA = "http://www.mpi.nl/tools/elan/EAFv3.0.xsd"
_TYPE = "detections"
# ELAN refuses a document without a date. The same detections shall give the same file, so it is always this one.
_DATE = "1970-01-01T00:00:00+00:00"


def render(recording: Recording, origin: Origin) -> str:
    """Write the document: times in milliseconds, annotations the scores.

    Annotations of one tier must not overlap: where actions of a class do, further tiers "NAME (2)", ... take them.
    """
    document = ElementTree.Element(
        "ANNOTATION_DOCUMENT",
        {
            "AUTHOR": one_line(xml_text(origin.detector)),
            "DATE": _DATE,
            "FORMAT": "3.0",
            "VERSION": "3.0",
            "xmlns:xsi": "http://www.w3.org/2001/XMLSchema-instance",
            "xsi:noNamespaceSchemaLocation": _SCHEMA,
        },
    )
    header = ElementTree.SubElement(document, "HEADER", MEDIA_FILE="", TIME_UNITS="milliseconds")
    ElementTree.SubElement(header, "PROPERTY", NAME="recording").text = xml_text(encodable(recording.name))
    order = ElementTree.SubElement(document, "TIME_ORDER")
    tiers = _tiers(recording)
    moments = sorted({moment for tier in tiers.values() for spans in tier for moment in spans[:2]})
    slots = {moment: f"ts{number}" for number, moment in enumerate(moments, start=1)}
    for moment, slot in slots.items():
        ElementTree.SubElement(order, "TIME_SLOT", TIME_SLOT_ID=slot, TIME_VALUE=str(moment))
    number = 0
    for name, spans_of_tier in tiers.items():
        tier = ElementTree.SubElement(document, "TIER", LINGUISTIC_TYPE_REF=_TYPE, TIER_ID=name)
        for start, end, score in spans_of_tier:
            number += 1
            annotation = ElementTree.SubElement(
                ElementTree.SubElement(tier, "ANNOTATION"),
                "ALIGNABLE_ANNOTATION",
                ANNOTATION_ID=f"a{number}",
                TIME_SLOT_REF1=slots[start],
                TIME_SLOT_REF2=slots[end],
            )
            ElementTree.SubElement(annotation, "ANNOTATION_VALUE").text = f"{score:.4f}"
    ElementTree.SubElement(
        document, "LINGUISTIC_TYPE", GRAPHIC_REFERENCES="false", LINGUISTIC_TYPE_ID=_TYPE, TIME_ALIGNABLE="true"
    )
    ElementTree.indent(document, " ")
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(document, encoding="unicode") + "\n"


def _tiers(recording: Recording) -> dict[str, _Lane]:
    """Spread the actions over tiers: by class in the order of their names, and apart where they overlap."""
    by_label: dict[str, list[Action]] = {}
    for action in in_time_order(recording.actions):
        by_label.setdefault(action.label, []).append(action)
    lanes_by_name: dict[str, list[_Lane]] = {}
    for label, actions in sorted(by_label.items()):
        name = _free(one_line(xml_text(label)) or "_", lanes_by_name)
        lanes_by_name[name] = _lanes(actions)
    tiers: dict[str, _Lane] = {}
    taken = set(lanes_by_name)
    for name, (first, *others) in lanes_by_name.items():
        tiers[name] = first
        for lane in others:
            taken.add(further := _free(name, taken))
            tiers[further] = lane
    return tiers


def _lanes(actions: list[Action]) -> list[_Lane]:
    """Spread actions in time order: the first lane whose last one is over takes the next."""
    lanes: list[_Lane] = []
    for action in actions:
        start, end = milliseconds(action)
        lane = next((each for each in lanes if each[-1][1] <= start), None)
        if lane is None:
            lanes.append(lane := [])
        lane.append((start, end, action.score))
    return lanes


def _free(name: str, taken: Container[str]) -> str:
    """Return the name, or the first of "NAME (2)", "NAME (3)", ... that no class or tier has."""
    found, number = name, 1
    while found in taken:
        number += 1
        found = f"{name} ({number})"
    return found
