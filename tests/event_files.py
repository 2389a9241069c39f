"""Event files read back, without what wrote them."""

from pathlib import Path

from tensorboardX.proto.event_pb2 import Event

from tlx.data.reframe import tfrecords

Curves = dict[str, list[tuple[int, float]]]


def events(file: Path) -> list[Event]:
    """All events of a file, their checksums compared."""
    return [Event.FromString(record) for record in tfrecords(file)]


def curves_of(folder: Path) -> Curves:
    """Tag to steps and values, over all event files of a folder."""
    found: Curves = {}
    for file in sorted(folder.glob("events.out.tfevents.*")):
        for event in events(file):
            for value in event.summary.value:
                found.setdefault(value.tag, []).append((event.step, value.simple_value))
    return found
