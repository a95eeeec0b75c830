# SPDX-License-Identifier: Apache-2.0
"""`make demo` as its readers run it: any user, any folder, any locale, and interrupted."""

import os
import pty
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.system.tree import Tree, make_tree, public_python

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

NOBODY = 65534
DEAD = "http://127.0.0.1:9"
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to change user or mount")


@pytest.fixture(name="tree", scope="module")
def _tree() -> Iterator[Tree]:
    """One copy for this module, in a path with a space that any user may walk."""
    python = public_python() or sys.executable
    top = Path(tempfile.mkdtemp(prefix="xpu-agent-test-"))
    top.chmod(0o755)
    try:
        tree = make_tree(top / "a path with a space", python)
        if os.geteuid() == 0:
            _give_away(top)
        yield tree
    finally:
        shutil.rmtree(top, ignore_errors=True)


def _give_away(top: Path) -> None:
    for path in (top, *top.rglob("*")):
        os.chown(path, NOBODY, NOBODY, follow_symlinks=False)


def _environment(home: Path, **more: str) -> dict[str, str]:
    return {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": str(home), **more}


def _as_nobody() -> None:
    if os.geteuid() == 0:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)


def _home(tree: Tree) -> Path:
    home = tree.folder.parent / "home"
    home.mkdir(exist_ok=True)
    if os.geteuid() == 0:
        os.chown(home, NOBODY, NOBODY)
    return home


def _agents(tree: Tree) -> list[str]:
    """Command lines of processes that run from this tree."""
    found = []
    for process in Path("/proc").iterdir():
        try:
            line = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except (OSError, ValueError):
            continue
        if str(tree.folder) in line:
            found.append(line)
    return found


def _outside() -> set[str]:
    """What the demo could have left in the shared folders for temporary files."""
    return {
        entry.path
        for place in ("/tmp", "/var/tmp")
        for entry in os.scandir(place)
        if entry.name.startswith("xpu-emulator")
        or entry.stat(follow_symlinks=False).st_uid == NOBODY
    }


@pytest.mark.skipif(
    os.geteuid() == 0 and public_python() is None, reason="no Python here that all users may run"
)
@pytest.mark.parametrize("locale", ["C", "en_US.ISO-8859-1"])
def test_an_ordinary_user_with_a_dead_proxy_in_any_locale(tree: Tree, locale: str) -> None:
    home, before = _home(tree), _outside()
    done = subprocess.run(
        tree.command("demo", "DEMO_IMAGE=4"),
        cwd=tree.folder,
        env=_environment(home, LC_ALL=locale, http_proxy=DEAD, https_proxy=DEAD, TERM="dumb"),
        preexec_fn=_as_nobody,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    text = done.stdout.decode("latin-1")
    assert done.returncode == 0, text[-3000:]
    assert "everything went as it should" in text
    for reason in ("voucher-untrusted", "voucher-serial-mismatch", "image-hash-mismatch"):
        assert f"refused: {reason}" in text
    assert "nothing was downloaded" in text
    assert "\x1b" not in text
    assert _agents(tree) == []
    assert list(home.iterdir()) == []
    assert _outside() - before == set()


@pytest.mark.parametrize("columns", [80, 140])
def test_on_a_terminal_of_any_width(tree: Tree, columns: int) -> None:
    script = f"stty cols {columns} rows 40; make PYTHON={tree.python!r} demo DEMO_IMAGE=4"
    child, terminal = pty.fork()
    if child == 0:
        os.chdir(tree.folder)
        environment = _environment(Path("/"), TERM="xterm")
        os.execve("/bin/sh", ["sh", "-c", script], environment)  # noqa: S606  # it is one
    text = b""
    while True:
        try:
            part = os.read(terminal, 65536)
        except OSError:
            break
        if not part:
            break
        text += part
    _, status = os.waitpid(child, 0)
    os.close(terminal)
    assert os.waitstatus_to_exitcode(status) == 0, text[-3000:]
    assert b"everything went as it should" in text


@pytest.mark.skipif(shutil.which("ip") is None, reason="needs ip from iproute2 to take IPv6 away")
def test_without_ipv6(tree: Tree) -> None:
    """In a network of its own that has the loopback of IPv4 and nothing else."""
    words = shlex.join(tree.command("demo", "DEMO_IMAGE=4"))
    script = f"ip link set lo up && ip -6 addr flush dev lo; exec {words}"
    alone = ["unshare", "-n" if os.geteuid() == 0 else "-rn"]
    probe = subprocess.run([*alone, "true"], capture_output=True, check=False)
    if probe.returncode != 0:
        pytest.skip("this kernel lets nobody make a network namespace")
    done = subprocess.run(
        [*alone, "sh", "-c", script],
        cwd=tree.folder,
        env=_environment(Path("/")),
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, (done.stdout + done.stderr).decode("utf-8", "replace")[-3000:]


@pytest.mark.parametrize("after", [0.3, 1.5, 3.0])
def test_ctrl_c_cleans_up(tree: Tree, after: float) -> None:
    # What an earlier demo left to look at may be older than the signal.
    shutil.rmtree(tree.folder / "build", ignore_errors=True)
    before = _outside()
    process = subprocess.Popen(
        tree.command("demo", "DEMO_IMAGE=512"),
        cwd=tree.folder,
        env=_environment(Path("/")),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    time.sleep(after)  # any moment will do: there is no event to wait for
    os.killpg(process.pid, signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    text = output.decode("utf-8", "replace")
    assert process.returncode != 0
    assert "Traceback" not in text
    assert _agents(tree) == []
    assert not (tree.folder / "build" / "demo").exists()
    assert _outside() - before == set()


def _demo(tree: Tree, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    python = tree.folder / ".venv" / "bin" / "python"
    return subprocess.run(
        [python, "-m", "xpu_emulator", "demo", "--folder", folder, *arguments],
        cwd=tree.folder,
        env=_environment(Path("/")),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


@needs_root
def test_too_small_a_file_system_is_one_line(tree: Tree, tmp_path: Path) -> None:
    (tmp_path / "small").mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=32m", "none", str(tmp_path / "small")]
    if subprocess.run(command, capture_output=True, check=False).returncode != 0:
        pytest.skip("this machine lets nobody mount a tmpfs")
    try:
        done = _demo(tree, tmp_path / "small" / "demo", "--image-size", "4")
    finally:
        subprocess.run(["umount", str(tmp_path / "small")], check=True)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert "has 32 MiB free" in done.stderr
    assert "DEMO_IMAGE=16" in done.stderr


def test_a_folder_that_is_no_demos_is_left_alone(tree: Tree, tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("mine")
    done = _demo(tree, tmp_path, "--image-size", "4")
    assert done.returncode == 2
    assert "no demo's folder" in done.stderr
    assert (tmp_path / "precious").read_text() == "mine"


def test_an_agent_that_does_nothing_fails_the_demo(tree: Tree, tmp_path: Path) -> None:
    done = _demo(tree, tmp_path / "demo", "--image-size", "4", "--agent", "true")
    assert done.returncode != 0
    assert "not everything went as it should" in done.stdout


def test_there_has_to_be_an_agent(tree: Tree, tmp_path: Path) -> None:
    done = _demo(tree, tmp_path / "demo", "--agent", "no-such-agent")
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
