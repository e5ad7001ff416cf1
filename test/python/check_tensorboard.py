"""Python's half: TensorBoard's event files hold what events.jsonl does. By a reader of our own, from the formats' text
(TFRecord with its masked CRC-32C, protobuf's wire format), and by TensorBoard's, where it is installed.

    python check_tensorboard.py FOLDER PACKAGES
"""

import json
import struct
import sys
from pathlib import Path

POLYNOMIAL = 0x82F63B78  # Castagnoli's, its bits from the lowest up


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (POLYNOMIAL if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def check_crc(data, stored, where):
    crc = crc32c(data)
    assert ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF == stored, where


def records(data, name):
    at = 0
    while at < len(data):
        (length,) = struct.unpack_from("<Q", data, at)
        check_crc(data[at:at + 8], *struct.unpack_from("<I", data, at + 8), f"{name}: the length at {at}")
        body = data[at + 12:at + 12 + length]
        check_crc(body, *struct.unpack_from("<I", data, at + 12 + length), f"{name}: the record at {at}")
        yield body
        at += 16 + length


def varint(data, at):
    value = shift = 0
    while True:
        value |= (data[at] & 0x7F) << shift
        shift += 7
        at += 1
        if data[at - 1] < 0x80:
            return value, at


def fields(data):
    """Every field of a message: its number, and its value as the wire has it."""
    at = 0
    while at < len(data):
        key, at = varint(data, at)
        number, wire = key >> 3, key & 7
        if wire == 0:
            value, at = varint(data, at)
        else:
            size, at = varint(data, at) if wire == 2 else ({1: 8, 5: 4}[wire], at)
            value, at = data[at:at + size], at + size
        yield number, value


def by_hand(folder):
    """{tag: {step: value}}; a session that starts at a step takes away what was written from there on."""
    scalars = {}
    # Two of one second differ in what comes last.
    for file in sorted(folder.glob("events.out.tfevents.*"), key=lambda path: int(path.name.rsplit(".", 1)[1])):
        for i, record in enumerate(records(file.read_bytes(), file.name)):
            event = dict(fields(record))
            step = event.get(2, 0)
            if i == 0:
                assert event[3] == b"brain.Event:2", event
            if 7 in event:
                assert dict(fields(event[7])) == {1: 1}
                for values in scalars.values():
                    for later in [one for one in values if one >= step]:
                        del values[later]
            for number, value in fields(event.get(5, b"")):
                assert number == 1
                entry = dict(fields(value))
                scalars.setdefault(entry[1].decode(), {})[step] = struct.unpack("<f", entry[2])[0]
    return {tag: values for tag, values in scalars.items() if values}


def by_tensorboard(folder):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    accumulator = EventAccumulator(str(folder), size_guidance={"scalars": 0, "tensors": 0})
    accumulator.Reload()
    tags = accumulator.Tags()
    # Newer versions give scalars as tensors of one value.
    found = {tag: {e.step: e.value for e in accumulator.Scalars(tag)} for tag in tags["scalars"]}
    for tag in tags["tensors"]:
        found[tag] = {e.step: e.tensor_proto.float_val[0] for e in accumulator.Tensors(tag)}
    return found


def expected(folder):
    scalars = {}
    for text in (folder / "events.jsonl").read_text().splitlines():
        line = json.loads(text)
        step, task = line["step"], f"{line['task']}/" if "task" in line else ""
        if line["type"] == "start":
            for values in scalars.values():
                for later in [one for one in values if one > step]:
                    del values[later]
        own = {}
        if line["type"] == "steps":
            own = {"train/loss": "loss", "train/learning_rate": "learningRate", "train/grad_norm": "gradNorm",
                   "train/epoch": "epoch"}
        elif line["type"] == "log":
            own = {"train/tokens_per_second": "tokensPerSecond", "train/rows_per_second": "rowsPerSecond"}
        elif line["type"] == "evaluate":
            own = {"eval/loss": "loss"}
            for name, value in line["metrics"].items():
                scalars.setdefault(f"{task}eval/{name}", {})[step] = value
        for tag, name in own.items():
            scalars.setdefault(task + tag, {})[step] = line[name]
    return {tag: values for tag, values in scalars.items() if values}


def compare(found, wanted, who):
    assert found.keys() == wanted.keys(), (who, sorted(found), sorted(wanted))
    for tag, values in wanted.items():
        assert found[tag].keys() == values.keys(), (who, tag, sorted(found[tag]), sorted(values))
        for step, value in values.items():
            assert abs(found[tag][step] - value) <= 1e-6 * max(1, abs(value)), (who, tag, step)


def main():
    assert crc32c(b"123456789") == 0xE3069283  # RFC 3720
    sys.path.append(sys.argv[2])
    try:
        import tensorboard
        theirs = tensorboard.__version__
    except ImportError:
        theirs = None
    for name in ["one", "tasks"]:
        folder = Path(sys.argv[1]) / name
        wanted = expected(folder)
        assert len(wanted) > 6 and len(list(folder.glob("events.out.tfevents.*"))) == 2, wanted.keys()
        compare(by_hand(folder), wanted, "by hand")
        if theirs:
            compare(by_tensorboard(folder), wanted, "TensorBoard")
        print(f"TensorBoard files of {name}: {sum(map(len, wanted.values()))} values of {len(wanted)} curves, "
              f"read by hand{f' and by TensorBoard {theirs}' if theirs else ' (TensorBoard itself is not installed)'}")


main()
