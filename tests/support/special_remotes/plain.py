"""A special remote program over a directory, with nothing but Python: version 1 or 2, with or without ASYNC.

What it is to do wrong is in its configuration: `misbehave` names it. It works in bytes, because keys are.
"""

import os
import stat
import sys
import threading
import time

VERSION = sys.argv[1].encode() if len(sys.argv) > 1 else b"1"
ASYNC = "async" in sys.argv
writing = threading.Lock()


def write(data):
    with writing:
        while data:
            data = data[os.write(1, data) :]


class Job:
    def __init__(self, number):
        self.head = b"J %d " % number if ASYNC else b""
        self.answers = []
        self.more = threading.Condition()

    def say(self, line):
        write(self.head + line + b"\n")

    def ask(self, line):
        self.say(line)
        return self.hear().partition(b" ")[2]

    def hear(self):
        if not ASYNC:
            return sys.stdin.buffer.readline().rstrip(b"\n")
        with self.more:
            while not self.answers:
                self.more.wait()
            return self.answers.pop(0)

    def directory(self):
        return self.ask(b"GETCONFIG directory")

    def path(self, key):
        return os.path.join(
            self.directory(), self.ask(b"DIRHASH-LOWER " + key).replace(b"/", b"_") + key.replace(b"/", b"%")
        )

    def run(self, line):
        verb, _, rest = line.partition(b" ")
        trouble = os.path.join(os.environ["TROUBLE"], verb.decode()) if "TROUBLE" in os.environ else ""
        if trouble and os.path.exists(trouble):
            with open(trouble) as file:
                how, once = file.read().split()
            if once == "once":
                os.unlink(trouble)
            misbehave(self, how, rest)
            if how.endswith("-only"):
                return
        if verb == b"INITREMOTE":
            os.makedirs(self.directory(), exist_ok=True)
            self.say(b"SETCONFIG made yes")
            self.say(b"SETCREDS login user pass word")
            self.say(b"INITREMOTE-SUCCESS")
        elif verb == b"PREPARE":
            with open(os.path.join(self.directory(), b"..", b"prepared"), "a") as file:
                file.write("x")
            self.say(b"PREPARE-SUCCESS")
        elif verb == b"TRANSFER":
            direction, key, path = rest.split(b" ", 2)
            ours = self.path(key)
            try:
                source, target = (path, ours + b".new") if direction == b"STORE" else (ours, path)
                with open(source, "rb") as read, open(target, "wb") as written:
                    reached = 0
                    while block := read.read(1 << 20):
                        reached += written.write(block)
                        self.say(b"PROGRESS %d" % reached)
                if direction == b"STORE":
                    os.rename(target, ours)
            except OSError as error:
                self.say(b"TRANSFER-FAILURE %b %b %b" % (direction, key, str(error.strerror).encode()))
            else:
                self.say(b"TRANSFER-SUCCESS %b %b" % (direction, key))
        elif verb == b"CHECKPRESENT":
            found = os.path.exists(self.path(rest))
            self.say((b"CHECKPRESENT-SUCCESS " if found else b"CHECKPRESENT-FAILURE ") + rest)
        elif verb == b"REMOVE":
            try:
                os.unlink(self.path(rest))
            except OSError:
                pass
            self.say(b"REMOVE-SUCCESS " + rest)
        elif verb == b"GETCOST":
            self.say(b"COST 150")
        elif verb == b"GETAVAILABILITY":
            self.say(b"AVAILABILITY LOCAL")
        else:
            self.say(b"UNSUPPORTED-REQUEST")


