"""A big file read in parts gives the same records at the same positions as read whole, or is not split."""

from __future__ import annotations

import random
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from asgard_assets.ingest.files.landing import Landing
from asgard_assets.ingest.files.plan import splits
from asgard_assets.ingest.files.plan.read_task import Piece
from asgard_assets.ingest.files.readers import Range, how_to_read, read_here
from asgard_assets.ingest.files.source.formats import Auto, Csv


def records(
    root: Path,
    name: str,
    part: Range | None = None,
    declared: Auto | Csv = Auto(),  # noqa: B008
) -> list[tuple]:
    """(position, values or raw text) of the file or a part of it."""
    found = []
    for batch in read_here(Landing(str(root)), name, how_to_read(name, declared, "auto"), part):
        columns = [v if isinstance(v, list) else v.to_pylist() for _, v in batch.columns]
        found += [(int(row), [column[n] for column in columns]) for n, row in enumerate(batch.rows)]
        found += [(bad.row, bad.raw) for bad in batch.bad]
    return sorted(found, key=lambda each: each[0])


def parts_of(
    root: Path,
    name: str,
    monkeypatch: pytest.MonkeyPatch,
    chunk: int,
    declared: Auto | Csv = Auto(),  # noqa: B008
) -> list:
    monkeypatch.setattr(splits, "SPLIT_BYTES", chunk)
    landing = Landing(str(root))
    file = landing.look(name)
    assert file is not None
    how = how_to_read(name, declared, "auto").format
    looks = [splits.look_at(landing, each) for each in splits.chunks_of(file, how)]
    return splits.ranges_of(landing, file, how, looks)


def awkward_csv(chance: random.Random, newline: str) -> str:
    fields = [
        "1",
        "",
        "text",
        '"quoted"',
        '"a,b"',
        f'"line{newline}break"',
        '""',
        '"say ""hi"""',
        f'"{newline}"',
        "é",
    ]
    lines = ["id,v,w"]
    for _ in range(chance.randrange(0, 60)):
        lines.append(",".join(chance.choice(fields) for _ in range(chance.choice([3, 3, 3, 3, 2, 4]))))
        if chance.random() < 0.1:
            lines.append("")
    return newline.join(lines) + (newline if chance.random() < 0.5 else "")


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_parts_of_a_csv_add_up_to_the_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, newline: str
) -> None:
    chance, several = random.Random(7), 0
    for _ in range(150):
        (tmp_path / "a.csv").write_bytes(awkward_csv(chance, newline).encode())
        whole = records(tmp_path, "a.csv")
        parts = parts_of(tmp_path, "a.csv", monkeypatch, chance.choice([16, 40, 100]))
        assert all(part is not None for part, _ in parts)
        read = [records(tmp_path, "a.csv", part) for part, _ in parts]
        assert [each for some in read for each in some] == whole
        assert [len(some) for some in read] == [count for _, count in parts]
        several += len(parts) > 3
    assert several > 50


@pytest.mark.parametrize(
    "content", ['id,v\n1,5" disk\n2,x\n', "id,v\r1,2\r3,4\r", 'id,v\n1,"never closed\n2,3\n']
)
def test_a_file_whose_quotes_tell_nothing_is_not_split(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str
) -> None:
    (tmp_path / "a.csv").write_text(content * 3)
    assert parts_of(tmp_path, "a.csv", monkeypatch, 16) == [(None, 0)]


def test_parts_of_a_csv_without_quotes_add_up_to_the_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    how = Csv(quote=None, delimiter="\t")
    lines = [
        f'{n}"\t"{n}' + ("\tragged" if n % 9 == 0 else "") + ("\n" if n % 5 == 0 else "") for n in range(90)
    ]
    (tmp_path / "a.csv").write_text("id\tv\n" + "\n".join(lines))
    parts = parts_of(tmp_path, "a.csv", monkeypatch, 64, how)
    read = [records(tmp_path, "a.csv", part, how) for part, _ in parts]
    assert len(parts) > 5
    assert [each for some in read for each in some] == records(tmp_path, "a.csv", declared=how)
    assert [len(some) for some in read] == [count for _, count in parts]


def test_parts_of_json_lines_add_up_to_the_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = "".join(
        f'{{"id": {n}}}\n' + ("\n" if n % 7 == 0 else "") + ("bad\n" if n % 11 == 0 else "")
        for n in range(90)
    )
    (tmp_path / "a.jsonl").write_text(lines)
    parts = parts_of(tmp_path, "a.jsonl", monkeypatch, 64)
    assert len(parts) > 5
    assert [each for part, _ in parts for each in records(tmp_path, "a.jsonl", part)] == records(
        tmp_path, "a.jsonl"
    )


def test_row_groups_of_parquet_are_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pq.write_table(pa.table({"id": list(range(1000))}), tmp_path / "a.parquet", row_group_size=100)
    monkeypatch.setattr(splits, "SPLIT_BYTES", 1)
    file = Landing(str(tmp_path)).look("a.parquet")
    assert file is not None
    pieces = splits.row_groups_of(Landing(str(tmp_path)), Piece("2026-10-05", file))
    assert len(pieces) == 10
    assert [e for p in pieces for e in records(tmp_path, "a.parquet", p.part)] == records(
        tmp_path, "a.parquet"
    )


@pytest.mark.parametrize("how", [Csv(escape="\\"), Csv(encoding="utf-16"), Csv(encoding="shift_jis")])
def test_what_bytes_cannot_tell_is_not_split(how: Csv) -> None:
    from asgard_assets.ingest.files.source.models import FileSource

    source = FileSource.model_validate(
        {"name": "s", "path": "s", "ds": {"type": "arrival"}, "description": "d", "format": how}
    )
    assert not splits.is_splittable("a.csv", how, source)
    assert not splits.is_splittable("a.csv.gz", Csv(), source)
