"""README.md: its C program is compiled and run as it stands."""
import os
import re
import subprocess

import ditq_c as ditq


def test_the_c_program_of_the_readme_draws_an_apple(tmp_path):
    (program,) = re.findall(r"```c\n(.*?)```", (ditq.ROOT / "README.md").read_text(), re.S)
    assert len(program.splitlines()) <= 20
    (tmp_path / "apple.c").write_text(program)
    os.symlink(ditq.PATH, tmp_path / "libditq.so")
    os.symlink(ditq.PATH, tmp_path / "libditq.so.1")
    os.symlink(ditq.ROOT / "examples", tmp_path / "examples")
    flags = ["-std=c11", "-Wall", "-Wextra", "-Werror", f"-I{ditq.ROOT / 'include'}", f"-L{tmp_path}", f"-Wl,-rpath,{tmp_path}"]
    subprocess.run(["cc", "apple.c", *flags, "-lditq", "-o", "apple"], cwd=tmp_path, check=True)
    assert subprocess.run([tmp_path / "apple"], cwd=tmp_path, capture_output=True, timeout=120).returncode == 0
    assert (tmp_path / "apple.png").read_bytes().startswith(b"\x89PNG")
