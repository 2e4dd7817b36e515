"""Who uses a store: on a local file system many processes at once, on a network file system one; and which of the two a folder is on."""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path
from typing import Protocol

import psutil
from filelock import SoftFileLease, Timeout

from pytest_prunegate.errors import StoreError

try:
    import fcntl
except ImportError:  # Windows itself refuses to move or remove a file that is open
    fcntl = None  # type: ignore[assignment]

PATIENCE = 10.0  # seconds to wait for others to leave a damaged file
LEASE = 120.0  # seconds without a sign of life after which a holder on another machine counts as dead
HEARTBEAT = 15.0  # seconds between two signs of life
_POLL = 0.2

_NETWORK = frozenset({
    "9p", "afpfs", "afs", "beegfs", "beegfs_nodev", "ceph", "cifs", "gfs", "gfs2", "glusterfs", "gpfs", "lustre", "ncpfs", "nfs",
    "nfs3", "nfs4", "ocfs2", "orangefs", "panfs", "prl_fs", "pvfs2", "smb", "smb2", "smb3", "smbfs", "vboxsf", "virtiofs",
    "vmhgfs", "wekafs", "webdav",
})  # fmt: skip
_LOCAL_FUSE = ("fuse.fuse-overlayfs", "fuse.ntfs", "fuse.exfat", "fuse.lxcfs")


class UseLock(Protocol):
    """Held as long as a store is open."""

    def alone(self) -> None:
        """Wait until nobody else uses the store, and keep others out.

        Raises:
            StoreError: somebody goes on using it.
        """

    def together(self) -> None:
        """Use it beside others, after whoever is alone with it."""

    def verify(self) -> None:
        """Check that the lock is still held.

        Raises:
            StoreError: somebody else has taken it.
        """

    def release(self) -> None:
        """Let go of it."""


class LocalLock:
    """A kernel's lock, which ends with its process, however that ends."""

    def __init__(self, path: Path) -> None:
        self._store = path
        self._descriptor = os.open(path.with_name(f"{path.name}.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)

    def alone(self) -> None:
        """Wait until nobody else uses the store, and keep others out."""
        give_up = time.monotonic() + PATIENCE
        while fcntl is not None:
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)  # two that wait for each other's share would wait for ever
            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > give_up:
                    raise StoreError(
                        f"{self._store}: the store has to be set aside, because it is damaged or from a newer version, and another run "
                        "still uses it. Wait until that run has ended, or end it, and run the same command again."
                    ) from None
                time.sleep(_POLL)
            else:
                return

    def together(self) -> None:
        """Use it beside others, after whoever is alone with it."""
        if fcntl is not None:
            fcntl.flock(self._descriptor, fcntl.LOCK_SH)

    def verify(self) -> None:
        """Nobody can take it."""

    def release(self) -> None:
        """Let go of it."""
        os.close(self._descriptor)


class NetworkLock:
    """A file beside the store, whose holder shows signs of life: a network's own locks cannot be relied on.

    Raises:
        StoreError: another process has it.
    """

    def __init__(self, path: Path, kind: str) -> None:
        self._store, self._kind = path, kind
        self._lease = SoftFileLease(
            path.with_name(f"{path.name}.writer"), lease_duration=LEASE, heartbeat_interval=HEARTBEAT, thread_local=False
        )  # fmt: skip
        give_up, seen = time.monotonic() + LEASE + 2 * HEARTBEAT, self._sign_of_life()
        while not self._is_taken():
            owner, now = self._lease.owner, self._sign_of_life()
            is_here = owner is not None and owner.hostname == socket.gethostname()  # a dead one here was found to be
            seen = seen or now
            if is_here or (now is not None and now != seen) or time.monotonic() > give_up:
                raise self._refusal()
            time.sleep(_POLL)

    def alone(self) -> None:
        """Nobody else is there."""

    def together(self) -> None:
        """Nobody else is let in."""

    def verify(self) -> None:
        """Check that no other process took this one for dead.

        Raises:
            StoreError: one did.
        """
        if self._lease.compromise is not None:
            raise StoreError(
                f"{self._store}: this run lost the lock of its store on a network file system ({self._kind}): {self._lease.compromise.reason}. "
                "What is kept stays. Run the same command again."
            )

    def release(self) -> None:
        """Let go of it."""
        self._lease.release()

    def _is_taken(self) -> bool:
        try:
            self._lease.acquire(timeout=0)
        except Timeout:
            return False
        return True

    def _sign_of_life(self) -> tuple[int, int] | None:
        try:
            found = Path(self._lease.lock_file).stat()
        except OSError:
            return None
        return found.st_ino, found.st_mtime_ns

    def _refusal(self) -> StoreError:
        owner = self._lease.owner
        who = f"process {owner.pid} on {owner.hostname}" if owner else "another process"
        return StoreError(
            f"{self._store}: {who} is writing this store, which is on a network file system ({self._kind}), where only one process may. "
            "Wait until it has ended, or give this run a store of its own with --prunegate-store=DIR and put them together afterwards: "
            f"python -m pytest_prunegate store merge {self._store.parent} DIR"
        )


def network_type(folder: Path) -> str | None:
    """The type of the network file system that a folder is on; None on a local one, or where it cannot be told."""
    kind = _type_of(folder)
    is_shared = kind in _NETWORK or (kind.startswith("fuse.") and not kind.startswith(_LOCAL_FUSE))
    return kind if is_shared else None


def _type_of(folder: Path) -> str:
    """The type of the innermost mount; of two on one folder, the later hides the earlier."""
    place = folder.resolve()
    try:
        mounts = [(Path(mount.mountpoint), mount.fstype) for mount in psutil.disk_partitions(all=True)]
    except OSError:  # a sandbox that does not show its mounts
        return ""
    around = [(len(point.parts), kind) for point, kind in mounts if place.is_relative_to(point)]
    deepest = max((depth for depth, _ in around), default=0)
    return next((kind.lower() for depth, kind in reversed(around) if depth == deepest), "")
