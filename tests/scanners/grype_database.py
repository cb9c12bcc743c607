"""A vulnerability database for the real grype, small enough to be made by a test.

Grype's own cannot be fetched without a network. Its format (schema 6, the tables of grype/db/v6/models.go) is a SQLite
file, which `grype db import` checks, indexes and takes as its own.
"""

from __future__ import annotations

import datetime
import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from tests.scanners.vulnerability import Vulnerability

_TABLES = """
CREATE TABLE blobs (id INTEGER PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE db_metadata (build_timestamp DATETIME NOT NULL, model INTEGER, revision INTEGER, addition INTEGER);
CREATE TABLE providers (id TEXT PRIMARY KEY, version TEXT, processor TEXT, date_captured DATETIME, input_digest TEXT);
CREATE TABLE vulnerability_handles (id INTEGER PRIMARY KEY, name TEXT NOT NULL, status TEXT NOT NULL,
  published_date DATETIME, modified_date DATETIME, withdrawn_date DATETIME, provider_id TEXT NOT NULL, blob_id INTEGER);
CREATE TABLE vulnerability_aliases (name TEXT, alias TEXT NOT NULL, PRIMARY KEY (name, alias));
CREATE TABLE affected_package_handles (id INTEGER PRIMARY KEY, vulnerability_id INTEGER NOT NULL,
  operating_system_id INTEGER, package_id INTEGER, blob_id INTEGER);
CREATE TABLE unaffected_package_handles (id INTEGER PRIMARY KEY, vulnerability_id INTEGER NOT NULL,
  operating_system_id INTEGER, package_id INTEGER, blob_id INTEGER);
CREATE TABLE operating_systems (id INTEGER PRIMARY KEY, name TEXT, release_id TEXT, major_version TEXT,
  minor_version TEXT, label_version TEXT, codename TEXT, channel TEXT, eol_date DATETIME, eoas_date DATETIME);
CREATE TABLE operating_system_specifier_overrides (alias TEXT, version TEXT, version_pattern TEXT, codename TEXT,
  channel TEXT, replacement TEXT, replacement_major_version TEXT, replacement_minor_version TEXT,
  replacement_label_version TEXT, replacement_channel TEXT, rolling NUMERIC, applicable_client_db_schemas TEXT);
CREATE TABLE packages (id INTEGER PRIMARY KEY, ecosystem TEXT, name TEXT);
CREATE TABLE package_specifier_overrides (ecosystem TEXT, replacement_ecosystem TEXT);
CREATE TABLE architecture_aliases (alias TEXT PRIMARY KEY, canonical TEXT NOT NULL);
CREATE TABLE affected_cpe_handles (id INTEGER PRIMARY KEY, vulnerability_id INTEGER NOT NULL, cpe_id INTEGER,
  blob_id INTEGER);
CREATE TABLE unaffected_cpe_handles (id INTEGER PRIMARY KEY, vulnerability_id INTEGER NOT NULL, cpe_id INTEGER,
  blob_id INTEGER);
CREATE TABLE cpes (id INTEGER PRIMARY KEY, part TEXT NOT NULL, vendor TEXT, product TEXT NOT NULL, edition TEXT,
  language TEXT, software_edition TEXT, target_hardware TEXT, target_software TEXT, other TEXT);
CREATE TABLE package_cpes (package_id INTEGER, cpe_id INTEGER, PRIMARY KEY (package_id, cpe_id));
CREATE TABLE known_exploited_vulnerability_handles (id INTEGER PRIMARY KEY, cve TEXT NOT NULL, blob_id INTEGER);
CREATE TABLE epss_handles (id INTEGER PRIMARY KEY, cve TEXT NOT NULL, epss REAL NOT NULL, percentile REAL NOT NULL);
CREATE TABLE epss_metadata (date DATETIME NOT NULL);
CREATE TABLE cwe_handles (id INTEGER PRIMARY KEY, cve TEXT NOT NULL, cwe TEXT NOT NULL, source TEXT, type TEXT);
CREATE TABLE ssvc_handles (id INTEGER PRIMARY KEY, cve TEXT NOT NULL, source TEXT, role TEXT, version TEXT,
  timestamp DATETIME, exploitation TEXT, automatable TEXT, technical_impact TEXT);
"""
_MODEL, _REVISION, _ADDITION = 6, 1, 10
_PROVIDER = "github"


def write_database(path: Path, vulnerabilities: Sequence[Vulnerability], *, made: datetime.datetime) -> None:
    """Write a database that knows some vulnerabilities, as of a time."""
    now = made.strftime("%Y-%m-%d %H:%M:%S+00:00")
    with closing(sqlite3.connect(path)) as database, database:
        database.executescript(_TABLES)
        database.execute("INSERT INTO db_metadata VALUES (?, ?, ?, ?)", (now, _MODEL, _REVISION, _ADDITION))
        database.execute("INSERT INTO providers VALUES (?, '1', 'tests', ?, '')", (_PROVIDER, now))
        for number, (vulnerability, blobs) in enumerate(_with_blobs(vulnerabilities), 1):
            about, affected = 2 * number - 1, 2 * number
            for identity, blob in ((about, blobs[0]), (affected, blobs[1])):
                database.execute("INSERT INTO blobs VALUES (?, ?)", (identity, json.dumps(blob)))
            database.execute("INSERT INTO packages VALUES (?, 'python', ?)", (number, vulnerability.package))
            database.execute(
                "INSERT INTO vulnerability_handles VALUES (?, ?, 'active', ?, ?, NULL, ?, ?)",
                (number, vulnerability.id, now, now, _PROVIDER, about),
            )
            database.execute(
                "INSERT INTO affected_package_handles VALUES (?, ?, NULL, ?, ?)", (number, number, number, affected)
            )


def _with_blobs(
    vulnerabilities: Sequence[Vulnerability],
) -> Iterator[tuple[Vulnerability, tuple[dict[str, Any], dict[str, Any]]]]:
    for vulnerability in vulnerabilities:
        severities = [{"scheme": "CHMLN", "value": vulnerability.severity, "rank": 1}] if vulnerability.severity else []
        about = {"id": vulnerability.id.lower(), "description": "Made up by a test.", "severities": severities}
        below = vulnerability.below
        fix = {"version": below, "state": "fixed"} if below else {"state": "wont-fix"}
        constraint = {"type": "python", "constraint": f"<{below}" if below else ""}
        yield vulnerability, (about, {"ranges": [{"version": constraint, "fix": fix}]})