def leave(kind, path, right):
    """Leave something else than the content where it was to be fetched to."""
    if kind == "directory":
        os.mkdir(path)
    elif kind == "full-directory":
        os.makedirs(os.path.join(path, b"a", b"b"))
        os.symlink(b"/", os.path.join(path, b"root"))
        with open(os.path.join(path, b"file"), "w") as file:
            file.write("x")
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "link":
        os.symlink(right, path)
    elif kind == "dangling":
        os.symlink(b"nowhere", path)
    elif kind == "socket":
        os.mknod(path, stat.S_IFSOCK | 0o600)
    elif kind == "device":
        os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(1, 5))
    elif kind == "wrong":
        with open(right, "rb") as file:
            content = bytearray(file.read())
        content[len(content) // 2] ^= 1
        with open(path, "wb") as file:
            file.write(content)


def misbehave(job, how, rest):
    how = how.removesuffix("-only")
    if how == "exit":
        sys.stderr.write("something broke\nthe password was pass word\n")
        sys.stderr.flush()
        os._exit(3)
    elif how == "garbage":
        write(b"\xff\x00 what is this\n")
    elif how == "unknown":
        job.say(b"GETFOO bar")
    elif how == "huge":
        write(b"x" * 1_000_000)
        time.sleep(60)
    elif how == "hang":
        time.sleep(60)
    elif how == "chatter":
        while True:
            job.say(b"DEBUG still here")
    elif how == "other":
        job.say(b"CHECKPRESENT-SUCCESS SHA256-s1--another")
    elif how == "error":
        job.say(b"ERROR it is all too much, pass word")
    elif how == "eof":
        os.close(1)
        time.sleep(60)
    elif how == "unknowable":
        job.say(b"CHECKPRESENT-UNKNOWN %b the cloud is away" % rest)
    elif how == "fail":
        job.say(
            b"%b-FAILURE %b the cloud is away"
            % (b"TRANSFER" if rest.count(b" ") > 1 else b"REMOVE", b" ".join(rest.split(b" ")[:2]))
        )
    elif how == "nothing":
        job.say(b"TRANSFER-SUCCESS " + b" ".join(rest.split(b" ")[:2]))
    elif how.startswith("leave-"):
        direction, key, path = rest.split(b" ", 2)
        leave(how.removeprefix("leave-"), path, job.path(key))
        job.say(b"TRANSFER-SUCCESS %b %b" % (direction, key))
    elif how in ("repeat", "exceed"):
        for number in range(1, 1000):
            job.say(b"PROGRESS %d" % (1 if how == "repeat" else 1_000_000_000 * number))
            time.sleep(0.05)
    elif how == "slow":
        time.sleep(0.3)
    elif how == "questions":
        key = b"SHA256-s3--x"
        asked = [
            b"GETUUID", b"GETGITDIR", b"GETGITREMOTENAME", b"GETWANTED", b"GETSTATE " + key, b"DIRHASH " + key,
            b"DIRHASH-LOWER " + key, b"GETCREDS none", b"GETCREDS login", b"GETCONFIG directory", b"GETCONFIG none",
            b"GETCONFIG made",
        ]  # fmt: skip
        job.say(b"SETSTATE %b a b" % key)
        job.say(b"SETURLPRESENT %b http://a/b" % key)
        job.say(b"SETURLPRESENT %b http://a/c" % key)
        job.say(b"SETURLMISSING %b http://a/c" % key)
        job.say(b"SETURIPRESENT %b x:1" % key)
        job.say(b"SETWANTED include=*.flac")
        job.say(b"INFO hello people, pass word")
        heard = [job.ask(question) for question in asked]
        heard.append(job.ask(b"GETURLS %b http:" % key))
        heard.append(job.hear().partition(b" ")[2])
        with open(os.path.join(os.environ["TROUBLE"], "heard"), "wb") as file:
            file.write(b"\n".join(heard))


def main():
    global ASYNC
    wanted, ASYNC = ASYNC, False
    write(b"VERSION %b\n" % VERSION)
    line = sys.stdin.buffer.readline()
    assert line.startswith(b"EXTENSIONS INFO ASYNC"), line
    write(b"EXTENSIONS ASYNC\n" if wanted else b"EXTENSIONS\n")
    ASYNC = wanted
    jobs = {}
    while line := sys.stdin.buffer.readline().rstrip(b"\n"):
        if not ASYNC:
            Job(0).run(line)
            continue
        letter, number, line = line.split(b" ", 2)
        assert letter == b"J"
        job = jobs.setdefault(number, Job(int(number)))
        if line.startswith((b"VALUE", b"CREDS")):
            with job.more:
                job.answers.append(line)
                job.more.notify()
        else:
            threading.Thread(target=job.run, args=(line,), daemon=True).start()


main()
