"""Celery 5.7's two tables: celery_taskmeta and celery_tasksetmeta, with the same columns and sequences."""

from __future__ import annotations

import logging
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    DateTime,
    Integer,
    LargeBinary,
    MetaData,
    Sequence,
    String,
    Table,
    Text,
    inspect,
    text,
)

logger = logging.getLogger(__name__)

_Id = Integer().with_variant(BigInteger, "mssql")


def task_table(metadata: MetaData, name: str | None, schema: str | None, *, extended: bool) -> Table:
    """Results of tasks; `extended` with the columns of result_extended."""
    columns: list[Any] = [
        Column("id", _Id, Sequence("task_id_sequence", schema=schema), primary_key=True, autoincrement=True),
        Column("task_id", String(155), unique=True),
        Column("status", String(50)),
        Column("result", LargeBinary, nullable=True),
        Column("date_done", DateTime, nullable=True, index=True),
        Column("traceback", Text, nullable=True),
        Column("children", LargeBinary, nullable=True),
    ]
    if extended:
        columns += [
            Column("name", String(155), nullable=True),
            Column("args", LargeBinary, nullable=True),
            Column("kwargs", LargeBinary, nullable=True),
            Column("worker", String(155), nullable=True),
            Column("retries", Integer, nullable=True),
            Column("queue", String(155), nullable=True),
            Column("stamps", LargeBinary, nullable=True),
        ]
    return Table(name or "celery_taskmeta", metadata, *columns, schema=schema, sqlite_autoincrement=True)


def group_table(metadata: MetaData, name: str | None, schema: str | None) -> Table:
    """Saved groups."""
    sequence = Sequence("taskset_id_sequence", schema=schema)
    return Table(
        name or "celery_tasksetmeta",
        metadata,
        Column("id", _Id, sequence, primary_key=True, autoincrement=True),
        Column("taskset_id", String(155), unique=True),
        Column("result", LargeBinary, nullable=True),
        Column("date_done", DateTime, nullable=True, index=True),
        schema=schema,
        sqlite_autoincrement=True,
    )


def add_missing_columns(engine: Any, table: Table) -> None:
    """Bring a table of an older Celery up to date, as Celery 5.7 does."""
    existing = {column["name"] for column in inspect(engine).get_columns(table.name, schema=table.schema)}
    preparer = engine.dialect.identifier_preparer
    for column in table.columns:
        if column.name in existing or not column.nullable:
            continue
        kind = column.type.compile(engine.dialect)
        statement = (
            f"ALTER TABLE {preparer.format_table(table)} ADD COLUMN {preparer.quote(column.name)} {kind}"
        )
        try:
            with engine.begin() as connection:
                connection.execute(text(statement))
        except Exception as error:  # another process was faster, or this user may not
            logger.warning("Column %s could not be added (%s); run: %s", column.name, error, statement)
