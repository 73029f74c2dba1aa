"""Tools that need no registry: a C project, git, SQLite, processes of Python, file watching."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.bwrap


def test_a_c_project_is_made_and_made_again(local_project):
    project = local_project(
        {
            "Makefile": "program: main.o twice.o\n\tgcc -o $@ $^\n%.o: %.c twice.h\n\tgcc -c $<\n",
            "twice.h": "int twice(int);\n",
            "twice.c": '#include "twice.h"\nint twice(int n) { return 2 * n; }\n',
            "main.c": '#include <stdio.h>\n#include "twice.h"\n'
            'int main(void) { printf("%d\\n", twice(21)); }\n',
        },
    )
    script = (
        "make -j2 >&2 && ./program && make -q && touch twice.h && ! make -q"
        " && make >&2 && ./program"
    )
    assert project.run("--save", "built", "--", "sh", "-c", script) == "42\n42\n"
    # Times survive in a snapshot, so nothing is made again.
    assert project.run("--from", "built", "--", "sh", "-c", "make -q && ./program") == "42\n"
    assert not (project.path / "program").exists()


def test_git_clones_and_commits(local_project):
    project = local_project({})
    (project.path / ".git").rmdir()
    script = (
        "export GIT_AUTHOR_NAME=n GIT_AUTHOR_EMAIL=e GIT_COMMITTER_NAME=n GIT_COMMITTER_EMAIL=e;"
        "git init -q . && echo one >a && git add a && git commit -qm first &&"
        "git clone -q . copy && cd copy && git checkout -qb other && git mv a b &&"
        "echo two >>b && git commit -qam second && git gc -q && git fsck --strict &&"
        "git log --format=%s && git show --stat --format= HEAD && git status --porcelain"
    )
    said = project.run("--base", ".", "--", "sh", "-ec", script)
    assert said.splitlines()[:2] == ["second", "first"]
    assert "a => b" in said


def test_sqlite_in_wal_mode_with_readers_and_a_writer(local_project):
    script = """
import multiprocessing, sqlite3
def read(wanted):
    base = sqlite3.connect("base.db", timeout=20)
    while base.execute("select count(*) from t").fetchone()[0] < wanted: pass
    return base.execute("select sum(x) from t").fetchone()[0]
if __name__ == "__main__":
    base = sqlite3.connect("base.db", timeout=20)
    print(base.execute("pragma journal_mode=wal").fetchone()[0])
    base.execute("create table t (x)"); base.commit()
    with multiprocessing.Pool(2) as pool:
        sums = pool.map_async(read, [500, 500])
        for x in range(500):
            base.execute("insert into t values (?)", (x,)); base.commit()
        print(sums.get(60))
    print(base.execute("pragma integrity_check").fetchone()[0])
"""
    project = local_project({"base.py": script})
    said = project.run("--save", "base", "--", "/usr/bin/python3", "base.py")
    assert said == "wal\n[124750, 124750]\nok\n"
    script = (
        "import sqlite3; base = sqlite3.connect('base.db');"
        " print(base.execute('select max(x) from t').fetchone())"
    )
    assert project.run("--from", "base", "--", "/usr/bin/python3", "-c", script) == "(499,)\n"


@pytest.mark.parametrize("start", ["fork", "spawn", "forkserver"])
def test_processes_of_python_however_they_start(local_project, start):
    script = f"""
import multiprocessing, multiprocessing.shared_memory, threading
def work(lock, queue, name):
    memory = multiprocessing.shared_memory.SharedMemory(name)
    for _ in range(100):
        with lock: memory.buf[0] = (memory.buf[0] + 1) % 256
    memory.close()
    queue.put(threading.get_native_id() > 0)
if __name__ == "__main__":
    context = multiprocessing.get_context({start!r})
    lock, queue = context.Lock(), context.Queue()
    memory = multiprocessing.shared_memory.SharedMemory(create=True, size=1)
    many = [context.Process(target=work, args=(lock, queue, memory.name)) for _ in range(2)]
    for each in many: each.start()
    print(queue.get(timeout=60), queue.get(timeout=60))
    for each in many: each.join()
    print(memory.buf[0]); memory.close(); memory.unlink()
"""
    project = local_project({"work.py": script})
    assert project.run("--", "/usr/bin/python3", "work.py") == "True True\n200\n"


def test_changes_are_watched(local_project):
    """inotify, as watchers of builds use it, on the layer and on what lies below it."""
    script = """
import ctypes, os, struct
libc = ctypes.CDLL(None)
fd = libc.inotify_init1(0)
# Made, written, gone, moved.
assert libc.inotify_add_watch(fd, b".", 0x100 | 0x2 | 0x200 | 0xC0) > 0
open("new", "w").close()
with open("below", "a") as below: below.write("x")
os.rename("new", "newer"); os.unlink("newer")
data, seen = b"", []
while len(seen) < 5:
    data += os.read(fd, 4096)
    while len(data) >= 16:
        _, mask, _, size = struct.unpack_from("iIII", data)
        seen.append((mask, data[16:16 + size].rstrip(b"\\0").decode())); data = data[16 + size:]
print(sorted(set(seen)))
"""
    project = local_project({"watch.py": script, "below": "of the base\n"})
    said = project.run("--", "/usr/bin/python3", "watch.py")
    assert said.strip() == str(
        [(0x2, "below"), (0x40, "new"), (0x80, "newer"), (0x100, "new"), (0x200, "newer")]
    )
    assert (project.path / "below").read_text() == "of the base\n"


def test_a_debugger_reaches_its_own_processes(local_project, tmp_path):
    """ptrace is open within the sandbox: a tracer written in C follows its child to the end."""
    source = r"""
#include <stdio.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>
int main(void) {
    int status, stops = 0;
    pid_t pid = fork();
    if (pid == 0) { ptrace(PTRACE_TRACEME, 0, 0, 0); execl("/bin/true", "true", (char *)0); }
    while (waitpid(pid, &status, 0) == pid && WIFSTOPPED(status)) {
        stops++;
        ptrace(PTRACE_SYSCALL, pid, 0, 0);
    }
    printf("%s\n", stops > 10 && WIFEXITED(status) ? "traced" : "not traced");
}
"""
    project = local_project({"tracer.c": source})
    assert project.run("--", "sh", "-c", "gcc -o t tracer.c && ./t") == "traced\n"
