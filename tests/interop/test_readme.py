"""The first call of README.md, as somebody does it who has read nothing else."""
import os
import re
import shlex
import signal
import subprocess
import sys

import pytest

from conftest import LANGUAGES, PATIENCE_SECONDS, REPOSITORY

README = (REPOSITORY / "README.md").read_text()


def fenced(language, first_line):
    """The one fenced block of this language that begins with this line."""
    blocks = re.findall(rf"^```{language}\n({re.escape(first_line)}\n.*?)^```$", README, re.DOTALL | re.MULTILINE)
    assert len(blocks) == 1, f"{len(blocks)} blocks begin with {first_line!r}"
    return blocks[0]


def promised_output():
    """The text block right after the line with the caller's command; that line may end a block of its own."""
    after = re.search(r"python3 caller\.py\n(?:```\n)?\n*```text\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)
    assert after, "no text block follows the line with `python3 caller.py`"
    return after[1]


def test_the_first_call(gateway, start_program, tmp_path):
    # The reader saves both files in the root of the repository. This folder stands for it, so that
    # the test leaves nothing there.
    root = tmp_path / "root"
    root.mkdir()
    for folder in ("proto", "examples"):
        (root / folder).symlink_to(REPOSITORY / folder)
    (root / "service.py").write_text(fenced("python", "# service.py"))
    (root / "caller.py").write_text(fenced("python", "# caller.py"))

    start_program([sys.executable, "service.py"], gateway.address, cwd=root)
    called = subprocess.run(
        [sys.executable, "caller.py"], env=dict(os.environ, ADIT_ADDRESS=gateway.address), cwd=root,
        capture_output=True, text=True, timeout=PATIENCE_SECONDS)
    assert (called.stdout, called.stderr, called.returncode) == (promised_output(), "", 0)


@pytest.mark.parametrize("language", [language for language in ("go", "node") if language in LANGUAGES])
def test_the_commands_of_an_example(gateway, start_program, language):
    key = r"ADIT_API_KEY=adit_\.\.\. "
    commands = re.search(rf"^{key}({language} .*service.*)\n({language} .*caller.*)$", README, re.MULTILINE)
    serve, call = (shlex.split(command) for command in commands.groups())
    # In a group of its own, because `go run` starts the service as another process.
    service = start_program(serve, gateway.address, cwd=REPOSITORY, start_new_session=True)
    try:
        called = subprocess.run(
            call, env=dict(os.environ, ADIT_ADDRESS=gateway.address), cwd=REPOSITORY, capture_output=True,
            text=True, timeout=PATIENCE_SECONDS)
        assert (called.stdout.split("\n")[0], called.stderr, called.returncode) == ("Greet: Hello, Ada!", "", 0)
    finally:
        os.killpg(service.process.pid, signal.SIGINT)
        service.exit_code()
