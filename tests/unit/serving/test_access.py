"""The gate and its keys: who is let in, and what a change of the key files does."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest

from nimify.errors import ConfigError
from nimify.serving.access import HEALTH_TARGETS, KeyAccess, KeyDigests, OpenAccess
from nimify.serving.api_keys import RotatedKeys, read_keys
from nimify.serving.faults import Kind, RequestFault
from nimify.serving.logs import Log

ONE, TWO = b"first-key-of-the-test", b"second-key-of-the-test"


def let_in(access: KeyAccess, target: bytes = b"/v1/models", **headers: bytes) -> bool:
    given = {name.replace("_", "-").encode(): value for name, value in headers.items()}
    try:
        access.check(target, given)
    except RequestFault as fault:
        refusal = fault
    else:
        return True
    assert refusal.kind is Kind.UNAUTHENTICATED
    assert not any(key.decode() in refusal.message for key in (ONE, TWO))
    return False


@pytest.fixture
def access() -> KeyAccess:
    return KeyAccess(KeyDigests(frozenset({ONE, TWO})))


@pytest.mark.parametrize("key", [ONE, TWO])
def test_either_header_lets_every_key_in(access: KeyAccess, key: bytes) -> None:
    """`Authorization: Bearer` in any case, or `X-API-Key`; a wrong one beside a right one does no harm."""
    assert let_in(access, authorization=b"Bearer " + key)
    assert let_in(access, authorization=b"bearer  " + key + b" ")
    assert let_in(access, x_api_key=key)
    assert let_in(access, authorization=b"Basic abc", x_api_key=key)
    assert let_in(access, authorization=b"Bearer nonsense", x_api_key=key)


@pytest.mark.parametrize(
    "authorization",
    [b"", b"Bearer", b"Bearer ", ONE, b"Basic " + ONE, b"Token " + ONE, b"Bearer" + ONE, b"Bearer " + ONE + b"x",
     b"Bearer " + ONE[:-1], b"Bearer " + ONE.upper(), b"Bearer " + ONE + b"," + TWO, b"Bearer " + b"x" * 100_000],
)  # fmt: skip
def test_anything_else_is_shut_out(access: KeyAccess, authorization: bytes) -> None:
    """No key, a wrong one, half of one, or two at once."""
    assert not let_in(access, authorization=authorization)
    assert not let_in(access)
    assert not let_in(access, x_api_key=b"")


@pytest.mark.parametrize("target", sorted(HEALTH_TARGETS))
def test_health_is_open_by_its_exact_name(access: KeyAccess, target: bytes) -> None:
    """And by no other spelling; or not at all, when that is asked for."""
    assert let_in(access, target)
    assert not let_in(KeyAccess(KeyDigests(frozenset({ONE})), open_targets=frozenset()), target)
    for other in (target + b"/", target.upper(), b"/" + target, target + b";x", target.replace(b"/", b"%2f"), b""):
        assert not let_in(access, other)


def test_what_does_not_exist_is_shut_too(access: KeyAccess) -> None:
    """A stranger cannot tell which routes there are."""
    assert not let_in(access, b"/no/such/route")


def test_without_keys_the_gate_stands_open() -> None:
    """Nothing is asked for."""
    OpenAccess().check(b"/v1/models", {})


def test_keys_are_not_kept(access: KeyAccess) -> None:
    """Only their digests are, under a secret that ends with the process."""
    assert ONE not in repr(vars(access.keys)).encode()


def test_a_file_holds_a_key_a_line(tmp_path: Path) -> None:
    """Comments, empty lines and the blanks around a key are left out; a key may be given twice."""
    file = tmp_path / "keys"
    file.write_bytes(b"# for the team\n\n  " + ONE + b"  \r\n" + TWO + b"\n" + ONE)
    assert read_keys(file) == {ONE, TWO}


def test_a_folder_holds_a_key_a_file(tmp_path: Path) -> None:
    """As a Secret is mounted: links to a folder whose name begins with dots, which are not looked into."""
    version = tmp_path / "..2026_11_24"
    version.mkdir()
    (version / "alice").write_bytes(ONE)
    (version / "bob").write_bytes(TWO + b"\n")
    (tmp_path / "..data").symlink_to(version.name)
    for name in ("alice", "bob"):
        (tmp_path / name).symlink_to(f"..data/{name}")
    (tmp_path / ".hidden").write_bytes(b"third-key-of-the-test")
    assert read_keys(tmp_path) == {ONE, TWO}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "holds no key"),
        (b"\n# nothing\n", "holds no key"),
        (b"short\n", "line 1 .* is no key"),
        (ONE + b"\ntwo words are no key\n", "line 2 .* is no key"),
        (b"k\xc3\xa4y-that-is-long-enough\n", "line 1 .* is no key"),
        (bytes(2 << 20), "longer than"),
    ],
)
def test_a_file_without_good_keys_is_refused(content: bytes, message: str, tmp_path: Path) -> None:
    """The message names file and line, and says how to make a key."""
    file = tmp_path / "keys"
    file.write_bytes(content)
    with pytest.raises(ConfigError, match=message) as caught:
        read_keys(file)
    assert "two words" not in str(caught.value)


def test_a_missing_file_and_an_empty_folder_are_refused(tmp_path: Path) -> None:
    """By name."""
    with pytest.raises(ConfigError, match="nowhere' cannot be read"):
        read_keys(tmp_path / "nowhere")
    with pytest.raises(ConfigError, match="holds no key"):
        read_keys(tmp_path)


@pytest.fixture
def stream() -> io.StringIO:
    return io.StringIO()


def replace(file: Path, content: bytes) -> None:
    """Write a file as one should: whole, under another name, then renamed."""
    draft = file.with_name(".draft")
    draft.write_bytes(content)
    draft.replace(file)


def test_keys_rotate(tmp_path: Path, stream: io.StringIO) -> None:
    """A new key is let in and an old one shut out as soon as the files are looked at."""
    file = tmp_path / "keys"
    file.write_bytes(ONE)
    keys = RotatedKeys(file, open_health=True, log=Log(stream=stream))
    assert let_in(keys.access, x_api_key=ONE)
    replace(file, TWO)
    assert not let_in(keys.access, x_api_key=TWO)
    keys.refresh()
    assert let_in(keys.access, x_api_key=TWO)
    assert not let_in(keys.access, x_api_key=ONE)
    keys.refresh()
    assert stream.getvalue().count("API keys changed") == 1
    assert TWO.decode() not in stream.getvalue()


def test_a_mounted_secret_rotates(tmp_path: Path, stream: io.StringIO) -> None:
    """Kubernetes turns a link: the names stay, and so may sizes and times."""
    for version, key in (("..1", ONE), ("..2", TWO)):
        (tmp_path / version).mkdir()
        (tmp_path / version / "key").write_bytes(key.ljust(32, b"x"))
        os.utime(tmp_path / version / "key", ns=(0, 0))
    (tmp_path / "..data").symlink_to("..1")
    (tmp_path / "key").symlink_to("..data/key")
    keys = RotatedKeys(tmp_path, open_health=False, log=Log(stream=stream))
    (tmp_path / "..draft").symlink_to("..2")
    (tmp_path / "..draft").replace(tmp_path / "..data")
    keys.refresh()
    assert let_in(keys.access, x_api_key=TWO.ljust(32, b"x"))


@pytest.mark.parametrize("content", [b"", b"# none\n", b"short\n", None])
def test_a_bad_change_keeps_the_keys(content: bytes | None, tmp_path: Path, stream: io.StringIO) -> None:
    """Emptied, broken or gone: nobody is locked out, nobody let in, and the log says why, once."""
    file = tmp_path / "keys"
    file.write_bytes(ONE)
    keys = RotatedKeys(file, open_health=True, log=Log(stream=stream))
    if content is None:
        file.unlink()
    else:
        replace(file, content)
    keys.refresh()
    keys.refresh()
    assert let_in(keys.access, x_api_key=ONE)
    assert not let_in(keys.access)
    assert stream.getvalue().count("the old ones stay") == 1
