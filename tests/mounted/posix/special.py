"""Cases of FIFOs, sockets and device nodes."""

import os
import socket
import stat

from tests.mounted.posix.observe import case, in_child, opened, outcome, shape, write_file


@case
def fifo(d):
    os.mkfifo(d / "p", 0o640)
    pid = os.fork()
    if pid == 0:
        with open(d / "p", "wb") as pipe:
            pipe.write(b"through the pipe")
        os._exit(0)
    with open(d / "p", "rb") as pipe:
        data = pipe.read()
    os.waitpid(pid, 0)
    return {
        "data": data.decode(),
        "shape": shape(d / "p"),
        "nobody reads": opened(d / "p", os.O_WRONLY | os.O_NONBLOCK),
        "exists": outcome(os.mkfifo, d / "p"),
        "truncate": outcome(os.truncate, d / "p", 5),
        "unlink": outcome(os.unlink, d / "p"),
    }


@case
def unix_socket(d):
    os.chdir(d)
    server = socket.socket(socket.AF_UNIX)
    seen = {"bind": outcome(server.bind, "s")}
    server.listen()
    seen["shape"] = {key: value for key, value in shape(d / "s").items()}

    def client():
        with socket.socket(socket.AF_UNIX) as peer:
            peer.connect("s")
            peer.sendall(b"hello")
        return "ok"

    seen["client"] = in_child(client)
    accepted, _ = server.accept()
    seen["data"] = accepted.recv(10).decode()
    accepted.close()
    again = socket.socket(socket.AF_UNIX)
    seen["bind again"] = outcome(again.bind, "s")
    again.close()
    server.close()
    seen["open"] = opened(d / "s", os.O_RDONLY)
    seen["nobody listens"] = outcome(socket.socket(socket.AF_UNIX).connect, "s")
    return {**seen, "unlink": outcome(os.unlink, d / "s")}


@case(root=True)
def devices(d):
    seen = {}
    for name, kind, rdev in (
        ("null", stat.S_IFCHR, os.makedev(1, 3)),
        ("disk", stat.S_IFBLK, os.makedev(259, 70_000)),
        ("whiteout", stat.S_IFCHR, 0),
    ):
        seen[name] = [outcome(os.mknod, d / name, kind | 0o600, rdev), shape(d / name)]
        os.rename(d / name, d / f"{name}-moved")
        seen[f"{name} moved"] = shape(d / f"{name}-moved")["rdev"]
    return seen


@case
def regular_by_mknod(d):
    return {
        "make": outcome(os.mknod, d / "f", stat.S_IFREG | 0o604),
        "shape": shape(d / "f"),
        "again": outcome(os.mknod, d / "f", stat.S_IFREG | 0o604),
        "directory": outcome(os.mknod, d / "d", stat.S_IFDIR | 0o755),
        "no type": [outcome(os.mknod, d / "g", 0o600), shape(d / "g")["kind"]],
    }


@case
def special_over_others(d):
    write_file(d / "f")
    os.mkfifo(d / "p")
    os.rename(d / "p", d / "f")
    seen = {"kind": shape(d / "f")["kind"]}
    os.link(d / "f", d / "q")
    return {**seen, "links": os.lstat(d / "q").st_nlink}
