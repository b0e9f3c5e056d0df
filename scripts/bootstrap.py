"""Make .venv exactly what requirements.lock says, with nothing on the machine but Python.

Standard library only. uv is installed by pip into a folder of its own (.tools) and takes over pip's
settings (index, find-links, certificates), so a machine that is set up for pip needs nothing more.
Running it again does nothing unless the lock, pyproject.toml or this file changed.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
VENV, TOOLS, LOCK = ROOT / ".venv", ROOT / ".tools", ROOT / "requirements.lock"
STAMP = VENV / ".ready"
OLDEST, TOO_NEW = (3, 11), (3, 14)
PIP_TO_UV = {
    "index-url": "UV_DEFAULT_INDEX",
    "extra-index-url": "UV_INDEX",
    "find-links": "UV_FIND_LINKS",
    "no-index": "UV_NO_INDEX",
    "trusted-host": "UV_INSECURE_HOST",
    "cert": "SSL_CERT_FILE",
}


def main() -> int:
    """Bring .venv up to date; return the exit code."""
    use_supported_python()
    if "--lock" in sys.argv[1:]:
        lock(uv())
        return 0
    wanted = fingerprint()
    if STAMP.exists() and STAMP.read_text() == wanted and "--force" not in sys.argv[1:]:
        STAMP.touch()
        return 0
    tool = uv()
    if not (VENV / "bin" / "python").exists():
        say("making .venv")
        run(tool, "venv", "--quiet", "--python", sys.executable, str(VENV))
    say("installing what requirements.lock names (several minutes the first time)")
    target = ("--quiet", "--python", str(VENV / "bin" / "python"))
    run(tool, "pip", "sync", *target, "--require-hashes", str(LOCK))
    run(tool, "pip", "install", *target, "--no-deps", "--editable", str(ROOT))
    STAMP.write_text(wanted)
    return 0


def lock(tool: Path) -> None:
    """Resolve pyproject.toml with all its extras for every platform into requirements.lock."""
    say("resolving pyproject.toml into requirements.lock")
    options = ("--universal", "--generate-hashes", "--all-extras", "--no-header", "--quiet")
    run(tool, "pip", "compile", "pyproject.toml", *options, "--output-file", str(LOCK))


def use_supported_python() -> None:
    """Go on under a Python this project supports, or say which it needs."""
    if OLDEST <= sys.version_info[:2] < TOO_NEW:
        return
    for minor in range(TOO_NEW[1] - 1, OLDEST[1] - 1, -1):
        other = shutil.which(f"python3.{minor}")
        if other:
            os.execv(other, [other, *sys.argv])
    found = ".".join(map(str, sys.version_info[:3]))
    sys.exit(
        f"Python 3.11, 3.12 or 3.13 is needed; this is {found} → install one, or: make PYTHON=/path/to/it"
    )


def fingerprint() -> str:
    """Return what .venv was made from."""
    files = (LOCK, ROOT / "pyproject.toml", Path(__file__))
    return hashlib.sha256(b"".join(file.read_bytes() for file in files) + sys.version.encode()).hexdigest()


def uv() -> Path:
    """Return the path of uv in .tools, installed by pip when it is not there."""
    python, tool = TOOLS / "bin" / "python", TOOLS / "bin" / "uv"
    if not tool.exists():
        say("installing uv into .tools")
        shutil.rmtree(TOOLS, ignore_errors=True)
        try:
            run(Path(sys.executable), "-m", "venv", str(TOOLS))
        except subprocess.CalledProcessError:
            sys.exit("this Python cannot make a venv → install its venv module (Debian: python3-venv)")
        run(python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "uv")
    return tool


def environment() -> dict[str, str]:
    """Return the environment for uv: pip's settings under uv's names, where uv has none of its own."""
    settings = dict(os.environ, UV_PYTHON_DOWNLOADS="never")
    pip = TOOLS / "bin" / "pip"
    if not pip.exists():
        return settings
    listed = subprocess.run([str(pip), "config", "list"], capture_output=True, text=True, check=False).stdout
    for line in listed.splitlines():
        key, _, value = line.partition("=")
        name = PIP_TO_UV.get(key.rpartition(".")[2])
        words = value.strip().strip("'\"").split()
        if name == "UV_FIND_LINKS":
            words = [word for word in words if "://" in word or Path(word).exists()]
        if name and words and name not in settings:
            settings[name] = (" " if name != "UV_FIND_LINKS" else ",").join(words)
    return settings


def run(command: Path, *arguments: str) -> None:
    """Run a command in the project's folder; its failure ends this one."""
    subprocess.run([str(command), *arguments], check=True, cwd=ROOT, env=environment())


def say(text: str) -> None:
    """Tell the person what takes the time."""
    print(f"→ {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except subprocess.CalledProcessError as error:
        sys.exit(f"failed: {' '.join(map(str, error.cmd))} (exit code {error.returncode}); see above")
