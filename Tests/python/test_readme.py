"""README.md: a reader saves its programs, types its commands, and has apples."""
import os
import re
import shutil
import subprocess
import sys

import ditq_c as ditq
import pytest

README = (ditq.ROOT / "README.md").read_text()
FILES = {"c": "apple.c", "cpp": "apple.cpp", "cmake": "CMakeLists.txt", "python": "apple.py"}
PROGRAMS = {"c": ["./apple"], "cpp": ["build/apple"], "python": [sys.executable, "apple.py"]}


def snippets(language):
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.S | re.M)


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    """A copy of the repository with the README's programs, after its commands; HOME is in it, and pip asks nobody."""
    folder = tmp_path_factory.mktemp("reader")
    for path in ditq.ROOT.iterdir():
        if path.name == "bindings":  # pip writes there
            shutil.copytree(path, folder / path.name, ignore=shutil.ignore_patterns("build", "*.egg-info"))
        elif not path.name.startswith(".git") and path.suffix != ".png":
            (folder / path.name).symlink_to(path)
    for language, name in FILES.items():
        (folder / name).write_text(snippets(language)[0])
    pip = {"PIP_TARGET": str(folder / "site"), "PIP_NO_INDEX": "1", "PIP_NO_BUILD_ISOLATION": "0", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    path = os.pathsep.join([os.path.dirname(sys.executable), os.environ["PATH"]])
    environment = {**os.environ, **pip, "HOME": str(folder / "home"), "PATH": path, "PYTHONPATH": str(folder / "site"), "DITQ_LIBRARY": ""}
    done = subprocess.run(["bash", "-exc", "\n".join(snippets("sh"))], cwd=folder, env=environment, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder, environment


def test_every_language_has_one_snippet_and_no_other_language_has_any():
    assert set(re.findall(r"^```(\w+)$", README, re.M)) == {*FILES, "sh"}
    assert [len(snippets(language)) for language in FILES] == [1, 1, 1, 1] and len(snippets("c")[0].splitlines()) <= 20


@pytest.mark.parametrize("language", PROGRAMS)
def test_a_program_of_the_readme_draws_an_apple(reader, language):
    folder, environment = reader
    (folder / "apple.png").unlink(missing_ok=True)
    done = subprocess.run(PROGRAMS[language], cwd=folder, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert (folder / "apple.png").read_bytes().startswith(b"\x89PNG")


def test_the_package_readme_draws_an_apple(reader):
    folder, environment = reader
    (program,) = re.findall(r"^```python\n(.*?)^```", (ditq.ROOT / "bindings/python/README.md").read_text(), re.S | re.M)
    subprocess.run([sys.executable, "-c", program], cwd=folder, env=environment, check=True, timeout=120)
    assert (folder / "apple.png").exists() and (folder / "basket.png").exists()
