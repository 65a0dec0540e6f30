"""A special remote program over a directory, made with annexremote, as most programs in Python are."""

import os
import shutil

from annexremote import Master, RemoteError, SpecialRemote


class Directory(SpecialRemote):
    configs = {"directory": "where the files are"}  # noqa: RUF012 - as annexremote wants it

    def initremote(self):
        if not self.annex.getconfig("directory"):
            raise RemoteError("directory= is missing")
        os.makedirs(self.annex.getconfig("directory"), exist_ok=True)
        self.annex.setcreds("login", "user", "secret")

    def prepare(self):
        self.directory = self.annex.getconfig("directory")
        if self.annex.getcreds("login") != {"user": "user", "password": "secret"}:
            raise RemoteError("the credentials are lost")

    def path(self, key):
        return os.path.join(self.directory, self.annex.dirhash(key), key)

    def transfer_store(self, key, filename):
        os.makedirs(os.path.dirname(self.path(key)), exist_ok=True)
        shutil.copy(filename, self.path(key))
        self.annex.progress(os.path.getsize(filename))
        self.annex.setstate(key, "stored")

    def transfer_retrieve(self, key, filename):
        try:
            shutil.copy(self.path(key), filename)
        except OSError as error:
            raise RemoteError(error.strerror) from error

    def checkpresent(self, key):
        return os.path.exists(self.path(key))

    def remove(self, key):
        if os.path.exists(self.path(key)):
            os.unlink(self.path(key))


master = Master()
master.LinkRemote(Directory(master))
master.Listen()
